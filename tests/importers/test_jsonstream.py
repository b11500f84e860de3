"""Large JSON, read one element at a time."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainerlib.errors import BadLineError
from trainerlib.importers import jsonstream
from trainerlib.importers.jsonstream import JsonStream, decode
from trainerlib.importers.records import BadLine

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXT
)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=20
)
OBJECTS = st.lists(st.dictionaries(TEXT, JSON, max_size=4), max_size=6)

decode_object = msgspec.json.Decoder(dict).decode


def stream(data, sizes=(1 << 20,)):
    """A stream over the bytes, cut into pieces of these sizes in turn."""

    def pieces():
        at = number = 0
        while at < len(data):
            size = sizes[number % len(sizes)]
            yield data[at : at + size]
            at, number = at + size, number + 1
        while True:
            yield b""

    return JsonStream(pieces().__next__)


def elements(data, *, sizes=(1 << 20,), needs=frozenset()):
    """The things of a list; one that is found after damage must have these keys."""
    return list(stream(data, sizes).documents(decode_object, "thing", lambda thing: thing.keys() >= needs))


@st.composite
def documents(draw, of=OBJECTS):
    """A value, and one of the ways to write it."""
    value = draw(of)
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\r\n\t", " : ")]))
    text = json.dumps(
        value, ensure_ascii=draw(st.booleans()), indent=draw(st.none() | st.integers(0, 3)), separators=separators
    )
    return value, text.encode()


SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=4)


@given(documents(), SIZES)
def test_elements_are_those_of_json_loads(document, sizes):
    """However a list is written and cut into pieces, its elements are those of `json.loads`, in order."""
    value, data = document
    assert [element for _, element in elements(data, sizes=sizes)] == value


@given(documents(), SIZES)
def test_line_numbers(document, sizes):
    """An element's line is one more than the line ends before it."""
    _, data = document
    decoder, at, expected = json.JSONDecoder(), 1, []
    text = data.decode()
    while (at := text.find("{", at)) >= 0:
        expected.append(text.count("\n", 0, at) + 1)
        _, at = decoder.raw_decode(text, at)
    assert [line for line, _ in elements(data, sizes=sizes)] == expected


@given(documents(st.dictionaries(TEXT, JSON, max_size=5)), SIZES)
def test_members_and_values(document, sizes):
    """Walking an object gives its keys and, one at a time, its values."""
    value, data = document
    found = stream(data, sizes)
    assert [(key, found.value()[0]) for key in found.members()] == list(value.items())
    assert found.peek() == b""


@given(documents(JSON.map(lambda value: [value, "end"])), SIZES)
def test_skipping(document, sizes):
    """A skipped value of any kind leaves the cursor right behind it, in small memory."""
    _, data = document
    found = stream(data, sizes)
    read = []
    for number, _ in enumerate(found.items()):
        if number == 0:
            found.skip()
        else:
            read.append(found.value()[0])
    assert read == ["end"]


@given(OBJECTS, st.data())
def test_a_truncated_list(value, data):
    """Every element that is whole is found, and that the file breaks off is reported once."""
    value = [{"name": one} for one in value]
    text = json.dumps(value).encode()
    cut = data.draw(st.integers(1, len(text) - 1))
    *found, last = elements(text[:cut], sizes=[7], needs={"name"})
    assert isinstance(last, BadLine)
    assert last.reason.startswith("file ends in the middle of")
    ends, at = [], 1
    while (at := text.find(b'{"name"', at)) >= 0:
        _, end = json.JSONDecoder().raw_decode(text.decode(), at)
        ends.append(end)
        at = end
    assert [element for _, element in found] == value[: sum(end <= cut for end in ends)]


@given(st.lists(st.dictionaries(TEXT, SCALARS, max_size=3), min_size=1, max_size=5), st.data())
def test_one_damaged_byte(value, data):
    """Whatever byte is damaged, only the element it belongs to can be lost, and then it is reported."""
    value = [{"name": number, "data": one} for number, one in enumerate(value)]
    indent = data.draw(st.none() | st.just(1))
    text = json.dumps(value, ensure_ascii=False, indent=indent).encode()
    at = data.draw(st.integers(0, len(text) - 1))
    byte = data.draw(st.sampled_from(b'x"\\{}[],:\x00\xff\n 1') | st.integers(0, 255))
    spans, start = [], 1
    while (start := text.find(b"{", start)) >= 0:
        end = start + len(
            json.dumps(value[len(spans)], ensure_ascii=False, indent=indent).replace("\n", "\n ").encode()
        )
        spans.append(range(start, end))
        start = end
    found = elements(text[:at] + bytes([byte]) + text[at + 1 :], sizes=[11], needs={"name", "data"})
    got = [item[1] for item in found if not isinstance(item, BadLine)]
    missing = [number for number, one in enumerate(value) if one not in got]
    assert all(at in spans[number] for number in missing)
    if len(got) < len(value):
        assert any(isinstance(item, BadLine) for item in found)


