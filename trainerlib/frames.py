"""A dataset as a pandas frame (`pip install 'trainerlib[pandas]'`) or for Hugging Face `datasets` (`trainerlib[hf]`)."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from trainerlib.errors import DatasetError
from trainerlib.examples import ConversationExamples, Example, Window
from trainerlib.formats import expressible, rows

if TYPE_CHECKING:
    import datasets
    import pandas as pd
    import pyarrow as pa

Kind = Literal["sft", "preference", "kto"]
"""Supervised fine-tuning, pairs of replies (DPO), or single replies with a label."""

Lines = Iterable[Example | ConversationExamples]
"""Examples one by one, or a conversation's together as the files of a dataset have them."""

_FORMATS: dict[Kind, str] = {"sft": "trl-sft", "preference": "trl-preference", "kto": "trl-kto"}
_TURNS: dict[Kind, tuple[str, ...]] = {
    "sft": ("prompt", "completion"),
    "preference": ("prompt", "chosen", "rejected"),
    "kto": ("prompt", "completion"),
}

_BATCH = 4 << 20
"""Bytes of rows that are handed to Arrow at once."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(ConversationExamples).decode


class HfReport(msgspec.Struct, frozen=True):
    """What became of the examples in a `DatasetDict`.

    Attributes:
        kind: the kind of rows.
        rows: rows in each split.
        examples: examples there were.
        without: examples the kind cannot say, for want of a side.
        repeated: examples left out because in this kind they say what an earlier one said.
    """

    kind: Kind
    rows: dict[str, int]
    examples: int
    without: int
    repeated: int


def to_pandas(examples: Iterable[Example]) -> pd.DataFrame:
    """A frame with one row an example; its columns have the same types whatever the examples have.

    Columns: `split`, `conversation`, `message`, `system` (the instruction), `prompt` (a list of turns as
    `{"role": ..., "content": ...}`, without the instruction), `chosen`, `rejected`. What an example does not have is
    `pandas.NA`.

    Raises:
        DatasetError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise DatasetError("a frame needs pandas: pip install 'trainerlib[pandas]'") from error
    types = {
        "split": "string",
        "conversation": "string",
        "message": "int64",
        "system": "string",
        "prompt": "object",
        "chosen": "string",
        "rejected": "string",
    }
    columns: dict[str, list[Any]] = {name: [] for name in types}
    for example in examples:
        context = example.context
        instructed = bool(context) and context[0].role == "system"
        values = (
            example.split,
            example.conversation,
            example.message,
            context[0].content if instructed else None,
            [{"role": turn.role, "content": turn.content} for turn in context[instructed:]],
            example.chosen,
            example.rejected,
        )
        for column, value in zip(columns.values(), values, strict=True):
            column.append(value)
    return pd.DataFrame({name: pd.Series(column, dtype=types[name]) for name, column in columns.items()})


def to_hf(splits: Mapping[str, Lines], *, kind: Kind | Literal["auto"] = "auto") -> datasets.DatasetDict:
    """Examples as a `datasets.DatasetDict` with the columns TRL expects, in its conversational form.

    The rows are those of the export formats `trl-sft` (`prompt`, `completion`), `trl-preference` (`prompt`, `chosen`,
    `rejected`) and `trl-kto` (`prompt`, `completion`, `label`). No value is ever null, and every split has the same
    features, also one without rows. The rows lie in memory-mapped files that are removed when the interpreter ends;
    `save_to_disk` keeps them.

    What became of the examples is in the attribute `report` of the result, an `HfReport`.

    Args:
        splits: the examples of each split. Only whole conversations know which side repeats an earlier one.
        kind: `auto` takes the kind that leaves out no example: `preference` where each has both sides, `sft` where
            each has a chosen one, else `kto`.

    Raises:
        DatasetError: there is no such kind, or `datasets` is not installed.
    """
    if kind not in (*_FORMATS, "auto"):
        raise DatasetError(f"unknown kind {kind!r}; known: auto, {', '.join(_FORMATS)}")
    try:
        import datasets
    except ImportError as error:
        raise DatasetError("this needs datasets: pip install 'trainerlib[hf]'") from error
    directory = Path(tempfile.mkdtemp(prefix="trainerlib-"))
    atexit.register(_remove, directory, os.getpid())
    lines = {name: _whole(examples) for name, examples in splits.items()}
    if kind == "auto":
        kind, lines = _chosen_kind(lines, directory)
    turns = [{"role": datasets.Value("string"), "content": datasets.Value("string")}]
    columns: dict[str, Any] = dict.fromkeys(_TURNS[kind], turns)
    if kind == "kto":
        columns["label"] = datasets.Value("bool")
    schema = datasets.Features(columns).arrow_schema
    count: Counter[str] = Counter()
    made = datasets.DatasetDict()
    for name, conversations in lines.items():
        path = directory / f"{name}.arrow"
        _write(path, _rows(conversations, kind, count), schema)
        made[name] = datasets.Dataset.from_file(str(path), split=datasets.NamedSplit(name))
    made.report = HfReport(kind, dict(made.num_rows), count["examples"], count["without"], count["repeated"])
    return made


