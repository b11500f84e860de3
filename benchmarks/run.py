"""The figures of trainerlib beside those of raw SQLite and of its peers, in one run: `python benchmarks/run.py`.

What counts is the ratio: both sides of a comparison run in turns, in this process, on the same schema and the same
data. README.md says what each row measures. The exit status is 1 when a limit is missed, except with `--quick`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from itertools import chain, count, islice, repeat
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, TypeVar

import msgspec
import workload

import trainerlib
from trainerlib.events import MessageRecorded
from trainerlib.store import tables
from trainerlib.store.eventstore import EventStore
from trainerlib.store.rows import LAST, PAGE
from trainerlib.workspace import DATABASE

if TYPE_CHECKING:
    from peer_eventsourcing import Shop

WRITERS = 64
STRETCH = 2_000
"""Events each side reads before the others have their turn."""
CHATS = 100
"""Conversations that single appends and replies go to in turns."""

Measured = TypeVar("Measured")
"""A figure, or each of those of a round."""

_CHILD = Path(__file__).with_name("child.py")


class Row(msgspec.Struct, omit_defaults=True):
    """One line of the table; a ratio is trainerlib over the other, so more is better.

    Attributes:
        name: the measurement it belongs to.
        what: what was measured.
        ours: trainerlib's figure.
        unit: of every figure of the row.
        raw: the same with plain `sqlite3`.
        ratio: median over the rounds.
        limit: `ratio` has to reach it.
        peer: who else was measured.
        theirs: the peer's figure.
        peer_ratio: median over the rounds.
        peer_limit: `peer_ratio` has to reach it.
        below: `ours` has to stay under it.
    """

    name: str
    what: str
    ours: float
    unit: str = "/s"
    raw: float | None = None
    ratio: float | None = None
    limit: float | None = None
    peer: str = ""
    theirs: float | None = None
    peer_ratio: float | None = None
    peer_limit: float | None = None
    below: float | None = None

    def limits(self) -> list[tuple[str, bool]]:
        """Each limit in words, and whether it is kept."""
        limits = []
        if self.limit is not None and self.ratio is not None:
            limits.append((f"≥ {self.limit:g}x", self.ratio >= self.limit))
        if self.peer_limit is not None and self.peer_ratio is not None:
            limits.append((f"≥ {self.peer_limit:g}x peer", self.peer_ratio >= self.peer_limit))
        if self.below is not None:
            limits.append((f"< {self.below:g}{self.unit}", self.ours < self.below))
        return limits

    def cells(self) -> list[str]:
        limits = ", ".join(f"{'✓' if kept else '✗'} {limit}" for limit, kept in self.limits())
        ratios = ["" if ratio is None else f"{ratio:.2f}x" for ratio in (self.ratio, self.peer_ratio)]
        peer = f"{self.peer} {self._figure(self.theirs)}".strip()
        return [self.what, self._figure(self.ours), self._figure(self.raw), ratios[0], peer, ratios[1], limits]

    def _figure(self, value: float | None) -> str:
        return "" if value is None else f"{value:,.{0 if value >= 100 else 1}f}{self.unit}"


def compared(
    name: str,
    what: str,
    ours: Sequence[float],
    theirs: Sequence[float] | None = None,
    *,
    limit: float | None = None,
    peer: str = "",
    peer_limit: float | None = None,
    peers: Sequence[Sequence[float]] = (),
) -> Row:
    """A row from what each side measured in each round."""
    row = Row(name, what, median(ours))
    if theirs is not None:
        row.raw, row.ratio, row.limit = median(theirs), ratio(ours, theirs), limit
    for measured in peers:
        row.peer, row.theirs, row.peer_limit = peer, median(measured), peer_limit
        row.peer_ratio = ratio(ours, measured)
    return row


_HEADER = ["what", "trainerlib", "raw sqlite3", "ratio", "peer", "ratio", "limit"]


class Table(msgspec.Struct):
    """The rows of a log of one size."""

    events: int
    rows: list[Row]


class Machine(msgspec.Struct):
    """Where the figures come from; a ratio depends on it far less than a figure does."""

    python: str
    sqlite: str
    eventsourcing: str
    sqlalchemy: str
    cores: int
    flush_ms: float


class Report(msgspec.Struct):
    """Everything, for `--json`."""

    machine: Machine
    tables: list[Table]


def percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


def in_turns(rounds: int, *sides: Callable[[], Measured]) -> list[list[Measured]]:
    """What each side measures in each round, the sides in turns: A B A B."""
    measured: list[list[Measured]] = [[] for _ in sides]
    for _ in range(rounds):
        for side, results in zip(sides, measured, strict=True):
            results.append(side())
    return measured


def stretches(pages: Callable[[], Iterable[int]]) -> Callable[[], float]:
    """Events a second of the next `STRETCH` events of a log, or a few more; after its last page its first again.

    Args:
        pages: reads the log; gives how many events each page has.
    """
    sizes = chain.from_iterable(pages() for _ in repeat(None))

    def side() -> float:
        began = time.perf_counter()
        events = 0
        while events < STRETCH:
            events += next(sizes)
        return events / (time.perf_counter() - began)

    return side


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Median over the rounds."""
    return median(first / second for first, second in zip(ours, theirs, strict=True))


