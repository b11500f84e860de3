r"""Near-duplicate documents, found while documents stream by: exact in its verdicts, the same on every machine.

A document is a sequence of texts, here the turns of a conversation. Its fingerprint is the set of its word bigrams
(2-shingles), which run across turns, each as a 64-bit number; two documents are near-duplicates when the Jaccard
similarity of their fingerprints, |A ∩ B| / |A ∪ B|, is at least a threshold t (Broder, "On the resemblance and
containment of documents", 1997). Words are runs of letters, digits and `_`, whatever their case, with ё as е; in a
language written without spaces that is a whole clause.

>>> index = NearIndex(0.85)
>>> index.add(fingerprint(["Подскажите, когда вы открыты?", "С 9 до 18, без выходных."]), label=0)
0
>>> index.labels(fingerprint(["Здравствуйте, подскажите, когда вы открыты", "с 9 до 18 без выходных!"]))
{0: 0}
>>> index.labels(fingerprint(["Подскажите, когда вы открыты?", "Завтра с 9 до 18."]))
{}

**Hashes.** A word has two random numbers from BLAKE2b, and a bigram is the second of its first word XOR the first of its
second word: simple tabulation, with which MinHash and Chernoff bounds work as if it were fully random (Pătraşcu and
Thorup, "The power of simple tabulation hashing", J. ACM 59, 2012). 61 bits are random: of 10^12 pairs of documents of
1,000 bigrams one meets a collision.

**Candidates.** Think of hashes as places on a circle. Each of b fixed points gives a document one key, the r hashes that
follow it (one permutation hashing, densified by rotation: Shrivastava and Li, ICML 2014; in bands of r rows, as Leskovec,
Rajaraman and Ullman, "Mining of massive datasets", 3.4). Two documents of similarity J have a point's key in common with
probability J^r, and none of b with (1 - J^r)^b. Here r is 3 where t allows it, and b makes that less than 0.00009 at
J = t: b is 10 at t = 0.85, where 0.000002 is missed at J = 0.9. In truth it is less, as the points are spread evenly. A
document of at most 2b hashes has all its runs of r as keys, and two such documents are never missed: a hash that only
one has breaks up at most r - 1 of the |A ∩ B| runs of shared ones, and r is so small that t > (r - 1) / r.

**Verdicts.** A candidate whose size rules it out is dropped, then one whose sketch (its 32 lowest hashes; Broder) shares
too little with the document's: by Hoeffding's bound, which holds for sampling without replacement too ("Probability
inequalities for sums of bounded random variables", 1963), that is less than 0.00001 of those with J = t. The rest is
compared hash by hash. So nothing below t is ever called near, and of what is at t less than 0.0001 is missed, of what is
above it far less.

**Crowds.** Much is said everywhere ("have a great day"), but the same three bigrams in a row on the circle are rare. A key
keeps its first 32 documents. A later one takes keys of further points instead, 4b in all at most, until b of them have
room; of the documents with which it shares crowded keys the few that share most are compared. So the work for a document
is bounded, however many came before. One of hundreds that differ in a few words (a form filled in) is found near them all
the same, by one of the first; of two that are nearer to each other than to the rest 1 in 200 at worst was missed in trials.
"""

from __future__ import annotations

import math
import re
import unicodedata
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import compress, islice
from operator import methodcaller, ne
from struct import pack
from sys import byteorder

import msgspec

from trainerlib.errors import RecipeError

_REMEMBERED = 1 << 16
"""Words whose hashes are kept."""

_LONGEST = 64
"""Bytes of the longest word that is kept."""

_WORD = re.compile(r"\w+")
_FOLDED = bytes([ord(chr(c).lower()) if chr(c).isalnum() or chr(c) == "_" else 32 for c in range(128)]) + bytes(
    range(128, 256)
)
"""ASCII in lower case and without punctuation; in UTF-8 no other character has such bytes."""

