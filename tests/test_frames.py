"""Datasets as frames and for Hugging Face: the rows of the exports, with types that never depend on the examples."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import msgspec
import pytest
from histories import row, write
from hypothesis import given, settings
from hypothesis import strategies as st
from test_formats import SHOP, conversations

import trainerlib
from trainerlib import Recipe, Split, frames
from trainerlib.errors import DatasetError
from trainerlib.examples import ConversationExamples, Example, Turn, Window
from trainerlib.formats import FORMATS, rows
from trainerlib.frames import HfReport, to_hf, to_pandas

EXPORTS = {"sft": "trl-sft", "preference": "trl-preference", "kto": "trl-kto"}

PAIR = Example("telegram:1", 3, "train", (Turn("user", "Вы открыты?"),), "С 9 до 18.", "Нет")
CHOSEN = Example("telegram:1", 5, "train", (Turn("system", "Be brief."), Turn("user", "Hi")), "Hello!")
REJECTED = Example("telegram:2", 9, "test", (Turn("user", "Hi"),), None, "Go away")


@pytest.fixture(scope="module")
def datasets():
    found = pytest.importorskip("datasets")
    found.disable_progress_bars()
    return found


@pytest.fixture(scope="module")
def pd():
    return pytest.importorskip("pandas")


def loaded(lines):
    return [json.loads(line) for line in lines]


# --- pandas ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("package", "extra", "make"),
    [("pandas", "pandas", lambda: to_pandas([])), ("datasets", "hf", lambda: to_hf({}))],
)
def test_without_the_package_the_error_says_what_to_install(package, extra, make, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DatasetError, match=rf"pip install 'trainerlib\[{extra}\]'"):
        make()


def test_a_frame_has_one_row_an_example(pd):
    frame = to_pandas([PAIR, CHOSEN, REJECTED])
    assert [*frame.columns] == ["split", "conversation", "message", "system", "prompt", "chosen", "rejected"]
    assert [*frame.loc[0].drop("system")] == [
        "train", "telegram:1", 3, [{"role": "user", "content": "Вы открыты?"}], "С 9 до 18.", "Нет",
    ]  # fmt: skip
    assert frame.system[1] == "Be brief."
    assert frame.prompt[1] == [{"role": "user", "content": "Hi"}]
    assert [*frame.system.isna()] == [True, False, True]
    assert [*frame.chosen.isna()] == [False, False, True]
    assert frame.rejected[1] is pd.NA


@pytest.mark.usefixtures("pd")
def test_the_types_of_a_frame_do_not_depend_on_the_examples():
    types = [[*map(str, to_pandas(examples).dtypes)] for examples in ([PAIR, CHOSEN, REJECTED], [CHOSEN], [])]
    assert types[0] == types[1] == types[2]
    assert len(to_pandas([])) == 0


@settings(max_examples=25, deadline=None)
@given(line=conversations())
def test_a_frame_says_all_that_its_examples_say(line):
    pytest.importorskip("pandas")
    examples = [*line.expand("train")]
    read = []
    for item in to_pandas(examples).itertuples(index=False):
        absent = {name for name in ("system", "chosen", "rejected") if not isinstance(getattr(item, name), str)}
        system = () if "system" in absent else (Turn("system", item.system),)
        sides = [None if name in absent else getattr(item, name) for name in ("chosen", "rejected")]
        context = (*system, *(Turn(**turn) for turn in item.prompt))
        read.append(Example(item.conversation, item.message, item.split, context, *sides))
    assert read == examples


# --- Hugging Face ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", EXPORTS)
@settings(max_examples=15, deadline=None)
@given(lines=st.lists(conversations(), max_size=3))
def test_the_rows_are_those_of_the_export(kind, lines):
    """In their order, whether the examples come in conversations or one by one."""
    pytest.importorskip("datasets")
    exported = loaded(line for conversation in lines for line in rows(conversation, EXPORTS[kind]))
    alone = [example for line in lines for example in line.expand("test")]
    made = to_hf({"train": lines, "test": alone}, kind=kind)
    assert [*made["train"]] == [*made["test"]] == exported


@pytest.mark.parametrize("kind", EXPORTS)
def test_every_split_has_the_same_features_and_no_nulls(kind, datasets):
    made = to_hf({"train": [SHOP], "validation": [PAIR], "test": []}, kind=kind)
    assert [*made] == ["train", "validation", "test"]
    assert made["train"].features == made["validation"].features == made["test"].features
    assert len(made["test"]) == 0
    assert nulls(made["train"].data.table) == nulls(made["validation"].data.table) == 0
    assert isinstance(made, datasets.DatasetDict)
    assert [*map(str, made)] == [str(split.split) for split in made.values()]


def nulls(table):
    """How many values of a table are null, also deep within."""
    found = sum(column.null_count for column in table.columns)
    flat = table.flatten()
    for column in flat.columns:
        for chunk in column.chunks:
            while hasattr(chunk, "values"):
                chunk = chunk.values  # noqa: PLW2901 - one level down
                found += chunk.null_count
                found += sum(part.null_count for part in chunk.flatten()) if hasattr(chunk, "field") else 0
    return found


@pytest.mark.parametrize(
    ("examples", "kind"),
    [
        ([PAIR, PAIR], "preference"),
        ([PAIR, CHOSEN], "sft"),
        ([CHOSEN], "sft"),
        ([PAIR, CHOSEN, REJECTED], "kto"),
        ([REJECTED], "kto"),
        ([], "sft"),
    ],
)
@pytest.mark.usefixtures("datasets")
def test_the_kind_is_the_one_that_leaves_out_no_example(examples, kind):
    made = to_hf({"train": iter(examples[:1]), "test": iter(examples[1:])})
    assert made.report.kind == kind
    assert (made.report.examples, made.report.without, made.report.repeated) == (len(examples), 0, 0)
    assert made["train"].features == to_hf({"test": []}, kind=kind)["test"].features
    assert sum(map(len, made.values())) == sum(2 if kind == "kto" and example is PAIR else 1 for example in examples)


@pytest.mark.parametrize(("kind", "without"), [("sft", 1), ("preference", 2), ("kto", 0)])
@pytest.mark.usefixtures("datasets")
def test_what_a_kind_cannot_say_is_left_out_and_counted(kind, without):
    made = to_hf({"train": [PAIR, CHOSEN], "test": [REJECTED]}, kind=kind)
    number = {name: len(split) for name, split in made.items()}
    assert made.report == HfReport(kind, number, examples=3, without=without, repeated=0)


def test_an_unknown_kind_is_refused_with_the_known_ones():
    with pytest.raises(DatasetError, match="'dpo'; known: auto, sft, preference, kto"):
        to_hf({}, kind="dpo")


@pytest.mark.parametrize(("kind", "left_out"), [("sft", (1, 2)), ("preference", (2, 0)), ("kto", (0, 0))])
@pytest.mark.usefixtures("datasets")
def test_a_dataset_gives_the_rows_and_counts_of_its_export(kind, left_out, tmp_path):
    """With the same question answered well twice and badly in two ways, so that some sides repeat."""
    rows = [
        row(f"chat:{number}", "Вы открыты?", bad, corrections=[{"message": 1, "text": "С 9 до 18.", "by": "anna"}])
        for number, bad in enumerate(["Нет", "Да", "Нет", "Hm?"])
    ]
    rows += [row("chat:a", "Hi", "Hello"), row("chat:b", "Bye", "What?", feedback=[{"message": 1, "rating": -1}])]
    with trainerlib.open(tmp_path / "workspace") as ws:
        ws.import_file(write(tmp_path / "rows.jsonl", rows))
        dataset = ws.datasets.build("support", Recipe(rated_down="reject", split=Split(train=1.0)))
        report = dataset.export(tmp_path / "exported.jsonl", format=EXPORTS[kind])
        file = (dataset.directory / "train.jsonl").read_bytes()
    lines = [msgspec.json.decode(line, type=ConversationExamples) for line in file.split(b"\n")[:-1]]
    made = to_hf({"train": lines}, kind=kind)
    assert [*made["train"]] == loaded((tmp_path / "exported.jsonl").read_bytes().split(b"\n")[:-1])
    assert made.report == HfReport(kind, {"train": report.rows}, report.examples, report.without, report.repeated)
    assert (report.without, report.repeated) == left_out


@pytest.mark.usefixtures("datasets")
def test_rows_are_the_same_in_however_many_batches(monkeypatch):
    many = [SHOP] * 5
    whole = [*to_hf({"train": many}, kind="kto")["train"]]
    monkeypatch.setattr(frames, "_BATCH", 1)
    made = to_hf({"train": many}, kind="kto")["train"]
    assert [*made] == whole
    assert made.data.table.column("label").num_chunks == len(whole)


SCRIPT = """
import os, sys
sys.path.insert(0, sys.argv[1])
from test_frames import PAIR, to_hf
made = to_hf({"train": [PAIR], "test": []})
files = [file["filename"] for split in made.values() for file in split.cache_files]
assert all(map(os.path.exists, files)), files
if os.fork() == 0:
    sys.exit()