@contextmanager
def synchronous(setting: str) -> Iterator[None]:
    """Workspaces that are opened meanwhile have this setting."""
    os.environ["TRAINERLIB_DATABASE_SYNCHRONOUS"] = setting
    try:
        yield
    finally:
        del os.environ["TRAINERLIB_DATABASE_SYNCHRONOUS"]


def flush_time(directory: Path) -> float:
    """Milliseconds of one small write and fsync: what FULL waits for."""
    times = []
    with (directory / "flush").open("wb", buffering=0) as file:
        for _ in range(50):
            file.write(b"x" * 4096)
            began = time.perf_counter()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - began)
    return median(times) * 1000


class Bench:
    """The measurements on a log of one size.

    Args:
        directory: an empty directory on the disk to measure.
        events: about how many events the log has.
        quick: fewer repetitions: everything runs once through, figures mean little.
    """

    def __init__(self, directory: Path, events: int, *, quick: bool) -> None:
        self._directory = directory
        self._events = events
        self._quick = quick
        self._numbers = count(1)
        self._base: Path | None = None
        self._peer_base: Path | None = None
        self._has_eventsourcing = find_spec("eventsourcing") is not None

    def _times(self, usual: int) -> int:
        return max(usual // 10, 1) if self._quick else usual

    def _rounds(self, usual: int, *, whole: bool = True) -> int:
        """How often the sides take turns: less often where a round goes through the whole of a large log."""
        return 3 if self._quick or (whole and self._events > 500_000) else usual

    def _place(self) -> Path:
        """A directory that nothing else uses."""
        place = self._directory / f"{next(self._numbers)}"
        place.mkdir()
        return place

    def _copy(self) -> Path:
        """A copy of the full log in a workspace of its own."""
        place = self._place()
        workload.copied(self._full_log() / DATABASE, place / DATABASE)
        return place

    def _full_log(self) -> Path:
        """A workspace with the whole log, made when it is first asked for."""
        if self._base is None:
            self._base = self._place()
            self._fill(self._base)
        return self._base

    def _fill(self, place: Path) -> float:
        """Record the whole log through the public API; events a second of the recording alone."""
        seconds = 0.0
        with trainerlib.open(place) as workspace:
            for first, number in workload.chunks(self._events):
                batch = workload.appends(first, number)
                began = time.perf_counter()
                with workspace.store.database.bulk():
                    workspace.store.append_batch(batch)
                seconds += time.perf_counter() - began
            recorded = workspace.store.position
            workspace.store.append_batch(workload.consents())
            return recorded / seconds

    def _fill_peer(self, place: Path, *, together: bool) -> float:
        """Save as many conversations, up to 100,000 events, with `eventsourcing`; events a second of the saves alone."""
        from peer_eventsourcing import Shop

        shop = Shop(place / DATABASE, "FULL")
        seconds, conversations = 0.0, 0
        for first, number in workload.chunks(min(self._events, 100_000)):
            seconds += (shop.save_together if together else shop.save_each)(first, number)
            conversations += number
        shop.close()
        return conversations * workload.EVENTS / seconds

    def _peer_log(self) -> Path:
        """What `_fill_peer` makes, made when it is first asked for."""
        if self._peer_base is None:
            self._peer_base = self._place()
            self._fill_peer(self._peer_base, together=True)
        return self._peer_base / DATABASE

    # --- one append --------------------------------------------------------------------------------------------------

    def append(self) -> Iterator[Row]:
        for setting, limit, usual in (("NORMAL", 0.45, 1_500), ("FULL", 0.75, 500)):
            ours_place, raw_place, peer_place = self._copy(), self._copy(), self._place()
            times = self._times(usual)
            with synchronous(setting), trainerlib.open(ours_place) as workspace:
                raw = workload.raw_connection(raw_place / DATABASE, setting)
                sides = [self._our_appends(workspace, times), self._raw_appends(raw, times)]
                if self._has_eventsourcing:
                    sides += self._peer_appends(peer_place, setting, times // 3)
                ours, theirs, *peers = in_turns(self._rounds(11, whole=False), *sides)
                raw.close()
            what = f"one append, synchronous={setting}"
            get_and_save = peers[:1]
            yield compared(
                "append", what, ours, theirs, limit=limit, peer="eventsourcing", peer_limit=3, peers=get_and_save
            )
            if peers:
                yield compared("append", "- beside app.save alone", ours, peer="eventsourcing", peers=peers[1:])
            for place in (ours_place, raw_place, peer_place):
                shutil.rmtree(place)

    def _our_appends(self, workspace: trainerlib.Workspace, times: int) -> Callable[[], float]:
        chats = [workspace.conversation(workload.name(number)) for number in range(CHATS)]
        said = iter(range(1 << 30))

        def run() -> float:
            began = time.perf_counter()
            for _ in range(times):
                number = next(said)
                words = workload.question(number)
                chats[number % CHATS].record("user", words, author="telegram:7", key=f"live:{number}")
            return times / (time.perf_counter() - began)

        run()
        return run

    def _raw_appends(self, connection: sqlite3.Connection, times: int) -> Callable[[], float]:
        said = iter(range(1 << 30))

        def run() -> float:
            rows = []
            for number in (next(said) for _ in range(times)):
                event = MessageRecorded("user", workload.question(number), "telegram:7")
                version = workload.EVENTS + 1 + number // CHATS
                rows.append(workload.raw_event(None, number % CHATS + 1, version, event, f"live:{number}"))
            began = time.perf_counter()
            for row in rows:
                connection.execute(workload.INSERT_EVENT, row)
                connection.commit()
            return times / (time.perf_counter() - began)

        run()
        return run

    def _peer_appends(self, place: Path, setting: str, times: int) -> list[Callable[[], float]]:
        """Get, record and save; and the save alone of what is held in memory."""
        from peer_eventsourcing import Shop

        shop = Shop(workload.copied(self._peer_log(), place / DATABASE), setting)
        shop.record_held(times)
        few = max(times // 10, 10)
        return [lambda: few / shop.record(few), lambda: times / shop.record_held(times)]

    # --- bulk --------------------------------------------------------------------------------------------------------

    def bulk(self) -> Iterator[Row]:
        sides = [self._our_bulk, self._raw_bulk]
        if self._has_eventsourcing:
            sides += [self._peer_bulk, self._peer_bulk_together]
        ours, theirs, *peers = in_turns(self._rounds(7), *sides)
        what = f"bulk import, {self._events:,} events"
        yield compared("bulk", what, ours, theirs, limit=0.5, peer="eventsourcing", peer_limit=4, peers=peers[:1])
        if peers:
            what = "- beside 1,250 aggregates in one app.save"
            yield compared("bulk", what, ours, peer="eventsourcing", peers=peers[1:])
        yield self._file_import()

    def _our_bulk(self) -> float:
        place = self._place()
        result = self._fill(place)
        if self._base is None:
            self._base = place
        else:
            shutil.rmtree(place)
        return result

    def _raw_bulk(self) -> float:
        place = self._place()
        connection = workload.raw_connection(workload.empty(place / DATABASE), "FULL")
        connection.execute("PRAGMA cache_size = -65536")
        seconds, events = 0.0, 0
        for first, number in workload.chunks(self._events):
            streams, rows = workload.raw_rows(workload.appends(first, number), first)
            began = time.perf_counter()
            connection.executemany(workload.INSERT_STREAM, streams)
            connection.executemany(workload.INSERT_EVENT, rows)
            connection.commit()
            seconds += time.perf_counter() - began
            events += len(rows)
        connection.close()
        shutil.rmtree(place)
        return events / seconds

    def _peer_bulk(self) -> float:
        place = self._place()
        result = self._fill_peer(place, together=False)
        shutil.rmtree(place)
        return result

    def _peer_bulk_together(self) -> float:
        place = self._place()
        result = self._fill_peer(place, together=True)
        if self._peer_base is None:
            self._peer_base = place
        else:
            shutil.rmtree(place)
        return result

    def _file_import(self) -> Row:
        place = self._place()
        conversations = min(self._events, 100_000) // workload.EVENTS
        source = place / "conversations.jsonl"
        with source.open("wb") as file:
            for number in range(conversations):
                messages = [workload.message(number, index) for index in range(workload.MESSAGES)]
                turns = [{"role": message.role, "content": message.text} for message in messages]
                file.write(msgspec.json.encode({"id": f"c{number}", "messages": turns}) + b"\n")
        with trainerlib.open(place / "workspace") as workspace:
            began = time.perf_counter()
            report = workspace.import_file(source)
            seconds = time.perf_counter() - began
        shutil.rmtree(place)
        what = f"import_file, interchange form, {report.messages:,} messages"
        return Row("bulk", what, report.events / seconds)

    # --- concurrent writers ------------------------------------------------------------------------------------------

    def writers(self) -> Iterator[Row]:
        has_peer = all(find_spec(module) is not None for module in ("aiosqlite", "greenlet"))
        each = self._times(300)
        for what, chats in ((f"{WRITERS} async writers in one busy chat, FULL", 1), ("- in a chat each", WRITERS)):
            places = [self._copy() for _ in range(4)]
            latencies: list[float] = []
            with (
                EventStore(places[0] / DATABASE, synchronous="FULL") as full,
                EventStore(places[1] / DATABASE, synchronous="NORMAL") as normal,
            ):
                raw = workload.raw_connection(places[2] / DATABASE, "FULL")
                sides = [
                    self._our_writers(full, each, chats, latencies),
                    self._our_writers(normal, each, chats, []),
                    self._raw_writers(raw, each, chats),
                ]
                if has_peer:
                    sides.append(self._peer_writers(places[3] / DATABASE, max(each // 20, 2), chats))
                ours, relaxed, theirs, *peers = in_turns(self._rounds(7, whole=False), *sides)
                raw.close()
            limit = 40 if chats == 1 else None
            yield compared("writers", what, ours, theirs, peer="SQLAlchemy async", peer_limit=limit, peers=peers)
            p99 = percentile(latencies, 0.99) * 1000
            yield Row("writers", "- p99 of one of their appends", p99, " ms", below=10)
            beside = "- beside our own synchronous=NORMAL"
            yield compared("writers", beside, ours, peer="NORMAL", peer_limit=0.6, peers=[relaxed])
            for place in places:
                shutil.rmtree(place)

    def _our_writers(self, store: EventStore, each: int, chats: int, latencies: list[float]) -> Callable[[], float]:
        starts = count(0, each)

        async def writer(number: int, first: int) -> None:
            stream = f"conversation/{workload.name(number % chats)}"
            for index in range(first, first + each):
                said = workload.message(number, index)
                began = time.perf_counter()
                await store.append_async(stream, [said], keys=[workload.live_key(number, index, chats)])
                latencies.append(time.perf_counter() - began)

        async def everybody(first: int) -> float:
            began = time.perf_counter()
            await asyncio.gather(*(writer(number, first) for number in range(WRITERS)))
            return WRITERS * each / (time.perf_counter() - began)

        def run() -> float:
            return asyncio.run(everybody(next(starts)))

        run()
        latencies.clear()
        return run

    def _raw_writers(self, connection: sqlite3.Connection, each: int, chats: int) -> Callable[[], float]:
        """A row of each writer by `executemany`, and a commit: as good as a group commit can get."""
        numbers = count()

        def run() -> float:
            groups = []
            for index in (next(numbers) for _ in range(each)):
                rows = []
                for number in range(WRITERS):
                    version = workload.EVENTS + 1 + (index if chats > 1 else index * WRITERS + number)
                    said = workload.message(number, index)
                    natural = workload.live_key(number, index, chats)
                    rows.append(workload.raw_event(None, number % chats + 1, version, said, natural))
                groups.append(rows)
            began = time.perf_counter()
            for rows in groups:
                connection.executemany(workload.INSERT_EVENT, rows)
                connection.commit()
            return WRITERS * each / (time.perf_counter() - began)

        return run

    def _peer_writers(self, path: Path, each: int, chats: int) -> Callable[[], float]:
        from peer_sqlalchemy import write

        starts = count(0, each + 1)

        def run() -> float:
            seconds, _ = asyncio.run(write(path, writers=WRITERS, chats=chats, each=each, start=next(starts)))
            return WRITERS * each / seconds

        return run

    # --- reading -----------------------------------------------------------------------------------------------------

    def read(self) -> Iterator[Row]:
        place = self._full_log()
        with EventStore(place / DATABASE) as store:
            raw = workload.raw_connection(place / DATABASE, "FULL")

            def raw_pages() -> Iterator[int]:
                after = 0
                while page := raw.execute(tables.SELECT_LOG_PAGE, (after, 2**63 - 1, PAGE)).fetchall():
                    yield len(page)
                    after = page[-1][0]

            sides = [stretches(lambda: map(len, store.pages())), stretches(raw_pages)]
            if self._has_eventsourcing:
                sides.append(stretches(self._peer_shop().read))
            # The machine's pace changes within a second: the sides take turns along the log, not at the whole of it.
            ours, theirs, *peers = in_turns(self._times(max(self._events, 200_000)) // STRETCH, *sides)
            raw.close()
        what = f"typed read of {self._events:,} events"
        yield compared("read", what, ours, theirs, limit=0.55, peer="eventsourcing", peer_limit=3, peers=peers)
        yield self._memory("read", 80)

    def _peer_shop(self) -> Shop:
        from peer_eventsourcing import Shop

        return Shop(self._peer_log(), "FULL")

    def _memory(self, what: str, below: float | None) -> Row:
        """Peak memory of a fresh process that does nothing else."""
        command = [sys.executable, str(_CHILD), what, str(self._full_log())]
        peak = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 1e6
        return Row(what, "- peak memory, workers included", peak, " MB", below=below)

    # --- datasets ----------------------------------------------------------------------------------------------------

    def build(self) -> Iterator[Row]:
        built, exported = [], []

        def ours_side(workspace: trainerlib.Workspace) -> float:
            began = time.perf_counter()
            dataset = workspace.datasets.build(f"round-{next(self._numbers)}")
            middle = time.perf_counter()
            dataset.export(workspace.path / "chat.jsonl", format="openai-chat")
            end = time.perf_counter()
            if dataset.examples < dataset.candidates * 0.95:
                raise SystemExit("the data repeats itself: most of it was left out")
            built.append(middle - began)
            exported.append(end - middle)
            return dataset.position / (end - began)

        messages = self._events // workload.EVENTS * workload.MESSAGES
        yield self._beside_fetching("build", f"build and export {messages:,} messages", ours_side, limit=0.2)
        yield Row("build", "- of that, the build", median(built), " s")
        yield Row("build", "- of that, the export", median(exported), " s")
        yield self._memory("build", 200)

    def filters(self) -> Iterator[Row]:
        def ours_side(workspace: trainerlib.Workspace) -> float:
            began = time.perf_counter()
            dataset = workspace.datasets.build(f"round-{next(self._numbers)}", workload.EVERY_FILTER)
            if dataset.examples < dataset.candidates * 0.9:
                raise SystemExit(f"most of it was left out: {dataset}")
            return dataset.position / (time.perf_counter() - began)

        messages = self._events // workload.EVENTS * workload.MESSAGES
        yield self._beside_fetching("filters", f"build {messages:,} messages, every filter on", ours_side, limit=0.15)
        # The limit is for 300,000 turns: the near-duplicates index grows by about 3 kB a conversation.
        yield self._memory("filters", 300 if self._events <= 400_000 else None)

    def _beside_fetching(
        self, measure: str, what: str, ours: Callable[[trainerlib.Workspace], float], *, limit: float
    ) -> Row:
        """Events a second of a build, beside fetching the rows it reads."""
        place = self._full_log()
        with trainerlib.open(place) as workspace:
            raw = workload.raw_connection(place / DATABASE, "FULL")

            def raw_side() -> float:
                began = time.perf_counter()
                events = 0
                at = 0, 0
                while page := raw.execute(tables.SELECT_EVENTS_BY_STREAM, (*at, LAST, LAST, PAGE)).fetchall():
                    events += len(page)
                    at = page[-1][1], page[-1][2]
                return events / (time.perf_counter() - began)

            raw_side()
            built, fetched = in_turns(self._rounds(7), lambda: ours(workspace), raw_side)
            raw.close()
        return compared(measure, what, built, fetched, limit=limit)

    # --- a reply -----------------------------------------------------------------------------------------------------

    def reply(self) -> Iterator[Row]:
        what = f"overhead of one reply at {self._events:,} events"
        for corrections, flush, limit, words in (
            (0, True, 5, what),
            (0, False, None, "- as the bots ask for it, flushed once"),
            (1_000, True, None, f"- {1_000:,} corrections to recall from"),
        ):
            first, ours, theirs = self._replies(corrections, flush=flush)
            slow, slow_raw = (median(percentile(taken, 0.99) for taken in side) for side in (ours, theirs))
            usual, usual_raw = (median(map(median, side)) for side in (ours, theirs))
            yield Row("reply", f"{words}, p99", slow * 1000, " ms", slow_raw * 1000, below=limit)
            yield Row("reply", "- median", usual * 1000, " ms", usual_raw * 1000)
            yield Row("reply", "- the first, which looks through the log", first * 1000, " ms")

    def _replies(self, corrections: int, *, flush: bool) -> tuple[float, list[list[float]], list[list[float]]]:
        """Seconds of each reply by a model that takes no time: recorded, shown, recalled, recorded.

        Of the first; then, after some more that warm up, of rounds of them, and in turns with these of two raw inserts each.

        Args:
            corrections: how many there are to recall from.
            flush: the question is on the disk before the reply is asked for, not with it; on the raw side in a commit of
                its own.
        """
        ours_place, raw_place = self._copy(), self._copy()
        conversations = max(self._events // workload.EVENTS, 1)
        times = self._times(1_000)
        numbers = [number * 7_919 % conversations for number in range(20 + self._rounds(5, whole=False) * times)]
        said, raw_said = enumerate(numbers), enumerate(numbers[20:])
        raw = workload.raw_connection(raw_place / DATABASE, "FULL")

        async def answer(workspace: trainerlib.Workspace, times: int) -> list[float]:
            taken = []
            for index, number in islice(said, times):
                words = workload.question(index)
                began = time.perf_counter()
                chat = workspace.conversation(workload.name(number))
                if flush:
                    question = chat.record("user", words, author="telegram:7", key=f"live:{index}")
                else:
                    question = await chat.record_async(
                        "user", words, author="telegram:7", key=f"live:{index}", flush=False
                    )
                await workspace.reply(chat, to=question)
                taken.append(time.perf_counter() - began)
            return taken

        def commits() -> list[float]:
            taken = []
            for index, number in islice(raw_said, times):
                event = MessageRecorded("user", workload.question(index), "telegram:7")
                rows = [
                    workload.raw_event(None, number + 1, workload.EVENTS + step, event, f"live:{index}:{step}")
                    for step in (1, 2)
                ]
                began = time.perf_counter()
                for row in rows:
                    raw.execute(workload.INSERT_EVENT, row)
                    if flush or row is rows[-1]:
                        raw.commit()
                taken.append(time.perf_counter() - began)
            return taken

        with synchronous("FULL"), trainerlib.open(ours_place) as workspace, asyncio.Runner() as runner, closing(raw):
            for number in range(self._times(corrections)):
                chat = workspace.conversation(f"taught:{number}")
                chat.record("user", workload.question(number * 3 + 1), author="telegram:8")
                reply = chat.record("assistant", "I do not know.")
                workspace.correct(reply.id, workload.question(number + 7), by="telegram:1")
            first, *_ = runner.run(answer(workspace, 20))
            ours, theirs = in_turns(self._rounds(5, whole=False), lambda: runner.run(answer(workspace, times)), commits)
        shutil.rmtree(ours_place)
        shutil.rmtree(raw_place)
        return first, ours, theirs

    # --- import ------------------------------------------------------------------------------------------------------

    def start(self) -> Iterator[Row]:
        def python(code: str) -> Callable[[], float]:
            def run() -> float:
                began = time.perf_counter()
                subprocess.run([sys.executable, "-c", code], check=True)
                return (time.perf_counter() - began) * 1000

            return run

        sides = [python("pass"), python("import trainerlib"), python("import trainerlib; trainerlib.open")]
        nothing, imported, ready = in_turns(3 if self._quick else 9, *sides)
        own = median(later - first for first, later in zip(nothing, imported, strict=True))
        all_in = median(later - first for first, later in zip(nothing, ready, strict=True))
        yield Row("start", "import trainerlib", own, " ms", below=150)
        yield Row("start", "- and its first use, trainerlib.open", all_in, " ms")


MEASURES: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "bulk": Bench.bulk,
    "append": Bench.append,
    "writers": Bench.writers,
    "read": Bench.read,
    "build": Bench.build,
    "filters": Bench.filters,
    "reply": Bench.reply,
    "start": Bench.start,
}


def installed(package: str) -> str:
    with suppress(PackageNotFoundError):
        return version(package)
    return "not installed"


def show(table: Table) -> None:
    """The table as Markdown, aligned."""
    lines = [_HEADER, *(row.cells() for row in table.rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADER))]
    lines.insert(1, ["-" * width for width in widths])
    print(f"\nA log of {table.events:,} events\n")
    for line in lines:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |")


def main() -> int:
    parser = argparse.ArgumentParser(description="The table of figures: ratios in one run, on the same schema.")
    parser.add_argument("--events", type=int, nargs="+", default=[100_000, 1_000_000], help="sizes of the log")
    parser.add_argument("--quick", action="store_true", help="10,000 events, few repetitions; never fails on a limit")
    parser.add_argument("--only", action="append", choices=list(MEASURES), help="only this row; may be repeated")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    parser.add_argument("--directory", type=Path, help="make the files here, on the disk to measure")
    options = parser.parse_args()
    sizes = [10_000] if options.quick else options.events
    for name in list(os.environ):
        if name.startswith("TRAINERLIB_"):
            del os.environ[name]
    with tempfile.TemporaryDirectory(prefix="trainerlib-bench-", dir=options.directory) as made:
        directory = Path(made)
        machine = Machine(
            platform.python_version(),
            sqlite3.sqlite_version,
            installed("eventsourcing"),
            installed("SQLAlchemy"),
            os.cpu_count() or 1,
            flush_time(directory),
        )
        print(
            f"Python {machine.python}, SQLite {machine.sqlite}, eventsourcing {machine.eventsourcing}, "
            f"SQLAlchemy {machine.sqlalchemy}, {machine.cores} cores, a flush to this disk {machine.flush_ms:.2f} ms"
        )
        report = Report(machine, [])
        for events in sizes:
            place = directory / str(events)
            place.mkdir()
            bench = Bench(place, events, quick=options.quick)
            table = Table(events, [])
            for name, measure in MEASURES.items():
                if options.only and name not in options.only:
                    continue
                print(f"{events:,} events: {name} ...", file=sys.stderr, flush=True)
                table.rows += measure(bench)
            show(table)
            report.tables.append(table)
            shutil.rmtree(place)
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    missed = [
        f"{row.what.removeprefix('- ')}: {limit}"
        for table in report.tables
        for row in table.rows
        for limit, kept in row.limits()
        if not kept
    ]
    if missed:
        print("\nmissed:\n  " + "\n  ".join(missed))
    return 1 if missed and not options.quick else 0


if __name__ == "__main__":
    sys.exit(main())
