"""Which format a file is in is told by its content, never by its name."""

from __future__ import annotations

import gzip
import json

import pytest

from trainerlib import importers
from trainerlib.errors import UnrecognisedFormatError

ASK, REPLY = {"role": "user", "content": "да?"}, {"role": "assistant", "content": "no"}
TELEGRAM = {"id": 1, "type": "message", "date": "2026-03-01T12:00:00", "from_id": "user1", "text": "привет"}
DISCORD = {"id": "1", "type": "Default", "timestamp": "2026-03-01T12:00:00", "author": {"id": "1"}, "content": "да"}
CHAT = {"name": "A", "type": "personal_chat", "id": 1, "messages": [TELEGRAM]}

OBJECTS = [
    ("telegram", CHAT),
    ("telegram", dict(reversed(CHAT.items()))),
    ("telegram", CHAT | {"messages": []}),
    ("telegram", {"about": "x", "contacts": {"list": [{"messages": 1}]}, "chats": {"list": [CHAT]}}),
    ("telegram", {"left_chats": {"list": []}}),
    ("discord", {"guild": {"id": "1"}, "channel": {"id": "2"}, "messages": [DISCORD], "messageCount": 1}),
    ("discord", {"guild": {"id": "1"}, "channel": {"id": "2"}, "messages": [], "messageCount": 0}),
]
ROWS = [
    ("chatgpt", {"title": "x", "mapping": {}, "current_node": "a"}),
    ("openai-chat", {"messages": [ASK, REPLY]}),
    ("openai-chat", {"messages": [ASK, REPLY | {"weight": 0}], "id": "x"}),
    ("openai-preference", {"input": {"messages": [ASK]}, "preferred_output": [REPLY], "non_preferred_output": [REPLY]}),
    ("sharegpt", {"conversations": [{"from": "human", "value": "да"}]}),
    ("sharegpt", {"conversations": [], "chosen": {}, "rejected": {}}),
    ("alpaca", {"instruction": "x", "output": "y"}),
    ("alpaca", {"instruction": "x", "input": "", "chosen": "y", "rejected": "z"}),
    ("trl-sft", {"prompt": "x", "completion": "y"}),
    ("trl-preference", {"prompt": [ASK], "chosen": [REPLY], "rejected": [REPLY]}),
    ("trl-preference", {"chosen": [ASK, REPLY], "rejected": [ASK, REPLY]}),
    ("trl-kto", {"prompt": [ASK], "completion": [REPLY], "label": False}),
    ("interchange", {"id": "a/1", "messages": [ASK, REPLY]}),
    ("interchange", {"messages": [ASK, REPLY], "corrections": [], "feedback": []}),
]
CHATS = [
    "13/02/26, 09:06 - Анна: да\n",
    "some words\n[2/13/26, 12:01:03\u202fPM] Ann: hello\n",
    "\u200e[13.02.26, 12:01:03] Ann: hello\n",
]


@pytest.mark.parametrize(("name", "content"), [*OBJECTS, *ROWS])
@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("wrap", [bytes, gzip.compress, b"\xef\xbb\xbf".__add__])
def test_json(write, name, content, indent, wrap):
    """Exports and lists of rows are recognised on one line or many, compressed, and behind a byte order mark."""
    if (name, content) in ROWS:
        content = [content, content]
    path = write(wrap(json.dumps(content, ensure_ascii=False, indent=indent).encode()))
    assert importers.detect(path) == name


@pytest.mark.parametrize(("name", "row"), [row for row in ROWS if row[0] != "chatgpt"])
@pytest.mark.parametrize("before", ["", "\n", "{broken\n", "x\n"])
def test_lines(write, name, row, before):
    """Rows a line are recognised by the first good one."""
    assert importers.detect(write(before + json.dumps(row) + "\n{}\n")) == name


@pytest.mark.parametrize("text", CHATS)
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_whatsapp(write, text, encoding):
    """A chat as text is recognised by a line with a date."""
    assert importers.detect(write(text.encode(encoding))) == "whatsapp"


def test_a_damaged_beginning(write):
    """An export whose beginning is broken is recognised by its messages."""
    for name, content in OBJECTS[:1] + OBJECTS[5:6]:
        assert importers.detect(write("{" + json.dumps(content)[2:])) == name


@pytest.mark.parametrize("content", ["hello\n", "{}", "[]", "[1, 2]", '{"a": [{"b": 1}]}', "{", "[", "\xff\xfe", "7"])
def test_what_is_in_no_known_format(write, content):
    """The error names the file and every known format."""
    with pytest.raises(UnrecognisedFormatError, match=r"in no format known here: telegram, chatgpt, .*interchange"):
        importers.detect(write(content))


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b" \n\n", gzip.compress(b"", mtime=0)])
def test_an_empty_file(write, content):
    """A file in which there is nothing is said to be empty."""
    with pytest.raises(UnrecognisedFormatError, match="is empty"):
        importers.detect(write(content))
