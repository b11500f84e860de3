"""Nothing of one split in another: conversations that say the same are kept together, and a report that must read zero.

A conversation follows its earliest near-duplicate into that one's split. One that is a near-duplicate of conversations in
several splits is left out, and so is an example that says, but for case and punctuation, what an example of
another split says. Each decision looks at earlier conversations alone, so nothing that was placed ever moves.

>>> from trainerlib.examples import Turn, Window
>>> def talk(name, question):
...     turns = (Turn("user", question), Turn("assistant", "From 9 to 18."))
...     return ConversationExamples(name, 1, turns, (Window(2, 0, 1, "From 9 to 18."),))
>>> leakage([("train", talk("a", "When are you open?")), ("test", talk("b", "when are you open"))], 0.85)
Leakage(conversations=0, texts=1, near_duplicates=1)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from trainerlib.examples import ConversationExamples, Window
from trainerlib.likeness import Likeness, likeness, likeness_left
from trainerlib.near_duplicates import NearIndex
from trainerlib.recipes import SPLITS

_encode = msgspec.json.Encoder().encode
_decode_line = msgspec.json.Decoder(ConversationExamples).decode
_replace = msgspec.structs.replace


class Leakage(msgspec.Struct, frozen=True):
    """What is in more than one split; all 0 for a dataset that keeps its splits apart.

    Attributes:
        conversations: conversations with examples in two splits.
        texts: examples that, but for case and punctuation, say what an earlier example of another split says.
        near_duplicates: conversations that are near-duplicates of an earlier one in another split.
    """

    conversations: int = 0
    texts: int = 0
    near_duplicates: int = 0

    def __bool__(self) -> bool:
        """Whether anything leaks."""
        return bool(self.conversations or self.texts or self.near_duplicates)


class Placed(msgspec.Struct, frozen=True):
    """Where a conversation goes.

    Attributes:
        split: the split.
        line: its line; empty when nothing is left of it.
        refused: `(message id, reason)` of each example that cannot go there.
    """

    split: str
    line: bytes
    refused: Sequence[tuple[int, str]] = ()


class SplitKeeper:
    """Keeps splits apart while conversations come in, oldest first.

    Args:
        threshold: similarity from which conversations are near-duplicates.
    """

    def __init__(self, threshold: float) -> None:
        self._index = NearIndex(threshold)
        self._said: dict[int, set[bytes]] = {number: set() for number in range(len(SPLITS))}

    def place(self, line: bytes, known: Likeness, split: str) -> Placed:
        """Where a conversation goes, and what of it.

        Args:
            line: its examples as JSON.
            known: their `likeness`.
            split: where it goes unless something near was placed before.
        """
        marks, texts = known
        near = self._index.labels(marks)
        if len(near) > 1:
            return Placed(split, b"", _all(line, "near-both"))
        if near:
            split = SPLITS[next(iter(near))]
        number = SPLITS.index(split)
        refused: list[tuple[int, str]] = []
        elsewhere = [said for other, said in self._said.items() if other != number and not said.isdisjoint(texts)]
        if elsewhere:
            decoded = _decode_line(line)
            kept: list[Window] = []
            for window, text in zip(decoded.examples, texts, strict=True):
                if any(text in said for said in elsewhere):
                    refused.append((window.message, "said-elsewhere"))
                else:
                    kept.append(window)
            left = shortened(decoded, kept)
            if left is None:
                return Placed(split, b"", refused)
            line = _encode(left)
            marks, texts = likeness_left(decoded, (marks, texts), left)
            if self._index.labels(marks).keys() - {number}:
                return Placed(split, b"", refused + _all(line, "near-both"))
        self._index.add(marks, number)
        self._said[number].update(texts)
        return Placed(split, line, refused)


def shortened(line: ConversationExamples, windows: Sequence[Window]) -> ConversationExamples | None:
    """The line with only some of its examples; `None` for none."""
    if not windows:
        return None
    turns = line.turns[: max(window.stop for window in windows)]
    return _replace(line, turns=turns, examples=tuple(windows))


def leakage(lines: Iterable[tuple[str, ConversationExamples]], threshold: float) -> Leakage:
    """What is in more than one split of a dataset, found anew from what is in it.

    Args:
        lines: `(split, examples)` of each conversation.
        threshold: similarity from which conversations are near-duplicates.
    """
    index = NearIndex(threshold)
    conversations: dict[str, int] = {}
    texts: dict[bytes, int] = {}
    crossing = repeated = near = 0
    for split, line in lines:
        number = SPLITS.index(split)
        crossing += conversations.setdefault(line.conversation, number) != number
        marks, said = likeness(line)
        repeated += sum([texts.setdefault(text, number) != number for text in said])
        near += bool(index.labels(marks).keys() - {number})
        index.add(marks, number)
    return Leakage(crossing, repeated, near)


def _all(line: bytes, reason: str) -> list[tuple[int, str]]:
    return [(window.message, reason) for window in _decode_line(line).examples]
