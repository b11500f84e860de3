"""Datasets on the disk: built from the log, recorded in it, read back, exported.

A dataset is (recipe, position in the log). Its files under `datasets/<name>/v<version>/` follow from these two and are
made again when they are missing; their sha256 is in the log, and a file that was changed is refused.
"""

from __future__ import annotations

import heapq
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from hashlib import blake2b, sha256
from pathlib import Path
from typing import BinaryIO, Self, TypeVar, cast

import msgspec

from trainerlib.datasets import Exclusion, Pipeline, compare
from trainerlib.errors import DatasetError, LogMismatchError, NotFoundError, VersionConflictError
from trainerlib.events import DatasetBuilt, Role
from trainerlib.examples import ConversationExamples, Example, Window
from trainerlib.formats import expressible, find_format, rows
from trainerlib.recipes import SPLITS, Recipe
from trainerlib.store.eventstore import EventStore
from trainerlib.store.tables import READING
from trainerlib.tokens import estimate_tokens
from trainerlib.workers import Batch, Workers, count, prepare

Progress = Callable[[int, int], None]
"""Called with how much is done and how much there is."""

_NAME = re.compile(r"[^\W_][\w.-]{0,99}")
_EXCLUDED = "excluded.jsonl"
_MANIFEST = "manifest.json"
_BUFFER = 1 << 20
_encode = msgspec.json.Encoder().encode
_decode_line = msgspec.json.Decoder(ConversationExamples).decode


class _StoredTurn(msgspec.Struct, frozen=True, gc=False):
    role: Role
    content: msgspec.Raw


class _StoredWindow(Window, frozen=True, gc=False):
    # A side that is absent is never written, so only its default is None.
    chosen: msgspec.Raw = None  # type: ignore[assignment] # text as JSON, see `_StoredLine`
    rejected: msgspec.Raw = None  # type: ignore[assignment] # likewise


class _StoredLine(msgspec.Struct, frozen=True, gc=False):
    """`ConversationExamples` with its texts left as JSON: an export only copies them."""

    position: int
    turns: tuple[_StoredTurn, ...]
    examples: tuple[_StoredWindow, ...]
    systems: tuple[msgspec.Raw, ...] = ()


_decode_stored = msgspec.json.Decoder(_StoredLine).decode
_decode_exclusion = msgspec.json.Decoder(Exclusion).decode


_Line = TypeVar("_Line", ConversationExamples, _StoredLine)
_Decoded = TypeVar("_Decoded")


class ExportReport(msgspec.Struct, frozen=True):
    """What an export wrote.

    Attributes:
        format: the format.
        rows: lines written.
        examples: examples of the dataset or split.
        without: examples the format cannot say, for want of a side.
        repeated: examples left out because in this format they say what an earlier one said.
        path: the file, `None` for a stream.
        sha256: hex digest of what was written.
    """

    format: str
    rows: int
    examples: int
    without: int
    repeated: int
    path: Path | None
    sha256: str


class DatasetDiff(msgspec.Struct, frozen=True):
    """What changed from one dataset to another; each example is `(conversation, message id)`."""

    added: tuple[tuple[str, int], ...]
    removed: tuple[tuple[str, int], ...]
    changed: tuple[tuple[str, int], ...]