os.wait()
assert all(map(os.path.exists, files)), files
assert len(made["train"].map(lambda row: {"turns": len(row["prompt"])})) == 1
print(*files, sep="\\n")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.usefixtures("datasets")
def test_the_files_are_gone_when_the_process_that_made_them_ends(tmp_path):
    """A forked child that ends before takes nothing away."""
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-c", SCRIPT, os.path.dirname(__file__)]  # noqa: PTH120 - one word
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    assert [os.path.basename(file) for file in output.split()] == ["train.arrow", "test.arrow"]  # noqa: PTH119 - one word
    assert not [*tmp_path.glob("trainerlib-*")]


# --- what `datasets` makes of an exported file -----------------------------------------------------------------------

SHORT = ConversationExamples("telegram:9", 9, (Turn("user", "Привет"),), (Window(10, 0, 1, "Hi!", "Нет"),))
STEADY = ("openai-preference", "trl-sft", "trl-preference", "trl-kto")
"""Formats all of whose rows have the same keys."""


@pytest.mark.parametrize(("name", "first"), [(name, "full") for name in FORMATS] + [(name, "short") for name in STEADY])
def test_a_full_and_an_almost_empty_split_of_an_export_load_with_the_same_features(name, first, datasets, tmp_path):
    """Keys that a row does not need, as `weight`, are left out by some formats: of these the fuller split comes first."""
    files = {}
    for split, line in (("full", SHOP), ("short", SHORT)):
        files[split] = str(tmp_path / f"{split}.jsonl")
        (tmp_path / f"{split}.jsonl").write_bytes(b"".join(rows(line, name)))
    order = sorted(files, key=lambda split: split != first)
    made = datasets.load_dataset(
        "json", data_files={split: files[split] for split in order}, cache_dir=str(tmp_path / "cache")
    )
    assert made["full"].features == made["short"].features
    if name in EXPORTS.values():
        kind = next(kind for kind, export in EXPORTS.items() if export == name)
        assert made["short"].features == to_hf({"test": []}, kind=kind)["test"].features
