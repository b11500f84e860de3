"""Telegram Desktop exports."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from trainerlib.events import Attachment
from trainerlib.importers.records import BadLine, SourceChat, SourceMessage, SourceRating


def message(number, text, **more):
    return {
        "id": number,
        "type": "message",
        "date": "2026-03-01T12:00:00",
        "date_unixtime": str(1772352000 + number),
        "from": "Анна",
        "from_id": "user99",
        "text": text,
        "text_entities": [{"type": "plain", "text": text}],
        **more,
    }


def chat(*messages, number=4242, name="Цветы"):
    return {"name": name, "type": "personal_chat", "id": number, "messages": list(messages)}


def messages(records):
    return [record for record in records if isinstance(record, SourceMessage)]


def bad(records):
    return [record for record in records if isinstance(record, BadLine)]


def test_a_chat_is_followed_by_its_messages(read):
    """A single chat gives its id and title, then each message with author, UTC time and line."""
    records = read(chat(message(1, "когда вы открыты?"), message(2, "At 10.", **{"from": "Shop", "from_id": "user7"})))
    assert records == [
        SourceChat("4242", "telegram", title="Цветы"),
        SourceMessage(
            "1",
            "когда вы открыты?",
            author="telegram:user99",
            name="Анна",
            sent_at=datetime(2026, 3, 1, 8, 0, 1, tzinfo=UTC),
            line=6,
        ),
        SourceMessage(
            "2",
            "At 10.",
            author="telegram:user7",
            name="Shop",
            sent_at=datetime(2026, 3, 1, 8, 0, 2, tzinfo=UTC),
            line=21,
        ),
    ]


def test_an_account_has_many_chats(read):
    """A whole account yields the chats of both lists and nothing of contacts and sessions."""
    account = {
        "about": "Here is the data you requested.",
        "personal_information": {"user_id": 99, "first_name": "Анна"},
        "contacts": {"about": "", "list": [{"user_id": 1, "first_name": "Bob"}]},
        "sessions": {"list": [{"last_ip": "127.0.0.1"}]},
        "chats": {"about": "", "list": [chat(message(1, "раз")), chat(message(1, "two"), number=5, name=None)]},
        "left_chats": {"about": "", "list": [chat(message(3, "три"), number=6, name="Old")]},
    }
    assert [
        (record.id, record.title) if isinstance(record, SourceChat) else record.text for record in read(account)
    ] == [("4242", "Цветы"), "раз", ("5", ""), "two", ("6", "Old"), "три"]


def test_messages_may_come_before_the_id(read):
    """Where the chat is described after its messages the file is looked through twice, in an account too."""
    one = dict(reversed(chat(message(1, "привет")).items()))
    two = dict(reversed(chat(message(1, "hello"), number=7, name="Bob").items()))
    assert read(one)[:1] == [SourceChat("4242", "telegram", title="Цветы")]
    assert [record.id for record in read({"chats": {"list": [one, two]}})] == ["4242", "1", "7", "1"]


def test_a_chat_without_id_is_named_by_its_line(read):
    """Messages of a chat that nobody names are kept, under a chat of their own, and it is reported."""
    first, second, third = read({"name": "x", "type": "bot_chat", "messages": [message(1, "hi")]})
    assert "does not say which chat" in first.reason
    assert second == SourceChat("line-4", "telegram", complete=False)
    assert third.text == "hi"


def test_text_in_pieces_is_joined_as_displayed(read):
    """Links keep the words that are shown, code its line breaks; nothing is added between the pieces."""
    pieces = [
        "See ",
        {"type": "text_link", "text": "прайс", "href": "https://e.org/secret"},
        ", ",
        {"type": "pre", "text": "x = 1\n  y", "language": "python"},
        " 😀 ",
    ]
    assert messages(read(chat(message(1, pieces))))[0].text == "See прайс, x = 1\n  y 😀 "


def test_service_messages_are_no_messages(read):
    """A service message is passed over in silence; one that could not be exported is reported."""
    service = {"id": 1, "type": "service", "actor": "Анна", "action": "phone_call", "text": ""}
    records = read(chat(service, {"id": 2, "type": "unsupported"}, message(3, "да")))
    assert [record.text for record in messages(records)] == ["да"]
    assert bad(records) == [BadLine(13, "message 2 is unsupported by Telegram Desktop, skipped")]


@pytest.mark.parametrize(
    ("given", "author", "name"),
    [
        ({"from": None, "from_id": "user99"}, "telegram:user99", ""),
        ({"from": "Канал", "from_id": "channel1"}, "telegram:channel1", "Канал"),
        ({"from": "Old", "from_id": 42}, "telegram:user42", "Old"),
    ],
)
def test_authors(read, given, author, name):
    """An author is an id with its platform; a deleted account has no name, an old export bare numbers."""
    found = messages(read(chat(message(1, "x", **given))))[0]
    assert (found.author, found.name, found.is_bot) == (author, name, None)


def test_times(read):
    """Without seconds since 1970 the date is taken as UTC; an impossible one is reported and the message kept."""
    old = message(1, "раз")
    del old["date_unixtime"]
    edited = message(2, "два", edited="2026-03-01T12:05:00", edited_unixtime="1772352300")
    broken = message(3, "три", date="soon", date_unixtime="99999999999999999999")
    records = read(chat(old, edited, broken))
    first, second, third = messages(records)
    assert first.sent_at == datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert first.edited_at is None
    assert second.edited_at == datetime(2026, 3, 1, 8, 5, tzinfo=UTC)
    assert third.sent_at is None
    assert [one.reason for one in bad(records)] == ["message 3 has no date that can be read"]


def test_replies(read):
    """A reply names the message it answers, unless that is in another chat."""
    records = read(
        chat(
            message(1, "да", reply_to_message_id=7),
            message(2, "нет", reply_to_message_id=7, reply_to_peer_id="channel1"),
            message(3, "here", reply_to_message_id=7, reply_to_peer_id="user4242"),
        )
    )
    assert [record.in_reply_to for record in messages(records)] == ["7", None, "7"]


def test_attachments(read):
    """Each kind of media is an attachment; a remark in place of a path is no path."""
    records = read(
        chat(
            message(
                1,
                "",
                file="voice/1.ogg",
                media_type="voice_message",
                mime_type="audio/ogg",
                duration_seconds=3,
                file_size=9,
            ),
            message(2, "подпись", photo="photos/1.jpg", photo_file_size=5, width=1, height=1),
            message(
                3,
                "",
                file="(File not included. Change data exporting settings to download.)",
                file_name="прайс.pdf",
                mime_type="application/pdf",
            ),
            message(4, "", file="s.webp", media_type="sticker", sticker_emoji="👍"),
        )
    )
    assert [record.attachments for record in messages(records)] == [
        (Attachment("voice", file="voice/1.ogg", media_type="audio/ogg", size=9, duration=3),),
        (Attachment("photo", file="photos/1.jpg", size=5),),
        (Attachment("document", name="прайс.pdf", media_type="application/pdf"),),
        (Attachment("sticker", file="s.webp"),),
    ]


def test_reactions_are_ratings(read):
    """Praise and blame are ratings by those who are named and by nobody for the rest; other emoji are none."""
    reactions = [
        {"type": "emoji", "count": 3, "emoji": "❤️", "recent": [{"from": "Bob", "from_id": "user5", "date": "x"}]},
        {"type": "emoji", "count": 1, "emoji": "👎🏽"},
        {"type": "emoji", "count": 9, "emoji": "🤔"},
        {"type": "custom_emoji", "count": 1, "document_id": "x.webp"},
    ]
    assert messages(read(chat(message(1, "x", reactions=reactions))))[0].ratings == (
        SourceRating(1, "telegram:user5"),
        SourceRating(1),
        SourceRating(1),
        SourceRating(-1),
    )


def test_polls_and_empty_messages_are_kept(read):
    """A poll is its question and options, a line each; a location has no words but is a message."""
    poll = {"question": "Когда?", "closed": False, "answers": [{"text": "в 9", "voters": 1}, {"text": "at 10"}]}
    place = message(2, "", location_information={"latitude": 1.0, "longitude": 2.0})
    assert [record.text for record in messages(read(chat(message(1, "", poll=poll), place)))] == [
        "Когда?\nв 9\nat 10",
        "",
    ]


def test_what_json_forbids_and_telegram_writes(read):
    """A control character, half a surrogate pair and a NUL become U+FFFD; the message is kept, each is reported."""
    lines = [
        rb'{"name": "A", "type": "bot_chat", "id": 1, "messages": [',
        rb'{"id": 1, "type": "message", "date_unixtime": "1", "text": "tab\x0Bhere \\x0B"},',
        rb'{"id": 2, "type": "message", "date_unixtime": "1", "text": "\ud83d!\ud83d\ude00"},',
        rb'{"id": 3, "type": "message", "date_unixtime": "1", "text": "a\u0000b"},',
        b'{"id": 4, "type": "message", "date_unixtime": "1", "text": "\xff\xd0\xb4"}]}',
    ]
    records = read(b"\n".join(lines))
    assert [record.text for record in messages(records)] == ["tab�here \\x0B", "�!😀", "a�b", "�д"]
    assert bad(records) == [
        BadLine(2, "control character in text, kept as U+FFFD"),
        BadLine(3, "half a surrogate pair in text, kept as U+FFFD"),
        BadLine(4, "control character in text, kept as U+FFFD"),
        BadLine(5, "not valid UTF-8, kept as U+FFFD"),
    ]


def test_fields_of_the_wrong_type_cost_nothing_but_themselves(read):
    """What decorates a message may hold anything; what makes it one may not."""
    odd = message(1, "да", reactions=7, poll="x", file=[], duration_seconds="long", edited_unixtime={})
    records = read(chat(odd, message(2, "кто?") | {"id": None}, message(3, "yes")))
    assert [record.text for record in messages(records)] == ["да", "yes"]
    assert [one.reason for one in bad(records)] == ["message skipped: expected `int | str`, got `null` - at `$.id`"]


def test_a_chat_may_be_empty(read):
    """A chat without messages is still a chat."""
    assert read(chat()) == [SourceChat("4242", "telegram", title="Цветы")]


def test_a_chat_with_a_bot_tells_who_the_assistant_is(read):
    """In a `bot_chat` the chat's own id is the bot's: its messages are a bot's, everybody else's are not."""
    answer = message(2, "At 10.", **{"from": "Shop", "from_id": "user4242"})
    start, *said = read({**chat(message(1, "когда вы открыты?"), answer), "type": "bot_chat"})
    assert (start.bot, [one.is_bot for one in said]) == ("telegram:user4242", [False, True])
