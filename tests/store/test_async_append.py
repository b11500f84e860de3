"""Appending from coroutines: many at once, errors, cancellation, event loops that end."""

from __future__ import annotations

import asyncio
import threading

import pytest

from trainerlib.errors import InvalidEventError, KeyConflictError, StoreError, VersionConflictError
from trainerlib.events import MessageRecorded
from trainerlib.store.commits import QUEUE
from trainerlib.store.eventstore import EventStore


def said(text):
    return MessageRecorded("user", text)


def run(main):
    """`asyncio.run` that fails where a lost answer would make it wait for ever."""
    return asyncio.run(asyncio.wait_for(main, timeout=20))


async def started(store):
    """Let the writer thread exist, so that a test may hold the lock it will ask for."""
    await store.append_async("conversation/first", [said("first")])


def test_many_coroutines_lose_nothing(store):
    """64 coroutines append 50 events each: all are there, and each coroutine's are in its order."""

    async def talk(number):
        return [
            (await store.append_async(f"conversation/{number % 5}", [said(f"{number}: {index}")]))[0]
            for index in range(50)
        ]

    async def everybody():
        return await asyncio.gather(*(talk(number) for number in range(64)))

    returned = run(everybody())
    log = list(store.read_all())

    assert sorted((recorded for mine in returned for recorded in mine), key=lambda recorded: recorded.position) == log
    assert len(log) == 64 * 50
    for number, mine in enumerate(returned):
        assert [recorded.event.text for recorded in mine] == [f"{number}: {index}" for index in range(50)]
        assert [recorded.position for recorded in mine] == sorted(recorded.position for recorded in mine)
    assert store.verify() == []


def test_waiting_coroutines_share_a_commit(store):
    """What waits while the disk is busy is recorded in one commit, which its one time shows."""

    async def everybody():
        await started(store)
        with store.database.lock:
            tasks = [asyncio.create_task(store.append_async(f"conversation/{n}", [said(str(n))])) for n in range(100)]
            await asyncio.sleep(0)
        return await asyncio.gather(*tasks)

    returned = run(everybody())

    assert len({recorded.recorded_us for [recorded] in returned}) == 1
    assert [recorded.position for [recorded] in returned] == list(range(2, 102))


def test_an_error_reaches_only_its_caller(store):
    """Of coroutines that share a commit, the one with a wrong version, key or event gets its error, the others none."""
    store.append("conversation/a", [said("taken")], keys=["k"])

    async def everybody():
        await started(store)
        with store.database.lock:
            tasks = [
                asyncio.create_task(store.append_async(*arguments, **options))
                for arguments, options in [
                    (("conversation/a", [said("1")]), {}),
                    (("conversation/b", [said("x")]), {"keys": ["k"]}),
                    (("conversation/a", [said("2")]), {}),
                    (("conversation/a", [said("x")]), {"expected_version": 1}),
                    (("conversation/a", [said("\udcff")]), {}),
                    (("conversation/a\0", [said("x")]), {}),
                    (("conversation/c", [said("3")]), {"expected_version": 0}),
                ]
            ]
            await asyncio.sleep(0)
        return await asyncio.gather(*tasks, return_exceptions=True)

    outcomes = [
        type(outcome) if isinstance(outcome, Exception) else outcome[0].event.text for outcome in run(everybody())
    ]

    assert outcomes == [
        "1",
        KeyConflictError,
        "2",
        VersionConflictError,
        InvalidEventError,
        InvalidEventError,
        "3",
    ]
    assert [recorded.event.text for recorded in store.read_all()] == ["taken", "first", "1", "2", "3"]


