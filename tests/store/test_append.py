"""Appending: places, expected versions, keys, all or nothing."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from contextlib import suppress
from datetime import datetime

import pytest

from trainerlib.codec import CODEC, Codec
from trainerlib.errors import InvalidEventError, KeyConflictError, StoreError, UnknownEventError, VersionConflictError
from trainerlib.events import Corrected, CorrectionWithdrawn, Event, MessageDeleted, MessageRecorded
from trainerlib.store.batches import Encoded
from trainerlib.store.commits import Request
from trainerlib.store.eventstore import Append, EventStore


def said(text, role="user"):
    return MessageRecorded(role, text)


def texts(store, stream="conversation/a"):
    return [recorded.event.text for recorded in store.read(stream)]


def streams(store):
    return store.streams("conversation/")


def test_positions_and_versions_are_gapless(store):
    """Positions count the whole log and versions each stream, both from 1 without a gap."""
    places = []
    for number, stream in enumerate(["a", "b", "a", "a", "b", "c"]):
        events = [said(f"{number}.{part}") for part in range(number % 3 + 1)]
        places += [
            (recorded.position, recorded.stream, recorded.version)
            for recorded in store.append(f"conversation/{stream}", events)
        ]

    assert [position for position, _, _ in places] == list(range(1, 13))
    for stream, count in (("conversation/a", 5), ("conversation/b", 4), ("conversation/c", 3)):
        assert [version for _, name, version in places if name == stream] == list(range(1, count + 1))
    assert places == [(recorded.position, recorded.stream, recorded.version) for recorded in store.read_all()]


def test_an_append_returns_what_a_reader_reads(store):
    """What an append returns is, field for field, what reading gives back."""
    returned = store.append("conversation/a", [said("Когда вы открыты?"), said("9–18 🌷")], keys=["k1", None])

    assert returned == list(store.read("conversation/a")) == list(store.read_all())
    assert [recorded.key for recorded in returned] == ["k1", None]


def test_time_is_that_of_the_commit(store):
    """An event is recorded at the time of its commit, in microseconds UTC."""
    before = time.time_ns() // 1000
    [recorded] = store.append("conversation/a", [said("hello")])

    assert before <= recorded.recorded_us <= time.time_ns() // 1000
    assert recorded.recorded_at.timestamp() == pytest.approx(recorded.recorded_us / 1e6)


def test_expected_version_zero_begins_a_stream(store):
    """`expected_version=0` holds for a stream that does not exist, and only once."""
    store.append("conversation/a", [said("first")], expected_version=0)
    with pytest.raises(VersionConflictError) as raised:
        store.append("conversation/a", [said("late")], expected_version=0)

    assert (raised.value.stream, raised.value.expected, raised.value.actual) == ("conversation/a", 0, 1)
    assert texts(store) == ["first"]


def test_expected_version_is_the_one_that_was_read(store):
    """An append at the version that was read succeeds; one at an older or a future version says both versions."""
    store.append("conversation/a", [said("1"), said("2")])
    store.append("conversation/a", [said("3")], expected_version=2)
    for wrong in (0, 2, 4):
        with pytest.raises(VersionConflictError, match=f"is at version 3, not at {wrong}"):
            store.append("conversation/a", [said("never")], expected_version=wrong)

    assert texts(store) == ["1", "2", "3"]


def test_two_writers_in_turns_know_of_each_other(store, path):
    """A writer that remembers a place another has taken since still gets the next one; versions and keys hold."""
    with EventStore(path) as other:
        for writer in (store, other):
            writer.append("conversation/a", [said("both know the stream")])
        for number in range(3, 9):
            writer = (store, other)[number % 2]
            stream = "conversation/a" if number % 3 else "conversation/b"
            [recorded] = writer.append(stream, [said(f"{number}")], keys=[f"k:{number}"])
            assert recorded.position == number

        # What each of these believes of the stream is two events old.
        with pytest.raises(VersionConflictError, match="is at version 6, not at 5"):
            store.append("conversation/a", [said("late")], expected_version=5)
        other.append("conversation/a", [said("as read")], expected_version=6)
        store.append("conversation/a", [said("as read too")], expected_version=7)
        with pytest.raises(KeyConflictError):
            other.append("conversation/a", [said("another")], keys=["k:8"])
        [first] = other.append("conversation/a", [said("8")], keys=["k:8"])
        assert first.position == 8

    assert [recorded.position for recorded in store.read_all()] == list(range(1, 11))
    assert store.verify() == []


def test_the_same_key_and_content_is_recorded_once(store):
    """A redelivered event comes back as it was recorded first, and the log does not grow."""
    [first] = store.append("conversation/a", [said("hello")], keys=["telegram:1:42:7"])
    [again] = store.append("conversation/a", [said("hello")], keys=["telegram:1:42:7"])

    assert again == first
    assert store.position == 1


def test_a_key_with_other_content_is_a_conflict(store):
    """A key that is taken by other content refuses the whole append and says where its event is."""
    store.append("conversation/b", [said("before")])
    store.append("conversation/a", [said("hello")], keys=["k"])
    with pytest.raises(KeyConflictError) as raised:
        store.append("conversation/a", [said("new"), said("hello!")], keys=["other", "k"])

    assert (raised.value.key, raised.value.position) == ("k", 2)
    assert texts(store) == ["hello"]
    assert store.by_keys(["other"]) == {}


def test_a_key_in_another_stream_is_a_conflict(store):
    """The same content under the same key in another stream is a conflict, and the other stream does not begin."""
    store.append("conversation/a", [said("hello")], keys=["k"])
    with pytest.raises(KeyConflictError):
        store.append("conversation/b", [said("hello")], keys=["k"])

    assert streams(store) == ["conversation/a"]
    assert store.position == 1


def test_a_key_repeated_within_an_append_is_recorded_once(store):
    """One append that names a key twice with the same content records it once and returns it twice."""
    returned = store.append("conversation/a", [said("x"), said("y"), said("x")], keys=["k", None, "k"])

    assert [recorded.position for recorded in returned] == [1, 2, 1]
    assert texts(store) == ["x", "y"]


def test_a_key_repeated_within_an_append_with_other_content_is_a_conflict(store):
    """One append that gives a key to two contents is refused as a whole."""
    with pytest.raises(KeyConflictError):
        store.append("conversation/a", [said("x"), said("y")], keys=["k", "k"])

    assert store.position == 0
    assert streams(store) == []


def test_a_retry_records_only_what_is_new(store):
    """An append of which a part is in the log already records the rest and returns all of it in the given order."""
    store.append("conversation/a", [said("2")], keys=["k2"])
    returned = store.append("conversation/a", [said("1"), said("2"), said("3")], keys=["k1", "k2", "k3"])

    assert [(recorded.key, recorded.version) for recorded in returned] == [("k1", 2), ("k2", 1), ("k3", 3)]
    assert texts(store) == ["2", "1", "3"]


def test_a_retry_after_a_lost_answer_succeeds(store):
    """Repeating a keyed append with the same `expected_version` gives the first answer, not a version conflict."""
    first = store.append("conversation/a", [said("1"), said("2")], keys=["k1", "k2"], expected_version=0)
    store.append("conversation/a", [said("3")])
    again = store.append("conversation/a", [said("1"), said("2")], keys=["k1", "k2"], expected_version=0)

    assert again == first
    assert texts(store) == ["1", "2", "3"]


def test_a_refused_append_leaves_nothing(store):
    """Of a refused append neither an event nor the stream it would have begun is in the file."""
    store.append("conversation/a", [said("kept")], keys=["k"])
    with pytest.raises(KeyConflictError):
        store.append("conversation/new", [said("1"), said("2"), said("other")], keys=[None, "k2", "k"])
    with pytest.raises(VersionConflictError):
        store.append("conversation/newer", [said("1"), said("2")], expected_version=1)

    assert [recorded.event.text for recorded in store.read_all()] == ["kept"]
    assert streams(store) == ["conversation/a"]
    assert store.verify() == []


def test_an_empty_append_records_nothing(store):
    """An append of no events returns none and begins no stream."""
    assert store.append("conversation/a", []) == []
    assert store.append_batch([]) == []
    assert streams(store) == []
    assert store.position == 0


def test_a_batch_is_recorded_together_or_not_at_all(store):
    """One append of a batch that is refused takes the whole batch with it."""
    store.append("conversation/b", [said("there already")])
    batch = [Append("conversation/a", [said("1")]), Append("conversation/b", [said("2")], expected_version=0)]
    with pytest.raises(VersionConflictError):
        store.append_batch(batch)

    assert streams(store) == ["conversation/b"]
    assert store.position == 1


def test_a_batch_may_name_a_stream_twice(store):
    """Appends of one batch see each other: versions go on, and `expected_version` counts what came before."""
    batch = [
        Append("conversation/a", [said("1"), said("2")], ["k1", None], expected_version=0),
        Append("conversation/b", [said("3")]),
        Append("conversation/a", [said("4")], expected_version=2),
        Append("conversation/a", [said("1"), said("5")], ["k1", None]),
    ]
    returned = store.append_batch(batch)

    assert [recorded.position for recorded in returned] == [1, 2, 3, 4, 1, 5]
    assert [recorded.version for recorded in returned] == [1, 2, 1, 3, 1, 4]
    assert texts(store) == ["1", "2", "4", "5"]


def test_an_event_that_is_no_text_is_refused(store):
    """An event with a lone surrogate is refused before anything of its append is recorded."""
    with pytest.raises(InvalidEventError, match=r"message\.recorded cannot be written as JSON"):
        store.append("conversation/a", [said("fine"), said("\ud83d")])

    assert store.position == 0


@pytest.mark.parametrize(
    ("stream", "keys"),
    [
        ("", [None]),
        ("conversation/\ud800", [None]),
        ("conversation/\0", [None]),
        ("conversation/a", ["\ud800"]),
        ("conversation/a", ["k\0"]),
        ("conversation/a", ["k1", "k2"]),
    ],
)
def test_a_name_that_sqlite_cannot_hold_is_refused(store, stream, keys):
    """A stream without a name, a name or key that is not text, and keys that do not fit the events are refused."""
    with pytest.raises(InvalidEventError):
        store.append(stream, [said("hello")], keys=keys)

    assert store.position == 0


def test_an_event_of_another_codec_is_refused(store):
    """A class that is not an event of this log cannot be recorded in it."""

    class Renamed(Event, frozen=True):
        wire_name = "message.recorded"

    with pytest.raises(UnknownEventError, match="Renamed is not an event of this log"):
        store.append("conversation/a", [Renamed()])


def test_taking_back_what_is_not_there_changes_nothing(store):
    """A deletion or withdrawal that names nothing of its kind before it is recorded, and counts nothing down."""
    rows = "SELECT * FROM conversations"
    store.append("conversation/a", [said("q"), said("a", "assistant"), Corrected(2, "A", by="anna")])
    before = store.database.query(rows)
    store.append("conversation/a", [MessageDeleted(99), MessageDeleted(3), CorrectionWithdrawn(2), MessageDeleted(8)])
    assert store.database.query(rows) == before

    store.append("conversation/a", [said("this is number 8")])
    live = store.database.query(rows)
    store.rebuild()
    assert store.database.query(rows) == live != before


def test_threads_share_a_commit_and_only_the_refused_one_fails(store):
    """Of appends that wait for the same commit a refused one fails alone."""
    store.append("conversation/a", [said("taken")], keys=["k"])
    outcomes = {}

    def append(name, **options):
        try:
            outcomes[name] = store.append(f"conversation/{name}", [said(name)], **options)[0].stream
        except StoreError as error:
            outcomes[name] = type(error)

    wanted = {f"good {number}": {} for number in range(8)}
    wanted |= {"bad key": {"keys": ["k"]}, "bad version": {"expected_version": 3}}
    threads = [threading.Thread(target=append, args=(name,), kwargs=options) for name, options in wanted.items()]
    with store.database.lock:
        for thread in threads:
            thread.start()
        while len(store._committer._waiting) < len(threads):
            time.sleep(0.001)
    for thread in threads:
        thread.join()

    assert outcomes.pop("bad key") is KeyConflictError
    assert outcomes.pop("bad version") is VersionConflictError
    assert outcomes == {f"good {number}": f"conversation/good {number}" for number in range(8)}
    assert sorted(streams(store)) == ["conversation/a", *(f"conversation/good {number}" for number in range(8))]
    assert store.verify() == []


class Interrupting(list):
    """Events during whose recording, after they were looked at and encoded, somebody presses Ctrl-C."""

    def __init__(self, events):
        super().__init__(events)
        self._times = 0

    def __iter__(self):
        self._times += 1
        if self._times > 2:
            raise KeyboardInterrupt
        return super().__iter__()


def test_an_interrupted_commit_tells_nobody_that_it_succeeded(store):
    """Ctrl-C in the thread that commits for others undoes the commit, and each of the others gets a typed error."""
    other = store._request([Append("conversation/b", [said("somebody else's")])])
    store._committer._waiting.append(other)
    with pytest.raises(KeyboardInterrupt):
        store.append("conversation/a", Interrupting([said("mine"), said("mine too")]))

    with pytest.raises(StoreError, match="interrupted"):
        other.outcome()
    assert store.position == 0
    assert [recorded.position for recorded in store.append("conversation/b", [said("again")])] == [1]


def test_a_key_held_by_an_event_from_the_future_fails_only_who_uses_it(path):
    """A key whose event this codec cannot read refuses its own append, not the others in the commit."""

    class Future(Event, frozen=True):
        wire_name = "thing.invented"

    with EventStore(path, codec=Codec([Future])) as newer:
        newer.append("thing/a", [Future()], keys=["k"])

    async def both(store):
        await store.append_async("conversation/a", [said("first")])
        with store.database.lock:
            tasks = [
                asyncio.create_task(store.append_async("conversation/a", [said("good")])),
                asyncio.create_task(store.append_async("conversation/b", [said("bad")], keys=["k"])),
            ]
            await asyncio.sleep(0)
        return await asyncio.gather(*tasks, return_exceptions=True)

    with EventStore(path) as store:
        good, bad = asyncio.run(asyncio.wait_for(both(store), timeout=20))
        assert [recorded.event.text for recorded in good] == ["good"]
        assert isinstance(bad, UnknownEventError)
        assert texts(store) == ["first", "good"]


def test_a_stream_does_not_exist_before_it_is_committed(store):
    """Also not for the process that is about to begin it, and that may still undo it."""
    with suppress(InvalidEventError), store.database.transaction() as connection:
        store._committer.batch(connection).append("conversation/never", said("undone"))
        assert not store.exists("conversation/never")
        raise InvalidEventError
    assert not store.exists("conversation/never")
    assert list(store.read("conversation/never")) == []


def test_what_an_interrupt_left_open_is_undone_by_the_next_append(store):
    """A transaction that was begun when somebody pressed Ctrl-C, and that nobody ended."""
    store.append("conversation/a", [said("one")])
    store.database._writer.execute("BEGIN IMMEDIATE")

    assert [recorded.position for recorded in store.append("conversation/a", [said("two")])] == [2]
    assert store.verify() == []


def test_who_waits_is_told_of_an_interrupt(store):
    """One that comes while what waits is taken up for a commit: nobody waits for ever, nor believes it recorded."""

    class Interrupted(deque):
        def popleft(self):
            raise KeyboardInterrupt

    committer = store._committer
    event = said("one")
    request = Request([Encoded("conversation/a", [event], CODEC.encode_all([event]), None, None)])
    committer._waiting = Interrupted([request])
    with pytest.raises(KeyboardInterrupt), store.database.lock:
        committer._commit_waiting()
    committer._waiting = deque()

    with pytest.raises(StoreError, match="interrupted"):
        request.outcome()
    assert request.done


NEVER = MessageRecorded("user", "x", sent_at=datetime.min)  # noqa: DTZ901 - it is what it is tried with
LARGE = MessageDeleted(-(2**70))


@pytest.mark.parametrize("odd", [NEVER, LARGE], ids=["time", "number"])
def test_an_event_that_no_column_can_hold_is_refused_alone(store, odd):
    async def both():
        await store.append_async("conversation/a", [said("first")])
        with store.database.lock:
            tasks = [
                asyncio.create_task(store.append_async("conversation/b", [said("good")])),
                asyncio.create_task(store.append_async("conversation/a", [odd])),
            ]
            await asyncio.sleep(0)
        return await asyncio.gather(*tasks, return_exceptions=True)

    with pytest.raises(InvalidEventError):
        store.append("conversation/a", [odd])
    good, refused = asyncio.run(asyncio.wait_for(both(), timeout=20))
    assert [recorded.event.text for recorded in good] == ["good"]
    assert isinstance(refused, InvalidEventError)
    assert store.verify() == []


def test_the_place_of_an_append_that_was_undone_is_given_again(store):
    """Also to a stream that somebody has read meanwhile, of which the writer need not look anything up."""
    store.append("conversation/a", [said("one")])
    with store.database.transaction() as connection:
        refuse = "BEFORE UPDATE ON conversations BEGIN SELECT RAISE(ABORT, 'undone'); END"
        connection.execute(f"CREATE TEMP TRIGGER refuse {refuse}")
    with pytest.raises(StoreError, match="undone"):
        store.append("conversation/a", [said("undone")])
    with store.database.transaction() as connection:
        connection.execute("DROP TRIGGER refuse")
    assert store.exists("conversation/a")

    assert [recorded.position for recorded in store.append("conversation/a", [said("two")])] == [2]
    assert store.verify() == []
