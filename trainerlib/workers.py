"""Conversations prepared for a dataset by several processes at once, handed back in the order they began.

What one conversation offers depends on no other, and Python runs one thread of it at a time, so a large log is dealt out
in blocks of streams, to worker processes and to this one, to each the next block when it is done with one: a worker reads
its blocks from the file and sends back what it prepared, and this process prepares some itself whenever it would wait for
them. Workers are plain interpreters that read a job from stdin, so a build needs no `if __name__ == "__main__"` in the
script that starts it, and works in a notebook. A worker whose parent is gone ends at its next write.
"""

from __future__ import annotations

import gc
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import msgspec

if sys.platform == "linux":
    import fcntl

from trainerlib import errors
from trainerlib.candidates import Prepared, Preparer
from trainerlib.consent import Permissions
from trainerlib.conversations import Conversation, fold
from trainerlib.events import JsonObject
from trainerlib.recipes import Recipe
from trainerlib.store.rows import Rows, Statements, reading

_BLOCK = 64
"""Streams that are dealt out at a time."""

_TOGETHER = 16
"""Conversations prepared step by step together: enough to keep each step's code in the processor's cache, and few enough
to keep them there too."""

_FRAME = 1 << 18
"""Bytes of prepared lines from which a worker sends what it has."""

_EVENTS = 4_096
"""Events after which it sends what it has, however little they came to."""

_AHEAD = 8
"""Frames that may wait for their turn, of each worker and of this process."""

_DEALT = 3
"""Blocks that a worker has at once, so that it need not wait for the next one."""

_PIPE = 1 << 20
"""Bytes of a worker's that are read at once: a thread that reads waits a few milliseconds for the interpreter each time."""

_ENDS = 1.0
"""Seconds within which a worker that said its last has ended."""

_START = "import sys, json; sys.path[:] = json.loads(sys.argv[1]); from trainerlib.workers import main; main()"


class _Job(msgspec.Struct, frozen=True):
    """What a worker does; the numbers of its blocks follow, a line each."""

    path: str
    statements: Statements
    recipe: JsonObject
    permissions: Permissions
    until: int
    last: int


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


def prepare(rows: Rows, preparer: Preparer, *, until: int, after: int = 0, last: int) -> Iterator[Batch]:
    """Conversations prepared in this process.

    Args:
        rows: the log.
        preparer: what to take, and how.
        until: leave out events after this log position.
        after: leave out streams up to this id.
        last: leave out streams after this id.
    """
    prepared: list[Prepared] = []
    read = size = 0
    some: list[Conversation] = []
    for events in rows.by_stream(after=after, last=last, until=until):
        read += len(events)
        if events[0].stream.startswith("conversation/"):
            some.append(fold(events))
        if len(some) < _TOGETHER and read <= _EVENTS:
            continue
        made = preparer.prepare_all(some)
        some.clear()
        prepared += made
        size += sum([len(one.line) for one in made])
        if size > _FRAME or read > _EVENTS:
            yield Batch(read, prepared)
            prepared = []
            read = size = 0
    yield Batch(read, prepared + preparer.prepare_all(some))


def _frames(rows: Rows, preparer: Preparer, block: int, *, until: int, last: int) -> Iterator[_Frame]:
    """A block, as whoever prepares it hands it over."""
    after = block * _BLOCK
    for batch in prepare(rows, preparer, until=until, after=after, last=min(after + _BLOCK, last)):
        yield _Frame(batch.events, batch.prepared)
    yield _Frame(0, [], ends=True)


