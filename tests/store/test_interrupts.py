"""Ctrl-C at any moment: who appends is interrupted, and nobody else is."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from trainerlib.store.eventstore import EventStore

_STORM = """
import json, random, signal, sys, threading, time
from trainerlib.errors import StoreError
from trainerlib.events import MessageRecorded
from trainerlib.store.eventstore import EventStore

store = EventStore(sys.argv[1], busy_timeout=3)
acknowledged, troubles, over = [], [], threading.Event()
armed = False

def strike(*_):
    if armed:
        raise KeyboardInterrupt

def append(stream, number):
    [recorded] = store.append(f"conversation/{stream}", [MessageRecorded("user", f"{stream}-{number}")])
    acknowledged.append((recorded.position, recorded.event.text))

def beside():
    number = 0
    while not over.is_set():
        number += 1
        try:
            append("beside", number)
        except StoreError as error:
            if "interrupted" not in str(error):
                troubles.append(str(error))

signal.signal(signal.SIGALRM, strike)
thread = threading.Thread(target=beside, daemon=True)
thread.start()
number = strikes = 0
while strikes < 800 and not troubles:
    try:
        try:
            armed = True
            signal.setitimer(signal.ITIMER_REAL, random.random() * 0.004 + 1e-5)
            while True:
                number += 1
                append("struck", number)
        finally:
            armed = False
    except KeyboardInterrupt:
        strikes += 1
    except StoreError as error:
        troubles.append(str(error))
over.set()
thread.join()
append("struck", number + 1)
store.close()
print(json.dumps([acknowledged, troubles]))
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs timers of POSIX")
def test_interrupts_at_random_moments_leave_the_log_whole_and_open(path):
    """Others go on to append, what was acknowledged is there once, in its place, and no lock is left behind."""
    said = subprocess.run([sys.executable, "-c", _STORM, path], capture_output=True, timeout=120, check=True)
    acknowledged, troubles = json.loads(said.stdout)
    assert (troubles, said.stderr) == ([], b"")
    with EventStore(path) as store:
        there = {recorded.position: recorded.event.text for recorded in store.read_all()}
        assert {position: there.get(position) for position, _ in acknowledged} == dict(acknowledged)
        assert len(set(there.values())) == len(there)
        assert store.verify() == []
