"""Datasets on the disk: built from the log, recorded in it, read back, exported, compared, explained.

A dataset is (recipe, position in the log). Its files under `datasets/<name>/v<version>/` follow from these two and are
made again when they are missing; their sha256 is in the log, and a file that was changed is refused.
"""

from __future__ import annotations

import heapq
import re
import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, TypeVar, cast

import msgspec

from trainerlib.archives import ArchiveReport, write_archive
from trainerlib.builds import BUFFER, EXCLUDED, Building, HashingFile, Progress, permissions, run
from trainerlib.candidates import Preparer
from trainerlib.cards import Facts, card
from trainerlib.conversations import fold
from trainerlib.datasets import Exclusion
from trainerlib.errors import DatasetError, LogMismatchError, NotFoundError, VersionConflictError
from trainerlib.events import (
    DatasetArchived,
    DatasetBuilt,
    DatasetNoted,
    DatasetSelected,
    DatasetTagged,
    Event,
    PersonErased,
    Role,
    conversation_stream,
)
from trainerlib.examples import ConversationExamples, Example, Turn, Window
from trainerlib.formats import expressible, find_format, rows
from trainerlib.frames import Kind, to_hf, to_pandas
from trainerlib.leakage import Leakage, leakage
from trainerlib.lineage import Explanation, Found, explained, find_row, formats_of, meaning, windows_with
from trainerlib.plots import dataset_figure, save
from trainerlib.recipes import Recipe
from trainerlib.store.erasing import last_erasure
from trainerlib.store.eventstore import EventStore
from trainerlib.tokens import ESTIMATE, Tokenizer, count_chat, estimate_tokens

if TYPE_CHECKING:
    import datasets
    import pandas as pd
    from matplotlib.figure import Figure

Side = Literal["positive", "negative"]

_NAME = re.compile(r"[^\W_][\w.-]{0,99}")
_MANIFEST = "manifest.json"
_NEAR = 0.85
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


class Change(msgspec.Struct, frozen=True):
    """An example that two datasets do not share.

    Attributes:
        conversation: its conversation.
        message: id of the reply.
        why: `new` when the one was built before it was recorded; `excluded: REASON` for what the other left out;
            for a changed one the parts that differ, of `split`, `context`, `chosen`, `rejected`.
    """

    conversation: str
    message: int
    why: str


class DatasetDiff(msgspec.Struct, frozen=True):
    """What changed from one dataset to another.

    Attributes:
        added: examples that only the other has.
        removed: examples that only the first has.
        changed: examples that say something else.
    """

    added: tuple[Change, ...]
    removed: tuple[Change, ...]
    changed: tuple[Change, ...]


