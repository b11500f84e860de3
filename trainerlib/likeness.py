"""What a conversation's examples say, as near-duplicates of it are found by.

The fingerprint tells conversations that say nearly the same, wherever they differ; what each example says tells those
that differ in case, punctuation and spaces alone.

>>> from trainerlib.examples import Turn, Window
>>> def talk(question):
...     return ConversationExamples("telegram:42", 1, (Turn("user", question),), (Window(3, 0, 1, "9 to 18."),))
>>> likeness(talk("When are you open?")) == likeness(talk("when are you OPEN"))
True
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from hashlib import sha256
from itertools import accumulate, compress
from typing import TypeAlias

from trainerlib.examples import ConversationExamples
from trainerlib.near_duplicates import fingerprint_of, normalised_words, utf8, words_of

Likeness: TypeAlias = tuple["array[int]", tuple[bytes, ...]]
"""`(fingerprint, said)` of a conversation's examples, as `likeness` tells."""


def likeness(line: ConversationExamples) -> Likeness:
    """What near-duplicates of a conversation are found by.

    The fingerprint is that of all its examples say: its turns, then the sides that are no turn of it. `said` has 16
    bytes for each example, the same for examples that differ in case, punctuation and spaces alone.
    """
    return likenesses([line], [[utf8(turn.content) for turn in line.turns]])[0]


def likenesses(lines: Sequence[ConversationExamples], turns: Sequence[Sequence[bytes]]) -> list[Likeness]:
    """The `likeness` of each of some conversations; as in `trainerlib.candidates.Preparer` a step is taken for all at once.

    Args:
        lines: the conversations.
        turns: of each what its turns say in UTF-8, and perhaps what later ones do.
    """
    sides = list(map(_sides_apart, lines))
    words = [
        words_of([*known[: len(line.turns)], *map(utf8, apart)])
        for line, known, apart in zip(lines, turns, sides, strict=True)
    ]
    normal = list(map(normalised_words, words))
    fingerprints = list(map(fingerprint_of, words))
    return list(zip(fingerprints, map(_said, lines, sides, normal), strict=True))


def likeness_left(line: ConversationExamples, known: Likeness, left: ConversationExamples) -> Likeness:
    """The `likeness` of what is left of a conversation's examples; where its texts are still the same, that is soon told.

    Args:
        line: the conversation.
        known: its likeness.
        left: it with some of its examples.
    """
    if len(left.turns) < len(line.turns) or _sides_apart(left) != _sides_apart(line):
        return likeness(left)
    fingerprint, said = known
    messages = {window.message for window in left.examples}
    return fingerprint, tuple(compress(said, [window.message in messages for window in line.examples]))


def _sides_apart(line: ConversationExamples) -> list[str]:
    """Each side of an example that is no turn of the conversation, once."""
    turns = line.turns
    apart: dict[str, None] = {}
    known: set[str] | None = None
    for window in line.examples:
        for side in (window.chosen, window.rejected):
            # Mostly it is the turn after its context.
            if side is None or (window.stop < len(turns) and turns[window.stop].content is side):
                continue
            if known is None:
                known = {turn.content for turn in turns}
            if side not in known:
                apart[side] = None
    return list(apart)


def _said(line: ConversationExamples, apart: Sequence[str], normal: bytes) -> tuple[bytes, ...]:
    """A digest of what each example says.

    Args:
        line: the examples.
        apart: their sides that are no turns.
        normal: the turns, then these sides, as `normalised_words` gives them.
    """
    turns = line.turns
    number = len(turns)
    begins = list(accumulate([len(text) + 1 for text in normal.split(b"\xff")]))
    places: dict[str, int] = {}
    said: list[bytes] = []
    # Windows mostly begin at the first turn, so the hash of the last context is gone on with.
    context, done = sha256(), 0
    for window in line.examples:
        start, stop = window.start, window.stop
        side = window.chosen if window.chosen is not None else window.rejected or ""
        # The usual case: the reply is the turn after its context.
        follows = stop < number and turns[stop].content == side
        end = stop + 1 if follows else stop
        if start or end < done:
            hashed = sha256(normal[begins[start] : begins[end]])
        else:
            context.update(normal[begins[done] : begins[end]])
            done = end
            hashed = context if follows else context.copy()
        if not follows:
            if not places:
                texts = [*[turn.content for turn in turns], *apart]
                places = dict(zip(texts, range(len(texts)), strict=True))
            place = places[side]
            hashed.update(normal[begins[place] : begins[place + 1]])
        said.append(hashed.digest()[:16])
    return tuple(said)
