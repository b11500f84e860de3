"""WhatsApp chats."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from trainerlib.events import Attachment
from trainerlib.importers.records import BadLine, SourceChat, SourceMessage

MARK = "\u200e"
NARROW = "\u202f"


def messages(records):
    return [record for record in records if isinstance(record, SourceMessage)]


def spoken(records):
    return [(record.name, record.text) for record in messages(records)]


def days(records):
    return [record.sent_at.strftime("%m-%d") for record in messages(records)]


def test_android(read):
    """Each line with a date and a name begins a message; what follows without one belongs to it."""
    text = (
        "13/02/26, 09:05 - Messages and calls are end-to-end encrypted. Tap to learn more.\n"
        "13/02/26, 09:06 - Анна 🌷: когда вы открыты?\n"
        "\n"
        "  и завтра: тоже? \n"
        "13/02/26, 09:07 - Shop-Bot +7 900: At 10.\n"
    )
    records = read(text)
    assert records == [
        SourceChat("Shop-Bot +7 900 & Анна 🌷", "whatsapp", title="Shop-Bot +7 900 & Анна 🌷", complete=False),
        SourceMessage(
            "2026-02-13T09:06:00+00:00/Анна 🌷/0",
            "когда вы открыты?\n\n  и завтра: тоже? ",
            author="whatsapp:Анна 🌷",
            name="Анна 🌷",
            sent_at=datetime(2026, 2, 13, 9, 6, tzinfo=UTC),
            line=2,
        ),
        SourceMessage(
            "2026-02-13T09:07:00+00:00/Shop-Bot +7 900/0",
            "At 10.",
            author="whatsapp:Shop-Bot +7 900",
            name="Shop-Bot +7 900",
            sent_at=datetime(2026, 2, 13, 9, 7, tzinfo=UTC),
            line=5,
        ),
    ]


def test_iphone(read):
    """Brackets, seconds, twelve hours behind a narrow space, and marks that nobody sees."""
    text = (
        f"[2/13/26, 12:01:02{NARROW}AM] Flowers: {MARK}Messages and calls are end-to-end encrypted.\r\n"
        f"[2/13/26, 12:01:03{NARROW}PM] Ann: hello\r\n"
        f"{MARK}[2/13/26, 1:01:03{NARROW}PM] Flowers: {MARK}audio omitted\r\n"
        f"[2/13/26, 1:02:00{NARROW}PM] Flowers: {MARK}This message was deleted\r\n"
        f"[2/13/26, 1:03:00{NARROW}PM] Flowers: 9 to 18 {MARK}<This message was edited>\r\n"
    )
    chat, *rest = read(text)
    assert (chat.id, chat.title) == ("Flowers", "Flowers")
    assert spoken(rest) == [("Ann", "hello"), ("Flowers", ""), ("Flowers", "9 to 18")]
    assert [record.sent_at.hour for record in rest] == [12, 13, 13]
    assert rest[1].attachments == (Attachment("audio"),)


def test_dots(read):
    """German and Russian phones write dd.mm.yyyy."""
    records = read("03.04.2026, 09:15 - Анна: привет\n04.04.2026, 09:15 - Bot: Hallo\n")
    assert days(records) == ["04-03", "04-04"]


@pytest.mark.parametrize(
    ("dates", "expected"),
    [
        (["01/02/26, 09:00", "13/02/26, 09:00"], ["02-01", "02-13"]),
        (["2/1/26, 09:00", "2/13/26, 09:00"], ["02-01", "02-13"]),
        (["3/1/26, 09:00", "3/2/26, 09:00", "4/1/26, 09:00"], ["03-01", "03-02", "04-01"]),
        (["01/03/26, 09:00", "02/03/26, 09:00", "01/04/26, 09:00"], ["03-01", "03-02", "04-01"]),
        (["01/02/26, 09:00"], ["02-01"]),
        (["1/2/26, 9:00 AM"], ["01-02"]),
        (["2026-02-13, 09:00"], ["02-13"]),
    ],
)
def test_day_and_month(read, dates, expected):
    """Which is which is told by a number above 12, else by time going forward, else by the clock."""
    assert days(read("".join(f"{date} - Анна: да\n" for date in dates))) == expected


def test_the_group_names_the_chat(read):
    """The line that says who created the group names the chat; system lines are no messages."""
    text = (
        '20/06/26, 00:08 - +12 345 578 created group "Цветы: опт"\n'
        "20/06/26, 00:09 - Анна added Bob\n"
        '20/06/26, 00:10 - Анна changed the group name to "A: B"\n'
        "20/06/26, 00:11 - You were added\n"
        "20/06/26, 00:12 - Анна: да\n"
        "20/06/26, 00:13 - Bob: yes\n"
        "20/06/26, 00:14 - Eve: нет\n"
    )
    chat, *rest = read(text)
    assert chat.id == "Цветы: опт"
    assert spoken(rest) == [("Анна", "да"), ("Bob", "yes"), ("Eve", "нет")]


def test_a_chat_of_many_without_a_name(read):
    """Without a name and with more than two people the chat is called after the program."""
    records = read("".join(f"20/06/26, 00:12 - {name}: да\n" for name in ("A", "B", "C")))
    assert records[0].id == "whatsapp"


@pytest.mark.parametrize(
    ("line", "attachment", "text"),
    [
        ("<Media omitted>", Attachment("other"), ""),
        ("<Без медиафайлов>", Attachment("other"), ""),
        (f"{MARK}image omitted", Attachment("photo"), ""),
        (f"{MARK}изображение отсутствует", Attachment("photo"), ""),
        ("image omitted", None, "image omitted"),
        (
            "IMG-20260213-WA0001.jpg (file attached)\nпрайс",
            Attachment("photo", file="IMG-20260213-WA0001.jpg", name="IMG-20260213-WA0001.jpg"),
            "прайс",
        ),
        (
            f"{MARK}PTT-1.opus (файл добавлен)",
            Attachment("voice", file="PTT-1.opus", name="PTT-1.opus"),
            "",
        ),
        (
            f"{MARK}<attached: 0012-AUDIO.m4a>",
            Attachment("audio", file="0012-AUDIO.m4a", name="0012-AUDIO.m4a"),
            "",
        ),
    ],
)
def test_media(read, line, attachment, text):
    """A media line is an attachment; its caption, on the next line, is the words. A person may write the same words."""
    found = messages(read(f"20/06/26, 00:12 - Анна: {line}\n"))[0]
    assert (found.attachments, found.text) == ((attachment,) if attachment else (), text)


def test_a_name_may_stand_without_a_space(read):
    """A colon with nothing behind it ends a name that is known; in a system line it does not."""
    text = (
        "20/06/26, 00:12 - Анна: да\n"
        "20/06/26, 00:13 - Анна:\n"
        "20/06/26, 00:14 - Анна:.\n"
        "20/06/26, 00:15 - Missed voice call at 10:20\n"
    )
    assert spoken(read(text)) == [("Анна", "да"), ("Анна", ""), ("Анна", ".")]


def test_ids_tell_messages_of_a_minute_apart(read):
    """The same author in the same minute is counted, so ids are unique and the same in a longer export."""
    text = "20/06/26, 00:12 - A: 1\n20/06/26, 00:12 - B: 2\n20/06/26, 00:12 - A: 3\n20/06/26, 00:13 - A: 4\n"
    ids = [record.id for record in messages(read(text))]
    assert ids == [
        "2026-06-20T00:12:00+00:00/A/0",
        "2026-06-20T00:12:00+00:00/B/0",
        "2026-06-20T00:12:00+00:00/A/1",
        "2026-06-20T00:13:00+00:00/A/0",
    ]
    assert [record.id for record in messages(read(text + "21/06/26, 00:12 - A: 5\n"))][:4] == ids


def test_what_is_wrong_is_reported(read):
    """Words before the first message, a date that does not exist and bytes that are no text: named by line, kept."""
    text = b"lost words\n\n20/06/26, 00:12 - A: \xff\n31/02/26, 00:13 - A: da\n20/06/26, 25:13 - A: n\0\n"
    records = read(text)
    assert [(record.line, record.reason) for record in records if isinstance(record, BadLine)] == [
        (1, "no date: neither a message nor the next line of one"),
        (3, "not valid UTF-8, kept as U+FFFD"),
        (4, "date or time that does not exist"),
        (5, "control character in text, kept as U+FFFD"),
        (5, "date or time that does not exist"),
    ]
    assert [(record.text, record.sent_at is None) for record in messages(records)] == [
        ("�", False),
        ("da", True),
        ("n�", True),
    ]