# What Unicode 15 to 18 added: Python 3.11 knows none of it, later ones do, and all must see the same words.
_NEWER = re.compile(
    "[\u0558\u058b-\u058c\u05c8-\u05c9\u088f\u0897\u0b53-\u0b54\u0c5c\u0cdc\u0cf3\u0ece\u1acf-\u1af0\u1c89-\u1c8a\u208f"
    "\u209d-\u209f\ua7cb-\ua7cf\ua7d2\ua7d4\ua7da-\ua7f1\uab6c-\uab6d\U000105c0-\U000105f3\U000107bb-\U000107bf"
    "\U00010940-\U00010959\U00010d40-\U00010d85\U00010ec2-\U00010eff\U0001123f-\U00011241\U00011380-\U000113e2"
    "\U000116d0-\U000116e3\U00011b0a-\U00011bf9\U00011db0-\U00011df1\U00011f00-\U00011f5a\U0001246f"
    "\U00012475-\U0001247f\U00012550-\U00012686\U0001342f\U00013440-\U000143fa\U00016100-\U00016139"
    "\U00016d40-\U00016d79\U00016ea0-\U00016ed3\U00016ff2-\U00016ff6\U000187f8-\U000187ff\U00018cd6-\U00018cff"
    "\U00018d09-\U000191d2\U0001b123-\U0001b132\U0001b155\U0001b168\U0001ccd6-\U0001ccf9\U0001d127-\U0001d128"
    "\U0001d250-\U0001d2d3\U0001d6a6\U0001df1f-\U0001dfff\U0001e030-\U0001e08f\U0001e4d0-\U0001e6ff"
    "\U0002b739-\U0002b73f\U0002b81e\U0002cea2-\U0002cead\U0002ebf0-\U0002ee5d\U00031350-\U0003fc3f]"
)

# Of a word's two 64-bit numbers the first begins with bits 000 and the second with 001, so what they give by XOR lies in
# [2^61, 2^62): read as doubles such numbers are positive and normal, in the same order, and sort faster than integers.
_RANDOM = (1 << 61) - 1 | (1 << 61) - 1 << 64
_LEADING = 1 << 61 << 64
_LOWEST = 1 << 61

_END = b"\xff"
utf8 = methodcaller("encode", "utf-8", "surrogatepass")
"""A text in UTF-8, as `words_of` takes it."""
"""A word that no text has, as UTF-8 has no such byte: where a text ends."""

_PAIR = 16
"""Bytes of a word's two numbers."""

_PIECE = _PAIR << 16
"""Bytes of words that are hashed at a time, which bounds the memory that a very long document takes."""

_MISSED = 9e-5
"""Share of pairs at the threshold that may have no key in common."""

_DROPPED = 1e-5
"""Share of pairs at the threshold whose sketches may look too different."""

_ROWS = 3
"""Hashes of a key, where the threshold allows it."""

_MOST = 1_000
"""Keys of a document at most: enough down to a threshold of 0.01."""

_SKETCH = 32
"""Hashes of a sketch."""

_FURTHER = 4
"""Times as many points as bands: how far a document goes for keys with room."""

_ROOM = 32
"""Documents that a key keeps."""

_CROWD = 2_048
"""About how many hashes of documents with a crowded key are compared for one document."""

_KEY = (1 << 60) - 1
"""The bits of a key: an int of 60 bits takes 32 bytes, one of more takes 48."""


class _Remembered(dict[bytes, bytes]):
    """What a function gives for each of the last words.

    Args:
        function: of a word as `words_of` gives it.
    """

    def __init__(self, function: Callable[[bytes], bytes]) -> None:
        super().__init__()
        self._function = function

    def __missing__(self, word: bytes) -> bytes:
        made = self._function(word)
        if len(word) <= _LONGEST:
            if len(self) >= _REMEMBERED:
                self.clear()
            self[word] = made
        return made


def words_of(texts: Iterable[bytes]) -> list[bytes]:
    r"""Texts in UTF-8, split at spaces and ASCII punctuation; what is ASCII is in lower case, what is not is as it was.

    The byte FF is a word of its own, and stands before the first text and after each.

    >>> words_of([b"When ARE you", b"open?"])
    [b'\xff', b'when', b'are', b'you', b'\xff', b'open', b'\xff']
    """
    return b" \xff ".join([b"", *texts, b""]).translate(_FOLDED).split()


def _normalised(word: bytes) -> bytes:
    """The words in one that `words_of` gave, a space between: none in `🙂`, two in `don’t`."""
    if word.isascii() or word == _END:
        return word
    text = _NEWER.sub(" ", word.decode(errors="surrogatepass"))
    return " ".join(_WORD.findall(unicodedata.normalize("NFKC", text).casefold().replace("ё", "е"))).encode()


