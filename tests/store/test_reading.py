"""Reading: pages, ranges, keys, streams, and what other processes wrote."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from trainerlib.errors import NotFoundError, ReadOnlyError, StoreError
from trainerlib.events import Corrected, MessageRecorded
from trainerlib.store.eventstore import Append, EventStore
from trainerlib.store.rows import PAGE


def said(text, role="user"):
    return MessageRecorded(role, text)


@pytest.fixture
def long(store):
    """A log of several pages: three streams, interleaved, the longest alone longer than a page."""
    sizes = {"conversation/a": 2 * PAGE + 7, "conversation/b": PAGE, "conversation/c": 1}
    batch = []
    for start in range(0, 2 * PAGE + 7, 100):
        for stream, size in sizes.items():
            events = [said(f"{stream} {number}") for number in range(start, min(start + 100, size))]
            batch.append(Append(stream, events))
    store.append_batch(batch)
    return store


def test_the_log_reads_in_order_over_pages(long):
    """Reading the whole log gives every position once and in order, however many pages it has."""
    count = 3 * PAGE + 8

    assert [recorded.position for recorded in long.read_all()] == list(range(1, count + 1))
    assert [len(page) for page in long.pages()] == [PAGE, PAGE, PAGE, 8]
    assert [recorded.position for recorded in long.read_all(after=10, until=PAGE + 50)] == list(range(11, PAGE + 51))
    assert list(long.read_all(after=count)) == []


def test_a_stream_reads_in_order_over_pages(long):
    """Reading a stream gives its versions in order, from after one version and up to a log position."""
    events = list(long.read("conversation/a"))

    assert [recorded.event.text for recorded in events] == [
        f"conversation/a {number}" for number in range(2 * PAGE + 7)
    ]
    assert list(long.read("conversation/a", after=PAGE)) == events[PAGE:]
    assert list(long.read("conversation/a", until=events[PAGE + 20].position)) == events[: PAGE + 21]
    assert list(long.read("conversation/unknown")) == []


@pytest.mark.parametrize("until", [3 * PAGE + 8, PAGE + 34, 1, 0])
def test_streams_read_one_by_one_are_the_log(long, until):
    """Reading by stream gives each stream as one list, in the order they began, and leaves out what came later."""
    expected = [list(long.read(stream, until=until)) for stream in long.streams("conversation/")]

    assert list(long.read_by_stream(until=until)) == [events for events in expected if events]


def test_an_event_is_found_by_position_and_key(store):
    """An event is found by its position or its key; an unknown one is not there."""
    first, second = store.append("conversation/a", [said("1"), said("2")], keys=["ключ:1", "ключ:2"])

    assert store.at(2) == second
    assert store.at(3) is None
    assert store.by_keys(["ключ:1", "ключ:3"]) == {"ключ:1": first}


def test_keys_and_streams_are_found_by_what_they_begin_with(store):
    """Keys come sorted and streams in the order they began, only those that begin with the prefix."""
    store.append("conversation/b", [said("1"), said("2"), said("3")], keys=["t:2:1", "t:1:2", "t:1:10"])
    store.append("import/a", [said("4")], keys=["t:10:1"])
    store.append("conversation/a", [said("5")])

    assert list(store.keys_starting("t:1:")) == ["t:1:10", "t:1:2"]
    assert store.streams("conversation/") == ["conversation/b", "conversation/a"]


def test_the_last_position_of_a_kind_of_event(store):
    """The last event of a kind is found however far back it is."""
    store.append("conversation/a", [said("q"), Corrected(1, "a", by="anna"), *[said(str(n)) for n in range(PAGE + 5)]])

    assert store.last_position(lambda wire_name: wire_name == "reply.corrected") == 2
    assert store.last_position(lambda wire_name: wire_name == "message.recorded") == PAGE + 7
    assert store.last_position(lambda _: False) == 0


def test_a_stream_that_does_not_exist_is_at_version_zero(store):
    """The version of a stream is the number of its events."""
    assert store.version("conversation/a") == 0
    store.append("conversation/a", [said("1"), said("2")])
    assert store.version("conversation/a") == 2


def test_data_version_tells_that_somebody_wrote(store, path):
    """The data version stays while nothing happens and changes when another connection has written."""
    before = store.data_version
    assert store.data_version == before
    with EventStore(path) as other:
        other.append("conversation/a", [said("news")])

    assert store.data_version != before
    assert [recorded.event.text for recorded in store.read("conversation/a")] == ["news"]


def test_many_threads_read_at_once(store):
    """Forty threads read at the same moment, each with its own connection, and none waits for another."""
    store.append("conversation/a", [said("hello")])
    barrier = threading.Barrier(40, timeout=10)
    seen = []

    def read():
        first = store.position
        barrier.wait()
        seen.append((first, store.version("conversation/a")))

    threads = [threading.Thread(target=read) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert seen == [(1, 1)] * 40


def test_a_read_only_store_reads_and_verifies(store, path):
    """A store opened read-only reads and verifies while another writes, and refuses to write."""
    store.append("conversation/a", [said("hello")])
    with EventStore(path, read_only=True) as reader:
        store.append("conversation/a", [said("there")])
        assert [recorded.event.text for recorded in reader.read_all()] == ["hello", "there"]
        assert reader.verify() == []
        with pytest.raises(ReadOnlyError):
            reader.append("conversation/a", [said("no")])

    assert store.position == 2


def test_a_thread_finds_the_file_wherever_the_process_is(tmp_path, monkeypatch):
    """A store that was opened by a relative path is the same one to threads that begin to read after a change of directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    with EventStore("log.db") as store, ThreadPoolExecutor() as threads:
        store.append("conversation/a", [said("hello")])
        monkeypatch.chdir(tmp_path / "elsewhere")
        assert threads.submit(lambda: store.position).result() == 1

    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_read_only_store_does_not_make_a_file(path):
    """Opening a missing file read-only is an error and leaves no file."""
    with pytest.raises(NotFoundError):
        EventStore(path, read_only=True)

    assert not path.exists()


