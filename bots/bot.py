"""What every command of a bot works with: the workspace, the talk, the jobs, and threads for what takes long."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec

from bots.job_following import Following
from bots.port import Caller, Request, Role, Say
from bots.roles import allows
from trainerlib import TrainerlibError, Workspace

if TYPE_CHECKING:
    from bots.dialogue import Dialogue

EVERY = 2.0
"""Seconds between two words on how far something is."""

_THREADS = 8

T = TypeVar("T")
Progress = Callable[[int, int], None]


class MisuseError(TrainerlibError):
    """A command cannot be done as it was asked for. The message is a sentence in the language of whoever asked."""


class Bot:
    """What a command works with.

    Attributes:
        workspace: whose bot it is. Its store, and so all of it, may be used by any number of threads; a handle, such as a
            `Job` or a `Dataset`, by one at a time.
        dialogue: what the talk is: conversations, corrections, consent.
        jobs: the training jobs that this process drives.
        largest: bytes of the largest file that is sent.
        every: seconds between two words on how far something is.
        testing: held by whoever asks models cases: two that ask the same ones write the same files.

    Args:
        workspace: whose bot it is.
        dialogue: what the talk is.
        largest: bytes of the largest file that is sent.
        every: seconds between two words on how far something is.
    """

    def __init__(self, workspace: Workspace, dialogue: Dialogue, *, largest: int, every: float = EVERY) -> None:
        self.workspace = workspace
        self.dialogue = dialogue
        self.largest = largest
        self.every = every
        self.testing = asyncio.Lock()
        # Threads of its own: what takes long must not keep the replies waiting, which use those of the event loop.
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="command")
        self._stopping = threading.Event()
        self.jobs = Following(workspace, self.thread, every)

    def allows(self, role: Role, what: str) -> bool:
        """Whether people of a role may use a command, or a part of one such as `promote`."""
        return allows(role, what, trainers_may=self.workspace.settings.bots.trainers_may)

    def may(self, caller: Caller, what: str) -> bool:
        """Whether somebody may use a command, or a part of one such as `promote`."""
        return self.allows(caller.role, what)

    async def thread(self, work: Callable[[], T]) -> T:
        """What a call gives that takes long, and is made in a thread so that everybody else goes on."""
        context = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: context.run(work))

    def work(self, work: Callable[[Progress], T]) -> Work[T]:
        """Begin something long that tells how far it is."""
        return Work(self._threads, work, self.every, self._stopping)

    async def close(self) -> None:
        """Stop what goes on in threads, and wait for that: nothing may use the workspace once it is closed.

        What was stopped goes on when it is asked for again; the step of a job is taken to its end.
        """
        self._stopping.set()
        await self.jobs.close()
        await asyncio.to_thread(self._threads.shutdown, wait=True, cancel_futures=True)


class _StoppedError(Exception):
    """The bot stops, and with it what goes on in a thread."""


class Work(Generic[T]):
    """Something long in a thread: read how far it is with `async for`, then take its `result`.

    Args:
        threads: where it runs.
        work: it; called with what it tells `(done, total)` to.
        every: seconds between two words on how far it is.
        stopping: set when it is to end before its end.
    """

    def __init__(
        self,
        threads: ThreadPoolExecutor,
        work: Callable[[Progress], T],
        every: float,
        stopping: threading.Event,
    ) -> None:
        self._far = (0, 0)
        self._every = every
        self._stopping = stopping
        self._future: Future[T] = threads.submit(work, self._tell)

    def _tell(self, done: int, total: int) -> None:
        self._far = (done, total)
        if self._stopping.is_set():
            raise _StoppedError

    async def __aiter__(self) -> AsyncIterator[tuple[int, int]]:
        """`(done, total)` whenever it has changed, until the work ends, however it ends."""
        told = self._far
        waiting = asyncio.wrap_future(self._future)
        # It is retrieved here, also when nobody waits for the end.
        waiting.add_done_callback(lambda done: done.cancelled() or done.exception())
        while not waiting.done():
            await asyncio.wait({waiting}, timeout=self._every)
            if not waiting.done() and self._far != told:
                told = self._far
                yield told

    async def shares(self) -> AsyncIterator[str]:
        """How far it is as a share, `40 %`, whenever that has changed."""
        told = ""
        async for done, total in self:
            share = f"{100 * done // max(total, 1)} %"
            if share != told:
                told = share
                yield share

    async def result(self) -> T:
        """What came of it."""
        try:
            return await asyncio.wrap_future(self._future)
        except _StoppedError:
            raise asyncio.CancelledError from None


class Command(msgspec.Struct, frozen=True):
    """A command of the bots.

    Attributes:
        name: what it is called by, without `/`.
        run: does it.
        help: what it does, in a sentence of `bots.texts`.
        arguments: what may follow it, likewise.
        example: how it is typed.
        tap: does what its buttons ask for, given the words of the action after its name.
        files: it takes the files that come with it.
        live: it shows for minutes how something goes on and changes nothing: a platform that does what a chat asks for in
            order need not wait for its end.
    """

    name: str
    run: Callable[[Bot, Request], AsyncIterator[Say]]
    help: str
    arguments: str = ""
    example: str = ""
    tap: Callable[[Bot, Request, str], AsyncIterator[Say]] | None = None
    files: bool = False
    live: bool = False
