"""A build: the pipeline run over the log up to a position, and the files it writes."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Self

import msgspec

from trainerlib.candidates import Preparer
from trainerlib.consent import STREAMS, Permissions, fold
from trainerlib.datasets import Pipeline
from trainerlib.events import DatasetBuilt
from trainerlib.recipes import SPLITS, Recipe
from trainerlib.store.eventstore import EventStore
from trainerlib.store.tables import READING
from trainerlib.workers import Batch, Workers, count, prepare

Progress = Callable[[int, int], None]
"""Called with how much is done and how much there is."""

EXCLUDED = "excluded.jsonl"
"""Name of the file that lists every candidate left out, and why."""

BUFFER = 1 << 20
"""Bytes read or written at once."""

_encode = msgspec.json.Encoder().encode


class Building:
    """A directory that exists while something is made in it, and is gone afterwards, whatever happens."""

    def __init__(self, parent: Path) -> None:
        self._directory = parent / f".building-{os.getpid()}-{uuid.uuid4().hex[:8]}"

    def __enter__(self) -> Path:
        self._directory.mkdir(parents=True)
        return self._directory

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)


class HashingFile:
    """Hashes what is written and writes it to a stream, if there is one, each in a thread: neither needs the interpreter.

    Args:
        stream: where it goes.
        buffer: bytes handed over at once. A thread that is done waits a few milliseconds until a busy interpreter lets
            it have the next, so where rows are made without a pause only a large buffer keeps it at work.
    """

    def __init__(self, stream: BinaryIO | None, buffer: int = BUFFER) -> None:
        self._digest = sha256()
        self._waiting: list[bytes] = []
        self._size = 0
        self._buffer = buffer
        takers: list[Callable[[bytes], object]] = [self._digest.update]
        takers += [] if stream is None else [stream.write]
        self._takers = [(take, ThreadPoolExecutor(1)) for take in takers]
        self._pending: list[Future[object]] = []

    def write(self, data: bytes) -> None:
        """Take more; it is handed over when there is enough of it."""
        self._waiting.append(data)
        self._size += len(data)
        if self._size > self._buffer:
            self._hand_over()

    def finish(self) -> str:
        """Wait until everything is written; its hex digest."""
        self._hand_over()
        self._wait()
        return self._digest.hexdigest()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for _take, thread in self._takers:
            thread.shutdown()

    def _wait(self) -> None:
        for pending in self._pending:
            pending.result()

    def _hand_over(self) -> None:
        # One buffer at a time, so that memory stays flat and a full disk is noticed.
        self._wait()
        data = b"".join(self._waiting)
        self._pending = [thread.submit(take, data) for take, thread in self._takers]
        self._waiting.clear()
        self._size = 0


def permissions(store: EventStore, position: int) -> Permissions:
    """Whose words may be used, as of a log position."""
    return fold(recorded for beginning in STREAMS for recorded in store.read_named(beginning, until=position))


def _prepared(
    stack: ExitStack, store: EventStore, recipe: Recipe, position: int, workers: int | None
) -> Iterator[Batch]:
    """What every conversation offers, in the order they began: from other processes where that is faster."""
    last = store.last_stream_id
    allowed = permissions(store, position)
    number = count(workers, position)
    if number > 1:
        try:
            several = Workers(
                store.path, READING, store.rows, recipe, allowed, until=position, last=last, workers=number - 1
            )
        except OSError:
            # No process can be started here; this one can do it all.
            pass
        else:
            return stack.enter_context(several).batches()
    return prepare(store.rows, Preparer(recipe, allowed), until=position, last=last)


def run(
    store: EventStore,
    recipe: Recipe,
    position: int,
    directory: Path | None,
    *,
    progress: Progress | None = None,
    workers: int | None = None,
) -> DatasetBuilt:
    """Run the pipeline over the log up to a position; write the files when there is a directory for them."""
    names = [f"{name}.jsonl" for name in SPLITS if getattr(recipe.split, name) > 0] + [EXCLUDED]
    pipeline = Pipeline(recipe)
    done = 0
    with ExitStack() as stack:
        files: dict[str, HashingFile] = {}
        for name in names:
            stream = stack.enter_context((directory / name).open("wb")) if directory is not None else None
            files[name] = stack.enter_context(HashingFile(stream))
        for batch in _prepared(stack, store, recipe, position, workers):
            for prepared in batch.prepared:
                taken = pipeline.place(prepared)
                if taken.line:
                    files[f"{taken.split}.jsonl"].write(taken.line + b"\n")
                for exclusion in taken.excluded:
                    files[EXCLUDED].write(_encode(exclusion) + b"\n")
            done += batch.events
            if progress is not None and batch.events:
                progress(done, position)
        digests = {name: file.finish() for name, file in files.items()}
    excluded = dict(sorted(pipeline.excluded.items(), key=lambda item: (-item[1], item[0])))
    return DatasetBuilt("", 0, recipe.to_json(), position, pipeline.candidates, pipeline.examples, excluded,
                        pipeline.splits, digests, pipeline.disagreements, dict(sorted(pipeline.redacted.items())),
                        dict(sorted(pipeline.bases.items())))  # fmt: skip