def _hashed(word: bytes) -> bytes:
    """Two random numbers, 16 bytes together, for each word in one that `words_of` gave."""
    if word == _END:
        return b""
    words = [word] if word.isascii() else _normalised(word).split()
    digests = [blake2b(one, digest_size=_PAIR).digest() for one in words]
    pairs = [int.from_bytes(digest, "little") & _RANDOM | _LEADING for digest in digests]
    return b"".join([pair.to_bytes(_PAIR, "little") for pair in pairs])


_normalised_words = _Remembered(_normalised).__getitem__
_hashed_words = _Remembered(_hashed).__getitem__


def normalised(text: str) -> str:
    """The words of a text in lower case, one space between; equal for texts that differ in case and punctuation alone.

    >>> normalised("Ещё  раз: «Спасибо», BYE!"), normalised("🙂")
    ('еще раз спасибо bye', '')
    """
    return normalised_words(words_of([utf8(text)])).strip(b"\xff ").decode()


def normalised_words(words: Sequence[bytes]) -> bytes:
    """What `words_of` gave, normalised, with a space between: equal for what differs in case and punctuation alone."""
    joined = b" ".join(words)
    if joined.replace(_END, b"").isascii():
        return joined
    return b" ".join(filter(None, map(_normalised_words, words)))


def fingerprint(texts: Iterable[str]) -> array[int]:
    """The hashes of a document's word bigrams: an `array("Q")` in ascending order, each once.

    The fingerprint of a single word is that word's own hash; without any word it is empty. The numbers are the same in
    every process, on every machine and Python.

    Args:
        texts: what the document says; bigrams run from each text into the next.

    >>> fingerprint(["When are", "you open?"]) == fingerprint(["when are you OPEN"])
    True
    >>> len(fingerprint(["When are you open?"])), len(fingerprint(["Да."])), len(fingerprint(["👍"]))
    (3, 1, 0)
    """
    return fingerprint_of(words_of(map(utf8, texts)))


def fingerprint_of(words: Iterable[bytes]) -> array[int]:
    """The `fingerprint` of the texts whose `words_of` are known."""
    pairs = b"".join(map(_hashed_words, words))
    hashes: list[float] = []
    for start in range(0, max(len(pairs) - _PAIR, 1), _PIECE):
        piece = pairs[start : start + _PIECE + _PAIR]
        numbers = int.from_bytes(piece, "little")
        # As 64-bit numbers a1 b1 a2 b2 a3 b3: XOR with what follows makes every second one b1^a2, b2^a3.
        mixed = array("d", (numbers ^ numbers >> 64).to_bytes(len(piece), "little"))
        if byteorder == "big":
            mixed.byteswap()
        hashes += (mixed[1:-1:2] or mixed[1:]).tolist()
    hashes.sort()
    differs_from_next = map(ne, hashes, islice(hashes, 1, None))
    kept = [*compress(hashes, differs_from_next), *hashes[-1:]]
    # An array made of the list would ask of each item what it is.
    return array("Q", pack(f"{len(kept)}d", *kept))


class _Bands(msgspec.Struct, frozen=True):
    """How candidates are found at a threshold; the module says why.

    Attributes:
        number: keys a document wants, b; 0 when only equal fingerprints count.
        rows: hashes that make a key, r.
        points: where keys begin, as doubles, `_FURTHER` times as many as are wanted.
        shared: hashes that the sketches of near-duplicates share.
        small: a document of so many hashes at most has every run of `rows` of them as a key.
    """

    number: int
    rows: int
    points: tuple[float, ...]
    shared: int
    small: int


def _bands(threshold: float) -> _Bands:
    if threshold == 1:
        return _Bands(0, 1, (), 0, 0)
    rows = max(rows for rows in range(1, _ROWS + 1) if (rows - 1) / rows < threshold)
    number = min(_MOST, math.ceil(math.log(_MISSED) / math.log1p(-(threshold**rows))))
    # Van der Corput's sequence: however many are taken, they are spread evenly.
    points = array("Q", [_LOWEST + int(f"{point:061b}"[::-1], 2) for point in range(_FURTHER * number)])
    shared = 0
    while shared < threshold * _SKETCH and _SKETCH * _divergence(shared / _SKETCH, threshold) >= -math.log(_DROPPED):
        shared += 1
    return _Bands(number, rows, tuple(array("d", points.tobytes())), shared, 2 * number)


