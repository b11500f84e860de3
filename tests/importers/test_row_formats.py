"""Fine-tuning rows and the interchange form."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from trainerlib import formats
from trainerlib.examples import ConversationExamples, Turn, Window
from trainerlib.importers import source
from trainerlib.importers.records import BadLine, SourceConversation, SourceCorrection, SourceRating

SYSTEM = {"role": "system", "content": "Будь краток."}
ASK = {"role": "user", "content": "When are you open?"}
OLD = {"role": "assistant", "content": "At 10."}
AGAIN = {"role": "user", "content": "А в воскресенье?"}
GOOD = {"role": "assistant", "content": "С 9 до 18."}
BAD = {"role": "assistant", "content": "No idea."}


def lines(*rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def spoken(record):
    return [(message.role, message.text, message.weight) for message in record.messages]


def reasons(records):
    return [(record.line, record.reason) for record in records if isinstance(record, BadLine)]


def conversations(records):
    return [record for record in records if isinstance(record, SourceConversation)]


def test_openai_chat(read):
    """Messages with their roles and weights, numbered; what else a row says is passed over."""
    developer = {"role": "developer", "content": "Be brief."}
    parts = {"role": "user", "content": [{"type": "text", "text": "да "}, {"type": "text", "text": "нет"}]}
    first, second = read(
        lines({"messages": [SYSTEM, ASK, OLD | {"weight": 0}, AGAIN, GOOD | {"weight": 1}]})
        + lines({"messages": [developer, parts, OLD], "tools": [], "seed": 7})
    )
    assert spoken(first) == [
        ("system", "Будь краток.", None),
        ("user", "When are you open?", None),
        ("assistant", "At 10.", 0),
        ("user", "А в воскресенье?", None),
        ("assistant", "С 9 до 18.", 1),
    ]
    assert [message.id for message in first.messages] == ["0", "1", "2", "3", "4"]
    assert (first.platform, first.id, first.line, second.line) == ("openai-chat", "", 1, 2)
    assert spoken(second)[:2] == [("system", "Be brief.", None), ("user", "да нет", None)]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ('{"messages": [', "file ends in the middle of a row"),
        ("[1]", "row skipped: expected `object`, got `array`"),
        ('{"massages": []}', "row skipped: object missing required field `messages`"),
        ('{"messages": []}', "no messages, row skipped"),
        ('{"messages": [{"role": "boss", "content": "x"}]}', "message 0 has the unknown role 'boss', row skipped"),
        ('{"messages": [{"role": "user", "content": null}]}', "message 0 has no content, row skipped"),
        (
            '{"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}',
            "message 0 has content that is not text, row skipped",
        ),
        (
            '{"messages": [{"role": "assistant", "content": null, "tool_calls": [{}]}]}',
            "tool calls are not supported, row skipped",
        ),
        (
            '{"messages": [{"role": "assistant", "content": "x", "weight": 0.5}]}',
            "message 0 has a weight other than 0 and 1, row skipped",
        ),
        ('{"messages": [{"role": "user", "content": 7}]}', "row skipped: expected `str | array | null`"),
    ],
)
def test_a_row_that_cannot_be_taken(read, row, reason):
    """A bad row is named by its line and the others are read."""
    records = read(lines({"messages": [ASK, OLD]}) + "\n" + row, "openai-chat")
    assert len(conversations(records)) == 1
    ((line, said),) = reasons(records)
    assert line == 3
    assert said.startswith(reason)


def test_openai_preference(read):
    """The reply that was not preferred is what was said, the preferred one its correction."""
    row = {"input": {"messages": [ASK, OLD, AGAIN]}, "preferred_output": [GOOD], "non_preferred_output": [BAD]}
    (record,) = read(lines(row))
    assert spoken(record) == [
        ("user", "When are you open?", None),
        ("assistant", "At 10.", 0),
        ("user", "А в воскресенье?", None),
        ("assistant", "No idea.", None),
    ]
    assert record.messages[3].corrections == (SourceCorrection("С 9 до 18.", "import"),)


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": [SYSTEM, ASK], "chosen": [GOOD], "rejected": [BAD]},
        {"prompt": [SYSTEM, ASK], "chosen": [SYSTEM, ASK, GOOD], "rejected": [SYSTEM, ASK, BAD]},
        {"chosen": [SYSTEM, ASK, GOOD], "rejected": [SYSTEM, ASK, BAD], "score": 1},
        {"prompt": [SYSTEM, ASK], "chosen": "С 9 до 18.", "rejected": "No idea."},
    ],
)
def test_trl_preference(read, row):
    """The prompt may be given, or be what two conversations have in common; replies may be words or messages."""
    (record,) = read(lines(row))
    assert [text for _, text, _ in spoken(record)] == ["Будь краток.", "When are you open?", "No idea."]
    assert record.messages[-1].corrections == (SourceCorrection("С 9 до 18.", "import"),)


def test_a_pair_needs_a_prompt_and_one_reply_a_side(read):
    """Two texts without a prompt, or a side of two messages, are no pair; two equal replies are."""
    records = read(
        lines(
            {"chosen": "Human: hi", "rejected": "Human: ho"},
            {"prompt": "hi", "chosen": [OLD, AGAIN], "rejected": [BAD]},
            {"chosen": [ASK, GOOD], "rejected": [ASK, GOOD]},
        )
    )
    assert reasons(records) == [
        (1, "no prompt, row skipped"),
        (2, "each side of a pair must be one assistant message, row skipped"),
    ]
    assert [len(record.messages) for record in conversations(records)] == [2]


def test_trl_kto(read):
    """The label is a rating of the completion; replies before it are not to be learned."""
    good, bad = read(
        lines(
            {"prompt": [ASK, OLD, AGAIN], "completion": [GOOD], "label": True},
            {"prompt": "2 + 2?", "completion": "5", "label": False},
        )
    )
    assert [weight for _, _, weight in spoken(good)] == [None, 0, None, None]
    assert good.messages[3].ratings == (SourceRating(1, "import"),)
    assert spoken(bad) == [("user", "2 + 2?", None), ("assistant", "5", None)]
    assert bad.messages[1].ratings == (SourceRating(-1, "import"),)


def test_trl_sft(read):
    """The completion is learned, replies of the prompt are not."""
    first, second, empty = read(
        lines(
            {"prompt": [ASK, OLD, AGAIN], "completion": [GOOD]},
            {"prompt": "да?", "completion": "нет"},
            {"prompt": [ASK], "completion": []},
        )
    )
    assert [weight for _, _, weight in spoken(first)] == [None, 0, None, None]
    assert spoken(second) == [("user", "да?", None), ("assistant", "нет", None)]
    assert empty == BadLine(3, "no completion, row skipped")


def test_sharegpt(read):
    """Its names for the roles, its weights, and a system text beside the turns."""
    turns = [
        {"from": "human", "value": "привет"},
        {"from": "gpt", "value": "hello", "weight": 0},
        {"from": "observation", "value": "{}"},
        {"from": "gpt", "value": "пока"},
    ]
    first, *rest = read(
        lines(
            {"conversations": turns, "system": "Be brief.", "id": "x1"},
            {"conversations": [{"from": "human", "value": "?"}, {"from": "function_call", "value": "{}"}]},
            {"conversations": [{"from": "oracle", "value": "?"}]},
            {
                "conversations": turns[:1],
                "chosen": {"from": "gpt", "value": "да"},
                "rejected": {"from": "gpt", "value": "no"},
            },
        )
    )
    assert first.id == "x1"
    assert spoken(first) == [
        ("system", "Be brief.", None),
        ("user", "привет", None),
        ("assistant", "hello", 0),
        ("tool", "{}", None),
        ("assistant", "пока", None),
    ]
    assert reasons(rest) == [
        (2, "tool calls are not supported, row skipped"),
        (3, "message 0 has the unknown role 'oracle', row skipped"),
    ]
    assert rest[2].messages[1].corrections == (SourceCorrection("да", "import"),)


def test_alpaca(read):
    """Instruction and input are the question, the history went before; an empty question was not asked."""
    first, second, third, fourth = read(
        lines(
            {"instruction": "Переведи", "input": "cat", "output": "кот", "system": "Be brief."},
            {"instruction": "ещё", "input": "", "output": "dog", "history": [["", "hi"], ["q", "a"]]},
            {"instruction": "да?", "output": "", "chosen": "да", "rejected": "no"},
            {"instruction": "x", "input": None, "output": None},
        )
    )
    assert spoken(first) == [
        ("system", "Be brief.", None),
        ("user", "Переведи\n\ncat", None),
        ("assistant", "кот", None),
    ]
    assert spoken(second) == [
        ("assistant", "hi", 0),
        ("user", "q", None),
        ("assistant", "a", 0),
        ("user", "ещё", None),
        ("assistant", "dog", None),
    ]
    assert third.messages[1].corrections == (SourceCorrection("да", "import"),)
    assert fourth == BadLine(4, "no output, row skipped")


def test_interchange(read):
    """trainerlib's own form: corrections and feedback by message, authors and times where they are known."""
    row = {
        "id": "support/1",
        "messages": [
            ASK | {"author": "telegram:7", "name": "Анна", "sent_at": "2026-03-01T12:00:00+03:00"},
            OLD | {"weight": 0},
        ],
        "corrections": [{"message": 1, "text": "С 9 до 18.", "by": "a"}, {"message": 1, "text": "9-18", "by": "b"}],
        "feedback": [{"message": 1, "rating": -1, "by": "c", "text": "неверно"}],
        "title": "Часы",
        "tags": ["hours"],
        "platform": "telegram",
    }
    first, second = read(lines(row | {"messages": [row["messages"][0], OLD]}, {"id": "2", "messages": [ASK]}))
    assert (first.id, first.platform, first.title, first.tags) == ("support/1", "telegram", "Часы", ("hours",))
    question, answer = first.messages
    assert (question.author, question.name) == ("telegram:7", "Анна")
    assert question.sent_at == datetime(2026, 3, 1, 9, tzinfo=UTC)
    assert answer.corrections == (SourceCorrection("С 9 до 18.", "a"), SourceCorrection("9-18", "b"))
    assert answer.ratings == (SourceRating(-1, "c", "неверно"),)
    assert (second.platform, second.line) == ("interchange", 2)


