"""Programs that the tests run as processes of their own: `python children.py PROGRAM ARGUMENT...`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from trainerlib.errors import StoreError, TrainerlibError, VersionConflictError
from trainerlib.events import MessageRecorded
from trainerlib.store.eventstore import EventStore


def say(*words):
    print(*words, flush=True)


def ready():
    """Tell the parent that everything is loaded, and wait for its word."""
    say("ready")
    sys.stdin.readline()


def compete(number, path, count):
    """Append to one stream against others, half of the time only at the version that was read; print each place."""
    with EventStore(path) as store:
        ready()
        for index in range(int(count)):
            event = MessageRecorded("user", f"{number}: {index}")
            while True:
                expected = store.version("conversation/a") if index % 2 else None
                try:
                    [recorded] = store.append("conversation/a", [event], expected_version=expected)
                except VersionConflictError:
                    continue
                break
            print(recorded.position, recorded.version, index)


def acknowledge(run, path, synchronous):
    """Append groups of three for ever; print the last position of each group once it is recorded."""
    with EventStore(path, synchronous=synchronous) as store:
        number = 0
        while True:
            number += 1
            keys = [f"{run}:{number}:{part}" for part in "abc"]
            group = [MessageRecorded("user", f"сообщение {key}") for key in keys]
            say(store.append(f"conversation/{number % 7}", group, keys=keys)[-1].position, keys[-1])


def fill(path, count):
    """Append one event after another, to several streams in turn."""
    with EventStore(path, synchronous="NORMAL") as store:
        ready()
        for index in range(int(count)):
            store.append(f"conversation/{index % 3}", [MessageRecorded("user", str(index))])


def create(number, directory):
    """Open the same new files as the other processes do, record one event in each, and print the log's id."""
    ready()
    for index in range(4):
        with EventStore(Path(directory, f"{index}.db")) as store:
            store.append("conversation/a", [MessageRecorded("user", number)])
            print(store.log_id)


def create_many(directory):
    """Make one database after another for ever."""
    ready()
    number = 0
    while True:
        number += 1
        EventStore(Path(directory, f"{number}.db")).close()


def outgrow(path):
    """Append until the operating system refuses to let a file grow, then go on once it may again."""
    import resource  # only where there are POSIX limits

    with EventStore(path) as store:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, hard))
        recorded = 0
        try:
            while recorded < 10_000:
                recorded = store.append(f"conversation/{recorded}", [MessageRecorded("user", "x" * 5_000)] * 3)[
                    -1
                ].position
        except StoreError as error:
            say(type(error).__name__, recorded, store.position)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        say(store.append(f"conversation/{recorded}", [MessageRecorded("user", "again")])[0].position)


def powerless(path):
    """Open and append as somebody who may not write the file."""
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    try:
        with EventStore(path) as store:
            store.append("conversation/a", [MessageRecorded("user", "may I?")])
    except TrainerlibError as error:
        say(type(error).__name__)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
