"""The library `datasets` loads every export as it was written. Skipped where it is not installed."""

from __future__ import annotations

import json

import pytest
from workshop_history import ODD

from trainerlib.examples import ConversationExamples, Turn, Window
from trainerlib.formats import FORMATS, rows

# Other people's code warns as it likes.
pytestmark = pytest.mark.filterwarnings("ignore")


def without_nulls(value):
    """A loaded value without the keys that others of its file have and it does not."""
    if isinstance(value, dict):
        return {key: without_nulls(one) for key, one in value.items() if one is not None}
    return [without_nulls(one) for one in value] if isinstance(value, list) else value


def texts_of(value):
    """Every text in a value."""
    if isinstance(value, str):
        return {value}
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return set().union(*map(texts_of, inside))


def features_of(datasets, form):
    """The columns of a format, named for the loader instead of guessed by it."""
    text, number = datasets.Value("string"), datasets.Value("int64")
    message = {"role": text, "content": text}
    columns = {
        "openai-chat": {"messages": [message | {"weight": number}]},
        "openai-preference": {
            "input": {"messages": [message], "tools": [text], "parallel_tool_calls": datasets.Value("bool")},
            "preferred_output": [message],
            "non_preferred_output": [message],
        },
        "trl-sft": {"prompt": [message], "completion": [message]},
        "trl-preference": {"prompt": [message], "chosen": [message], "rejected": [message]},
        "trl-kto": {"prompt": [message], "completion": [message], "label": datasets.Value("bool")},
        "sharegpt": {"conversations": [{"from": text, "value": text, "weight": number}]},
        "alpaca": dict.fromkeys(("instruction", "input", "output", "system"), text) | {"history": [[text]]},
    }
    return datasets.Features(columns[form])


@pytest.mark.parametrize("form", FORMATS)
def test_every_split_loads_as_it_was_written(load, exports, form):
    """As many rows as the report says, the same columns in every split, and each row as its line has it."""
    loaded = load({split: export.path for split, export in exports[form].items()})
    assert loaded.num_rows == {split: export.report.rows for split, export in exports[form].items()}
    for split, export in exports[form].items():
        assert loaded[split].features == loaded["train"].features
        assert not [name for name, kind in loaded[split].features.items() if getattr(kind, "dtype", "") == "null"]
        assert [without_nulls(row) for row in loaded[split]] == export.rows


@pytest.mark.parametrize("form", FORMATS)
def test_every_text_arrives_as_it_was_recorded(load, exports, form):
    """Cyrillic, emoji, quotes, line ends, control characters: contexts and both sides, compared with the examples."""
    loaded = load({split: export.path for split, export in exports[form].items()})
    arrived = set().union(*(texts_of(row) for split in loaded.values() for row in split))
    needs, dataset = FORMATS[form].needs, exports[form]["train"].dataset
    recorded = set()
    for example in dataset.read():
        if needs == "either" or (example.chosen is not None and (needs == "chosen" or example.rejected is not None)):
            recorded |= {turn.content for turn in example.context}
            recorded |= {side for side in (example.chosen, example.rejected if needs != "chosen" else None) if side}
    assert recorded <= arrived
    assert all(any(odd in text for text in recorded) for odd in ODD)


@pytest.mark.parametrize("form", FORMATS)
def test_splits_load_one_by_one_as_well(load, exports, form):
    """A split alone has the same texts, whatever the loader makes of its columns."""
    for split, export in exports[form].items():
        assert [without_nulls(row) for row in load({split: export.path})[split]] == export.rows


# --- what the loader has not seen at the beginning of a file ----------------------------------------------------------

SHORT = ConversationExamples(
    "telegram:1", 1, (Turn("user", "Открыто?"),), (Window(2, 0, 1, chosen="Да 🚲", rejected="Нет"),)
)
LONG = ConversationExamples(
    "telegram:2",
    3,
    (Turn("user", "Есть камеры?"), Turn("assistant", "Есть."), Turn("user", "Сколько?")),
    (Window(5, 0, 3, chosen="12", rejected="Не знаю", system=0),),
    ("Отвечай кратко.",),
)


@pytest.fixture
def growing(tmp_path):
    """Train rows without a past, validation rows with one: the files of a format, and their rows' lines."""

    def write(form):
        files = {}
        for split, line in (("train", SHORT), ("validation", LONG)):
            files[split] = tmp_path / f"{split}.jsonl"
            files[split].write_bytes(b"".join(rows(line, form)))
        return files

    return write


@pytest.mark.parametrize("form", [form for form in FORMATS if form != "alpaca"])
def test_a_past_that_only_later_rows_have_is_no_surprise(load, growing, form):
    """The loader takes its columns from the first split; rows of one turn and of many have the same."""
    files = growing(form)
    loaded = load(files)
    assert loaded.num_rows == {split: path.read_bytes().count(b"\n") for split, path in files.items()}


def test_alpaca_needs_its_columns_named_when_only_later_rows_have_a_past(datasets, load, growing):
    """`history` is a list of pairs, and no empty list says so: without its type the loader refuses the later rows."""
    files = growing("alpaca")
    with pytest.raises(datasets.exceptions.DatasetGenerationError):
        load(files)
    loaded = load(files, features=features_of(datasets, "alpaca"))
    [row] = loaded["validation"]
    assert (row["system"], row["history"]) == ("Отвечай кратко.", [["Есть камеры?", "Есть."]])


@pytest.mark.parametrize("form", FORMATS)
def test_with_its_columns_named_every_format_loads_whatever_comes_first(datasets, load, growing, exports, form):
    """Then no column is guessed, and the rows are the same."""
    features = features_of(datasets, form)
    files = growing(form)
    loaded = load(files, features=features)
    for split, path in files.items():
        assert [without_nulls(row) for row in loaded[split]] == [
            json.loads(line) for line in path.read_bytes().splitlines()
        ]
    whole = load({"train": exports[form]["train"].path}, features=features)["train"]
    assert [without_nulls(row) for row in whole] == exports[form]["train"].rows


def test_replies_that_are_all_dates_are_changed_by_the_json_loader_but_not_by_a_list_of_rows(datasets, load, tmp_path):
    """It takes them for points in time, named columns or not; rows that are handed over with their columns stay."""
    line = ConversationExamples("telegram:1", 1, (Turn("user", "Когда?"),), (Window(2, 0, 1, chosen="2026-01-31"),))
    lines = rows(line, "trl-sft")
    path = tmp_path / "dates.jsonl"
    path.write_bytes(b"".join(lines))
    features = features_of(datasets, "trl-sft")
    guessed = load({"train": path}, features=features)["train"]
    assert guessed[0]["completion"][0]["content"] != "2026-01-31"
    handed = datasets.Dataset.from_list([json.loads(one) for one in lines], features=features)
    assert handed[0]["completion"][0]["content"] == "2026-01-31"
