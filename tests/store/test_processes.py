"""Several processes on one file: writers against writers, writers against readers, and writers that are killed."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from itertools import pairwise

import pytest

from trainerlib.errors import BusyError
from trainerlib.events import MessageRecorded
from trainerlib.store.eventstore import EventStore


def said(text):
    return MessageRecorded("user", text)


@pytest.fixture
def holder(store, path):
    """Another program that has written the next event of `conversation/held` and not committed it yet."""
    store.append("conversation/held", [said("1")])
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(
        'INSERT INTO events VALUES (2, 1, 2, \'message.recorded\', 1, 0, NULL, \'{"role":"user","text":"held"}\')'
    )
    yield connection
    connection.close()


def test_sixteen_processes_append_to_one_stream(store, path, together):
    """Sixteen processes append to one stream: no version is lost, doubled or reordered."""
    count = 250
    lines = together("compete", 16, path, count)
    acknowledged = {
        int(position): (int(version), f"{number}: {index}")
        for number, output in enumerate(lines)
        for position, version, index in map(str.split, output)
    }

    in_log = {recorded.position: (recorded.version, recorded.event.text) for recorded in store.read("conversation/a")}
    assert in_log == acknowledged
    assert list(in_log) == [version for version, _ in in_log.values()] == list(range(1, 16 * count + 1))
    for number, output in enumerate(lines):
        mine = [int(line.split()[0]) for line in output]
        assert mine == sorted(mine), number
        assert [in_log[position][1] for position in mine] == [f"{number}: {index}" for index in range(count)]
    assert store.verify() == []


def test_a_killed_writer_loses_nothing_it_acknowledged(path, child):
    """A writer is killed ten times at random moments: what it acknowledged is there, whole, once, without a gap."""
    chance = random.Random(7)
    acknowledged = {}
    for run in range(10):
        writer = child("acknowledge", run, path, chance.choice(["FULL", "NORMAL"]))
        lines = [writer.stdout.readline() for _ in range(chance.randrange(1, 40))]
        time.sleep(chance.random() / 50)
        writer.kill()
        lines += writer.stdout.readlines()
        # The last line may have been cut off by the kill, the ones before it are whole.
        acknowledged.update((int(line.split()[0]), line.split()[1]) for line in lines if line.endswith("\n"))

    with EventStore(path) as store:
        log = list(store.read_all())
        assert [recorded.position for recorded in log] == list(range(1, len(log) + 1))
        assert acknowledged.items() <= {recorded.position: recorded.key for recorded in log}.items()
        assert [recorded.key[-1] for recorded in log] == ["a", "b", "c"] * (len(log) // 3)
        assert all(recorded.event.text == f"сообщение {recorded.key}" for recorded in log)
        assert store.verify() == []
        [after] = store.append("conversation/0", [said("and on")])
        assert after.position == len(log) + 1


def test_a_reader_does_not_wait_for_an_open_write(holder, store):
    """While another connection holds the write lock a reader reads at once, and sees only what was committed."""
    started = time.monotonic()
    seen = [recorded.event.text for recorded in store.read_all()]

    assert holder.in_transaction
    assert time.monotonic() - started < 1
    assert seen == ["1"]


def test_a_writer_that_may_not_wait_gets_busy(holder, path):
    """A writer with a short busy timeout gives up with a typed error, records nothing, and succeeds afterwards."""
    with EventStore(path, busy_timeout=0.05) as impatient:
        with pytest.raises(BusyError):
            impatient.append("conversation/new", [said("refused")])
        assert impatient.streams("conversation/") == ["conversation/held"]
        holder.execute("COMMIT")
        [recorded] = impatient.append("conversation/new", [said("accepted")])
        assert (recorded.position, recorded.version) == (3, 1)
        assert [event.event.text for event in impatient.read_all()] == ["1", "held", "accepted"]


def test_a_writer_waits_for_the_one_that_took_its_position(holder, store):
    """A writer who comes while another has taken a position and not committed gets the next one, and none is skipped."""
    appended = []
    writer = threading.Thread(target=lambda: appended.extend(store.append("conversation/held", [said("waited")])))
    writer.start()
    while writer.is_alive() and not store.database.lock.locked():
        time.sleep(0.001)
    assert not appended
    assert [recorded.position for recorded in store.read_all()] == [1]
    holder.execute("COMMIT")
    writer.join()

    assert [(recorded.position, recorded.version) for recorded in appended] == [(3, 3)]
    assert [recorded.event.text for recorded in store.read_all()] == ["1", "held", "waited"]


def test_a_reader_sees_prefixes_while_another_process_writes(store, path, child):
    """Whoever reads while another process appends sees the beginning of the log without a hole, and it only grows."""
    writer = child("fill", path, 2_500)
    writer.stdout.readline()
    writer.stdin.write("go\n")
    writer.stdin.flush()
    lengths = [0]
    while lengths[-1] < 2_500:
        log = list(store.read_all())
        assert [recorded.position for recorded in log] == list(range(1, len(log) + 1))
        assert [recorded.event.text for recorded in log] == [str(number) for number in range(len(log))]
        by_stream = {events[0].stream: len(events) for events in store.read_by_stream(until=len(log))}
        assert sum(by_stream.values()) == len(log)
        lengths.append(len(log))
        assert writer.poll() in (None, 0)

    assert all(before <= after for before, after in pairwise(lengths))
    assert len({*lengths}) > 3