def _divergence(share: float, expected: float) -> float:
    """Kullback-Leibler divergence of two coins: n tosses come out so low with probability exp(-n d) at most."""
    heads = share * math.log(share / expected) if share else 0.0
    return heads + (1 - share) * math.log((1 - share) / (1 - expected))


class _Document:
    """A fingerprint, and what is derived from it once for all labels.

    Attributes:
        data: the fingerprint as bytes.
        hashes: how many it has.
        keys: of its first points, or of all its runs.
        wanted: how many keys with room it takes.
    """

    __slots__ = ("_bands", "_cyclic", "_further", "_places", "_set", "_sketch", "data", "hashes", "keys", "wanted")

    def __init__(self, fingerprint: array[int], data: bytes, bands: _Bands) -> None:
        self.data = data
        self.hashes = len(fingerprint)
        self._bands = bands
        self._cyclic = fingerprint + (fingerprint[: bands.rows - 1] * bands.rows)[: bands.rows - 1]
        self._sketch: frozenset[int] | None = None
        self._set: frozenset[int] | None = None
        self._further: list[int] | None = None
        self._places: array[float] = array("d")
        if self.hashes <= bands.small:
            self.wanted = self.hashes
            self.keys = self._begun(range(self.hashes))
            self._further = []
        else:
            self.wanted = bands.number
            self._places.frombytes(self.data)
            self.keys = self._at(bands.points[: bands.number])

    def _at(self, points: Iterable[float]) -> list[int]:
        places, hashes = self._places, self.hashes
        return self._begun([bisect_left(places, point) % hashes for point in points])

    def _begun(self, starts: Iterable[int]) -> list[int]:
        """The keys that begin with these hashes."""
        cyclic, rows = self._cyclic, self._bands.rows
        if rows == 3:
            # The usual number, written out.
            return [cyclic[start] + cyclic[start + 1] + cyclic[start + 2] & _KEY for start in starts]
        return [sum(cyclic[start : start + rows]) & _KEY for start in starts]

    def every_key(self) -> Iterator[int]:
        """The keys it wants, then those it takes instead of crowded ones."""
        yield from self.keys
        if self._further is None:
            self._further = self._at(self._bands.points[self._bands.number :])
        yield from self._further

    def resembles(self, other: bytes) -> bool:
        """Whether another fingerprint may be near: its sketch shares enough."""
        if self._sketch is None:
            self._sketch = frozenset(self._cyclic[:_SKETCH])
        return len(self._sketch.intersection(array("Q", other[: 8 * _SKETCH]))) >= self._bands.shared

    def shares(self, other: bytes) -> int:
        """How many hashes it has in common with another fingerprint."""
        if self._set is None:
            self._set = frozenset(self._cyclic)
        return len(self._set.intersection(array("Q", other)))