class Held(msgspec.Struct, frozen=True):
    """A dataset that something went into.

    Attributes:
        dataset: its name.
        version: its version.
        split: the split.
        conversation: the conversation.
        examples: ids of the replies whose examples it is in.
    """

    dataset: str
    version: int
    split: str
    conversation: str
    examples: tuple[int, ...]


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
        disagreements: replies about which those who judged them do not agree.
        redacted: values replaced by placeholders, by kind.
        bases: conversations with examples, by the ground on which they may be used.
        built: what was recorded when it was built.
        directory: where its files are.
        tags: its labels, sorted.
        note: what was written about it last.
        archives: sha256 of each archive it was written to, by file name.
        selected: the next training uses it, as `positive` or `negative` examples; empty when it does not.
        erased: it held a person who was erased since; its files are gone and cannot be made again.
        new: this call built it; False when it was there already.
    """

    def __init__(
        self, store: EventStore, directory: Path, built: DatasetBuilt, said: Sequence[Event] = (), *, new: bool = False
    ) -> None:
        self._store = store
        self.built = built
        self.name = built.name
        self.version = built.dataset_version
        self.recipe = Recipe.from_json(built.recipe)
        self.position = built.position
        self.candidates = built.candidates
        self.examples = built.examples
        self.excluded = built.excluded
        self.splits = built.splits
        self.sha256 = built.sha256
        self.disagreements = built.disagreements
        self.redacted = built.redacted
        self.bases = built.bases
        self.directory = directory / built.name / f"v{built.dataset_version}"
        self.tags: tuple[str, ...] = ()
        self.note = ""
        self.archives: dict[str, str] = {}
        self.selected: Side | Literal[""] = ""
        self.erased = False
        self.new = new
        for event in said:
            self._take(event)

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
        for name, line in self.lines(split):
            yield from line.expand(name)

    def exclusions(self) -> Iterator[Exclusion]:
        """Every candidate that was left out, and why."""
        return self._decoded(EXCLUDED, _decode_exclusion)

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
        with HashingFile(file, 4 * BUFFER) as output:
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
        """What `other` has more, less and differently, and why."""
        changes: dict[str, list[Change]] = {"added": [], "removed": [], "changed": []}
        for before, after in _joined(self.lines(), other.lines()):
            old, new = _examples(before), _examples(after)
            for example in (*old.values(), *(one for message, one in new.items() if message not in old)):
                was, now = old.get(example.message), new.get(example.message)
                if was is None or now is None:
                    kind, why = ("added", "new") if was is None else ("removed", "new")
                elif was == now:
                    continue
                else:
                    kind = "changed"
                    why = ", ".join(part for part in _PARTS if getattr(was, part) != getattr(now, part))
                changes[kind].append(Change(example.conversation, example.message, why))
        return DatasetDiff(
            _with_reasons(changes["added"], self), _with_reasons(changes["removed"], other), tuple(changes["changed"])
        )

    def leakage(self) -> Leakage:
        """What is in more than one split, found anew from its files; all 0 when the recipe looked for near-duplicates."""
        return leakage(self.lines(), self.recipe.near_duplicates or _NEAR)

    def explain(self, number: int, *, split: str | None = None) -> Explanation:
        """Where an example comes from: its conversation, messages, judgements and events.

        Args:
            number: which example, in log order from 1.
            split: count only the examples of one split.

        Raises:
            NotFoundError: it has not so many.
        """
        left = number
        for name, line in self.lines(split):
            if 0 < left <= len(line.examples):
                return self._explained(Found(name, "", 0, line, line.examples[left - 1]))
            left -= len(line.examples)
        raise NotFoundError(f"dataset {self.name} v{self.version} has examples 1 to {number - left:,}, not {number}")

    def find_row(self, row: bytes) -> Explanation | None:
        """Where a row of an exported file comes from; `None` when this dataset gives no row that means the same.

        Raises:
            DatasetError: it is no row of a dataset.
        """
        wanted = meaning(row)
        formats = formats_of(wanted)
        found = find_row(self.lines(), wanted, formats) if formats else None
        return None if found is None else self._explained(found)

    def _explained(self, found: Found) -> Explanation:
        events = list(self._store.read(conversation_stream(found.line.conversation), until=self.position))
        return explained(events, self._preparer(), found, dataset=self.name, version=self.version)

    def _preparer(self) -> Preparer:
        return Preparer(self.recipe, permissions(self._store, self.position))

    def holding(self, conversations: Collection[str], *, message: int | None = None) -> Iterator[Held]:
        """Which of its examples conversations went into.

        Args:
            conversations: ids of the conversations.
            message: only examples that answer with this message or show it.
        """
        for split, line in () if self.erased else self.lines():
            if line.conversation not in conversations:
                continue
            windows: Iterable[Window] = line.examples
            if message is not None:
                events = list(self._store.read(conversation_stream(line.conversation), until=self.position))
                windows = windows_with(events, self._preparer(), line, message)
            examples = tuple([window.message for window in windows])
            if examples:
                yield Held(self.name, self.version, split, line.conversation, examples)

    # --- to look at --------------------------------------------------------------------------------------------------

    def card(self, *, licence: str = "", plots: Sequence[str] = ()) -> str:
        """Its card: Markdown that begins with the front matter of a Hugging Face dataset card.

        Args:
            licence: an identifier such as `cc-by-4.0`, or words of one's own.
            plots: where its pictures are, relative to the card.
        """
        raters, _ = self._judgements()
        shown = {f"rater {number}": count for number, (_, count) in enumerate(raters.most_common(), 1)}
        return card(self.built, Facts(self.read()), licence=licence, raters=shown, plots=plots)

    def plot(self) -> Figure:
        """A picture of it: splits, turns, lengths of replies, ratings over time, what was left out and why.

        Raises:
            DatasetError: matplotlib is not installed.
        """
        _, ratings = self._judgements()
        return dataset_figure(Facts(self.read()), self.built, ratings)

    def write_card(self, directory: Path | None = None, *, licence: str = "", pictures: bool = True) -> list[Path]:
        """Write its card as `README.md`, and its picture as PNG and SVG.

        Args:
            directory: where to; beside its files by default, so that the directory can be published as it is.
            licence: an identifier such as `cc-by-4.0`, or words of one's own.
            pictures: write the picture too.

        Raises:
            DatasetError: matplotlib is not installed, and a picture is wanted.
            NotFoundError: the directory does not exist.
        """
        target = directory or self.directory
        names = ["dataset.png", "dataset.svg"] if pictures else []
        text = self.card(licence=licence, plots=names[:1])
        if not target.is_dir():
            raise NotFoundError(f"{target}: no such directory")
        if names:
            figure = self.plot()
            for name in names:
                save(figure, target / name)
        (target / "README.md").write_text(text, encoding="utf-8", newline="\n")
        return [target / name for name in ("README.md", *names)]

    def to_pandas(self, split: str | None = None) -> pd.DataFrame:
        """Its examples as a frame, a row each; see `trainerlib.frames.to_pandas`."""
        return to_pandas(self.read(split))

    def to_hf(self, *, kind: Kind | Literal["auto"] = "auto") -> datasets.DatasetDict:
        """Its splits as a `datasets.DatasetDict` with the columns TRL expects; see `trainerlib.frames.to_hf`."""
        lines = {split: (line for _, line in self.lines(split)) for split in self.splits}
        return to_hf(lines, kind=kind)

    def _judgements(self) -> tuple[Counter[str], list[tuple[int, int]]]:
        """Who judged replies of its conversations how often, and `(when the reply was given, rating)` of each rating.

        The time is the reply's: that of an imported rating is the day of the import.
        """
        streams = {conversation_stream(line.conversation) for _, line in self.lines()}
        raters: Counter[str] = Counter()
        ratings: list[tuple[int, int]] = []
        for events in self._store.read_by_stream(until=self.position):
            if events[0].stream in streams:
                for message in fold(events).messages:
                    raters.update([item.by for item in message.corrections])
                    raters.update([item.by for item in message.feedback])
                    ratings += [(message.at, item.rating) for item in message.feedback if item.rating]
        return raters, ratings

    # --- what is said about it ---------------------------------------------------------------------------------------

    def tag(self, *add: str, remove: Sequence[str] = ()) -> None:
        """Put labels on it, or take them off."""
        new = tuple(sorted(set(add) - set(self.tags)))
        gone = tuple(sorted(set(remove) & set(self.tags)))
        if new or gone:
            self._say(DatasetTagged(self.version, new, gone))

    def write_note(self, text: str) -> None:
        """Write something about it, in place of what was written before; an empty text takes that back."""
        if text != self.note:
            self._say(DatasetNoted(self.version, text))

    def select(self, side: Side = "positive") -> None:
        """Have the next training use it, in place of the version selected before."""
        if side != self.selected:
            self._say(DatasetSelected(self.version, side))

    def archive(self, target: Path, *, progress: Progress | None = None) -> ArchiveReport:
        """Write its files into a reproducible archive, with what makes them again from the log as its facts.

        Args:
            target: the archive, `.tar.zst` or `.zip`; one with the same content is left as it is.
            progress: called with bytes read and bytes to read.

        Raises:
            DatasetError: a file of it was changed on the disk, another archive is there, or `zstandard` is missing.
        """
        # Reading to the end makes missing files again and verifies every sha256.
        for name in self.sha256:
            for _ in self._file(name):
                pass
        facts = ("name", "version", "position", "candidates", "examples", "excluded", "splits", "sha256")
        report = write_archive(
            [(name, self.directory / name) for name in self.sha256],
            target,
            facts={**{name: getattr(self, name) for name in facts}, "recipe": self.recipe.to_json()},
            progress=progress,
        )
        if self.archives.get(report.path.name) != report.sha256:
            self._say(DatasetArchived(self.version, report.path.name, report.sha256))
        return report

    def _say(self, event: Event) -> None:
        self._store.append(f"dataset/{self.name}", [event])
        self._take(event)

    def _take(self, event: Event) -> None:
        """Take in what was said after it was built."""
        match event:
            case DatasetTagged(dataset_version=self.version, add=add, remove=remove):
                self.tags = tuple(sorted({*self.tags, *add} - set(remove)))
            case DatasetArchived(dataset_version=self.version, file=file, sha256=digest):
                self.archives[file] = digest
            case DatasetNoted(dataset_version=self.version, text=text):
                self.note = text
            case DatasetSelected(dataset_version=version, side=side):
                if version == self.version:
                    self.selected = side
                elif self.selected == side:
                    self.selected = ""
            case PersonErased(datasets=datasets) if f"{self.name} v{self.version}" in datasets:
                self.erased = True

    def estimate_tokens(self) -> int:
        """About how many tokens one pass over all examples takes; see `trainerlib.tokens.estimate_tokens`."""
        total = 0
        for _, line in self.lines():
            turns = [estimate_tokens(turn.content) for turn in line.turns]
            systems = [estimate_tokens(text) for text in line.systems]
            for window in line.examples:
                total += sum(turns[window.start : window.stop]) + estimate_tokens(
                    window.chosen or window.rejected or ""
                )
                total += systems[window.system] if window.system >= 0 else 0
        return total

    def count_tokens(self, tokenizer: Tokenizer = ESTIMATE) -> int:
        """How many tokens a trainer takes in one pass, as OpenAI bills them: chat overhead included, each example once.

        Args:
            tokenizer: what counts, such as `trainerlib.vocabularies.tokenizer("gpt-4.1")`; by default an estimate that
                rather counts too many.
        """
        total = 0
        for _, line in self.lines():
            # One turn is in many examples: counted once, then only added.
            turns = [count_chat([turn], tokenizer) for turn in line.turns]
            alone = count_chat([], tokenizer)
            systems = [count_chat([Turn("system", text)], tokenizer) - alone for text in line.systems]
            for window in line.examples:
                said = Turn("assistant", window.chosen if window.chosen is not None else window.rejected or "")
                total += sum(turns[window.start : window.stop]) - alone * (window.stop - window.start)
                total += count_chat([said], tokenizer)
                total += systems[window.system] if window.system >= 0 else 0
        return total

    def verify(self) -> list[str]:
        """What is wrong with its files, in one line each: rebuilt from the log, they must give the recorded sha256."""
        if self.erased:
            return []
        try:
            built = run(self._store, self.recipe, self.position, None)
            files = list(self.sha256)
            if built.sha256 != self.sha256:
                if last_erasure(self._store) < self.position:
                    return [f"dataset {self.name} v{self.version}: the log gives other bytes than were recorded"]
                # Somebody was erased since: it did not hold them, but the log cannot give it again.
                files = [file for file in files if (self.directory / file).is_file()]
            for file in files:
                for _ in self._file(file):
                    pass
        except (DatasetError, LogMismatchError, OSError) as error:
            return [str(error)]
        return []

    def lines(self, split: str | None = None) -> Iterator[tuple[str, ConversationExamples]]:
        """`(split, examples)` of each conversation, in log order over all splits; examples share their context there.

        Args:
            split: only those of one split.

        Raises:
            DatasetError: no such split, a file was changed on the disk, or a person it held was erased.
        """
        return self._lines(split, _decode_line)

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
        if self.erased:
            raise DatasetError(
                f"dataset {self.name} v{self.version} held a person who was erased: its files are gone; build it again"
            )
        if not path.is_file():
            self._restore()
        digest = sha256()
        with path.open("rb", buffering=BUFFER) as file:
            for line in file:
                digest.update(line)
                yield line
        if digest.hexdigest() != self.sha256[name]:
            raise DatasetError(self._changed(name))

    def _changed(self, name: str) -> str:
        return f"{self.directory / name}: changed since it was built; delete it and it is made again"

    def _restore(self) -> None:
        """Make missing files again from the log."""
        began = self._store.position
        with Building(self.directory.parent) as directory:
            built = run(self._store, self.recipe, self.position, directory)
            if built.sha256 != self.sha256:
                since = "since somebody was erased " if last_erasure(self._store) > self.position else ""
                raise DatasetError(
                    f"dataset {self.name} v{self.version}: its files are missing, and {since}the log gives other bytes"
                )
            self.directory.mkdir(parents=True, exist_ok=True)
            for file in directory.iterdir():
                file.replace(self.directory / file.name)
            if last_erasure(self._store) > began:
                shutil.rmtree(self.directory)
            _refuse_erased(self._store, self.name, began)


class Datasets:
    """The datasets of a workspace.

    Args:
        store: the log.
        directory: where the files of each go.
        names: people and companies that a recipe which redacts anything replaces as well.
        patterns: regular expressions of values it replaces as well, by the name of their placeholder.
    """

    def __init__(
        self,
        store: EventStore,
        directory: Path,
        *,
        names: Sequence[str] = (),
        patterns: Mapping[str, str] | None = None,
    ) -> None:
        self._store = store
        self._directory = directory
        self._names = tuple(names)
        self._patterns = dict(patterns or {})

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
        recipe = self._completed(recipe or Recipe())
        head = self._store.last_position(_feeds_datasets)
        if position is not None and not 0 <= position <= self._store.position:
            raise DatasetError(f"there is no position {position} in this log; it ends at {self._store.position}")
        position = head if position is None else min(position, head)
        while True:
            head = self._store.version(f"dataset/{name}")
            earlier = self._versions(name)
            for dataset in earlier:
                if dataset.recipe == recipe and dataset.position == position:
                    return dataset
            version = len(earlier) + 1
            target = self._directory / name / f"v{version}"
            if target.exists() and len(self._versions(name)) == len(earlier):
                raise LogMismatchError(f"{target} is there, but not in this log: an older copy? move it away to go on")
            try:
                return self._build(name, version, recipe, position, head=head, progress=progress, workers=workers)
            except VersionConflictError:
                # Another process built a version of it meanwhile: perhaps this very one.
                continue

    def _completed(self, recipe: Recipe) -> Recipe:
        """The recipe with what the workspace wants redacted: the recipe alone has to say what a dataset holds."""
        if not (recipe.redact or recipe.names or recipe.patterns):
            return recipe
        names = tuple(dict.fromkeys((*recipe.names, *self._names)))
        return msgspec.structs.replace(recipe, names=names, patterns={**self._patterns, **recipe.patterns})

    def _build(
        self,
        name: str,
        version: int,
        recipe: Recipe,
        position: int,
        *,
        head: int,
        progress: Progress | None,
        workers: int | None,
    ) -> Dataset:
        began = self._store.position
        try:
            with Building(self._directory / name) as directory:
                built = run(self._store, recipe, position, directory, progress=progress, workers=workers)
                built = msgspec.structs.replace(built, name=name, dataset_version=version)
                manifest = {"log": self._store.log_id, **msgspec.to_builtins(built)}
                (directory / _MANIFEST).write_bytes(msgspec.json.format(_encode(manifest), indent=1) + b"\n")
                _refuse_erased(self._store, name, began)
                # The event first: should the process end here, the files follow from the log.
                self._store.append(f"dataset/{name}", [built], expected_version=head)
                _refuse_erased(self._store, name, began)
                dataset = Dataset(self._store, self._directory, built, new=True)
                try:
                    directory.replace(dataset.directory)
                except OSError:
                    # Somebody read the new version already and made its files from the log: they are the same.
                    if not dataset.directory.is_dir():
                        raise
        except FileNotFoundError:
            # An erasure deletes what is being made meanwhile.
            _refuse_erased(self._store, name, began)
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

    def selected(self, side: Side = "positive") -> _Versions:
        """The versions that the next training uses."""
        return [dataset for dataset in self.list() if dataset.selected == side]

    def explain(self, row: bytes, *, name: str | None = None, progress: Progress | None = None) -> Explanation:
        """Where a line of an exported file comes from: the newest dataset that gives a row which means the same.

        Args:
            row: the line.
            name: look only at datasets of this name.
            progress: called with datasets looked at and datasets there are.

        Raises:
            DatasetError: it is no row of a dataset.
            NotFoundError: no dataset gives such a row.
        """
        if not formats_of(meaning(row)):
            raise DatasetError("the line has the keys of no format of trainerlib")
        datasets = [one for one in reversed(self.list()) if name in (None, one.name) and not one.erased]
        for done, dataset in enumerate(datasets):
            if progress is not None:
                progress(done, len(datasets))
            found = dataset.find_row(row)
            if found is not None:
                return found
        where = f"dataset {name!r}" if name is not None else "any dataset of this workspace"
        raise NotFoundError(f"no row of {where} says this: the line was edited, or comes from elsewhere")

    def holding(self, conversations: Collection[str], *, message: int | None = None) -> Iterator[Held]:
        """Every dataset that conversations, or one message of them, went into."""
        return chain.from_iterable(dataset.holding(conversations, message=message) for dataset in self.list())

    def _versions(self, name: str) -> _Versions:
        said = [recorded.event for recorded in self._store.read(f"dataset/{name}")]
        said += self._erasures()
        return [Dataset(self._store, self._directory, event, said) for event in said if isinstance(event, DatasetBuilt)]

    def _erasures(self) -> Sequence[Event]:
        """Every erasure; there are few."""
        streams = self._store.streams("person/erased:")
        return [recorded.event for stream in streams for recorded in self._store.read(stream)]


_Versions = list[Dataset]
_PARTS = ("split", "context", "chosen", "rejected")
_Placed = tuple[str, ConversationExamples]


def _refuse_erased(store: EventStore, name: str, began: int) -> None:
    """Refuse what was made while somebody was erased: their words, read before, may be in it."""
    if last_erasure(store) > began:
        raise DatasetError(f"somebody was erased while dataset {name} was made; build it again")


def _feeds_datasets(wire_name: str) -> bool:
    """Whether an event of this name can change what a dataset has: its own record cannot."""
    return not wire_name.startswith(("dataset.", "training.", "model."))


def _joined(before: Iterator[_Placed], after: Iterator[_Placed]) -> Iterator[tuple[_Placed | None, _Placed | None]]:
    """The lines of two datasets side by side, conversation by conversation; both are in log order."""
    old, new = next(before, None), next(after, None)
    while old is not None or new is not None:
        if new is None or (old is not None and old[1].position < new[1].position):
            yield old, None
            old = next(before, None)
        elif old is None or new[1].position < old[1].position:
            yield None, new
            new = next(after, None)
        else:
            yield old, new
            old, new = next(before, None), next(after, None)


def _examples(placed: _Placed | None) -> dict[int, Example]:
    """The examples of a conversation by message."""
    return {} if placed is None else {example.message: example for example in placed[1].expand(placed[0])}


def _with_reasons(changes: list[Change], without: Dataset) -> tuple[Change, ...]:
    """The changes, each with the reason why a dataset is without the example."""
    wanted = {(change.conversation, change.message) for change in changes}
    reasons = {
        (one.conversation, one.message): f"excluded: {one.reason}"
        for one in (without.exclusions() if wanted else ())
        if (one.conversation, one.message) in wanted
    }
    return tuple(
        msgspec.structs.replace(change, why=reasons.get((change.conversation, change.message), change.why))
        for change in changes
    )