class Dataset:
    """One version of a dataset.

    Attributes:
        name: its name.
        version: 1, 2, 3 ... within the name.
        recipe: the recipe it was built by.
        position: the last log position it takes into account.
        candidates: replies considered; always `examples` plus the sum of `excluded`.
        examples: examples made.
        excluded: candidates left out, by reason code.
        splits: examples in each split.
        sha256: hex digest of each of its files.
        directory: where its files are.
        new: this call built it; False when it was there already.
    """

    def __init__(self, store: EventStore, directory: Path, built: DatasetBuilt, *, new: bool = False) -> None:
        self._store = store
        self.name = built.name
        self.version = built.dataset_version
        self.recipe = Recipe.from_json(built.recipe)
        self.position = built.position
        self.candidates = built.candidates
        self.examples = built.examples
        self.excluded = built.excluded
        self.splits = built.splits
        self.sha256 = built.sha256
        self.directory = directory / built.name / f"v{built.dataset_version}"
        self.new = new

    def __repr__(self) -> str:
        """One line, and one more for each reason a candidate was left out for."""
        splits = " · ".join(f"{name} {count:,}" for name, count in self.splits.items())
        made = f"{self.candidates:,} candidates -> {self.examples:,} examples ({splits})"
        lines = [f"Dataset {self.name} v{self.version} at position {self.position:,}: {made}"]
        lines += [f"  {count:>7,} excluded: {reason}" for reason, count in self.excluded.items()]
        return "\n".join(lines)

    def __eq__(self, other: object) -> bool:
        """Same name, version and content."""
        if not isinstance(other, Dataset):
            return NotImplemented
        return (self.name, self.version, self.sha256) == (other.name, other.version, other.sha256)

    def __hash__(self) -> int:
        return hash((self.name, self.version))

    def read(self, split: str | None = None) -> Iterator[Example]:
        """Its examples in log order.

        Args:
            split: only those of one split.

        Raises:
            DatasetError: no such split, or a file was changed on the disk.
        """
        for name, line in self._lines(split, _decode_line):
            yield from line.expand(name)

    def exclusions(self) -> Iterator[Exclusion]:
        """Every candidate that was left out, and why."""
        return self._decoded(_EXCLUDED, _decode_exclusion)

    def export(self, target: str | Path | BinaryIO, *, format: str, split: str | None = None) -> ExportReport:  # noqa: A002 - the field's word
        """Write its examples as lines of a fine-tuning format; the same dataset gives the same bytes.

        Args:
            target: a file, replaced only once everything is written, or an open binary stream.
            format: a name in `trainerlib.formats.FORMATS`.
            split: only the examples of one split.

        Raises:
            DatasetError: unknown format or split, or a file of the dataset was changed on the disk.
            NotFoundError: the target's directory does not exist.
        """
        find_format(format)
        if not isinstance(target, (str, Path)):
            return self._write(target, format, split, None)
        path = Path(target)
        if not path.parent.is_dir():
            raise NotFoundError(f"{path.parent}: no such directory")
        partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
        try:
            with partial.open("wb") as file:
                report = self._write(file, format, split, path)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        return report

    def _write(self, file: BinaryIO, format: str, split: str | None, path: Path | None) -> ExportReport:  # noqa: A002 - as above
        written = examples = without = repeated = 0
        needs = find_format(format).needs
        with _HashingFile(file, 4 * _BUFFER) as output:
            for _, stored in self._lines(split, _decode_stored):
                # The same fields, and a format puts the texts into its rows as JSON whichever they are.
                line = cast(ConversationExamples, stored)
                examples += len(line.examples)
                lines = rows(line, format)
                if len(lines) != len(line.examples):
                    for window in line.examples:
                        if not expressible(window, format):
                            lacks = window.chosen is None or (needs == "both" and window.rejected is None)
                            without += lacks and needs != "either"
                            repeated += not lacks or needs == "either"
                written += len(lines)
                output.write(b"".join(lines))
            return ExportReport(format, written, examples, without, repeated, path, output.finish())

    def diff(self, other: Dataset) -> DatasetDiff:
        """What `other` has more, less and differently."""
        added, removed, changed = compare(self._digests(), other._digests())
        return DatasetDiff(tuple(added), tuple(removed), tuple(changed))

    def estimate_tokens(self) -> int:
        """About how many tokens one pass over all examples takes; see `trainerlib.tokens.estimate_tokens`."""
        total = 0
        for _, line in self._lines(None, _decode_line):
            turns = [estimate_tokens(turn.content) for turn in line.turns]
            systems = [estimate_tokens(text) for text in line.systems]
            for window in line.examples:
                total += sum(turns[window.start : window.stop]) + estimate_tokens(
                    window.chosen or window.rejected or ""
                )
                total += systems[window.system] if window.system >= 0 else 0
        return total

    def verify(self) -> list[str]:
        """What is wrong with its files, in one line each: rebuilt from the log, they must give the recorded sha256."""
        try:
            built = _build(self._store, self.recipe, self.position, None)
            if built.sha256 != self.sha256:
                return [f"dataset {self.name} v{self.version}: the log gives other bytes than were recorded"]
            for file in self.sha256:
                for _ in self._file(file):
                    pass
        except (DatasetError, LogMismatchError, OSError) as error:
            return [str(error)]
        return []

    def _digests(self) -> Iterator[tuple[str, int, str]]:
        for _, line in self._lines(None, _decode_line):
            for example in line.expand(""):
                content = _encode((example.context, example.chosen, example.rejected))
                yield example.conversation, example.message, blake2b(content, digest_size=16).hexdigest()

    def _lines(self, split: str | None, decode: Callable[[bytes], _Line]) -> Iterator[tuple[str, _Line]]:
        """`(split, line)` for each conversation, in log order over all splits."""
        if split is not None and split not in self.splits:
            known = ", ".join(self.splits)
            raise DatasetError(f"dataset {self.name} v{self.version} has no split {split!r}; it has {known}")
        names = [split] if split is not None else list(self.splits)
        files = [self._split(name, decode) for name in names]
        return iter(files[0]) if len(files) == 1 else heapq.merge(*files, key=lambda item: item[1].position)

    def _split(self, name: str, decode: Callable[[bytes], _Line]) -> Iterator[tuple[str, _Line]]:
        return ((name, line) for line in self._decoded(f"{name}.jsonl", decode))

    def _decoded(self, name: str, decode: Callable[[bytes], _Decoded]) -> Iterator[_Decoded]:
        """What the lines of one of its files say."""
        try:
            for line in self._file(name):
                yield decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise DatasetError(self._changed(name)) from error

    def _file(self, name: str) -> Iterator[bytes]:
        """Lines of one of its files, made again when missing, and checked against its sha256 at the end."""
        path = self.directory / name
        if not path.is_file():
            self._restore()
        digest = sha256()
        with path.open("rb", buffering=_BUFFER) as file:
            for line in file:
                digest.update(line)
                yield line
        if digest.hexdigest() != self.sha256[name]:
            raise DatasetError(self._changed(name))

    def _changed(self, name: str) -> str:
        return f"{self.directory / name}: changed since it was built; delete it and it is made again"

    def _restore(self) -> None:
        """Make missing files again from the log."""
        with _Building(self.directory.parent) as directory:
            built = _build(self._store, self.recipe, self.position, directory)
            if built.sha256 != self.sha256:
                raise DatasetError(
                    f"dataset {self.name} v{self.version}: its files are missing and the log gives other bytes now"
                )
            self.directory.mkdir(parents=True, exist_ok=True)
            for file in directory.iterdir():
                file.replace(self.directory / file.name)