class _Shelf:
    """The documents of one label, each fingerprint once.

    Attributes:
        known: the number on the shelf of each fingerprint, as bytes.
        fingerprints: by number.
        ids: of each number.
        keys: the number of the one document that has a key, or of the first ones.
    """

    __slots__ = ("fingerprints", "ids", "keys", "known")

    def __init__(self) -> None:
        self.known: dict[bytes, int] = {}
        self.fingerprints: list[bytes] = []
        self.ids: array[int] = array("Q")
        self.keys: dict[int, int | list[int]] = {}

    def add(self, document: _Document, number: int) -> None:
        """Put a document on the shelf; `number` is its id."""
        if document.data in self.known:
            return
        here = len(self.ids)
        self.known[document.data] = here
        self.fingerprints.append(document.data)
        self.ids.append(number)
        keys, wanted = self.keys, document.wanted
        for key in document.every_key():
            holders = keys.setdefault(key, here)
            if holders != here:
                if isinstance(holders, int):
                    keys[key] = [holders, here]
                elif len(holders) >= _ROOM:
                    continue
                elif holders[-1] != here:
                    holders.append(here)
            wanted -= 1
            if not wanted:
                break

    def candidates(self, document: _Document) -> list[int]:
        """Numbers on the shelf of what has a key in common with a document, ascending."""
        found: list[int] = []
        for key in self.keys.keys() & document.keys:
            holders = self.keys[key]
            if isinstance(holders, int):
                found.append(holders)
            elif len(holders) < _ROOM:
                found += holders
            else:
                return self._crowded(document)
        return sorted(set(found))

    def _crowded(self, document: _Document) -> list[int]:
        """The candidates of a document some of whose keys have no more room."""
        found: list[int] = []
        crowd: list[int] = []
        get, wanted = self.keys.get, document.wanted
        for key in document.every_key():
            holders = get(key)
            if holders is not None:
                if isinstance(holders, int):
                    found.append(holders)
                elif len(holders) >= _ROOM:
                    crowd += holders
                    continue
                else:
                    found += holders
            wanted -= 1
            if not wanted:
                break
        if crowd:
            found += [number for number, _ in Counter(crowd).most_common(1 + _CROWD // document.hashes)]
        return sorted(set(found))


class NearIndex:
    """Documents that came before, and which of them a document is nearly the same as.

    A look-up tells the earliest near-duplicate of each label (a dataset's split, say), not all of them: of 50,000 documents that say
    the same each would have thousands. What it answers depends only on what was added before, in which order.

    Memory: 8 bytes a hash, and about 80 for each key a document is held under; 2.9 kB for one of 250 bigrams at a threshold
    of 0.85. A fingerprint that was there before under the same label takes no more.

    Args:
        threshold: Jaccard similarity from which documents are near-duplicates, above 0 and at most 1; 1 means equal
            fingerprints. Made for 0.6 and more: below it is as exact, but slow.

    Attributes:
        comparisons: how many pairs were compared hash by hash so far.

    Raises:
        RecipeError: no such threshold.

    >>> index = NearIndex(0.85)
    >>> order = fingerprint(["I would like to order two dozen red roses for Saturday, please."])
    >>> index.add(order, label=0), index.add(fingerprint(["Do you deliver on Sundays?"]), label=1)
    (0, 1)
    >>> index.labels(order)
    {0: 0}
    """

    def __init__(self, threshold: float) -> None:
        if not 0 < threshold <= 1:
            raise RecipeError(f"near-duplicates cannot be told from {threshold}; a similarity above 0 and at most 1")
        self._threshold = threshold
        self._bands = _bands(threshold)
        self._shelves: dict[int, _Shelf] = {}
        self._added = 0
        self._last: _Document | None = None
        self.comparisons = 0

    def labels(self, fingerprint: array[int]) -> dict[int, int]:
        """The labels of its near-duplicates, and with each the id of the earliest that was found.

        Args:
            fingerprint: what `fingerprint` made; an empty one is near nothing.
        """
        if not fingerprint:
            return {}
        document = self._document(fingerprint)
        earliest = {label: self._earliest(document, shelf) for label, shelf in self._shelves.items()}
        return {label: number for label, number in earliest.items() if number is not None}

    def add(self, fingerprint: array[int], label: int = 0) -> int:
        """Let later documents be compared with this one.

        Args:
            fingerprint: what `fingerprint` made.
            label: what `labels` tells when it is near.

        Returns:
            Its id: 0, 1, 2 ... in the order of addition.
        """
        if fingerprint:
            shelf = self._shelves.get(label)
            if shelf is None:
                shelf = self._shelves[label] = _Shelf()
            shelf.add(self._document(fingerprint), self._added)
        self._added += 1
        return self._added - 1

    def _document(self, fingerprint: array[int]) -> _Document:
        """The fingerprint's; what is looked up is mostly added next, so the last one is kept."""
        data = fingerprint.tobytes()
        if self._last is None or self._last.data != data:
            self._last = _Document(fingerprint, data, self._bands)
        return self._last

    def _earliest(self, document: _Document, shelf: _Shelf) -> int | None:
        """Id of the earliest near-duplicate on a shelf."""
        same = shelf.known.get(document.data)
        for number in shelf.candidates(document):
            if same is not None and number >= same:
                break
            if self._near(document, shelf.fingerprints[number]):
                return shelf.ids[number]
        return None if same is None else shelf.ids[same]

    def _near(self, document: _Document, other: bytes) -> bool:
        """Whether the similarity reaches the threshold; as both are doubles nearest to their value, 17 of 20 reaches 0.85."""
        first, second = document.hashes, len(other) // 8
        smaller, larger = (first, second) if first < second else (second, first)
        if smaller / larger < self._threshold:
            return False
        if smaller > self._bands.small and smaller > _SKETCH and not document.resembles(other):
            return False
        self.comparisons += 1
        shared = document.shares(other)
        return shared / (first + second - shared) >= self._threshold
