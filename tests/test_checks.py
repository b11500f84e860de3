"""A file is checked: each kind of mistake has its code, its line and its mended twin."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainerlib.checks import CODES, Checker, Problem, check, guess_format
from trainerlib.errors import DatasetError
from trainerlib.formats import FORMATS

SAMPLES = Path(__file__).parents[2] / "shared" / "samples"


def user(content: Any = "Когда вы открыты?", **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": content, **more}


def bot(content: Any = "From 9 to 18.", **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


def system(content: Any = "Be brief.") -> dict[str, Any]:
    return {"role": "system", "content": content}


def result(call: str, content: str = "9-18") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call, "content": content}


def calling(*ids: str, **more: Any) -> dict[str, Any]:
    calls = [{"id": id_, "type": "function", "function": {"name": "hours", "arguments": "{}"}} for id_ in ids]
    return {"role": "assistant", "content": None, "tool_calls": calls, **more}


def human(value: Any = "Есть розы?", **more: Any) -> dict[str, Any]:
    return {"from": "human", "value": value, **more}


def gpt(value: Any = "Yes, 40 kinds.", **more: Any) -> dict[str, Any]:
    return {"from": "gpt", "value": value, **more}


def chat(*messages: Any, **more: Any) -> dict[str, Any]:
    return {"messages": list(messages), **more}


def preference(*prompt: Any, good: Any = "Yes.", bad: Any = "No.", **more: Any) -> dict[str, Any]:
    return {
        "input": {"messages": list(prompt) or [user()], "tools": [], "parallel_tool_calls": True},
        "preferred_output": [bot(good)],
        "non_preferred_output": [bot(bad)],
        **more,
    }


def trl(**row: Any) -> dict[str, Any]:
    return {"prompt": [user()], **row}


def sharegpt(*turns: Any, **more: Any) -> dict[str, Any]:
    return {"conversations": list(turns), **more}


def alpaca(instruction: Any = "Есть розы?", output: Any = "Yes.", **more: Any) -> dict[str, Any]:
    return {"instruction": instruction, "input": "", "output": output, **more}


def good_row(form: str, number: int) -> dict[str, Any]:
    text = f"reply {number}"
    return {
        "openai-chat": chat(user(), bot("Hm", weight=0), user(), bot(text)),
        "openai-preference": preference(good=text),
        "trl-sft": trl(completion=[bot(text)]),
        "trl-preference": trl(chosen=[bot(text)], rejected=[bot("No.")]),
        "trl-kto": trl(completion=[bot(text)], label=number % 2 == 0),
        "sharegpt": sharegpt(human(), gpt("Hm", weight=0), human(), gpt(text)),
        "alpaca": alpaca(output=text, history=[["", "Hello"], ["Hi", "Hm"]]),
    }[form]


def line(row: Any) -> bytes:
    return row if isinstance(row, bytes) else json.dumps(row, ensure_ascii=False).encode() + b"\n"


def file_of(form: str, *extra: Any) -> list[bytes]:
    """Ten good rows, then the rows in question from line 11."""
    return [line(good_row(form, number)) for number in range(10)] + [line(row) for row in extra]


FUNCTION_CALL = {"role": "assistant", "content": None, "function_call": {"name": "hours", "arguments": "{}"}}
CALLED = {"from": "function_call", "value": '{"name":"hours","arguments":{}}'}
OBSERVED = {"from": "observation", "value": ""}
PICTURE = {"type": "image_url", "image_url": {"url": "https://example.org/rose.png"}}

CHAT, PREFERENCE, SFT, PAIRS, KTO, SHAREGPT, ALPACA = FORMATS
MISTAKES: list[tuple[str, str, Any, Any]] = [
    # code, format, the row with the mistake, its mended twin
    ("bad-json", CHAT, b'{"messages":[{"role":"user",}]}\n', chat(user(), bot())),
    ("bad-json", CHAT, b'{"messages":[{"role":"us', chat(user(), bot())),
    ("bad-json", CHAT, b"[" * 100_000 + b"\n", chat(user(), bot())),
    ("bad-json", CHAT, line({"messages": float("nan")}), chat(user(), bot())),
    ("blank-line", CHAT, b"  \r\n", chat(user(), bot())),
    ("bom", CHAT, b"\xef\xbb\xbf" + line(chat(user(), bot())), line(chat(user(), bot()))),
    ("not-utf-8", CHAT, line(chat(user(), bot("Да"))).decode().encode("cp1251"), chat(user(), bot("Да"))),
    ("surrogate", CHAT, rb'{"messages":[{"role":"user","content":"\ud83c"}]}', line(chat(user("\U0001f337"), bot()))),
    ("not-an-object", CHAT, [user(), bot()], chat(user(), bot())),
    ("not-an-object", CHAT, "hello", chat(user(), bot())),
    ("mixed-formats", CHAT, sharegpt(human(), gpt()), chat(user(), bot())),
    ("mixed-formats", SFT, trl(completion=[bot()], label=True), trl(completion=[bot()])),
    ("mixed-formats", SHAREGPT, alpaca(), sharegpt(human(), gpt())),
    ("missing-key", CHAT, {"tools": []}, chat(user(), bot(), tools=[])),
    ("missing-key", CHAT, chat({"content": "Hi"}, bot()), chat(user("Hi"), bot())),
    ("missing-key", CHAT, chat(user(), {"role": "assistant"}), chat(user(), bot())),
    ("missing-key", PREFERENCE, {**preference(), "input": {"tools": []}}, preference()),
    ("missing-key", PREFERENCE, {"preferred_output": [bot()], "non_preferred_output": [bot("No")]}, preference()),
    ("missing-key", PAIRS, trl(chosen=[bot()]), trl(chosen=[bot()], rejected=[bot("No.")])),
    ("missing-key", KTO, trl(completion=[bot()]), trl(completion=[bot()], label=False)),
    ("missing-key", SHAREGPT, sharegpt({"from": "human"}, gpt()), sharegpt(human(), gpt())),
    ("missing-key", SHAREGPT, sharegpt({"value": "Hi"}, gpt()), sharegpt(human("Hi"), gpt())),
    ("missing-key", ALPACA, {"instruction": "Hi"}, alpaca("Hi")),
    ("unknown-key", CHAT, chat(user(), bot(), comment="ok?"), chat(user(), bot())),
    ("unknown-key", CHAT, chat(user(mood="sad"), bot()), chat(user(name="Anna"), bot())),
    ("unknown-key", CHAT, chat(user(tool_call_id="1"), bot()), chat(user(), bot())),
    ("unknown-key", PREFERENCE, preference(score=1), preference()),
    ("unknown-key", SHAREGPT, sharegpt(human(name="Anna"), gpt()), sharegpt(human(), gpt(), system="Be brief.")),
    ("unknown-key", ALPACA, alpaca(response="Yes."), alpaca(system=None, history=None)),
    ("wrong-type", CHAT, {"messages": "Hi"}, chat(user(), bot())),
    ("wrong-type", CHAT, chat("Hi", bot()), chat(user("Hi"), bot())),
    ("wrong-type", CHAT, chat({"role": 1, "content": "Hi"}, bot()), chat(user("Hi"), bot())),
    ("wrong-type", CHAT, chat(user(7), bot()), chat(user("7"), bot())),
    ("wrong-type", CHAT, chat(user(), bot(), tools={}), chat(user(), bot(), tools=[])),
    ("wrong-type", CHAT, chat(user(), bot(), parallel_tool_calls=1), chat(user(), bot(), parallel_tool_calls=False)),
    ("wrong-type", CHAT, chat(user([{"text": "Hi"}]), bot()), chat(user([{"type": "text", "text": "Hi"}]), bot())),
    ("wrong-type", CHAT, chat(user([{"type": "text"}]), bot()), chat(user([{"type": "text", "text": "Hi"}]), bot())),
    ("wrong-type", CHAT, chat(user(), bot([PICTURE])), chat(user([PICTURE]), bot())),
    ("wrong-type", CHAT, chat(user(), bot("Hm", tool_calls={})), chat(user(), bot("Hm", tool_calls=None))),
    ("wrong-type", CHAT, chat(user(), bot("Hm", tool_calls=[{"id": "1"}])), chat(user(), calling("1"))),
    ("wrong-type", CHAT, chat(user(), bot("Hm", function_call="hours")), chat(user(), FUNCTION_CALL)),
    ("wrong-type", PREFERENCE, {**preference(), "input": "Hi"}, preference()),
    ("wrong-type", PAIRS, trl(chosen="Yes.", rejected="No."), {"prompt": "Hi", "chosen": "Yes.", "rejected": "No."}),
    ("wrong-type", SHAREGPT, {"conversations": {}}, sharegpt(human(), gpt())),
    ("wrong-type", SHAREGPT, sharegpt("Hi", gpt()), sharegpt(human(), gpt())),
    ("wrong-type", SHAREGPT, sharegpt(human(1), gpt()), sharegpt(human("1"), gpt())),
    ("wrong-type", SHAREGPT, sharegpt(human(), gpt(), system=[]), sharegpt(human(), gpt(), system="")),
    ("wrong-type", ALPACA, alpaca(output=["Yes."]), alpaca(output="Yes.")),
    ("wrong-type", ALPACA, alpaca(history="Hi"), alpaca(history=[])),
    ("wrong-type", ALPACA, alpaca(history=[["Hi"]]), alpaca(history=[["Hi", "Hello"]])),
    ("no-messages", CHAT, chat(), chat(user(), bot())),
    ("no-messages", SFT, {"prompt": [], "completion": [bot()]}, trl(completion=[bot()])),
    ("no-messages", SHAREGPT, sharegpt(), sharegpt(human(), gpt())),
    ("unknown-role", CHAT, chat({"role": "human", "content": "Hi"}, bot()), chat(user("Hi"), bot())),
    ("unknown-role", PREFERENCE, preference(preferred_output=[user(), bot()]), preference(preferred_output=[bot()])),
    ("unknown-role", SHAREGPT, sharegpt(human(), {"from": "bot", "value": "Hi"}), sharegpt(human(), gpt("Hi"))),
    ("system-not-first", CHAT, chat(user(), system(), bot()), chat(system(), user(), bot())),
    ("system-not-first", SFT, {"prompt": [user(), system(), user()], "completion": [bot()]}, trl(completion=[bot()])),
    ("roles-do-not-alternate", SHAREGPT, sharegpt(human(), human(), gpt()), sharegpt(human(), gpt(), human(), gpt())),
    ("roles-do-not-alternate", SHAREGPT, sharegpt(gpt()), sharegpt(human(), gpt())),
    (
        "roles-do-not-alternate",
        SHAREGPT,
        sharegpt({"from": "system", "value": "Be brief."}, gpt("Hello"), human(), gpt()),
        sharegpt({"from": "system", "value": "Be brief."}, human(), CALLED, OBSERVED, gpt()),
    ),
    ("last-message", CHAT, chat(user(), bot(), user("Спасибо")), chat(user(), bot())),
    ("last-message", PREFERENCE, preference(user(), bot()), preference(user(), bot(), user())),
    ("last-message", SFT, {"prompt": [system()], "completion": [bot()]}, trl(completion=[bot()])),
    ("last-message", KTO, trl(completion=[bot(), user()], label=True), trl(completion=[bot()], label=True)),
    ("last-message", SHAREGPT, sharegpt(human(), gpt(), human()), sharegpt(human(), gpt())),
    ("no-assistant-target", CHAT, chat(user(), bot(weight=0)), chat(user(), bot(weight=1))),
    ("no-assistant-target", SHAREGPT, sharegpt(human(), gpt(weight=0)), sharegpt(human(), gpt())),
    ("null-content", CHAT, chat(user(), bot(None)), chat(user(), calling("1"))),
    ("null-content", CHAT, chat(user(None), bot()), chat(user(), bot(None, refusal="I cannot."))),
    ("null-content", SHAREGPT, sharegpt(human(None), gpt()), sharegpt(human(), gpt())),
    ("null-content", ALPACA, alpaca(output=None), alpaca()),
    ("empty-content", CHAT, chat(user(" \n"), bot()), chat(user("?"), bot())),
    ("empty-content", CHAT, chat(user([]), bot()), chat(user([PICTURE]), bot())),
    ("empty-content", CHAT, chat(user(), bot([{"type": "text", "text": ""}])), chat(user(), calling("1", content=""))),
    ("empty-content", PREFERENCE, preference(bad=""), preference()),
    ("empty-content", SFT, {"prompt": "Hi", "completion": ""}, {"prompt": "Hi", "completion": "Hello"}),
    ("empty-content", SHAREGPT, sharegpt(human(), gpt("")), sharegpt(human(), gpt())),
    ("empty-content", ALPACA, alpaca(""), alpaca("", input="Есть розы?")),
    ("empty-content", ALPACA, alpaca(history=[["Hi", ""]]), alpaca(history=[["", "Hi"]])),
    ("bad-weight", CHAT, chat(user(), bot(weight=0.5)), chat(user(), bot(weight=1))),
    ("bad-weight", CHAT, chat(user(), bot(weight=True)), chat(user(), bot(weight=1))),
    ("bad-weight", CHAT, chat(user(weight=0), bot()), chat(user(), bot())),
    ("bad-weight", SHAREGPT, sharegpt(human(), gpt(weight=2)), sharegpt(human(), gpt(weight=1))),
    ("bad-label", KTO, trl(completion=[bot()], label=1), trl(completion=[bot()], label=True)),
    ("bad-label", KTO, trl(completion=[bot()], label=None), trl(completion=[bot()], label=False)),
    (
        "orphan-tool-result",
        CHAT,
        chat(user(), calling("1"), result("1"), result("2"), bot()),
        chat(user(), calling("1", "2"), result("2"), result("1"), bot()),
    ),
    ("orphan-tool-result", CHAT, chat(user(), result("1"), bot()), chat(user(), calling("1"), result("1", ""), bot())),
    (
        "orphan-tool-result",
        CHAT,
        chat(user(), {"role": "function", "name": "hours", "content": "9-18"}, bot()),
        chat(user(), FUNCTION_CALL, {"role": "function", "name": "hours", "content": "9-18"}, bot()),
    ),
    (
        "unanswered-tool-call",
        CHAT,
        chat(user(), calling("1", "2"), result("1"), user(), bot()),
        chat(user(), calling("1"), result("1"), user(), bot()),
    ),
    ("identical-sides", PREFERENCE, preference(good="Да.", bad="Да."), preference(good="Да.", bad="Нет.")),
    (
        "identical-sides",
        PAIRS,
        trl(chosen=[bot("Да.")], rejected=[bot("Да.")]),
        trl(chosen=[bot("Да.")], rejected=[bot("да")]),
    ),
    ("duplicate-row", CHAT, good_row(CHAT, 3), good_row(CHAT, 11)),
    (
        "duplicate-row",
        CHAT,
        json.dumps(dict(reversed(good_row(CHAT, 3).items())), indent=None, ensure_ascii=True).encode(),
        good_row(CHAT, 11),
    ),
]


@pytest.mark.parametrize(("code", "form", "bad", "mended"), MISTAKES)
def test_a_mistake_is_found_in_its_line_and_nothing_else_is(code, form, bad, mended):
    """The bad row has exactly its one problem, said in one short sentence; the mended one has none."""
    problems = check(file_of(form, bad)).problems
    assert [(problem.line, problem.code) for problem in problems] == [(11, code)]
    assert "\n" not in problems[0].message
    assert 10 < len(problems[0].message) < 160
    assert check(file_of(form, mended)).problems == ()


WHOLE_FILE = {"json-array", "too-few-rows", "unknown-format", "utf-16"}


def test_every_code_is_shown_by_some_row_or_file():
    """The table above and the tests below leave no code without its failing example."""
    assert {code for code, *_ in MISTAKES} | WHOLE_FILE == CODES.keys()


@pytest.mark.parametrize("form", FORMATS)
def test_ten_good_rows_are_clean(form):
    """Each format is recognised by content, and named or not, ten good rows have no problem."""
    for named in (None, form):
        report = check(file_of(form), named)
        assert (report.format, report.rows, report.problems) == (form, 10, ())


@pytest.mark.parametrize("form", FORMATS)
def test_a_row_tells_its_format(form):
    """One row is enough to guess the format."""
    assert guess_format(good_row(form, 0)) == form


def test_nine_rows_are_too_few():
    """One row fewer than OpenAI takes is reported once, at the last line."""
    assert check(file_of("alpaca")[:9]).problems == (
        Problem(9, "too-few-rows", "the file has 9 rows; OpenAI refuses fewer than 10, and more teach better"),
    )


def test_an_empty_file_has_too_few_rows():
    """No line at all is a problem of line 1, not a clean file."""
    report = check([])
    assert report.rows == 0
    assert [(problem.line, problem.code) for problem in report.problems] == [(1, "too-few-rows")]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_a_utf_16_file_is_one_problem(encoding):
    """A file saved as UTF-16, with a mark or without, says so once instead of failing in every line."""
    data = b"".join(file_of("openai-chat")).decode().encode(encoding)
    assert [(p.line, p.code) for p in check(data.splitlines(keepends=True)).problems] == [(1, "utf-16")]


@pytest.mark.parametrize("indent", [None, 2])
def test_a_json_array_is_one_problem(indent):
    """A file that is one array, on one line or on many, says so once."""
    data = json.dumps([good_row("sharegpt", number) for number in range(12)], indent=indent).encode()
    assert [(p.line, p.code) for p in check(data.splitlines(keepends=True)).problems] == [(1, "json-array")]


def test_rows_of_no_known_format_are_each_reported():
    """A file of plain text rows is recognised as nothing, and each row says which keys it has."""
    report = check([line({"text": f"story {number}", "url": "x"}) for number in range(10)])
    assert report.format is None
    assert [problem.code for problem in report.problems] == ["unknown-format"] * 10
    assert report.problems[0].message == 'the row is of no known format: it has "text", "url"'


def test_a_strange_first_row_does_not_hide_the_format():
    """The format is taken from the first row that has one."""
    report = check([line({"mesages": []}), *file_of("trl-kto")])
    assert report.format == "trl-kto"
    assert [(problem.line, problem.code) for problem in report.problems] == [(1, "unknown-format")]


def test_a_named_format_is_held_against_every_row():
    """A file that was said to be something else is wrong in each row."""
    report = check(file_of("sharegpt"), "openai-chat")
    assert report.format == "openai-chat"
    assert {problem.code for problem in report.problems} == {"mixed-formats"}
    assert len(report.problems) == 10


def test_an_unknown_format_is_refused():
    """A misspelt format is an error before anything is read."""
    with pytest.raises(DatasetError, match="openai-chat, openai-preference"):
        check([], "openai")


def test_windows_line_ends_are_fine():
    """A file saved on Windows passes."""
    assert check([row.rstrip() + b"\r\n" for row in file_of("openai-chat")]).problems == ()


def test_lines_without_ends_are_fine():
    """Lines that were already split pass."""
    assert check([row.rstrip() for row in file_of("openai-chat")]).problems == ()


def test_every_problem_of_a_row_is_reported():
    """A row with four mistakes has four problems, all with its line number."""
    row = chat(user(""), system(), bot(weight=3), {"role": "wizard", "content": "x"})
    problems = check(file_of("openai-chat", row)).problems
    assert {problem.line for problem in problems} == {11}
    assert [problem.code for problem in problems] == [
        "empty-content",
        "system-not-first",
        "bad-weight",
        "unknown-role",
    ]


def test_a_message_places_the_mistake_and_cuts_long_values():
    """The sentence says which message of which list is meant, and never repeats a novel."""
    (problem,) = check(
        file_of("trl-sft", {"prompt": [user(), {"role": "я" * 500, "content": "x"}], "completion": [bot()]})
    ).problems
    assert problem.message.startswith('role of message 2 of "prompt" may not be "яя')
    assert problem.message.endswith("…")
    assert len(problem.message) < 100


def test_a_repeated_row_names_the_line_it_repeats():
    """Of three equal rows the second and the third point to the first."""
    rows = file_of("openai-chat", good_row("openai-chat", 4), good_row("openai-chat", 4))
    assert check(rows).problems == (
        Problem(11, "duplicate-row", "the row has the same content as line 5"),
        Problem(12, "duplicate-row", "the row has the same content as line 5"),
    )


def test_a_correction_to_both_labels_is_no_duplicate():
    """KTO rows with one prompt and different labels are different rows."""
    rows = [trl(completion=[bot("Yes.")], label=True), trl(completion=[bot("Yes.")], label=False)]
    assert check(file_of("trl-kto", *rows)).problems == ()


def test_problems_come_one_by_one_while_the_file_is_read():
    """The first problem is out before the second line is asked for, so a huge file needs no memory for its problems."""
    read = []

    def lines():
        for number in range(1, 100):
            read.append(number)
            yield b"oops\n"

    assert next(Checker().problems(lines())).line == 1
    assert read == [1]


def test_memory_grows_by_the_digests_alone():
    """Rows of 20 kB leave less than 500 bytes each behind."""
    lines = (line(chat(user(), bot(f"{number} " + "x" * 20_000))) for number in range(2_000))
    tracemalloc.start()
    report = check(lines)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (report.rows, report.problems) == (2_000, ())
    assert peak < 2_000 * 500


def test_a_real_file_is_judged():
    """A published OpenAI sample: its second row has no assistant message, and two rows are too few."""
    path = SAMPLES / "openai" / "openai_chat_finetune.jsonl"
    if not path.exists():
        pytest.skip("shared samples are not here")
    with path.open("rb") as file:
        report = check(file)
    assert (report.format, report.rows) == ("openai-chat", 2)
    assert [(problem.line, problem.code) for problem in report.problems] == [
        (2, "last-message"),
        (2, "no-assistant-target"),
        (2, "too-few-rows"),
    ]


# --- anything at all --------------------------------------------------------------------------------------------------

KEYS = {key for form in FORMATS for key in good_row(form, 0)} | {"input", "history", "system", "tools"}
MESSAGE_KEYS = {"role", "content", "from", "value", "weight", "name", "tool_calls", "tool_call_id", "function_call"}
VALUES = {"user", "assistant", "tool", "function", "human", "gpt", "observation", "text", "image_url", "type", "id"}
known_words = st.sampled_from(sorted(KEYS | MESSAGE_KEYS | VALUES))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2) | st.floats(allow_nan=False) | known_words | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(known_words, inner, max_size=5),
    max_leaves=30,
)


def assert_sound(lines: list[bytes], form: str | None) -> None:
    report = check(lines, form)
    assert all(problem.code in CODES for problem in report.problems)
    assert all(1 <= problem.line <= max(len(lines), 1) for problem in report.problems)
    assert [p.line for p in report.problems] == sorted(p.line for p in report.problems)
    assert report.rows <= len(lines)


@given(lines=st.lists(st.binary(max_size=40), max_size=15), form=st.sampled_from([None, *FORMATS]))
def test_no_bytes_make_it_raise(lines, form):
    """Whatever a file holds, the check answers with problems of known codes in its lines, in their order."""
    assert_sound(lines, form)


@given(
    rows=st.lists(st.dictionaries(known_words, json_values, max_size=5), max_size=6),
    form=st.sampled_from([None, *FORMATS]),
)
def test_no_json_makes_it_raise(rows, form):
    """Rows that look right from afar and are wrong within are answered likewise."""
    assert_sound([line(row) for row in rows], form)


@given(messages=st.lists(st.dictionaries(known_words, json_values, max_size=4), max_size=6))
def test_no_messages_make_it_raise(messages):
    """Lists of odd messages in every place where a format has one are answered likewise."""
    for row in (
        chat(*messages),
        preference(*messages, preferred_output=messages),
        trl(completion=messages, label=True),
        trl(chosen=messages, rejected=messages),
        sharegpt(*messages),
        alpaca(history=messages),
    ):
        assert_sound([line(row)], None)


@pytest.mark.parametrize("depth", [900, 990, 1_000, 5_000])
def test_deep_nesting_does_not_make_it_raise(depth):
    """A row nested as deep as the parser allows, or deeper, is answered and not fatal."""
    nest = b"[" * depth + b"]" * depth
    row = b'{"prompt":"Hi","chosen":%b,"rejected":%b}' % (nest, nest)
    assert check([row]).problems
