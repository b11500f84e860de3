"""The data every row of the table works on, and the raw SQLite side of it.

Everything follows from the number of a conversation, so two runs, and the two sides of a comparison, write the same.
A conversation is sixteen events: its beginning and fifteen messages, person and assistant in turns. Every second one is
in Russian; of each language every second one has what a chat export has (times, display names), the others have not.
"""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from trainerlib.codec import CODEC
from trainerlib.events import ConsentGiven, ConversationStarted, Event, MessageRecorded, Role
from trainerlib.quality import Quality
from trainerlib.recipes import Recipe
from trainerlib.store.eventstore import Append, EventStore

MESSAGES = 15
"""Messages a conversation."""

EVENTS = MESSAGES + 1
"""Events a conversation."""

CHUNK = 20_000 // EVENTS
"""Conversations a transaction: 20,000 events."""

EVERY_FILTER = Recipe(
    redact=("all",),
    near_duplicates=0.85,
    quality=Quality(min_chars=1, max_chars=20_000, max_repetition=0.9, refusals="exclude", same_language=True),
)
"""Everything a recipe can look at, at limits that ordinary talk meets."""

_ENGLISH = """order delivery flowers tomorrow morning please address courier card payment refund roses tulips shop open until
evening Saturday weekend could you tell me whether the bouquet will arrive before noon thank we have only white ones left
today price per piece is lower from ten gift ribbon included free within city call back number confirmed waiting sorry
late because of traffic would like to change time different colour larger smaller pot plant water twice week sunlight"""
_RUSSIAN = """заказ доставка цветы завтра утром пожалуйста адрес курьер карта оплата возврат розы тюльпаны магазин открыт до
вечера суббота выходные подскажите приедет ли букет раньше полудня спасибо сегодня остались только белые цена за штуку
ниже от десяти лента в подарок бесплатно в черте города перезвоните номер подтверждён ждём извините опоздали из-за пробок
хотелось бы изменить время другой цвет побольше поменьше горшок растение поливать дважды в неделю солнечный свет"""
_POOL = 4_999
_START = datetime(2026, 1, 5, 8, tzinfo=UTC)


def _sentences(vocabulary: str, seed: int) -> list[str]:
    """Sentences of 20 to 120 characters."""
    words = vocabulary.split()
    dice = random.Random(seed)
    made: list[str] = []
    while len(made) < _POOL:
        wanted = dice.randint(20, 110)
        sentence = dice.choice(words).capitalize()
        while len(sentence) < wanted:
            sentence += f" {dice.choice(words)}"
        made.append(sentence[:119] + dice.choice(".?!"))
    return made


_TEXTS = (_sentences(_ENGLISH, 1), _sentences(_RUSSIAN, 2))


def name(number: int) -> str:
    """Id of a conversation."""
    return f"telegram:{number}"


def text(conversation: int, number: int) -> str:
    """What is said: a sentence dealt out by a hash, so that no two conversations are the same for long."""
    mixed = (conversation * 64 + number + 1) * 0x9E3779B97F4A7C15 & (1 << 64) - 1
    mixed = (mixed ^ mixed >> 32) * 0xD6E8FEB86659FD93 & (1 << 64) - 1
    return _TEXTS[conversation % 2][(mixed ^ mixed >> 32) % _POOL]


def message(conversation: int, number: int) -> MessageRecorded:
    """A message of a conversation; numbers from 0, the person's are even."""
    said = text(conversation, number)
    role: Role
    if number % 2:
        role, author, called = "assistant", "telegram:bot", "Shop bot"
    else:
        role, author, called = "user", f"telegram:{conversation % 1_000}", "Анна Петрова"
    if conversation // 2 % 2:
        return MessageRecorded(role, said, author)
    return MessageRecorded(role, said, author, called, _START + timedelta(minutes=conversation * 20 + number))


def question(number: int) -> str:
    """Something a person says in a live chat."""
    return text(number % 2, number)


def key(conversation: int, number: int) -> str:
    """Natural key of a message."""
    return f"telegram:1:{conversation}:{number}"


def live_key(writer: int, index: int, chats: int) -> str:
    """Natural key of what a writer says: in one chat the platform numbers all messages, else each chat has its own."""
    return f"live:1:0:{1_000_000 + index * 64 + writer}" if chats == 1 else f"live:1:{writer}:{index}"


def appends(first: int, count: int) -> list[Append]:
    """Whole conversations as an importer hands them over."""
    return [
        Append(
            f"conversation/{name(number)}",
            [ConversationStarted("telegram"), *(message(number, index) for index in range(MESSAGES))],
            [None, *(key(number, index) for index in range(MESSAGES))],
            0,
        )
        for number in range(first, first + count)
    ]


def consents() -> list[Append]:
    """Everybody who speaks consents: without, nothing of theirs would be in a dataset."""
    return [Append(f"person/telegram:{person}", [ConsentGiven("2026-11")]) for person in range(1_000)]


def chunks(events: int) -> Iterator[tuple[int, int]]:
    """`(first conversation, conversations)` of each transaction of a log of about so many events."""
    conversations = max(events // EVENTS, 1)
    for first in range(0, conversations, CHUNK):
        yield first, min(CHUNK, conversations - first)


# --- the raw side ----------------------------------------------------------------------------------------------------

INSERT_STREAM = "INSERT INTO streams VALUES (?, ?)"
INSERT_EVENT = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?)"

RawEvent = tuple[int | None, int, int, str, int, int, str | None, str]


def raw_event(position: int | None, stream_id: int, version: int, event: Event, natural: str | None) -> RawEvent:
    """A row of `events`, its JSON made: the raw side only has to insert it."""
    wire_name, schema, data = CODEC.encode(event)
    return position, stream_id, version, wire_name, schema, time.time_ns() // 1000, natural, data.decode()


def raw_rows(batch: list[Append], first: int) -> tuple[list[tuple[int, str]], list[RawEvent]]:
    """The same conversations as rows of `streams` and `events`."""
    rows = []
    for number, append in enumerate(batch, first):
        for index, (event, natural) in enumerate(zip(append.events, append.keys, strict=True), 1):
            rows.append(raw_event(number * EVENTS + index, number + 1, index, event, natural))
    return [(number, append.stream) for number, append in enumerate(batch, first + 1)], rows


def raw_connection(path: Path, synchronous: str) -> sqlite3.Connection:
    """A plain connection to a file with the library's schema, in the library's journal mode, written back as rarely."""
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute("PRAGMA wal_autocheckpoint = 8000")
    return connection


def empty(path: Path) -> Path:
    """A new database with the library's schema: tables, indexes, triggers."""
    EventStore(path).close()
    return path


def copied(source: Path, target: Path) -> Path:
    """A copy, when the disk has it and all that was written before: else it would get that while something is measured."""
    shutil.copyfile(source, target)
    os.sync()
    return target
