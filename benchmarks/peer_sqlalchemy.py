"""Concurrent writers on SQLAlchemy's async engine over aiosqlite, with its default pool."""

from __future__ import annotations

import asyncio
import time
from itertools import count
from pathlib import Path

import workload
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import create_async_engine

from trainerlib.store import tables


async def write(path: Path, *, writers: int, chats: int, each: int, start: int) -> tuple[float, list[float]]:
    """Insert and commit one event a transaction; gives the seconds it took and the latency of each.

    Args:
        path: a file with the library's schema, in WAL mode; new connections are at SQLite's own `synchronous`, FULL.
        writers: coroutines.
        chats: streams they write to: one, or one each.
        each: inserts of each.
        start: inserts of each that earlier calls made.
    """
    engine = create_async_engine(f"sqlite+aiosqlite:///{path}", connect_args={"timeout": 60})
    columns = [column.name for column in tables.events.columns][1:]
    statement = insert(tables.events)
    latencies: list[float] = []
    # Nobody else writes, so the versions are known without asking.
    versions = [count(workload.EVENTS + 1 + start * (writers // chats)) for _ in range(chats)]

    async def writer(number: int, first: int, times: int) -> None:
        for index in range(first, first + times):
            said = workload.message(number, index)
            natural = workload.live_key(number, index, chats)
            row = workload.raw_event(None, number % chats + 1, next(versions[number % chats]), said, natural)
            values = dict(zip(columns, row[1:], strict=True))
            began = time.perf_counter()
            async with engine.begin() as connection:
                await connection.execute(statement, values)
            latencies.append(time.perf_counter() - began)

    try:
        # The first of each opens the pool's connections and compiles the statement.
        await asyncio.gather(*(writer(number, start, 1) for number in range(writers)))
        latencies.clear()
        began = time.perf_counter()
        await asyncio.gather(*(writer(number, start + 1, each) for number in range(writers)))
        return time.perf_counter() - began, latencies
    finally:
        await engine.dispose()