def _remove(directory: Path, process: int) -> None:
    # A forked process ends too, and its parent still reads.
    if os.getpid() == process:
        shutil.rmtree(directory, ignore_errors=True)


def _whole(examples: Lines) -> Iterator[ConversationExamples]:
    """Conversations; an example by itself is one with one window."""
    for item in examples:
        if isinstance(item, Example):
            window = Window(item.message, 0, len(item.context), item.chosen, item.rejected)
            yield ConversationExamples(item.conversation, item.message, item.context, (window,))
        else:
            yield item


def _chosen_kind(
    lines: Mapping[str, Iterator[ConversationExamples]], directory: Path
) -> tuple[Kind, dict[str, Iterator[ConversationExamples]]]:
    """The kind that leaves out no example, and the conversations again: they are read once, so a file keeps them."""
    examples = pairs = unwanted = 0
    for name, conversations in lines.items():
        with (directory / f"{name}.jsonl").open("wb") as file:
            for line in conversations:
                file.write(_encode(line) + b"\n")
                for window in line.examples:
                    examples += 1
                    pairs += window.chosen is not None and window.rejected is not None
                    unwanted += window.chosen is None
    kind: Kind = "kto" if unwanted else "preference" if pairs and pairs == examples else "sft"
    return kind, {name: _kept(directory / f"{name}.jsonl") for name in lines}


def _kept(path: Path) -> Iterator[ConversationExamples]:
    with path.open("rb") as file:
        yield from map(_decode, file)
    path.unlink()


def _rows(conversations: Iterator[ConversationExamples], kind: Kind, count: Counter[str]) -> Iterator[bytes]:
    """The rows as lines of JSON; counts `examples`, and those of them that are `without` a side or `repeated`."""
    name = _FORMATS[kind]
    for line in conversations:
        count["examples"] += len(line.examples)
        for window in line.examples:
            if not expressible(window, name):
                good, bad = window.chosen is not None, window.rejected is not None
                said = {"sft": good, "preference": good and bad, "kto": good or bad}[kind]
                count["repeated" if said else "without"] += 1
        yield from rows(line, name)


def _write(path: Path, lines: Iterator[bytes], schema: pa.Schema) -> None:
    """Rows as an Arrow file, a batch at a time."""
    import pyarrow as pa
    from pyarrow import json

    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as stream:
        for batch in _batches(lines):
            table = json.read_json(
                pa.BufferReader(batch),
                json.ReadOptions(block_size=len(batch)),
                json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error"),
            )
            stream.write_table(table)


def _batches(lines: Iterator[bytes]) -> Iterator[bytes]:
    """The lines joined, some megabytes at a time."""
    batch: list[bytes] = []
    size = 0
    for line in lines:
        batch.append(line)
        size += len(line)
        if size >= _BATCH:
            yield b"".join(batch)
            batch.clear()
            size = 0
    if batch:
        yield b"".join(batch)
