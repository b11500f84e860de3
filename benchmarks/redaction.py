"""What redaction costs a message: `python benchmarks/redaction.py [FILE.jsonl.gz ...]`.

Messages are those of files in the interchange form, or made up. Beside the whole, with every kind of value looked for, stands
one search for a set of characters, which is the least that any look at a text costs in Python; the best of five rounds each.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import workload

from trainerlib.redaction import KINDS, Redactor

Conversations = list[list[str]]


def read(path: Path) -> Conversations:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [[message["content"] for message in json.loads(line)["messages"]] for line in lines]


def made_up(conversations: int) -> Conversations:
    return [[workload.text(number, index) for index in range(workload.MESSAGES)] for number in range(conversations)]


def best(work: Callable[[], None], messages: int) -> float:
    """Microseconds a message."""
    rounds = []
    for _ in range(5):
        began = time.process_time()
        work()
        rounds.append(time.process_time() - began)
    return min(rounds) / messages * 1e6


def measure(name: str, conversations: Conversations) -> None:
    redactor = Redactor(list(KINDS))
    scan = re.compile("[0-9@:=]").search

    def redacted() -> None:
        for texts in conversations:
            redact = redactor.conversation()
            for text in texts:
                redact(text)

    def scanned() -> None:
        for texts in conversations:
            for text in texts:
                scan(text)

    messages = sum(map(len, conversations))
    letters = sum(len(text) for texts in conversations for text in texts) / messages
    found = 0
    for texts in conversations:
        redact = redactor.conversation()
        for text in texts:
            redact(text)
        found += redact.counts.total()
    print(
        f"{name}: {messages:,} messages of {letters:.0f} characters, {found:,} values; "
        f"{best(redacted, messages):.2f} µs a message, a bare search {best(scanned, messages):.2f} µs"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, help="files in the interchange form, gzip; made up without any")
    parser.add_argument("--conversations", type=int, default=10_000, help="conversations made up (default 10000)")
    arguments = parser.parse_args()
    for path in arguments.files:
        measure(path.name, read(path))
    if not arguments.files:
        measure("made up, English and Russian", made_up(arguments.conversations))


if __name__ == "__main__":
    main()
