"""WhatsApp's "Export chat": plain text, one `date, time - name: words` or `[date, time] name: words` a message.

The file has no ids, no time zone and no mark between a message that goes on and the next line of the file. Times are
taken as UTC. Whether 03/04 is in March or April is decided from the whole file, which is therefore read twice. A
message's id is its time, its author and how many that author wrote before in the same second (or minute), so that a
later export of the same chat names it the same.

System lines (joins, the encryption notice, calls, "This message was deleted") are not messages and are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from trainerlib.events import Attachment, AttachmentKind
from trainerlib.importers.jsonstream import CONTROL, INVALID_UTF8
from trainerlib.importers.media import kind_of
from trainerlib.importers.records import BadLine, Record, SourceChat, SourceMessage
from trainerlib.importers.source import LIMIT, Source

_MARK = "\u200e"
_HEAD = re.compile(
    r"[\u200e\u200f]*(?P<bracket>\[)?"
    r"(?P<a>\d{1,4})(?P<mark>[./-])(?P<b>\d{1,2})[./-](?P<c>\d{4}|\d{2})\.?,?[ \u00a0\u202f]"
    r"(?P<hour>\d{1,2})[:.](?P<minute>\d{2})(?:[:.](?P<second>\d{2}))?"
    r"(?:[ \u00a0\u202f]?(?P<half>[AaPp])\.?[ \u00a0\u202f]?[Mm]\.?)?"
    r"(?(bracket)\]|[ \u00a0\u202f][-–])[ \u00a0\u202f]"
    r"(?P<body>.*)",
    re.DOTALL,
)

_OMITTED = re.compile(
    r"<(?:Media omitted|Без медиафайлов|Медиафайл(?:ы)? (?:не включен[ы]?|отсутству[ею]т)|Medien ausgeschlossen|"
    r"Multimedia omitido|Archivo omitido|Médias omis|Mídia oculta|Media omessi)>"
)
_OMITTED_KIND = re.compile(
    r"(?P<what>image|photo|video|video note|audio|voice message|sticker|GIF|document|Contact card|"
    r"изображение|фото|видео|видеосообщение|аудио|аудиофайл|голосовое сообщение|стикер|документ|Карточка контакта)"
    r" (?:omitted|отсутствует|пропущен[оа]?|опущен[оа]?|не включен[оа]?|не добавлен[оа]?)",
    re.IGNORECASE,
)
_KINDS: dict[str, AttachmentKind] = {
    "image": "photo",
    "photo": "photo",
    "изображение": "photo",
    "фото": "photo",
    "video": "video",
    "video note": "video",
    "gif": "video",
    "видео": "video",
    "видеосообщение": "video",
    "audio": "audio",
    "аудио": "audio",
    "аудиофайл": "audio",
    "voice message": "voice",
    "голосовое сообщение": "voice",
    "sticker": "sticker",
    "стикер": "sticker",
    "document": "document",
    "документ": "document",
}
_FILE = re.compile(
    r"\u200e?(?P<name>[^\n/\\<>]+\.\w{1,8}) \((?:file attached|файл добавлен|файл прикреплен|файл прикреплён|Datei angehängt)\)"
    r"|\u200e?<(?:attached|прикреплено|вложено|Anhang): (?P<path>[^\n/\\<>]+)>"
)
_EDITED = re.compile(r" ?\u200e?<(?:This message was edited|(?:Это )?[Сс]ообщение (?:было )?изменено)>$")

_SYSTEM = re.compile(
    r"end-to-end encrypted|сквозным шифрованием|security code|код безопасности|"
    r"created (?:this )?group|создал[аи]? (?:эту )?групп|added |добавил|removed |удалил|left$|вышел|вышла|покинул|joined |"
    r"присоединил|changed (?:the|this|their)|изменил|[Mm]issed (?:voice|video) call|[Пп]ропущенный",
)
_DELETED = frozenset(
    {
        "This message was deleted",
        "You deleted this message",
        "Это сообщение удалено",
        "Данное сообщение удалено",
        "Вы удалили это сообщение",
        "Вы удалили данное сообщение",
    }
)
_GROUP = re.compile(r"(?:created (?:this )?group|создал[аи]?(?:\(а\))? (?:эту )?группу) [\"“«„](?P<name>.+)[\"”»“]")
_QUOTE = re.compile('["“”«»„]')
_MOST = 10_000


class _Line(NamedTuple):
    """The first line of a message."""

    number: int
    date: tuple[int, int, int]
    marks: str
    time: tuple[int, int, int]
    half: str
    body: str


class _Survey:
    """What only the whole file tells: how dates are written, who takes part, what the chat is called."""

    def __init__(self, source: Source) -> None:
        self.authors: set[str] = set()
        self.title = ""
        most_a = most_b = 0
        falls = {False: 0, True: 0}
        previous = (0, 0, 0)
        half = dots = False
        for number, text, _ in _texts(source):
            line = _line(number, text or "")
            if line is None:
                continue
            a, b, year = line.date
            most_a, most_b = max(most_a, a), max(most_b, b)
            for month_first in falls:
                falls[month_first] += _date((a, b, year), month_first) < _date(previous, month_first)
            previous = line.date
            half, dots = half or bool(line.half), dots or "." in line.marks
            self._meet(line)
        self.month_first = _month_first(most_a, most_b, falls, half=half, dots=dots)

    @property
    def chat(self) -> SourceChat:
        """The chat; one of two people without a name is called by theirs."""
        title = self.title or (" & ".join(sorted(self.authors)) if len(self.authors) == 2 else "")
        return SourceChat(id=title or "whatsapp", platform="whatsapp", title=title, complete=False)

    def _meet(self, line: _Line) -> None:
        group = _GROUP.search(line.body)
        name, _, words = line.body.partition(": ")
        if words and not _QUOTE.search(name):
            if words.startswith(_MARK) and _SYSTEM.search(words):
                # On an iPhone the system speaks under the name of the chat.
                if "end-to-end" in words or "шифрованием" in words:
                    self.title = self.title or name
            elif len(self.authors) < _MOST:
                self.authors.add(name)
                return
        if group:
            self.title = group["name"]


def read(source: Source) -> Iterator[Record]:
    """The chat, then its messages; times, which the file gives without a zone, are taken as UTC."""
    with source.again() as first:
        survey = _Survey(first)
    yield survey.chat
    ids: dict[tuple[str, str], int] = {}
    head: _Line | None = None
    words: list[str] = []
    size = 0
    for number, text, bad in _texts(source):
        line = _line(number, text or "")
        if line is not None and head is not None:
            yield from _message(head, words, survey, ids, size)
        if bad is not None:
            yield bad
        if line is not None:
            head, words, size = line, [], len(line.body)
        elif text is not None and head is not None:
            size += len(text) + 1
            if size <= LIMIT:
                words.append(text)
        elif text and not text.isspace():
            yield BadLine(number, "no date: neither a message nor the next line of one")
    if head is not None:
        yield from _message(head, words, survey, ids, size)


def begins_message(text: str) -> bool:
    """Whether a line is the first one of a message.

    >>> begins_message("03.04.26, 09:15 - Анна: добрый день")
    True
    """
    return _HEAD.match(text) is not None


def _texts(source: Source) -> Iterator[tuple[int, str | None, BadLine | None]]:
    """Each line with its number, and what was wrong with it; `None` for one that is too large."""
    for number, raw in source.lines():
        if raw is None:
            yield number, None, BadLine(number, "line too large, skipped")
            continue
        reason = ""
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            text, reason = raw.decode(errors="replace"), INVALID_UTF8
        if "\0" in text:
            text, reason = text.replace("\0", "\ufffd"), CONTROL
        yield number, text.removesuffix("\r"), BadLine(number, reason) if reason else None


def _line(number: int, text: str) -> _Line | None:
    """The parts of a first line; `None` for any other."""
    match = _HEAD.match(text)
    if match is None:
        return None
    a, b, c = int(match["a"]), int(match["b"]), int(match["c"])
    date = (b, c, a) if len(match["a"]) == 4 else (a, b, c)
    return _Line(
        number,
        date if date[2] > 99 else (date[0], date[1], date[2] + 2000),
        match["mark"] + ("y" if len(match["a"]) == 4 else ""),
        (int(match["hour"]), int(match["minute"]), int(match["second"] or 0)),
        (match["half"] or "").lower(),
        match["body"],
    )


def _date(date: tuple[int, int, int], month_first: bool) -> tuple[int, int, int]:
    a, b, year = date
    return (year, a, b) if month_first else (year, b, a)


def _month_first(most_a: int, most_b: int, falls: dict[bool, int], *, half: bool, dots: bool) -> bool:
    """Whether dates are month/day: no month is above 12, time goes forward, and twelve hours are American."""
    if most_a > 12 or most_b > 12:
        return most_b > 12 >= most_a
    if dots:
        return False
    if falls[True] != falls[False]:
        return falls[True] < falls[False]
    return half


def _moment(line: _Line, month_first: bool) -> datetime | None:
    year, month, day = _date(line.date, month_first or "y" in line.marks)
    hour, minute, second = line.time
    if line.half:
        hour = hour % 12 + (12 if line.half == "p" else 0)
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None


def _message(
    head: _Line, more: list[str], survey: _Survey, ids: dict[tuple[str, str], int], size: int
) -> Iterator[Record]:
    name, words = _split(head.body, survey.authors)
    if name is None:
        return
    bare = words.removeprefix(_MARK)
    if not more and (bare.rstrip(".") in _DELETED or (bare != words and _SYSTEM.search(bare))):
        return
    sent_at = _moment(head, survey.month_first)
    if sent_at is None:
        yield BadLine(head.number, "date or time that does not exist")
    if size > LIMIT:
        yield BadLine(head.number, "message too large, its end is left out")
    stamp = sent_at.isoformat() if sent_at else f"line {head.number}"
    attachment = _attachment(words)
    text = "\n".join(more) if attachment else _EDITED.sub("", "\n".join((words, *more)))
    yield SourceMessage(
        f"{stamp}/{name}/{_count(ids, (stamp, name))}",
        text,
        author=f"whatsapp:{name}",
        name=name,
        sent_at=sent_at,
        attachments=(attachment,) if attachment else (),
        line=head.number,
    )


def _split(body: str, authors: set[str]) -> tuple[str | None, str]:
    """Name and words of a first line; no name where the system speaks."""
    name, colon, words = body.partition(": ")
    if colon and not _QUOTE.search(name):
        return name, words
    # The space may be missing where the words are, but then only a known name tells it from a system line.
    name, colon, words = body.partition(":")
    return (name, words) if colon and name in authors else (None, body)


def _attachment(words: str) -> Attachment | None:
    bare = words.removeprefix(_MARK)
    if _OMITTED.fullmatch(bare):
        return Attachment("other")
    if bare != words and (omitted := _OMITTED_KIND.fullmatch(bare)):
        return Attachment(_KINDS.get(omitted["what"].lower(), "other"))
    if file := _FILE.fullmatch(words):
        name = file["name"] or file["path"]
        return Attachment(kind_of(name), file=name, name=name)
    return None


def _count(ids: dict[tuple[str, str], int], key: tuple[str, str]) -> int:
    """How many messages had that time and author before; the most recent ten thousand pairs are remembered."""
    count = ids.pop(key, 0)
    ids[key] = count + 1
    if len(ids) > _MOST:
        del ids[next(iter(ids))]
    return count
