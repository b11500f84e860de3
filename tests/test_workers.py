"""Worker processes and this one prepare together what one would, in the same order, and leave with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from histories import row, write

import trainerlib
from trainerlib import Recipe
from trainerlib.candidates import Preparer
from trainerlib.consent import Permissions
from trainerlib.errors import StoreError, UnknownEventError
from trainerlib.store.tables import READING
from trainerlib.workers import Workers, prepare

TALKS = 700

watched = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="the kernel does not list children here")


def talks(number):
    """Conversations of very different lengths, some of which say the same."""
    long = 400 if number % 97 == 0 else 1 + number % 3
    return [f"{number % 50}.{turn} Привет" for turn in range(2 * long)]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    place = tmp_path_factory.mktemp("workers")
    rows = [row(f"c{number}", *talks(number)) for number in range(TALKS)]
    with trainerlib.open(place / "log") as ws:
        ws.import_file(write(place / "rows.jsonl", rows))
    return place / "log"


@pytest.fixture
def ws(recorded):
    with trainerlib.open(recorded) as workspace:
        yield workspace


def several(ws, number, recipe=Recipe()):  # noqa: B008 - a frozen value
    store = ws.store
    return Workers(
        store.path,
        READING,
        store.rows,
        recipe,
        Permissions(),
        until=store.position,
        last=store.last_stream_id,
        workers=number,
    )


def prepared_here(ws):
    store = ws.store
    preparer = Preparer(Recipe(), Permissions())
    return prepared(prepare(store.rows, preparer, until=store.position, last=store.last_stream_id))


def children(pid="self"):
    return {
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    }


def prepared(batches):
    return [one for batch in batches for one in batch.prepared]


@pytest.mark.parametrize("number", [1, 2, 3, 7])
def test_workers_prepare_what_one_process_does_in_the_same_order(ws, number):
    alone = prepared_here(ws)
    with several(ws, number) as workers:
        assert prepared(workers.batches()) == alone
    assert len(alone) == TALKS


@watched
def test_a_worker_that_stands_still_for_a_while_changes_nothing(ws):
    """This process goes on with other blocks, as far as it may, and then waits."""
    before = children()
    with several(ws, 2) as workers:
        still = min(children() - before)
        os.kill(still, signal.SIGSTOP)
        going = threading.Timer(0.5, os.kill, (still, signal.SIGCONT))
        going.start()
        assert prepared(workers.batches()) == prepared_here(ws)
        going.join()


def test_every_event_is_counted_once_for_the_progress(ws):
    with several(ws, 3) as workers:
        assert sum(batch.events for batch in workers.batches()) == ws.store.position


def test_a_dataset_is_the_same_whoever_builds_it(ws):
    alone = ws.datasets.build("alone", Recipe(), workers=1)
    shared = ws.datasets.build("shared", Recipe(), workers=3)
    assert shared.sha256 == alone.sha256
    assert alone.excluded["duplicate"]


def test_what_a_worker_meets_is_raised_as_if_it_had_been_met_here(tmp_path):
    """A log that a newer trainerlib wrote to, read by three workers."""
    broken = tmp_path / "broken"
    with trainerlib.open(broken) as other:
        other.conversation("telegram:1").record("user", "Hi")
    import sqlite3

    with sqlite3.connect(broken / "trainer.db") as connection:
        connection.execute("INSERT INTO events VALUES (NULL, 1, 3, 'message.sung', 1, 0, NULL, '{}')")
    connection.close()
    with (
        trainerlib.open(broken) as other,
        pytest.raises(UnknownEventError, match=r"message.sung version 1 is not known"),
    ):
        other.datasets.build("support", workers=3)
    assert not list((broken / "datasets").rglob("*.jsonl"))


@watched
def test_a_killed_worker_is_a_clear_error(ws):
    """The kernel ends a worker for want of memory, say."""
    before = children()
    with several(ws, 2) as workers:
        for child in children() - before:
            os.kill(child, signal.SIGKILL)
        with pytest.raises(StoreError, match="a worker of the build ended early, with status -9"):
            list(workers.batches())


@watched
def test_workers_that_are_killed_while_they_work_are_a_clear_error(ws):
    """What they were dealt does not come any more."""
    before = children()
    with several(ws, 3) as workers:
        batches = workers.batches()
        next(batches)
        for child in children() - before:
            os.kill(child, signal.SIGKILL)
        with pytest.raises(StoreError, match="ended early, with status -9"):
            list(batches)
    assert children() == before


@watched
def test_a_build_that_is_given_up_leaves_no_process(ws):
    before = children()
    with several(ws, 3) as workers:
        next(workers.batches())
        assert len(children() - before) == 3
    assert children() == before


SCRIPT = """
import sys
import trainerlib

ws = trainerlib.open(sys.argv[1])
print(ws.datasets.build("script", workers=2).examples)
ws.close()
"""


def test_a_script_needs_no_guard(recorded, tmp_path):
    """Processes that import the script again would start it again."""
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, script, recorded], capture_output=True, text=True, check=False, timeout=60)
    assert (done.stderr, done.returncode) == ("", 0)
    assert int(done.stdout) > 0


CHATTY = """
import sys

def keep(context, reply):
    print("looked at", len(reply), flush=True)
    return not sys.stdin.read()
"""

CHATTING = """
import sys
import trainerlib
from trainerlib.quality import Quality

with trainerlib.open(sys.argv[1]) as ws:
    recipe = trainerlib.Recipe(quality=Quality(callables=("chatty:keep",)))
    print(ws.datasets.build("chatty", recipe, workers=2).examples)
"""


def test_a_filter_may_print_and_read(recorded, tmp_path):
    """What it prints is not taken for what a worker sends, nor what a worker is told for its input."""
    (tmp_path / "chatty.py").write_text(CHATTY)
    script = tmp_path / "train.py"
    script.write_text(CHATTING)
    done = subprocess.run(
        [sys.executable, script, recorded],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0
    assert int(done.stdout.splitlines()[-1]) > 0
    assert "looked at" in done.stderr


INTERRUPTED = """
import signal
import sys
import threading
import time
import trainerlib

with trainerlib.open(sys.argv[1]) as ws:
    for number in range(0, 60, 4):
        ctrl_c = threading.Timer(number / 1_000, signal.raise_signal, (signal.SIGINT,))
        try:
            ctrl_c.start()
            ws.datasets.build(f"d{number}", workers=4)
            ctrl_c.join()
            time.sleep(0.1)
        except KeyboardInterrupt:
            continue
    print("waits", flush=True)
    sys.stdin.read()
"""


@watched
def test_a_build_that_is_interrupted_while_it_begins_leaves_no_process(recorded):
    """Ctrl-C comes at any moment."""
    command = [sys.executable, "-c", INTERRUPTED, recorded]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"waits\n"
        assert children(process.pid) == set()
        process.stdin.close()
        assert process.wait(timeout=60) == 0


FOREVER = """
import sys
import trainerlib

with trainerlib.open(sys.argv[1]) as ws:
    for number in range(1_000):
        ws.datasets.build(f"d{number}", workers=3)
"""


@watched
def test_workers_end_with_the_process_they_work_for(recorded):
    """SIGKILL lets a parent tell nobody."""
    process = subprocess.Popen([sys.executable, "-c", FOREVER, str(recorded)])
    deadline = time.monotonic() + 30
    while len(workers := children(process.pid)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    process.wait()
    while any(
        Path(f"/proc/{worker}/cmdline").exists() and Path(f"/proc/{worker}/cmdline").read_bytes() for worker in workers
    ):
        assert time.monotonic() < deadline
        time.sleep(0.01)
