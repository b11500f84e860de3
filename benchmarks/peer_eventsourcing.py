"""The same conversations in `eventsourcing` 9: its default stack, an SQLite file in WAL mode, the JSON transcoder."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import workload
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event


class Conversation(Aggregate):
    @event("Started")
    def __init__(self, platform: str) -> None:
        self.platform = platform
        self.last: tuple[Any, ...] = ()

    @event("MessageRecorded")
    def record(self, role: str, text: str, author: str, name: str, sent_at: datetime | None) -> None:
        self.last = role, text, author, name, sent_at

    def say(self, number: int, index: int) -> None:
        said = workload.message(number, index)
        self.record(said.role, said.text, said.author, said.name, said.sent_at)


class Shop:
    """An application, with a hundred new conversations to record in.

    Args:
        path: the file; made when missing.
        synchronous: its own is SQLite's FULL and no setting changes it, so the pragma goes to the pool's connection.
    """

    def __init__(self, path: Path, synchronous: str) -> None:
        self._app: Application[Any] = Application(
            env={"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": str(path)}
        )
        recorder: Any = self._app.recorder
        # One thread, so the pool hands out this one connection for ever.
        with recorder.datastore.get_connection(commit=True) as connection:
            connection.cursor().execute(f"PRAGMA synchronous = {synchronous}")
        self._conversations = [Conversation("telegram") for _ in range(100)]
        self._said = 0
        self._app.save(*self._conversations)

    def record(self, count: int) -> float:
        """Seconds to get a conversation, say something and save it, so many times: how its applications do it."""
        ids = [conversation.id for conversation in self._conversations]
        began = time.perf_counter()
        for index in range(self._said, self._said + count):
            conversation: Conversation = self._app.repository.get(ids[index % 100])
            conversation.say(index % 100, index)
            self._app.save(conversation)
        seconds = time.perf_counter() - began
        self._conversations = [self._app.repository.get(one) for one in ids]
        self._said += count
        return seconds

    def record_held(self, count: int) -> float:
        """Seconds to say something in a conversation held in memory and save it, so many times."""
        began = time.perf_counter()
        for index in range(self._said, self._said + count):
            conversation = self._conversations[index % 100]
            conversation.say(index % 100, index)
            self._app.save(conversation)
        self._said += count
        return time.perf_counter() - began

    def save_each(self, first: int, count: int) -> float:
        """Seconds to save whole conversations one after the other; their events are made before."""
        made = self._made(first, count)
        began = time.perf_counter()
        for conversation in made:
            self._app.save(conversation)
        return time.perf_counter() - began

    def save_together(self, first: int, count: int) -> float:
        """Seconds of one save of whole conversations; their events are made before."""
        made = self._made(first, count)
        began = time.perf_counter()
        self._app.save(*made)
        return time.perf_counter() - began

    def _made(self, first: int, count: int) -> list[Conversation]:
        made = []
        for number in range(first, first + count):
            conversation = Conversation("telegram")
            for index in range(workload.MESSAGES):
                conversation.say(number, index)
            made.append(conversation)
        return made

    def read(self) -> Iterator[int]:
        """Events of each page of the log, decoded."""
        mapper = self._app.mapper
        start = 1
        while page := self._app.recorder.select_notifications(start, limit=1_000):
            yield len([mapper.to_domain_event(notification) for notification in page])
            start = page[-1].id + 1

    def close(self) -> None:
        self._app.close()
