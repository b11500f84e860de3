"""DiscordChatExporter."""

from __future__ import annotations

from datetime import UTC, datetime

from trainerlib.events import Attachment
from trainerlib.importers.records import BadLine, SourceChat, SourceMessage, SourceRating


def author(number, name, *, is_bot=False, nickname=None):
    return {"id": str(number), "name": name, "nickname": nickname, "isBot": is_bot}


def message(number, content, **more):
    return {
        "id": str(number),
        "type": "Default",
        "timestamp": "2026-03-01T12:00:00.5+03:00",
        "timestampEdited": None,
        "content": content,
        "author": author(100, "anna"),
        "attachments": [],
        "mentions": [author(200, "bot", is_bot=True)],
        **more,
    }


def channel(*messages):
    return {
        "guild": {"id": "1", "name": "Цветы"},
        "channel": {"id": "2", "type": "GuildTextChat", "name": "помощь"},
        "messages": list(messages),
        "messageCount": len(messages),
    }


def texts(records):
    return [record.text for record in records if isinstance(record, SourceMessage)]


def test_a_channel_is_followed_by_its_messages(read):
    """The chat is the channel; authors say whether they are bots, times are UTC, edits are dated."""
    edited = message(11, "привет", author=author(200, "bot", is_bot=True, nickname="Бот"))
    edited["timestampEdited"] = "2026-03-01T09:30:00+00:00"
    chat, first, second = read(channel(message(10, "hi **there**"), edited))
    assert chat == SourceChat("2", "discord", title="помощь")
    assert (first.id, first.text, first.author, first.name, first.is_bot) == (
        "10",
        "hi **there**",
        "discord:100",
        "anna",
        False,
    )
    assert first.sent_at == datetime(2026, 3, 1, 9, 0, 0, 500000, tzinfo=UTC)
    assert (second.author, second.name, second.is_bot) == ("discord:200", "Бот", True)
    assert second.edited_at == datetime(2026, 3, 1, 9, 30, tzinfo=UTC)


def test_joins_and_pins_are_no_messages(read):
    """Replies and answers to commands are messages; joins, pins and boosts are not; an unknown type is reported."""
    records = read(
        channel(
            message(1, "Joined the server.", type="GuildMemberJoin"),
            message(2, "Pinned a message.", type="ChannelPinnedMessage"),
            message(3, "boost", type="8"),
            message(4, "ответ", type="Reply"),
            message(5, "/help", type="20"),
            message(6, "?", type="Telepathy"),
        )
    )
    assert texts(records) == ["ответ", "/help"]
    assert [record.reason for record in records if isinstance(record, BadLine)] == [
        "message 6 has the unknown type 'Telepathy', skipped"
    ]


def test_replies_and_forwards(read):
    """A reply names what it answers in this channel; a forward answers nothing and shows what was forwarded."""
    here = {"type": "Default", "messageId": "10", "channelId": "2"}
    elsewhere = {"messageId": "10", "channelId": "3"}
    forward = {"type": "Forward", "messageId": "5", "channelId": "2"}
    records = read(
        channel(
            message(1, "a", type="Reply", reference=here),
            message(2, "b", type="Reply", reference=elsewhere),
            message(3, "", reference=forward, forwardedMessage={"content": "чужие слова", "attachments": []}),
        )
    )
    assert [record.in_reply_to for record in records[1:]] == ["10", None, None]
    assert texts(records) == ["a", "b", "чужие слова"]


def test_attachments_and_reactions(read):
    """Files are attachments by their extension, stickers too; reactions are ratings by their users."""
    file = {"id": "1", "url": "files/voice.ogg", "fileName": "voice-message.ogg", "fileSizeBytes": 12}
    reaction = {"emoji": {"id": "", "name": "👍"}, "count": 2, "users": [author(7, "bob")]}
    custom = {"emoji": {"id": "9", "name": "party"}, "count": 1, "users": [author(7, "bob")]}
    sticker = {"id": "3", "name": "wave", "sourceUrl": "s.png"}
    found = read(channel(message(1, "", attachments=[file], stickers=[sticker], reactions=[reaction, custom])))[1]
    assert found.attachments == (
        Attachment("voice", file="files/voice.ogg", name="voice-message.ogg", size=12),
        Attachment("sticker", file="s.png", name="wave"),
    )
    assert found.ratings == (SourceRating(1, "discord:7"), SourceRating(1))


def test_an_odd_message_is_kept(read):
    """Without author or date a message is kept and both are reported."""
    odd = message(1, "слова", timestamp="soon")
    del odd["author"]
    records = read(channel(odd))
    assert texts(records) == ["слова"]
    assert [record.reason for record in records if isinstance(record, BadLine)] == [
        "message 1 has no date that can be read",
        "message 1 has no author",
    ]