def count(wanted: int | None, events: int) -> int:
    """How many processes a build of so many events is worth: at least 1, which is this one.

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
    """Worker processes that prepare the conversations of a log together with this one.

    Args:
        path: the file of the log.
        statements: the SQL to read it with.
        rows: the log, as this process reads it.
        recipe: what to take, and how.
        permissions: whose words may be used.
        until: leave out events after this log position.
        last: id of the stream that began last.
        workers: how many processes, besides this one.

    Raises:
        OSError: a process cannot be started.
    """

    def __init__(
        self,
        path: Path,
        statements: Statements,
        rows: Rows,
        recipe: Recipe,
        permissions: Permissions,
        *,
        until: int,
        last: int,
        workers: int,
    ) -> None:
        self._blocks = _Blocks(-(-last // _BLOCK))
        preparer = Preparer(recipe, permissions)
        self._here = _Here(self._blocks, lambda block: _frames(rows, preparer, block, until=until, last=last))
        job = _Job(str(path), statements, recipe.to_json(), permissions, until, last)
        self._stack = ExitStack()
        with self._stack:
            for worker in [self._stack.enter_context(_Worker(job, self._blocks)) for _ in range(workers)]:
                worker.start()
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
        for block in range(self._blocks.number):
            while True:
                frame = self._frame(block)
                yield frame
                if frame.ends:
                    break

    def _frame(self, block: int) -> _Frame:
        """The next one of a block; this process does some work of its own until it is there."""
        while True:
            holder = self._blocks.holder(block)
            waits = holder is None or not holder.ready
            if waits and self._here.step():
                continue
            if holder is not None:
                return holder.frame()


class _Blocks:
    """The blocks of a log, dealt out in order to whoever can take one.

    Attributes:
        number: how many there are.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self._holders: list[_Worker | _Here] = []
        self._lock = threading.Lock()

    def deal(self, holder: _Worker | _Here) -> int | None:
        """The next one is now this one's; `None` when there are no more."""
        with self._lock:
            if len(self._holders) == self.number:
                return None
            self._holders.append(holder)
            return len(self._holders) - 1

    def holder(self, block: int) -> _Worker | _Here | None:
        """Who prepares a block; `None` when that is not known yet."""
        with self._lock:
            return self._holders[block] if block < len(self._holders) else None


class _Here:
    """This process, as one of those that prepare blocks."""

    def __init__(self, blocks: _Blocks, frames: Callable[[int], Iterator[_Frame]]) -> None:
        self._blocks = blocks
        self._of = frames
        self._frames: deque[_Frame] = deque()
        self._running: Iterator[_Frame] | None = None

    @property
    def ready(self) -> bool:
        """Whether a frame is there."""
        return bool(self._frames)

    def frame(self) -> _Frame:
        """The next one that was prepared."""
        return self._frames.popleft()

    def step(self) -> bool:
        """Prepare one more frame, of the block that was begun or of another one; tells whether that was possible."""
        if len(self._frames) >= _AHEAD:
            return False
        if self._running is None:
            block = self._blocks.deal(self)
            if block is None:
                return False
            self._running = self._of(block)
        frame = next(self._running)
        if frame.ends:
            self._running = None
        self._frames.append(frame)
        return True