def test_interchange_that_points_nowhere(read):
    """A correction or rating that cannot be placed is reported by itself; the conversation and the others are kept."""
    row = {
        "id": "1",
        "messages": [ASK | {"sent_at": "soon"}, OLD],
        "corrections": [
            {"message": 2, "text": "x", "by": "a"},
            {"message": 0, "text": "x", "by": "a"},
            {"message": -1, "text": "x", "by": "a"},
            {"message": 1, "by": "a"},
            {"message": 1, "text": "да", "by": "a"},
        ],
        "feedback": [{"message": 1, "rating": 9, "by": "a"}, {"message": 1, "rating": 1, "by": "a"}],
    }
    records = read(lines(row))
    assert [reason for _, reason in reasons(records)] == [
        "message 0 has no date that can be read",
        "correction 0 skipped: there is no message 2",
        "correction 1 skipped: message 0 is not the assistant's",
        "correction 2 skipped: there is no message -1",
        "correction 3 skipped: object missing required field `text`",
        "feedback 0 skipped: expected `int` <= 5 - at `$.rating`",
    ]
    answer = records[-1].messages[1]
    assert answer.corrections == (SourceCorrection("да", "a"),)
    assert answer.ratings == (SourceRating(1, "a"),)


def test_a_list_of_rows(read):
    """Rows may also be one JSON list, on one line or many."""
    rows = [{"messages": [ASK, GOOD]}, {"messages": [ASK, OLD]}]
    for indent in (None, 2):
        assert [spoken(record)[1][1] for record in read(rows, indent=indent)] == ["С 9 до 18.", "At 10."]
    assert [record.line for record in read(rows, indent=2)] == [2, 14]


