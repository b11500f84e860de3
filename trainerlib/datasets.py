"""From conversations to examples: the pipeline behind every dataset.

Every reply is a candidate. Each candidate becomes one example or one exclusion with a reason code, so
`candidates == examples + excluded` holds by construction. What a conversation offers by itself is prepared by
`trainerlib.candidates`; the pipeline takes that in the order the conversations began, deals it into splits, and keeps
nothing but 16 bytes for each side of an example, to recognise exact duplicates.

>>> pipeline = Pipeline(Recipe(targets="corrected"))
>>> from trainerlib.conversations import Conversation, Correction, Message
>>> result = pipeline.take(Conversation("telegram:42", position=1, messages=(
...     Message(2, 2, "user", "When are you open?"),
...     Message(3, 3, "assistant", "At 10.", corrections=(Correction(4, 4, "9 to 18.", by="anna"),)),
...     Message(5, 5, "user", "Thanks"),
...     Message(6, 6, "assistant", "You are welcome."),
... )))
>>> result.examples.examples
(Window(message=3, start=0, stop=1, chosen='9 to 18.', rejected='At 10.', system=-1,
chosen_repeats=False, rejected_repeats=False),)
>>> result.excluded
(Exclusion(conversation='telegram:42', message=6, reason='not-corrected'),)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from hashlib import sha256

import msgspec

from trainerlib.candidates import Prepared, Preparer
from trainerlib.conversations import Conversation
from trainerlib.examples import ConversationExamples, Window
from trainerlib.recipes import Recipe, Split

_encode = msgspec.json.Encoder().encode
_decode_line = msgspec.json.Decoder(ConversationExamples).decode
_replace = msgspec.structs.replace

EXCLUSIONS: dict[str, str] = {
    "platform": "the conversation is on a platform the recipe does not select",
    "tag": "the conversation has none of the recipe's tags",
    "language": "the conversation is not in one of the recipe's languages",
    "time": "the conversation began outside the recipe's time",
    "author": "none of the recipe's authors speaks in the conversation",
    "deleted": "taken down on the platform",
    "not-delivered": "generated but never delivered",
    "merged": "part of the reply before it: same author, moments later",
    "empty": "empty or media only",
    "weight-zero": "its source says it must not be learned",
    "no-question": "no message of a person comes right before it, or the one it answers is gone",
    "corrected": "was corrected, and the recipe wants replies as they were",
    "not-corrected": "nobody corrected it",
    "not-approved": "nobody approved it",
    "rated-down": "rated down and not corrected",
    "context-limit": "over the context limit even with the question alone",
    "duplicate": "exact duplicate of an earlier example",
}
"""Every reason a candidate can be left out for, and what it means."""


class Exclusion(msgspec.Struct, frozen=True, gc=False):
    """A candidate that became no example.

    Attributes:
        conversation: id of its conversation.
        message: id (log position) of the reply.
        reason: a key of `EXCLUSIONS`.
    """

    conversation: str
    message: int
    reason: str


class Taken(msgspec.Struct, frozen=True):
    """What the pipeline made of one conversation.

    Attributes:
        split: where its examples go.
        line: `ConversationExamples` as JSON; empty when there are none.
        excluded: its other candidates.
    """

    split: str
    line: bytes
    excluded: tuple[Exclusion, ...]

    @property
    def examples(self) -> ConversationExamples | None:
        """Its examples, or `None` when there are none."""
        return _decode_line(self.line) if self.line else None


def split_of(conversation: str, split: Split) -> str:
    """The split a conversation is dealt into, now and for ever: a hash of the seed and its id decides.

    >>> split_of("telegram:42", Split(train=0.5, test=0.5, seed=7)) in ("train", "test")
    True
    """
    return _deal(conversation, split.seed, split.shares())


def _deal(conversation: str, seed: int, shares: list[tuple[str, float]]) -> str:
    digest = sha256(f"{seed}\0{conversation}".encode(errors="surrogatepass")).digest()
    point = int.from_bytes(digest[:8]) / 2**64
    for name, share in shares:
        point -= share
        if point < 0:
            return name
    # What rounding leaves over belongs to the last split that gets anything.
    return shares[-1][0]


class Pipeline:
    """Makes a dataset of what conversations offer, taken one after the other, oldest first.

    Attributes:
        candidates: replies seen so far.
        examples: examples made so far.
        excluded: candidates left out so far, by reason.
        splits: examples so far in each split.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.candidates = 0
        self.examples = 0
        self.excluded: Counter[str] = Counter()
        self._prepare = Preparer(recipe).prepare
        self._seed = recipe.split.seed
        self._shares = recipe.split.shares()
        self.splits: dict[str, int] = {name: 0 for name, _ in self._shares}
        self._seen: set[bytes] = set()

    def take(self, conversation: Conversation) -> Taken:
        """What the recipe makes of a conversation. Call once for each, in the order they began."""
        return self.place(self._prepare(conversation))

    def place(self, prepared: Prepared) -> Taken:
        """Give what was prepared its place in the dataset. Call once for each conversation, in the order they began."""
        name = prepared.conversation
        excluded = [Exclusion(name, message, reason) for message, reason in prepared.excluded]
        line, windows = prepared.line, prepared.windows
        digests = set(prepared.digests)
        if len(digests) == len(prepared.digests) and self._seen.isdisjoint(digests):
            # The usual case: it says nothing that was said before.
            self._seen |= digests
        else:
            line, windows, repeating = self._without_repeats(prepared)
            excluded += [Exclusion(name, message, "duplicate") for message in repeating]
        for exclusion in excluded:
            self.excluded[exclusion.reason] += 1
        split = _deal(name, self._seed, self._shares)
        self.candidates += prepared.candidates
        self.examples += windows
        self.splits[split] += windows
        return Taken(split, line, tuple(excluded))

    def _without_repeats(self, prepared: Prepared) -> tuple[bytes, int, list[int]]:
        """`(line, windows, message ids)`: the line without duplicates, and what was taken out of it."""
        line = _decode_line(prepared.line)
        digests = iter(prepared.digests)
        windows: list[Window] = []
        repeating: list[int] = []
        for window in line.examples:
            good, bad = window.chosen is not None, window.rejected is not None
            good_repeats = good and self._repeats(next(digests))
            bad_repeats = bad and self._repeats(next(digests))
            if self._repeats(next(digests)) if good and bad else good_repeats or bad_repeats:
                repeating.append(window.message)
            else:
                windows.append(_replace(window, chosen_repeats=good_repeats, rejected_repeats=bad_repeats))
        if not windows:
            return b"", 0, repeating
        turns = line.turns[: max(window.stop for window in windows)]
        return _encode(_replace(line, turns=turns, examples=tuple(windows))), len(windows), repeating

    def _repeats(self, digest: bytes) -> bool:
        """Whether an earlier example said this; remembers it otherwise."""
        if digest in self._seen:
            return True
        self._seen.add(digest)
        return False


def compare(
    before: Iterator[tuple[str, int, str]], after: Iterator[tuple[str, int, str]]
) -> tuple[list[tuple[str, int]], list[tuple[str, int]], list[tuple[str, int]]]:
    """What changed between two datasets: examples `(added, removed, changed)` as `(conversation, message)`.

    Args:
        before: `(conversation, message, digest)` of each example of the one.
        after: the same of the other.
    """
    old = {(conversation, message): digest for conversation, message, digest in before}
    added, changed = [], []
    for conversation, message, digest in after:
        known = old.pop((conversation, message), None)
        if known is None:
            added.append((conversation, message))
        elif known != digest:
            changed.append((conversation, message))
    return added, list(old), changed