class _Worker:
    """One process, and the thread that starts it, reads what it sends ahead of its turn, and deals it more.

    Ctrl-C interrupts the main thread alone, so no process is half begun.
    """

    def __init__(self, job: _Job, blocks: _Blocks) -> None:
        self._job = job
        self._blocks = blocks
        self._process: subprocess.Popen[bytes] | None = None
        self._failed: OSError | None = None
        self._begun = threading.Event()
        self._frames: queue.Queue[_Frame | None] = queue.Queue(_AHEAD)
        self._stopped = False
        self._wanted = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Start the process.

        Raises:
            OSError: it cannot be started, or the thread cannot.
        """
        self._wanted = True
        try:
            self._thread.start()
        except RuntimeError as error:
            self._wanted = False
            raise OSError(str(error)) from error
        self._begun.wait()
        if self._failed is not None:
            raise self._failed

    @property
    def ready(self) -> bool:
        """Whether the next thing it sent is there."""
        return not self._frames.empty()

    def frame(self) -> _Frame:
        """The next thing it sent."""
        frame = self._frames.get()
        if frame is None:
            raise errors.StoreError(f"a worker of the build ended early, with status {self._ended()}")
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
        if self._wanted:
            # Whoever was interrupted in `start` cannot know whether there will be a thread.
            self._begun.wait(_ENDS if self._thread.ident is None else None)
        if self._process is None:
            return
        self._process.kill()
        while self._thread.is_alive():
            # The thread may wait for room in the queue.
            try:
                self._frames.get(timeout=0.01)
            except queue.Empty:
                continue
        self._process.__exit__(kind, error, trace)

    def _ended(self) -> int:
        """The status of the process, which sends nothing that can be read any more."""
        process: subprocess.Popen[bytes] = self._process  # type: ignore[assignment] # it was started
        try:
            return process.wait(timeout=_ENDS)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def _deal(self) -> None:
        """Give it another block, or tell it that there are no more."""
        block = self._blocks.deal(self)
        if block is None:
            self._close()
        else:
            self._write(b"%d" % block)

    def _write(self, line: bytes) -> None:
        if self._input.closed:
            return
        try:
            self._input.write(line + b"\n")
            self._input.flush()
        except BrokenPipeError:
            # It has ended; `frame` tells.
            self._close()

    def _close(self) -> None:
        # What could not be written is tried once more.
        with suppress(BrokenPipeError):
            self._input.close()

    def _run(self) -> None:
        try:
            self._process = None if self._stopped else _process()
        except OSError as error:
            self._failed = error
        finally:
            self._begun.set()
        if self._process is not None:
            self._input: BinaryIO = self._process.stdin  # type: ignore[assignment] # a pipe, as asked for
            self._read(self._process.stdout)  # type: ignore[arg-type] # likewise

    def _read(self, output: BinaryIO) -> None:
        try:
            self._write(msgspec.json.encode(self._job))
            for _ in range(_DEALT):
                self._deal()
            while not self._stopped and len(head := output.read(4)) == 4:
                data = output.read(int.from_bytes(head))
                try:
                    frame = _decode(data)
                except msgspec.MsgspecError:
                    break  # Killed in the middle of a frame.
                if frame.ends:
                    self._deal()
                self._frames.put(frame)
        finally:
            self._close()
            # Whatever happens here, nobody waits for ever.
            self._frames.put(None)


def _process() -> subprocess.Popen[bytes]:
    """A worker that was given nothing yet."""
    if not sys.executable:
        raise OSError("nobody knows which Python this is")
    process = subprocess.Popen(  # noqa: S603 - this very interpreter, and a constant
        [sys.executable, "-I", "-c", _START, msgspec.json.encode(sys.path).decode()],
        bufsize=_PIPE,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    if sys.platform == "linux" and process.stdout is not None:
        # The usual 64 KiB are full before the thread that reads has its turn.
        with suppress(OSError):
            fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, _PIPE)
    return process


def main() -> None:
    """Do the job on stdin: what a worker process runs."""
    # Ctrl-C reaches the whole group; the parent decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Nothing that is made of a conversation holds itself, so there is little to be found by looking often.
    gc.set_threshold(100_000)
    # A filter of the user's may read and print: that is not what goes to and fro here.
    orders, output = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    job = msgspec.json.decode(orders.readline(), type=_Job)

    def send(frame: _Frame) -> None:
        data = _encode(frame)
        output.write(len(data).to_bytes(4) + data)
        output.flush()

    try:
        try:
            with reading(Path(job.path), job.statements) as rows:
                preparer = Preparer(Recipe.from_json(job.recipe), job.permissions)
                for line in orders:
                    for frame in _frames(rows, preparer, int(line), until=job.until, last=job.last):
                        send(frame)
        except errors.TrainerlibError as error:
            send(_Frame(0, [], error=(type(error).__name__, str(error))))
    except BrokenPipeError:
        # The parent is gone; so is the reason to go on, and whoever would read a message.
        os._exit(1)
