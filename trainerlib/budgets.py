"""How many tokens models have used today, for whom, and whether more are allowed.

What was used is what the replies in the log say, so a restart, another process or a restored backup counts the same. A
day is one of UTC.

>>> from datetime import UTC, datetime
>>> from trainerlib.events import ReplyGenerated
>>> from trainerlib.settings import BudgetSettings
>>> from trainerlib.store.eventstore import EventStore
>>> store = EventStore(tmp / "log.db")
>>> question = MessageRecorded("user", "Когда вы открыты?", author="telegram:7")
>>> reply = ReplyGenerated("С 9 до 18.", in_reply_to=1, usage={"input_tokens": 90, "output_tokens": 20})
>>> _ = store.append("conversation/telegram:42", [question, reply])
>>> budgets = Budgets(store, BudgetSettings(person=100))
>>> budgets.used(person="telegram:7", chat="telegram:42")
Used(day=110, chat=110, person=110)
>>> budgets.check(person="telegram:8", chat="telegram:42")
>>> budgets.check(person="telegram:7", chat="telegram:42")
Traceback (most recent call last):
trainerlib.errors.BudgetError: telegram:7 has used 110 of 100 tokens today; there are new ones from ... 00:00 UTC
>>> store.close()
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from itertools import islice

import msgspec

from trainerlib.errors import BudgetError
from trainerlib.events import MessageRecorded, RecordedEvent, ReplyGenerated, conversation_stream
from trainerlib.settings import BudgetSettings
from trainerlib.store.eventstore import EventStore
from trainerlib.store.rows import PAGE

_REMEMBERED = 5_000
"""Messages whose authors are surely kept in memory, so that few are looked up."""


class Used(msgspec.Struct, frozen=True):
    """Tokens, read and written, that models have used today.

    Attributes:
        day: altogether.
        chat: in one conversation.
        person: for the messages of one person.
    """

    day: int
    chat: int
    person: int


class Budgets:
    """Counts what today's replies used, each reply once, and only those that were not counted before.

    Safe for any number of threads. A budget is checked before a reply and counted after it, so replies that are being
    written at the same time may go past it together.

    Args:
        store: the log.
        settings: how much is allowed.
        clock: the time now, with its zone.
    """

    def __init__(
        self, store: EventStore, settings: BudgetSettings, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._day: date | None = None
        self._begin_us = self._end_us = self._position = self._total = 0
        self._chats: Counter[str] = Counter()
        self._people: Counter[str] = Counter()
        self._authors: dict[tuple[str, int], str] = {}
        self._older_authors: dict[tuple[str, int], str] = {}

    def check(self, *, person: str = "", chat: str = "") -> None:
        """Refuse when a budget that counts is used up; nothing is read when there is no budget.

        Args:
            person: person id of whose message is to be answered; empty for nobody's.
            chat: id of the conversation; empty for none.

        Raises:
            BudgetError: the message says whose budget it is and when there are new tokens.
            StoreError: the log cannot be read.
        """
        limits = self._settings
        if not (limits.person or limits.chat or limits.day):
            return
        used = self.used(person=person, chat=chat)
        for who, tokens, limit in (
            (person, used.person, limits.person),
            (chat and f"conversation {chat}", used.chat, limits.chat),
            ("this workspace", used.day, limits.day),
        ):
            if who and limit and tokens >= limit:
                renewed = f"{self._clock().astimezone(UTC).date() + timedelta(days=1)} 00:00 UTC"
                raise BudgetError(
                    f"{who} has used {tokens:,} of {limit:,} tokens today; there are new ones from {renewed}"
                )

    def used(self, *, person: str = "", chat: str = "") -> Used:
        """What was used today, by what the log says now.

        Args:
            person: person id.
            chat: id of a conversation.

        Raises:
            StoreError: the log cannot be read.
        """
        with self._lock:
            self._catch_up()
            return Used(self._total, self._chats[conversation_stream(chat)], self._people[person] if person else 0)

    def _catch_up(self) -> None:
        today = self._clock().astimezone(UTC).date()
        if today != self._day:
            self._begin(today)
        for page in self._store.pages(after=self._position):
            for recorded in page:
                event = recorded.event
                if isinstance(event, MessageRecorded):
                    if event.role == "user":
                        self._authors[recorded.stream, recorded.version] = event.author
                elif isinstance(event, ReplyGenerated) and self._begin_us <= recorded.recorded_us < self._end_us:
                    self._count(recorded, event)
            self._position = page[-1].position
            if len(self._authors) > _REMEMBERED:
                self._authors, self._older_authors = {}, self._authors

    def _begin(self, today: date) -> None:
        """Forget what was counted, and find where a day begins in the log."""
        midnight = datetime(today.year, today.month, today.day, tzinfo=UTC)
        self._begin_us = int(midnight.timestamp()) * 1_000_000
        self._end_us = int((midnight + timedelta(days=1)).timestamp()) * 1_000_000
        self._total = 0
        self._chats.clear()
        self._people.clear()
        self._position = self._before_the_day()
        self._day = today

    def _before_the_day(self) -> int:
        """A position that no event of the day is at or before, and few others come after.

        Times follow positions but for clocks that were set back, so what a bisection finds is a guess: the day begins
        before it as long as a page before it holds an event of the day.
        """
        low, high = 0, self._store.position
        while low < high:
            middle = (low + high + 1) // 2
            recorded = self._store.at(middle)
            if recorded is None or recorded.recorded_us >= self._begin_us:
                high = middle - 1
            else:
                low = middle
        while low:
            page = next(self._store.pages(after=max(0, low - PAGE), until=low), [])
            first = next((one for one in page if one.recorded_us >= self._begin_us), None)
            if first is None:
                break
            low = first.position - 1
        return low

    def _count(self, recorded: RecordedEvent, reply: ReplyGenerated) -> None:
        tokens = reply.usage.get("input_tokens", 0) + reply.usage.get("output_tokens", 0)
        if not tokens:
            return
        self._total += tokens
        self._chats[recorded.stream] += tokens
        if reply.in_reply_to is not None:
            self._people[self._author(recorded.stream, reply.in_reply_to)] += tokens

    def _author(self, stream: str, number: int) -> str:
        place = stream, number
        known = self._authors.get(place, self._older_authors.get(place))
        if known is None:
            answered = next(islice(self._store.read(stream, after=number - 1), 1), None)
            event = None if answered is None else answered.event
            known = event.author if isinstance(event, MessageRecorded) else ""
            self._authors[place] = known
        return known
