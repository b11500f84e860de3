"""Examples become rows: the exact bytes of every format, and what a format cannot express."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainerlib.checks import check
from trainerlib.errors import DatasetError
from trainerlib.examples import ConversationExamples, Example, Turn, Window
from trainerlib.formats import FORMATS, expressible, find_format, rows

SHOP = ConversationExamples(
    conversation="telegram:42",
    position=7,
    turns=(
        Turn("user", 'Do you sell "peonies"?'),
        Turn("assistant", "Yes 🌷"),
        Turn("user", "А доставка?\nСколько стоит?"),
    ),
    examples=(
        Window(message=8, start=0, stop=1, chosen="Only in May."),
        Window(message=10, start=0, stop=3, chosen="300 ₽, до 18:00.", rejected="Не знаю\u2028", system=0),
        Window(message=11, start=2, stop=3, rejected="No."),
    ),
    systems=("Отвечай кратко.",),
)

EXPECTED = {
    "openai-chat": r"""
{"messages":[{"role":"user","content":"Do you sell \"peonies\"?"},{"role":"assistant","content":"Only in May.","weight":1}]}
{"messages":[{"role":"system","content":"Отвечай кратко."},{"role":"user","content":"Do you sell \"peonies\"?"},{"role":"assistant","content":"Yes 🌷","weight":0},{"role":"user","content":"А доставка?\nСколько стоит?"},{"role":"assistant","content":"300 ₽, до 18:00.","weight":1}]}
""",
    "openai-preference": r"""
{"input":{"messages":[{"role":"system","content":"Отвечай кратко."},{"role":"user","content":"Do you sell \"peonies\"?"},{"role":"assistant","content":"Yes 🌷"},{"role":"user","content":"А доставка?\nСколько стоит?"}],"tools":[],"parallel_tool_calls":true},"preferred_output":[{"role":"assistant","content":"300 ₽, до 18:00."}],"non_preferred_output":[{"role":"assistant","content":"Не знаю<LS>"}]}
""",
    "trl-sft": r"""
{"prompt":[{"role":"user","content":"Do you sell \"peonies\"?"}],"completion":[{"role":"assistant","content":"Only in May."}]}
{"prompt":[{"role":"system","content":"Отвечай кратко."},{"role":"user","content":"Do you sell \"peonies\"?"},{"role":"assistant","content":"Yes 🌷"},{"role":"user","content":"А доставка?\nСколько стоит?"}],"completion":[{"role":"assistant","content":"300 ₽, до 18:00."}]}
""",
    "trl-preference": r"""
{"prompt":[{"role":"system","content":"Отвечай кратко."},{"role":"user","content":"Do you sell \"peonies\"?"},{"role":"assistant","content":"Yes 🌷"},{"role":"user","content":"А доставка?\nСколько стоит?"}],"chosen":[{"role":"assistant","content":"300 ₽, до 18:00."}],"rejected":[{"role":"assistant","content":"Не знаю<LS>"}]}
""",
    "trl-kto": r"""
{"prompt":[{"role":"user","content":"Do you sell \"peonies\"?"}],"completion":[{"role":"assistant","content":"Only in May."}],"label":true}
{"prompt":[{"role":"system","content":"Отвечай кратко."},{"role":"user","content":"Do you sell \"peonies\"?"},{"role":"assistant","content":"Yes 🌷"},{"role":"user","content":"А доставка?\nСколько стоит?"}],"completion":[{"role":"assistant","content":"300 ₽, до 18:00."}],"label":true}
{"prompt":[{"role":"system","content":"Отвечай кратко."},{"role":"user","content":"Do you sell \"peonies\"?"},{"role":"assistant","content":"Yes 🌷"},{"role":"user","content":"А доставка?\nСколько стоит?"}],"completion":[{"role":"assistant","content":"Не знаю<LS>"}],"label":false}
{"prompt":[{"role":"user","content":"А доставка?\nСколько стоит?"}],"completion":[{"role":"assistant","content":"No."}],"label":false}
""",
    "sharegpt": r"""
{"conversations":[{"from":"human","value":"Do you sell \"peonies\"?"},{"from":"gpt","value":"Only in May.","weight":1}]}
{"conversations":[{"from":"system","value":"Отвечай кратко."},{"from":"human","value":"Do you sell \"peonies\"?"},{"from":"gpt","value":"Yes 🌷","weight":0},{"from":"human","value":"А доставка?\nСколько стоит?"},{"from":"gpt","value":"300 ₽, до 18:00.","weight":1}]}
""",
    "alpaca": r"""
{"instruction":"Do you sell \"peonies\"?","input":"","output":"Only in May.","system":"","history":[]}
{"instruction":"А доставка?\nСколько стоит?","input":"","output":"300 ₽, до 18:00.","system":"Отвечай кратко.","history":[["Do you sell \"peonies\"?","Yes 🌷"]]}
""",
}


def test_the_table_above_covers_every_format():
    """No format is without its exact bytes."""
    assert EXPECTED.keys() == FORMATS.keys()


@pytest.mark.parametrize("name", FORMATS)
def test_a_bilingual_conversation_gives_exactly_these_bytes(name):
    """Emoji, Cyrillic and U+2028 stay raw, quotes and newlines are escaped, and every line ends with a newline."""
    assert b"".join(rows(SHOP, name)) == EXPECTED[name].lstrip().replace("<LS>", "\u2028").encode()


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_says_what_it_is_for(name):
    """Every format has its name and a description of one line."""
    form = find_format(name)
    assert form.name == name
    assert form.description
    assert "\n" not in form.description


def test_an_unknown_format_is_refused_with_the_names_of_the_known_ones():
    """A misspelt format names every right one, before any row is made."""
    for refused in (lambda: rows(SHOP, "openai-chats"), lambda: expressible(SHOP.examples[0], "openai-chats")):
        with pytest.raises(DatasetError, match="'openai-chats'") as error:
            refused()
        assert all(name in str(error.value) for name in FORMATS)


@pytest.mark.parametrize(
    ("chosen", "rejected", "counts"),
    [
        ("Yes.", "No.", {"openai-chat": 1, "trl-preference": 1, "trl-kto": 2}),
        ("Yes.", None, {"openai-chat": 1, "trl-preference": 0, "trl-kto": 1}),
        (None, "No.", {"openai-chat": 0, "trl-preference": 0, "trl-kto": 1}),
    ],
)
def test_an_example_gives_rows_only_where_it_has_the_sides(chosen, rejected, counts):
    """SFT wants the chosen side, preference both, KTO takes each side there is."""
    window = Window(message=1, start=0, stop=0, chosen=chosen, rejected=rejected)
    assert {name: expressible(window, name) for name in counts} == counts


def alpaca(*turns: tuple[str, str]) -> dict[str, Any]:
    line = ConversationExamples(
        "c", 1, tuple(Turn(*turn) for turn in turns), (Window(message=2, start=0, stop=len(turns), chosen="reply"),)
    )
    (row,) = rows(line, "alpaca")
    return json.loads(row)


def test_alpaca_joins_turns_of_one_side():
    """Two questions in a row, or two answers, become one text with an empty line between."""
    row = alpaca(
        ("user", "Hi"),
        ("user", "Есть розы?"),
        ("assistant", "Да"),
        ("assistant", "Red ones"),
        ("user", "a"),
        ("user", "b"),
    )
    assert row == {
        "instruction": "a\n\nb",
        "input": "",
        "output": "reply",
        "system": "",
        "history": [["Hi\n\nЕсть розы?", "Да\n\nRed ones"]],
    }


def test_alpaca_gives_a_leading_answer_an_empty_question():
    """A bot that greets first keeps its greeting, as the answer to nothing."""
    row = alpaca(("assistant", "Welcome!"), ("user", "Hi"))
    assert row["history"] == [["", "Welcome!"]]
    assert row["instruction"] == "Hi"


def test_alpaca_keeps_an_answer_right_before_the_reply():
    """When the reply follows another reply, the earlier one stays in the history and the instruction is empty."""
    row = alpaca(("user", "Hi"), ("assistant", "One moment"))
    assert row["history"] == [["Hi", "One moment"]]
    assert row["instruction"] == ""


# --- any conversation -------------------------------------------------------------------------------------------------

texts = st.text(min_size=1, max_size=20)
words = texts.filter(str.strip)


@st.composite
def conversations(draw, contents=texts, *, alternating=False):
    """Any conversation; an alternating one is asked and answered in turn, and each context ends with a question."""
    count = draw(st.integers(0, 8))
    roles = (
        ["user", "assistant"] * 4 if alternating else draw(st.lists(st.sampled_from(["user", "assistant"]), min_size=8))
    )
    turns = tuple(Turn(role, draw(contents)) for role in roles[:count])
    systems = tuple(draw(st.lists(contents, max_size=2)))
    windows = []
    for message in range(draw(st.integers(0, 4))):
        if alternating:
            questions = range(0, count, 2)
            if not questions:
                break
            start = draw(st.sampled_from(questions))
            stop = draw(st.sampled_from(questions[start // 2 :])) + 1
        else:
            stop = draw(st.integers(0, count))
            start = draw(st.integers(0, stop))
        chosen, rejected = draw(st.none() | contents), draw(st.none() | contents)
        system = draw(st.integers(-1, len(systems) - 1))
        windows.append(Window(message + 1, start, stop, chosen, rejected, system))
    return ConversationExamples("telegram:42", 1, turns, tuple(windows), systems)


def messages(context: tuple[Turn, ...], **of_assistant: int) -> list[dict[str, Any]]:
    return [
        {"role": turn.role, "content": turn.content} | (of_assistant if turn.role == "assistant" else {})
        for turn in context
    ]


def reply(text: str | None, **more: int) -> list[dict[str, Any]]:
    return [{"role": "assistant", "content": text} | more]


def whole_rows(example: Example, name: str) -> list[dict[str, Any]]:
    """The same rows, written the slow and obvious way; alpaca has its own tests above."""
    good, bad = example.chosen, example.rejected
    prompt = messages(example.context)
    if name == "trl-kto":
        sides = [(good, True)] * (good is not None) + [(bad, False)] * (bad is not None)
        return [{"prompt": prompt, "completion": reply(text), "label": label} for text, label in sides]
    if good is None or (bad is None and name in ("openai-preference", "trl-preference")):
        return []
    if name == "openai-chat":
        return [{"messages": messages(example.context, weight=0) + reply(good, weight=1)}]
    if name == "openai-preference":
        request = {"messages": prompt, "tools": [], "parallel_tool_calls": True}
        return [{"input": request, "preferred_output": reply(good), "non_preferred_output": reply(bad)}]
    if name == "trl-preference":
        return [{"prompt": prompt, "chosen": reply(good), "rejected": reply(bad)}]
    if name == "trl-sft":
        return [{"prompt": prompt, "completion": reply(good)}]
    names = {"user": "human", "assistant": "gpt", "system": "system"}
    turns: list[dict[str, Any]] = []
    for turn in example.context:
        if turns and turns[-1]["from"] == names[turn.role]:
            turns[-1]["value"] += f"\n\n{turn.content}"
        elif turn.role != "assistant" or any(one["from"] == "human" for one in turns):
            weight = {"weight": 0} if turn.role == "assistant" else {}
            turns.append({"from": names[turn.role], "value": turn.content} | weight)
    return [{"conversations": [*turns, {"from": "gpt", "value": good, "weight": 1}]}]


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "alpaca"])
@given(line=conversations())
def test_joined_fragments_equal_the_row_encoded_whole(name, line):
    """Encoding each turn once and joining bytes gives what encoding every whole row would give."""
    expected = [
        msgspec.json.encode(row) + b"\n" for example in line.expand("train") for row in whole_rows(example, name)
    ]
    assert list(rows(line, name)) == expected


@given(line=conversations())
def test_alpaca_loses_no_text(line):
    """Every turn of the context is in the row, in its order, and an alpaca row is encoded as a whole one would be."""
    examples = [example for example in line.expand("train") if example.chosen is not None]
    for example, row in zip(examples, rows(line, "alpaca"), strict=True):
        fields = json.loads(row)
        assert msgspec.json.encode(fields) + b"\n" == row
        said = [*(text for pair in fields["history"] for text in pair), fields["instruction"]]
        system = [turn.content for turn in example.context if turn.role == "system"]
        assert fields["system"] == (system[0] if system else "")
        turns = [turn.content for turn in example.context if turn.role != "system"]
        assert "\n\n".join(filter(None, said)) == "\n\n".join(turns)
        assert fields["output"] == example.chosen


@pytest.mark.parametrize("name", FORMATS)
@given(line=conversations())
def test_expressible_foretells_how_many_rows_come(name, line):
    """The count that the user is shown is the count that is written."""
    written = list(rows(line, name))
    assert sum(expressible(window, name) for window in line.examples) == len(written)
    assert all(row.endswith(b"\n") and row.count(b"\n") == 1 for row in written)


@pytest.mark.parametrize("name", FORMATS)
@given(lines=st.lists(conversations(words, alternating=True), max_size=4))
def test_what_we_write_passes_our_own_check(name, lines):
    """A file of questions and answers in turn has no problem but repeated rows, like sides and being short."""
    report = check([row for line in lines for row in rows(line, name)])
    found = {problem.code for problem in report.problems}
    assert found <= {"duplicate-row", "identical-sides", "too-few-rows"}
    assert report.format == (name if report.rows else None)