def test_cancelling_a_waiting_coroutine_harms_nobody(store):
    """A coroutine that is cancelled while it waits takes none of the others with it, and the writer goes on."""

    async def everybody():
        await started(store)
        with store.database.lock:
            tasks = [asyncio.create_task(store.append_async(f"conversation/{n}", [said(str(n))])) for n in range(5)]
            await asyncio.sleep(0)
            tasks[2].cancel()
            await asyncio.sleep(0)
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        await store.append_async("conversation/0", [said("and on")])
        return outcomes

    outcomes = run(everybody())

    assert isinstance(outcomes.pop(2), asyncio.CancelledError)
    assert [recorded.event.text for [recorded] in outcomes] == ["0", "1", "3", "4"]
    assert [recorded.event.text for recorded in store.read("conversation/0")] == ["0", "and on"]
    assert store.verify() == []


def test_the_first_append_does_not_stop_the_event_loop_while_somebody_else_writes(store):
    async def main():
        with store.database.lock:
            append = asyncio.create_task(store.append_async("conversation/a", [said("one")]))
            await asyncio.sleep(0.05)
            waited = not append.done()
        return waited, await append

    waited, [recorded] = asyncio.run(main())
    assert (waited, recorded.position) == (True, 1)


def test_where_no_thread_can_be_had_appends_are_recorded_all_the_same(store, monkeypatch):
    def refuse(_):
        raise RuntimeError("can't start new thread")

    async def add(text):
        [recorded] = await store.append_async("conversation/a", [said(text)])
        return recorded.position

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert asyncio.run(add("one")) == 1
    assert asyncio.run(add("two")) == 2


def test_a_loop_that_closed_meanwhile_does_no_harm(store):
    """An event loop that is closed before its append is recorded leaves the append recorded and the writer at work."""
    loop = asyncio.new_event_loop()
    loop.run_until_complete(started(store))
    with store.database.lock:
        task = loop.create_task(store.append_async("conversation/a", [said("left behind")]))
        loop.run_until_complete(asyncio.sleep(0))
        # Its end is the point of the test, not a mistake that asyncio should log.
        task._log_destroy_pending = False
        loop.close()

    [recorded] = run(store.append_async("conversation/a", [said("next")]))

    assert [event.event.text for event in store.read("conversation/a")] == ["left behind", "next"]
    assert recorded.version == 2


def test_what_waits_is_bounded(store):
    """Of very many coroutines only some thousands have an append in the queue, and all are recorded in the end."""

    async def everybody():
        await started(store)
        with store.database.lock:
            tasks = [asyncio.create_task(store.append_async("conversation/a", [said(str(n))])) for n in range(5_000)]
            await asyncio.sleep(0)
            queued = len(store._committer._waiting)
        await asyncio.gather(*tasks)
        return queued

    assert run(everybody()) == QUEUE < 5_000
    assert [recorded.event.text for recorded in store.read("conversation/a")] == [str(n) for n in range(5_000)]


def test_two_event_loops_append_to_one_store(store):
    """Event loops in two threads share a store: each gets its own answers, and everything is there."""
    answers = {}

    async def talk(name):
        answers[name] = await asyncio.gather(
            *(store.append_async(f"conversation/{name}", [said(f"{name} {index}")]) for index in range(300))
        )

    threads = [threading.Thread(target=lambda name=name: run(talk(name))) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    for name in ("one", "two"):
        assert [recorded.event.text for [recorded] in answers[name]] == [f"{name} {index}" for index in range(300)]
        assert [recorded for [recorded] in answers[name]] == list(store.read(f"conversation/{name}"))
    assert store.position == 600


def test_closing_records_what_waits(path):
    """Closing a store records what coroutines have handed over, and refuses what comes after."""
    store = EventStore(path)

    async def everybody():
        await started(store)
        with store.database.lock:
            tasks = [asyncio.create_task(store.append_async("conversation/a", [said(str(n))])) for n in range(700)]
            await asyncio.sleep(0)
        store.close()
        outcomes = await asyncio.gather(*tasks)
        with pytest.raises(StoreError, match="closed"):
            await asyncio.wait_for(store.append_async("conversation/a", [said("late")]), timeout=10)
        return outcomes

    outcomes = run(everybody())

    with EventStore(path) as again:
        assert [recorded for [recorded] in outcomes] == list(again.read("conversation/a"))
        assert again.position == 701
