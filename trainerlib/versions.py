"""A version of a dataset on the disk: read back, exported, compared, explained, looked at.

A dataset is (recipe, position in the log). Its files under `datasets/<name>/v<version>/` follow from these two and are
made again when they are missing; their sha256 is in the log, and a file that was changed is refused.
"""

from __future__ import annotations

import heapq
import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, TypeVar

import msgspec

from trainerlib.archives import ArchiveReport, write_archive
from trainerlib.builds import BUFFER, EXCLUDED, Building, Progress, permissions, run
from trainerlib.candidates import Preparer
from trainerlib.cards import Facts, card
from trainerlib.conversations import fold
from trainerlib.datasets import Exclusion
from trainerlib.diffs import DatasetDiff, compare
from trainerlib.errors import DatasetError, LogMismatchError, NotFoundError, RecipeError
from trainerlib.events import (
    DatasetArchived,
    DatasetBuilt,
    DatasetNoted,
    DatasetSelected,
    DatasetTagged,
    Event,
    JsonObject,
    conversation_stream,
)
from trainerlib.examples import ConversationExamples, Example, Turn, Window
from trainerlib.exports import ExportReport, StoredLine, decode_stored, write_rows
from trainerlib.formats import find_format
from trainerlib.frames import Kind, to_hf, to_pandas
from trainerlib.leakage import Leakage, leakage
from trainerlib.lineage import Explanation, Found, explained, find_row, windows_with
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

_NEAR = 0.85
_decode_line = msgspec.json.Decoder(ConversationExamples).decode
_decode_exclusion = msgspec.json.Decoder(Exclusion).decode
_Judgements = tuple[Counter[str], list[tuple[int, int]]]
_Line = TypeVar("_Line", ConversationExamples, StoredLine)
_Decoded = TypeVar("_Decoded")


class Held(msgspec.Struct, frozen=True):
    """A dataset that something went into.

    Attributes:
        dataset: its name.
        version: its version.
        split: the split.
        conversation: the conversation.
        examples: ids of the replies whose examples it is in.
        jobs: ids of the training jobs that were given the split.
        models: the models that came out of them.
    """

    dataset: str
    version: int
    split: str
    conversation: str
    examples: tuple[int, ...]
    jobs: tuple[str, ...] = ()
    models: tuple[str, ...] = ()


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
        self,
        store: EventStore,
        directory: Path,
        built: DatasetBuilt,
        said: Sequence[Event] = (),
        *,
        erased: bool = False,
        new: bool = False,
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
        self.erased = erased
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
            return write_rows(self._stored(split), target, format, None)
        path = Path(target)
        if not path.parent.is_dir():
            raise NotFoundError(f"{path.parent}: no such directory")
        partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
        try:
            with partial.open("wb") as file:
                report = write_rows(self._stored(split), file, format, path)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        return report

    def _stored(self, split: str | None) -> Iterator[StoredLine]:
        return (line for _, line in self._lines(split, decode_stored))

    def diff(self, other: Dataset) -> DatasetDiff:
        """What `other` has more, less and differently, and why."""
        return compare(self.lines(), other.lines(), left_out_before=self.exclusions, left_out_after=other.exclusions)

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

    def find_row(self, row: JsonObject) -> Explanation | None:
        """Where a row of an exported file comes from; `None` when this dataset gives no row that means the same.

        Args:
            row: what the row says, of `trainerlib.lineage.meaning`.
        """
        found = find_row(self.lines(), row)
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
        return self._card(Facts(self.read()), self._judgements(), licence, plots)

    def _card(self, facts: Facts, judgements: _Judgements, licence: str, plots: Sequence[str]) -> str:
        # Who judged is nobody's business who reads the card.
        counts = [count for _, count in judgements[0].most_common()]
        raters = {f"rater {number}": count for number, count in enumerate(counts, 1)}
        return card(self.built, facts, licence=licence, raters=raters, plots=plots)

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
        facts, judgements = Facts(self.read()), self._judgements()
        if not target.is_dir():
            raise NotFoundError(f"{target}: no such directory")
        if names:
            figure = dataset_figure(facts, self.built, judgements[1])
            for name in names:
                save(figure, target / name)
        text = self._card(facts, judgements, licence, names[:1])
        (target / "README.md").write_text(text, encoding="utf-8", newline="\n")
        return [target / name for name in ("README.md", *names)]

    def to_pandas(self, split: str | None = None) -> pd.DataFrame:
        """Its examples as a frame, a row each; see `trainerlib.frames.to_pandas`."""
        return to_pandas(self.read(split))

    def to_hf(self, *, kind: Kind | Literal["auto"] = "auto") -> datasets.DatasetDict:
        """Its splits as a `datasets.DatasetDict` with the columns TRL expects; see `trainerlib.frames.to_hf`."""
        lines = {split: (line for _, line in self.lines(split)) for split in self.splits}
        return to_hf(lines, kind=kind)

    def _judgements(self) -> _Judgements:
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

    def estimate_tokens(self) -> int:
        """About how many tokens one pass over all examples takes; see `trainerlib.tokens.estimate_tokens`."""
        return self._tokens(estimate_tokens)

    def count_tokens(self, tokenizer: Tokenizer = ESTIMATE) -> int:
        """How many tokens a trainer takes in one pass, as OpenAI bills them: chat overhead included, each example once.

        Args:
            tokenizer: what counts, such as `trainerlib.vocabularies.tokenizer("gpt-4.1")`; by default an estimate that
                rather counts too many.
        """
        alone = count_chat([], tokenizer)
        return self._tokens(lambda text: count_chat([Turn("user", text)], tokenizer) - alone) + alone * self.examples

    def _tokens(self, count: Callable[[str], int]) -> int:
        """What messages count together, over every message of every example."""
        total = 0
        for _, line in self.lines():
            # One turn is in many examples: counted once, then only added.
            turns = [count(turn.content) for turn in line.turns]
            systems = [count(text) for text in line.systems]
            for window in line.examples:
                total += sum(turns[window.start : window.stop])
                total += count(window.chosen if window.chosen is not None else window.rejected or "")
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
        except (DatasetError, RecipeError, LogMismatchError, OSError) as error:
            return [f"dataset {self.name} v{self.version}: {error}" if isinstance(error, RecipeError) else str(error)]
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
            refuse_erased(self._store, self.name, began)


def refuse_erased(store: EventStore, name: str, began: int) -> None:
    """Refuse what was made while somebody was erased: their words, read before, may be in it."""
    if last_erasure(store) > began:
        raise DatasetError(f"somebody was erased while dataset {name} was made; build it again")