def test_damage_is_found_and_the_reading_goes_on():
    """Each damaged element is named by the line where it begins; those around it are read."""
    text = b"""[
 {"id": 1, "text": "one"},
 {"id": 2, "text": "no end},
 {"id": 3, "text": "drei {x} [y]"},
 {"id": 4, "text": nothing},
 {"id": 5},
 {"id": 6, "list": [1, {"x": 60}},
 {"id": 7}
 {"id": 8}, 8,
 {"id": 9}
]"""
    assert elements(text) == [
        (2, {"id": 1, "text": "one"}),
        BadLine(3, "broken thing"),
        (4, {"id": 3, "text": "drei {x} [y]"}),
        BadLine(5, "broken thing"),
        (6, {"id": 5}),
        BadLine(7, "broken thing"),
        (8, {"id": 7}),
        BadLine(9, "a thing expected"),
        (9, {"id": 8}),
        BadLine(9, "a thing expected"),
        (10, {"id": 9}),
    ]


def test_an_object_without_its_end_does_not_swallow_the_next():
    """Where a closing bracket is missing the reading goes on with the next element, not at the end of the file."""
    rows = [b'{"id": %d, "text": "x"}' % number for number in range(5)]
    rows[1] = rows[1][:-1]
    found = elements(b"[" + b",".join(rows) + b"]")
    assert [item[1]["id"] for item in found if not isinstance(item, BadLine)] == [0, 2, 3, 4]


@pytest.mark.parametrize("filler", ["x" * 5000, [{"t": ["x"]}] * 600])
def test_an_element_that_is_too_large(monkeypatch, filler):
    """It is reported and skipped, and never more of it is held than is allowed; one as large as allowed is read."""
    monkeypatch.setattr(jsonstream, "LIMIT", 100)
    monkeypatch.setattr(jsonstream, "_LOOKAHEAD", 100)
    rows = [{"id": 1}, {"id": 2, "filler": filler}, {"id": 3, "text": "y" * 60}]
    data, held = json.dumps(rows).encode(), []

    def pieces():
        for at in range(0, len(data), 16):
            held.append(len(found._buffer))
            yield data[at : at + 16]
        while True:
            yield b""

    found = JsonStream(pieces().__next__)
    assert list(found.documents(decode_object, "thing")) == [
        (1, rows[0]),
        BadLine(1, "more than 64 MiB in one thing"),
        (1, rows[2]),
    ]
    assert max(held) < 1000


def test_nesting_without_end():
    """An element nested too deeply is reported; it does not exhaust the stack."""
    deep = b'{"a":' * 300_000 + b"1" + b"}" * 300_000
    assert elements(b"[" + deep + b',{"b": 1}]') == [BadLine(1, "thing skipped: nested too deeply"), (1, {"b": 1})]
    found = stream(b"[" + deep + b",7]")
    found.peek()
    items = found.items()
    next(items)
    found.skip()
    next(items)
    assert found.value() == (7, [])


@pytest.mark.parametrize(
    ("raw", "value", "reasons"),
    [
        (rb'"a\x0Bb"', "a�b", [jsonstream.CONTROL]),
        (rb'"a\\x0Bb \"\/\b\f\n\r\t"', 'a\\x0Bb "/\b\f\n\r\t', []),
        (rb'"\u0000"', "�", [jsonstream.CONTROL]),
        (b'"a\x00b"', "a�b", [jsonstream.CONTROL]),
        (b'"a\x01\tb"', "a\x01\tb", ["control character in text without an escape, kept"]),
        (rb'"\ud83d\ude00 \uD83D x \ude00"', "😀 � x �", ["half a surrogate pair in text, kept as U+FFFD"]),
        (rb'"\ud83d\ud83d\ude00"', "�😀", ["half a surrogate pair in text, kept as U+FFFD"]),
        (rb'"\q \u12g4"', "� �12g4", ["invalid escape in text, kept as U+FFFD"]),
        (b'"\xd0\xb4\xd0"', "д�", ["not valid UTF-8, kept as U+FFFD"]),
        (
            b'"\xed\xa0\xbd\x0b"',
            "���\x0b",
            ["not valid UTF-8, kept as U+FFFD", "control character in text without an escape, kept"],
        ),
    ],
)
def test_mending(raw, value, reasons):
    """What exporters write although JSON forbids it is kept as text, or as U+FFFD, and named."""
    assert decode(raw, msgspec.json.decode) == (value, tuple(reasons))


@given(st.binary(max_size=30))
def test_any_bytes_in_a_string(content):
    """Whatever bytes stand between quotes, the element around them is read."""
    content = content.replace(b'"', b"").replace(b"\\", b"")
    found = elements(b'[{"a": "' + content + b'"}]')
    assert [item[1].keys() for item in found if not isinstance(item, BadLine)] == [{"a"}]


@given(st.binary(max_size=60), SIZES)
def test_any_bytes_at_all(data, sizes):
    """No input raises or hangs."""
    for item in elements(data, sizes=sizes):
        assert isinstance(item, BadLine | tuple)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"[1]", "'{' expected"),
        (b'{"a" 1}', "':' expected"),
        (b'{"a": 1 "b": 2}', "',' or '}' expected"),
        (b'{"a": 1,}', "a key in quotes expected"),
        (b'{"a": 1', "file ends in the middle of a list or object"),
        (b'{"a": \n?}', "broken value"),
    ],
)
def test_a_broken_object(data, reason):
    """An object that breaks off says what was expected."""
    found = stream(data)
    with pytest.raises(BadLineError) as caught:
        [found.value() for _ in found.members()]
    assert caught.value.reason == reason