def test_a_closed_store_says_so(path):
    """A store that was closed refuses to read and write, in the thread that used it and in a new one."""
    store = EventStore(path)
    store.append("conversation/a", [said("hello")])
    store.close()
    store.close()
    problems = []

    def use():
        for action in (lambda: store.append("conversation/a", [said("late")]), lambda: store.position):
            try:
                action()
            except StoreError as error:
                problems.append("closed" in str(error))

    use()
    thread = threading.Thread(target=use)
    thread.start()
    thread.join()

    assert problems == [True] * 4


def test_whoever_reads_a_store_that_is_closed_is_told(path):
    """Threads in the middle of reading when somebody closes the store get its typed error; nothing crashes."""
    with EventStore(path) as store:
        store.append("conversation/a", [said("hello")] * 300)
    problems = []

    def read(store):
        try:
            while store.position:
                list(store.read_all())
        except StoreError as error:
            problems.append("the store is closed" in str(error))

    for _ in range(20):
        store = EventStore(path)
        threads = [threading.Thread(target=read, args=(store,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        next(store.read_all())
        store.close()
        for thread in threads:
            thread.join()

    assert problems == [True] * 60


def test_closing_does_not_wait_for_a_long_read(path):
    """A read that would go on for minutes is interrupted."""
    store = EventStore(path)
    endless = "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    problems = []

    def read():
        try:
            store.database.query(endless)
        except StoreError as error:
            problems.append(str(error))

    thread = threading.Thread(target=read)
    thread.start()
    store.close()
    thread.join()

    assert problems == [f"{path}: the store is closed"]


def test_closing_waits_for_what_is_being_written(path):
    """A transaction that another thread is in the middle of is committed, and the next one refused."""
    store = EventStore(path)
    begun, closing = threading.Event(), threading.Event()

    def write():
        with store.database.transaction() as connection:
            begun.set()
            closing.wait()
            connection.execute("CREATE TABLE mine(word)")

    thread = threading.Thread(target=write)
    thread.start()
    begun.wait()
    closer = threading.Thread(target=store.close)
    closer.start()
    closing.set()
    thread.join()
    closer.join()

    with pytest.raises(StoreError, match="the store is closed"), store.database.transaction():
        pass
    with EventStore(path) as store:
        assert store.database.query("SELECT count(*) FROM mine") == [(0,)]


def test_a_closed_store_makes_no_files(path, tmp_path):
    """Neither its own again, for a thread that had not read before, nor a backup of nothing."""
    store = EventStore(path)
    store.close()
    path.unlink()
    with ThreadPoolExecutor() as threads, pytest.raises(StoreError, match="closed"):
        threads.submit(lambda: store.position).result()
    with pytest.raises(StoreError, match="closed"):
        store.backup(tmp_path / "copy.db")

    assert list(tmp_path.iterdir()) == []


def test_a_backup_is_the_log_of_one_moment(store, path, tmp_path):
    """A backup holds the log as it was, with its id, and opens like any other; an existing file is not replaced."""
    store.append("conversation/a", [said("один"), said("two")])
    store.backup(tmp_path / "copy.db")
    store.append("conversation/a", [said("later")])

    with EventStore(tmp_path / "copy.db") as copy:
        assert copy.log_id == store.log_id
        assert [recorded.event.text for recorded in copy.read_all()] == ["один", "two"]
        assert copy.verify() == []
    with pytest.raises(StoreError, match="exists already"):
        store.backup(path)
