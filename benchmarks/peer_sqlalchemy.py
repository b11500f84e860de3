"""Concurrent writers on SQLAlchemy's async engine over aiosqlite, with its default pool."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import workload
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import create_async_engine

from trainerlib.store import tables


async def write(path: Path, *, writers: int, each: int, version: int) -> tuple[float, list[float]]:
    """Insert and commit one event a transaction; gives the seconds it took and the latency of each.

    Args:
        path: a file with the library's schema, in WAL mode; new connections are at SQLite's own `synchronous`, FULL.
        writers: coroutines, each with a stream of its own.
        each: inserts of each.
        version: version before the first insert in each stream.
    """
    engine = create_async_engine(f"sqlite+aiosqlite:///{path}", connect_args={"timeout": 60})
    columns = [column.name for column in tables.events.columns][1:]
    statement = insert(tables.events)
    latencies: list[float] = []

    async def writer(number: int, first: int, count: int) -> None:
        for index in range(first, first + count):
            said = workload.message(number, index)
            row = workload.raw_event(None, number + 1, index, said, f"peer:{number}:{index}")
            values = dict(zip(columns, row[1:], strict=True))
            began = time.perf_counter()
            async with engine.begin() as connection:
                await connection.execute(statement, values)
            latencies.append(time.perf_counter() - began)

    try:
        # The first of each opens the pool's connections and compiles the statement.
        await asyncio.gather(*(writer(number, version + 1, 1) for number in range(writers)))
        latencies.clear()
        began = time.perf_counter()
        await asyncio.gather(*(writer(number, version + 2, each) for number in range(writers)))
        return time.perf_counter() - began, latencies
    finally:
        await engine.dispose()