class Datasets:
    """The datasets of a workspace.

    Args:
        store: the log.
        directory: where the files of each go.
    """

    def __init__(self, store: EventStore, directory: Path) -> None:
        self._store = store
        self._directory = directory

    def build(
        self,
        name: str,
        recipe: Recipe | None = None,
        *,
        position: int | None = None,
        progress: Progress | None = None,
        workers: int | None = None,
    ) -> Dataset:
        """Build a dataset and record it; the same recipe at the same position is the same dataset, built once.

        Args:
            name: letters, digits, `.`, `_` and `-`.
            recipe: what to take and how; the default takes every reply.
            position: build as of this log position; by default everything recorded so far.
            progress: called with events read and events to read.
            workers: processes that prepare conversations; by default one a core for a large log, else none but this.

        Raises:
            DatasetError: an impossible name or position.
            LogMismatchError: files of a later version lie there: this log is an older copy.
        """
        if not _NAME.fullmatch(name):
            raise DatasetError(f"{name!r} is no name for a dataset: letters, digits, '.', '_' and '-', a letter first")
        recipe = recipe or Recipe()
        head = self._store.last_position(_feeds_datasets)
        if position is not None and not 0 <= position <= self._store.position:
            raise DatasetError(f"there is no position {position} in this log; it ends at {self._store.position}")
        position = head if position is None else min(position, head)
        while True:
            earlier = self._versions(name)
            for dataset in earlier:
                if dataset.recipe == recipe and dataset.position == position:
                    return dataset
            version = len(earlier) + 1
            target = self._directory / name / f"v{version}"
            if target.exists() and len(self._versions(name)) == len(earlier):
                raise LogMismatchError(f"{target} is there, but not in this log: an older copy? move it away to go on")
            try:
                return self._build(name, version, recipe, position, progress=progress, workers=workers)
            except VersionConflictError:
                # Another process built a version of it meanwhile: perhaps this very one.
                continue

    def _build(
        self,
        name: str,
        version: int,
        recipe: Recipe,
        position: int,
        *,
        progress: Progress | None,
        workers: int | None,
    ) -> Dataset:
        with _Building(self._directory / name) as directory:
            built = _build(self._store, recipe, position, directory, progress=progress, workers=workers)
            built = msgspec.structs.replace(built, name=name, dataset_version=version)
            manifest = {"log": self._store.log_id, **msgspec.to_builtins(built)}
            (directory / _MANIFEST).write_bytes(msgspec.json.format(_encode(manifest), indent=1) + b"\n")
            # The event first: should the process end here, the files follow from the log.
            self._store.append(f"dataset/{name}", [built], expected_version=version - 1)
            dataset = Dataset(self._store, self._directory, built, new=True)
            try:
                directory.replace(dataset.directory)
            except OSError:
                # Somebody read the new version already and made its files from the log: they are the same.
                if not dataset.directory.is_dir():
                    raise
        return dataset

    def list(self) -> _Versions:
        """Every version of every dataset, names in the order they were first built."""
        streams = self._store.streams("dataset/")
        return [dataset for stream in streams for dataset in self._versions(stream.partition("/")[2])]

    def get(self, name: str, version: int | None = None) -> Dataset:
        """A dataset.

        Args:
            name: its name.
            version: which version; the latest by default.

        Raises:
            NotFoundError: there is none.
        """
        versions = self._versions(name)
        if not versions:
            known = ", ".join(dict.fromkeys(dataset.name for dataset in self.list())) or "none yet"
            raise NotFoundError(f"no dataset {name!r}; there are: {known}")
        for dataset in versions if version is not None else versions[-1:]:
            if version in (None, dataset.version):
                return dataset
        raise NotFoundError(f"dataset {name!r} has versions 1 to {len(versions)}, not {version}")

    def _versions(self, name: str) -> _Versions:
        events = (recorded.event for recorded in self._store.read(f"dataset/{name}"))
        return [Dataset(self._store, self._directory, event) for event in events if isinstance(event, DatasetBuilt)]


