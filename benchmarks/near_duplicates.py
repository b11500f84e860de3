"""Near-duplicates beside MinHash libraries: `python benchmarks/near_duplicates.py [FILE.jsonl.gz ...]`.

Documents are the conversations of files in the interchange form, or made up; they stream by, each looked up among those
before it and then added. With `datasketch` or `rensa` installed the first `--peers` documents go through their LSH too, on the
same bigrams. They answer with candidates, so what they find is compared exactly here, and what nobody finds is unknown.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from itertools import islice, pairwise
from pathlib import Path

import child
import workload

from trainerlib.near_duplicates import NearIndex, fingerprint, normalised

_WORDS = re.compile(r"\w+").findall

Near = dict[int, list[int]]
"""Ids of the earlier documents that each was found near to, as far as it was."""


def documents(files: list[Path], conversations: int) -> Iterator[list[str]]:
    for path in files:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                yield [message["content"] for message in json.loads(line)["messages"]]
    if not files:
        for number in range(conversations):
            yield [workload.text(number, index) for index in range(workload.MESSAGES)]


def ours(texts: Iterable[list[str]], threshold: float) -> Near:
    index = NearIndex(threshold)
    near: Near = {}
    hashing = searching = 0.0
    count = words = bigrams = 0
    for number, said in enumerate(texts):
        began = time.process_time()
        marks = fingerprint(said)
        hashed = time.process_time()
        labels = index.labels(marks)
        index.add(marks, next(iter(labels), number % 3))
        searching += time.process_time() - hashed
        hashing += hashed - began
        if labels:
            near[number] = list(labels.values())
        count, words, bigrams = count + 1, words + sum(len(_WORDS(one)) for one in said), bigrams + len(marks)
    print(f"{count:,} documents of {words / count:.0f} words, {bigrams / count:.0f} bigrams; threshold {threshold}")
    print(f"  fingerprint    {hashing / words * 1e9:8.0f} ns a word {hashing / count * 1e6:9.1f} µs a document")
    print(f"  labels, add    {searching / bigrams * 1e9:8.0f} ns a bigram {searching / count * 1e6:7.1f} µs a document")
    print(f"  near an earlier one {len(near):,}; compared exactly {index.comparisons:,} pairs")
    print(f"  {hashing + searching:.2f} s in all; most memory ever held {child.peak() / 2**20:,.0f} MB")
    return near


def datasketch(texts: list[list[str]], threshold: float) -> Near:
    from datasketch import MinHash, MinHashLSH

    lsh = MinHashLSH(threshold=threshold, num_perm=128)
    near: Near = {}
    for number, said in enumerate(texts):
        sketch = MinHash(num_perm=128)
        sketch.update_batch([bigram.encode() for bigram in bigrams_of(said)])
        if found := lsh.query(sketch):
            near[number] = found
        lsh.insert(number, sketch)
    return near


def rensa(texts: list[list[str]], threshold: float) -> Near:
    from rensa import RMinHash, RMinHashLSH

    lsh = RMinHashLSH(threshold=threshold, num_perm=128, num_bands=16)
    near: Near = {}
    for number, said in enumerate(texts):
        sketch = RMinHash(num_perm=128, seed=42)
        sketch.update(list(bigrams_of(said)))
        if found := lsh.query(sketch):
            near[number] = found
        lsh.insert(number, sketch)
    return near


def bigrams_of(said: list[str]) -> set[str]:
    return {f"{first} {second}" for first, second in pairwise(normalised("\n".join(said)).split())}


def alone(texts: list[list[str]], threshold: float) -> Near:
    """Ours again, without the figures."""
    index = NearIndex(threshold)
    near: Near = {}
    for number, said in enumerate(texts):
        marks = fingerprint(said)
        if found := index.labels(marks):
            near[number] = list(found.values())
        index.add(marks)
    return near


PEERS: dict[str, Callable[[list[list[str]], float], Near]] = {"datasketch": datasketch, "rensa": rensa}


def compare(texts: list[list[str]], threshold: float) -> None:
    """What each finds, and how much of it is so."""
    installed = [("trainerlib", alone), *((name, peer) for name, peer in PEERS.items() if find_spec(name))]
    found: dict[str, tuple[float, Near]] = {}
    for name, search in installed:
        began = time.process_time()
        near = search(texts, threshold)
        found[name] = (time.process_time() - began, near)
    sets = [bigrams_of(said) for said in texts]

    def is_near(number: int, other: int) -> bool:
        shared = len(sets[number] & sets[other])
        return bool(shared) and shared / (len(sets[number]) + len(sets[other]) - shared) >= threshold

    true = {
        name: {number for number, others in near.items() if any(is_near(number, other) for other in others)}
        for name, (_, near) in found.items()
    }
    known = set[int]().union(*true.values())
    print(f"the first {len(texts):,}, of which {len(known):,} are near an earlier one")
    for name, (took, near) in found.items():
        wrong, missed = len(near) - len(true[name]), len(known) - len(true[name])
        print(
            f"  {name:14} {took / len(texts) * 1e6:8.1f} µs a document; wrongly called near {wrong:,}; missed {missed:,}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--threshold", type=float, default=0.85)
    parser.add_argument("--conversations", type=int, default=62_000, help="how many are made up where no file is given")
    parser.add_argument("--peers", type=int, default=5_000, help="documents that the peers get")
    chosen = parser.parse_args()
    ours(documents(chosen.files, chosen.conversations), chosen.threshold)
    compare(list(islice(documents(chosen.files, chosen.conversations), chosen.peers)), chosen.threshold)


if __name__ == "__main__":
    main()
