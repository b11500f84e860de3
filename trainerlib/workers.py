"""Conversations prepared for a dataset by several processes at once, handed back in the order they began.

What one conversation offers depends on no other, and Python runs one thread of it at a time, so a large log is dealt to
worker processes: each reads its own blocks of streams from the file and sends back what it prepared. They are plain
interpreters that read a job from stdin, so a build needs no `if __name__ == "__main__"` in the script that starts it,
and works in a notebook. A worker whose parent is gone ends at its next write.
"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import msgspec

from trainerlib import errors
from trainerlib.candidates import Prepared, Preparer
from trainerlib.consent import Permissions
from trainerlib.conversations import Conversation, fold
from trainerlib.events import JsonObject
from trainerlib.recipes import Recipe
from trainerlib.store.rows import Rows, Statements, reading

_BLOCK = 128
"""Streams a worker takes at a time."""

_TOGETHER = 16
"""Conversations prepared step by step together: enough to keep each step's code in the processor's cache, and few enough
to keep them there too."""

_FRAME = 1 << 18
"""Bytes of prepared lines from which a worker sends what it has."""

_EVENTS = 4_096
"""Events after which it sends what it has, however little they came to."""

_AHEAD = 8
"""Frames of a worker that may wait for their turn."""

_START = "import sys, json; sys.path[:] = json.loads(sys.argv[1]); from trainerlib.workers import main; main()"


class _Job(msgspec.Struct, frozen=True):
    """What one of `workers` workers does: every `workers`-th block of streams, beginning with its own number."""

    path: str
    statements: Statements
    recipe: JsonObject
    permissions: Permissions
    until: int
    last: int
    number: int
    workers: int


class Batch(msgspec.Struct, frozen=True, array_like=True):
    """Some conversations, prepared.

    Attributes:
        events: how many events were read for them.
        prepared: what each offers, in the order they began.
    """

    events: int
    prepared: list[Prepared]


class _Frame(Batch, frozen=True, array_like=True):
    """What a worker sends: a batch, whether its block ends with it, or the name and words of an error."""

    ends: bool = False
    error: tuple[str, str] | None = None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Frame).decode


def prepare(
    rows: Rows, recipe: Recipe, permissions: Permissions, *, until: int, after: int = 0, last: int
) -> Iterator[Batch]:
    """Conversations prepared in this process.

    Args:
        rows: the log.
        recipe: what to take, and how.
        permissions: whose words may be used.
        until: leave out events after this log position.
        after: leave out streams up to this id.
        last: leave out streams after this id.
    """
    several = Preparer(recipe, permissions).prepare_all
    prepared: list[Prepared] = []
    read = size = 0
    some: list[Conversation] = []
    for events in rows.by_stream(after=after, last=last, until=until):
        read += len(events)
        if events[0].stream.startswith("conversation/"):
            some.append(fold(events))
        if len(some) < _TOGETHER and read <= _EVENTS:
            continue
        made = several(some)
        some.clear()
        prepared += made
        size += sum([len(one.line) for one in made])
        if size > _FRAME or read > _EVENTS:
            yield Batch(read, prepared)
            prepared = []
            read = size = 0
    yield Batch(read, prepared + several(some))


def count(wanted: int | None, events: int) -> int:
    """How many workers a build of so many events is worth: at least 1, which is this process itself.

    Args:
        wanted: as many as this; `None` for as many as there are cores, once their start is worth it.
        events: how many there are to read.

    >>> count(None, 1_000), count(3, 1_000)
    (1, 3)
    """
    if wanted is not None:
        return max(1, wanted)
    # A frozen application is its own interpreter: starting it again would start the application.
    if events < 50_000 or not sys.executable or getattr(sys, "frozen", False):
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, 8)


class Workers:
    """Worker processes that prepare the conversations of a log.

    Args:
        path: the file of the log.
        statements: the SQL to read it with.
        recipe: what to take, and how.
        permissions: whose words may be used.
        until: leave out events after this log position.
        last: id of the stream that began last.
        workers: how many processes.

    Raises:
        OSError: a process cannot be started.
    """

    def __init__(
        self,
        path: Path,
        statements: Statements,
        recipe: Recipe,
        permissions: Permissions,
        *,
        until: int,
        last: int,
        workers: int,
    ) -> None:
        self._last = last
        self._stack = ExitStack()
        self._workers: list[_Worker] = []
        with self._stack:
            for number in range(workers):
                job = _Job(str(path), statements, recipe.to_json(), permissions, until, last, number, workers)
                self._workers.append(self._stack.enter_context(_Worker(job)))
            self._stack = self._stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def batches(self) -> Iterator[Batch]:
        """Every conversation, in the order they began.

        Raises:
            TrainerlibError: what a worker met, or that one was killed.
        """
        for block in range(-(-self._last // _BLOCK)):
            worker = self._workers[block % len(self._workers)]
            while True:
                frame = worker.frame()
                yield frame
                if frame.ends:
                    break


class _Worker:
    """One process, and the thread that reads what it sends ahead of its turn."""

    def __init__(self, job: _Job) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - this very interpreter, and a constant
            [sys.executable, "-I", "-c", _START, msgspec.json.encode(sys.path).decode()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._frames: queue.Queue[_Frame | None] = queue.Queue(_AHEAD)
        self._stopped = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        try:
            self._input.write(msgspec.json.encode(job) + b"\n")
            self._input.flush()
        except BrokenPipeError:
            pass  # It ended at once; `frame` tells.

    @property
    def _input(self) -> BinaryIO:
        return self._process.stdin  # type: ignore[return-value] # a pipe, as asked for

    def frame(self) -> _Frame:
        """The next thing it sent."""
        frame = self._frames.get()
        if frame is None:
            raise errors.StoreError(f"a worker of the build ended early, with status {self._process.wait()}")
        if frame.error is not None:
            name, words = frame.error
            raise getattr(errors, name)(words)
        return frame

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped = True
        self._process.kill()
        while self._thread.is_alive():
            # The thread may wait for room in the queue.
            try:
                self._frames.get(timeout=0.01)
            except queue.Empty:
                continue
        self._process.__exit__(kind, error, trace)

    def _read(self) -> None:
        output: BinaryIO = self._process.stdout  # type: ignore[assignment] # a pipe, as asked for
        while not self._stopped and len(head := output.read(4)) == 4:
            data = output.read(int.from_bytes(head))
            try:
                self._frames.put(_decode(data))
            except msgspec.MsgspecError:
                break  # Killed in the middle of a frame.
        self._frames.put(None)


def main() -> None:
    """Do the job on stdin: what a worker process runs."""
    # Ctrl-C reaches the whole group; the parent decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    job = msgspec.json.decode(sys.stdin.buffer.readline(), type=_Job)
    output = sys.stdout.buffer

    def send(frame: _Frame) -> None:
        data = _encode(frame)
        output.write(len(data).to_bytes(4) + data)
        output.flush()

    try:
        try:
            with reading(Path(job.path), job.statements) as rows:
                recipe = Recipe.from_json(job.recipe)
                for after in range(job.number * _BLOCK, job.last, job.workers * _BLOCK):
                    last = min(after + _BLOCK, job.last)
                    for batch in prepare(rows, recipe, job.permissions, until=job.until, after=after, last=last):
                        send(_Frame(batch.events, batch.prepared))
                    send(_Frame(0, [], ends=True))
        except errors.TrainerlibError as error:
            send(_Frame(0, [], error=(type(error).__name__, str(error))))
    except BrokenPipeError:
        # The parent is gone; so is the reason to go on, and whoever would read a message.
        os._exit(1)
