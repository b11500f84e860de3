"""A damaged file costs the messages that are damaged, and says so."""

from __future__ import annotations

import json
import re
from collections import Counter

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainerlib import importers
from trainerlib.importers.records import BadLine, SourceChat, SourceConversation, SourceMessage


def telegram(number, text):
    return {
        "id": number,
        "type": "message",
        "date_unixtime": str(1772352000 + number),
        "from": "Анна",
        "from_id": "user7",
        "text": text,
        "text_entities": [{"type": "plain", "text": text}],
        "reactions": [{"type": "emoji", "count": 1, "emoji": "👍", "recent": [{"from_id": "user1"}]}],
    }


def chat(number, *messages):
    return {"name": f"Чат {number}", "type": "personal_chat", "id": number, "messages": list(messages)}


def discord(number, text):
    person = {"id": "200", "name": "b", "isBot": True}
    return {
        "id": str(number),
        "type": "Default",
        "timestamp": "2026-03-01T09:00:00.123+00:00",
        "content": text,
        "author": person,
        "mentions": [person],
    }


def chatgpt(number):
    said = {"author": {"role": "user"}, "content": {"content_type": "text", "parts": [f"вопрос {number}"]}}
    nodes = {"r": {"message": None, "parent": None}, "a": {"message": said, "parent": "r", "children": []}}
    return {"title": "t", "mapping": nodes, "current_node": "a", "conversation_id": f"c{number}"}


def row(number):
    return {"messages": [{"role": "user", "content": f"вопрос {number}"}], "id": f"r{number}"}


FIRST = chat(
    1, telegram(1, "привет"), telegram(2, 'a {b} "c" [d]'), telegram(3, ["see ", {"type": "link", "text": "x"}])
)
FILES = {
    "telegram": (FIRST, r'\{\s*"id":\s*\d+,\s*"type"'),
    "telegram account": (
        {
            "about": "x",
            "chats": {"list": [FIRST, chat(2, telegram(11, "zwei"), telegram(12, "три"))]},
            "left_chats": {"list": [chat(3, telegram(21, "left"))]},
        },
        r'\{\s*"id":\s*\d+,\s*"type"',
    ),
    "discord": (
        {"guild": {"id": "1"}, "channel": {"id": "2"}, "messages": [discord(1, "a"), discord(2, "б"), discord(3, "c")]},
        r'\{\s*"id":\s*"\d+",\s*"type"',
    ),
    "chatgpt": ([chatgpt(1), chatgpt(2), chatgpt(3)], r'\{\s*"title"'),
    "openai-chat": ([row(1), row(2), row(3)], r'\{\s*"messages"'),
}


def survey(path, form):
    """What was said in which chat, without line numbers; and what was bad."""
    said, bad, chat = Counter(), [], ""
    for record in importers.read(path, form):
        if isinstance(record, SourceChat):
            chat = record.id
        elif isinstance(record, SourceMessage):
            said[chat, msgspec.structs.replace(record, line=0)] += 1
        elif isinstance(record, SourceConversation):
            said[record.id, *(message.text for message in record.messages)] += 1
        else:
            assert isinstance(record, BadLine)
            bad.append(record)
    return said, bad


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("indent", [None, 1])
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_one_damaged_byte(tmp_path, name, indent, data):
    """A damaged byte inside a message or a conversation costs that one only; if it is gone, that is reported."""
    content, begins = FILES[name]
    text = json.dumps(content, ensure_ascii=False, indent=indent)
    spans = []
    for begin in re.finditer(begins, text):
        _, end = json.JSONDecoder().raw_decode(text, begin.start())
        spans.append((len(text[: begin.start()].encode()), len(text[:end].encode())))
    raw = bytearray(text.encode())
    path, form = tmp_path / "file", name.partition(" ")[0]
    path.write_bytes(raw)
    expected, none = survey(path, form)
    assert not none
    assert expected.total() == len(spans)

    begin, end = data.draw(st.sampled_from(spans))
    raw[data.draw(st.integers(begin, end - 1))] = data.draw(st.sampled_from(b'x"\\{}[],:\x00\xff\n 1'))
    path.write_bytes(raw)
    said, bad = survey(path, form)
    assert (expected - said).total() <= 1
    assert (said - expected).total() <= 1
    if said.total() < expected.total():
        # A key or type that became another one may leave valid JSON that simply says less.
        assert bad or json.loads(raw) != content


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_file_that_ends_anywhere(tmp_path, name, data):
    """Everything before the cut is read, nothing else, and the end is reported."""
    raw = json.dumps(FILES[name][0], ensure_ascii=False).encode()
    path, form = tmp_path / "file", name.partition(" ")[0]
    path.write_bytes(raw)
    expected, _ = survey(path, form)
    path.write_bytes(raw[: data.draw(st.integers(1, len(raw) - 1))])
    said, bad = survey(path, form)
    assert not said - expected
    assert bad


@pytest.mark.parametrize("form", importers.FORMATS)
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_no_content_raises(tmp_path, form, content):
    """Any bytes, read as any format, give records."""
    path = tmp_path / "file"
    path.write_bytes(content)
    for record in importers.read(path, form):
        assert isinstance(record, BadLine | SourceChat | SourceMessage | SourceConversation)


def test_a_chat_whose_list_is_not_closed(read):
    """The next chat of the account begins a chat of its own; no message moves to another chat."""
    text = json.dumps({"chats": {"list": [FIRST, chat(2, telegram(9, "two"))]}}, ensure_ascii=False)
    records = read(text.replace(']}, {"name"', '}}, {"name"', 1), "telegram")
    assert [record.id for record in records if not isinstance(record, BadLine)] == ["1", "1", "2", "3", "2", "9"]
    assert any(isinstance(record, BadLine) for record in records)


def test_a_chat_whose_beginning_is_broken(read):
    """Its messages are kept apart from the chat before, under a chat named by its line."""
    text = json.dumps({"chats": {"list": [FIRST, chat(2, telegram(9, "two"))]}}, ensure_ascii=False)
    records = read(text.replace('"name": "Чат 2"', '"name" "Чат 2"'), "telegram")
    assert [record.id for record in records if isinstance(record, SourceChat)] == ["1", "line-1"]


def test_a_list_under_another_name(read):
    """A chat whose `messages` is misspelt is read all the same, and that is reported; none at all is reported too."""
    records = read(json.dumps(FIRST, ensure_ascii=False).replace('"messages"', '"messagez"'), "telegram")
    assert [record.id for record in records if isinstance(record, SourceMessage)] == ["1", "2", "3"]
    assert records[0].reason == "'messagez' taken for 'messages'"
    assert read({"id": 1, "name": "x"}, "telegram") == [BadLine(1, "an object without messages")]


@pytest.mark.parametrize("key", ["chats", "list"])
def test_chats_under_another_name(read, key):
    """Chats of an account are found by what they look like, and the misspelt key is reported."""
    account = json.dumps({"chats": {"about": "", "list": [FIRST]}, "left_chats": {"list": []}}, ensure_ascii=False)
    records = read(account.replace(f'"{key}"', f'"{key}z"', 1), "telegram")
    assert records[0] == BadLine(1, f"'{key}z' taken for a list of chats")
    assert [record.id for record in records[1:]] == ["1", "1", "2", "3"]