def _feeds_datasets(wire_name: str) -> bool:
    """Whether an event of this name can change what a dataset has: its own record cannot."""
    return not wire_name.startswith(("dataset.", "training.", "model."))


_Versions = list[Dataset]


class _Building:
    """A directory that exists while something is made in it, and is gone afterwards, whatever happens."""

    def __init__(self, parent: Path) -> None:
        self._directory = parent / f".building-{os.getpid()}-{uuid.uuid4().hex[:8]}"

    def __enter__(self) -> Path:
        self._directory.mkdir(parents=True)
        return self._directory

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)


class _HashingFile:
    """Hashes what is written and writes it to a stream, if there is one, each in a thread: neither needs the interpreter.

    Args:
        stream: where it goes.
        buffer: bytes handed over at once. A thread that is done waits a few milliseconds until a busy interpreter lets
            it have the next, so where rows are made without a pause only a large buffer keeps it at work.
    """

    def __init__(self, stream: BinaryIO | None, buffer: int = _BUFFER) -> None:
        self._digest = sha256()
        self._waiting: list[bytes] = []
        self._size = 0
        self._buffer = buffer
        takers: list[Callable[[bytes], object]] = [self._digest.update]
        takers += [] if stream is None else [stream.write]
        self._takers = [(take, ThreadPoolExecutor(1)) for take in takers]
        self._pending: list[Future[object]] = []

    def write(self, data: bytes) -> None:
        self._waiting.append(data)
        self._size += len(data)
        if self._size > self._buffer:
            self._hand_over()

    def finish(self) -> str:
        """Wait until everything is written; its hex digest."""
        self._hand_over()
        self._wait()
        return self._digest.hexdigest()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for _take, thread in self._takers:
            thread.shutdown()

    def _wait(self) -> None:
        for pending in self._pending:
            pending.result()

    def _hand_over(self) -> None:
        # One buffer at a time, so that memory stays flat and a full disk is noticed.
        self._wait()
        data = b"".join(self._waiting)
        self._pending = [thread.submit(take, data) for take, thread in self._takers]
        self._waiting.clear()
        self._size = 0


def _prepared(
    stack: ExitStack, store: EventStore, recipe: Recipe, position: int, workers: int | None
) -> Iterator[Batch]:
    """What every conversation offers, in the order they began: from other processes where that is faster."""
    last = store.last_stream_id
    number = count(workers, position)
    if number > 1:
        try:
            several = Workers(store.path, READING, recipe, until=position, last=last, workers=number)
        except OSError:
            # No process can be started here; this one can do it all.
            pass
        else:
            return stack.enter_context(several).batches()
    return prepare(store.rows, recipe, until=position, last=last)


def _build(
    store: EventStore,
    recipe: Recipe,
    position: int,
    directory: Path | None,
    *,
    progress: Progress | None = None,
    workers: int | None = None,
) -> DatasetBuilt:
    """Run the pipeline over the log up to a position; write the files when there is a directory for them."""
    names = [f"{name}.jsonl" for name in SPLITS if getattr(recipe.split, name) > 0] + [_EXCLUDED]
    pipeline = Pipeline(recipe)
    done = 0
    with ExitStack() as stack:
        files: dict[str, _HashingFile] = {}
        for name in names:
            stream = stack.enter_context((directory / name).open("wb")) if directory is not None else None
            files[name] = stack.enter_context(_HashingFile(stream))
        for batch in _prepared(stack, store, recipe, position, workers):
            for prepared in batch.prepared:
                taken = pipeline.place(prepared)
                if taken.line:
                    files[f"{taken.split}.jsonl"].write(taken.line + b"\n")
                for exclusion in taken.excluded:
                    files[_EXCLUDED].write(_encode(exclusion) + b"\n")
            done += batch.events
            if progress is not None and batch.events:
                progress(done, position)
        digests = {name: file.finish() for name, file in files.items()}
    excluded = dict(sorted(pipeline.excluded.items(), key=lambda item: (-item[1], item[0])))
    return DatasetBuilt("", 0, recipe.to_json(), position, pipeline.candidates, pipeline.examples, excluded,
                        pipeline.splits, digests)  # fmt: skip