def test_content_is_taken_as_it_stands(read):
    """Neither white space nor composed letters nor line ends are touched."""
    text = "  \r\n\u2028 e\u0301 é \ufeff\t "
    assert read(lines({"messages": [{"role": "user", "content": text}]}))[0].messages[0].text == text


def test_blank_lines_and_line_ends(read):
    """Empty lines, CRLF and a missing last line end are no rows and no trouble; line numbers are the file's."""
    row = json.dumps({"messages": [ASK]})
    assert [record.line for record in read(f"\r\n{row}\r\n\n  \n{row}")] == [2, 5]


def test_a_line_that_is_too_large(read, monkeypatch):
    """A row above the limit is reported and skipped without being held."""
    monkeypatch.setattr(source, "LIMIT", 500)
    monkeypatch.setattr(source, "PIECE", 64)
    rows = lines({"messages": [ASK]}, {"messages": [{"role": "user", "content": "да" * 500}]}, {"messages": [OLD]})
    records = read(rows, "openai-chat")
    assert [record.line for record in conversations(records)] == [1, 3]
    assert [line for line, _ in reasons(records)] == [2]


@pytest.mark.parametrize("name", formats.FORMATS)
def test_our_own_exports_are_understood(read, name):
    """What trainerlib exports in a format is recognised as that format and read without trouble."""
    turns = (Turn("user", "When?"), Turn("assistant", "At 10."), Turn("user", "А в воскресенье?"))
    line = ConversationExamples(
        conversation="c",
        position=1,
        turns=turns,
        systems=("Будь краток.",),
        examples=(Window(message=5, start=0, stop=3, chosen="С 9.", rejected="No.", system=0),),
    )
    records = read(b"".join(formats.rows(line, name)))
    assert not reasons(records)
    for record in records:
        assert record.platform == name
        assert spoken(record)[:4] == [
            ("system", "Будь краток.", None),
            ("user", "When?", None),
            ("assistant", "At 10.", 0),
            ("user", "А в воскресенье?", None),
        ]
        assert len(record.messages) == 5
