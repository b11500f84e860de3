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

from array import array
from collections import Counter
from hashlib import sha256

import msgspec

from trainerlib.candidates import Prepared, Preparer
from trainerlib.consent import Permissions
from trainerlib.conversations import Conversation
from trainerlib.examples import ConversationExamples, Window
from trainerlib.leakage import SplitKeeper, shortened
from trainerlib.likeness import Likeness, likeness_left
from trainerlib.quality import CALLABLE
from trainerlib.quality import EXCLUSIONS as QUALITY_EXCLUSIONS
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
    "platform-policy": "the platform forbids training on it, and no permission is recorded",
    "consent-withdrawn": "somebody who speaks in the conversation took their consent back",
    "no-consent": "not everybody who speaks in the conversation consents, and no basis was stated at import",
    "weight-zero": "its source says it must not be learned",
    "no-question": "no message of a person comes right before it, or the one it answers is gone",
    "erased": "was corrected, and what it should have been was erased with whoever said it",
    "unknown": "the model said that it does not know, and nobody said what it should have said",
    "stopped": "somebody stopped it before its end, and nobody corrected it",
    "corrected": "was corrected, and the recipe wants replies as they were",
    "not-corrected": "nobody corrected it",
    "not-approved": "nobody approved it",
    "rated-down": "rated down and not corrected",
    "context-limit": "over the context limit even with the question alone",
    "duplicate": "exact duplicate of an earlier example",
    "near-both": "the conversation is a near-duplicate of conversations in more than one split",
    "said-elsewhere": "but for case and punctuation it says what an example of another split says",
} | QUALITY_EXCLUSIONS
"""Every reason a candidate can be left out for, and what it means."""


def why(reason: str) -> str:
    """What a reason code means.

    >>> why("duplicate"), why("filter:no_profanity")
    ('exact duplicate of an earlier example', "the recipe's filter no_profanity said no")
    """
    if reason.startswith(CALLABLE):
        return f"the recipe's filter {reason.removeprefix(CALLABLE)} said no"
    return EXCLUSIONS.get(reason, "a reason this version of trainerlib does not know")


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
        bases: conversations with examples so far, by the ground on which they may be used.
        redacted: values replaced by placeholders so far, by kind.
        disagreements: replies so far about which those who judged them do not agree.

    Args:
        recipe: what to take, and how.
        permissions: whose words may be used; by default only those of conversations that name nobody.
    """

    def __init__(self, recipe: Recipe, permissions: Permissions | None = None) -> None:
        self.candidates = 0
        self.examples = 0
        self.excluded: Counter[str] = Counter()
        self.bases: Counter[str] = Counter()
        self.redacted: Counter[str] = Counter()
        self.disagreements = 0
        self._prepare = Preparer(recipe, permissions or Permissions()).prepare
        self._seed = recipe.split.seed
        self._shares = recipe.split.shares()
        self.splits: dict[str, int] = {name: 0 for name, _ in self._shares}
        self._seen: set[bytes] = set()
        self._apart = SplitKeeper(recipe.near_duplicates) if recipe.near_duplicates > 0 else None

    def take(self, conversation: Conversation) -> Taken:
        """What the recipe makes of a conversation. Call once for each, in the order they began."""
        return self.place(self._prepare(conversation))

    def place(self, prepared: Prepared) -> Taken:
        """Give what was prepared its place in the dataset. Call once for each conversation, in the order they began."""
        name = prepared.conversation
        excluded = [Exclusion(name, message, reason) for message, reason in prepared.excluded]
        split = _deal(name, self._seed, self._shares)
        line, windows, digests = prepared.line, prepared.windows, set(prepared.digests)
        known: Likeness = array("Q", prepared.fingerprint), prepared.said
        refused: list[tuple[int, str]] = []
        if len(digests) < len(prepared.digests) or not self._seen.isdisjoint(digests):
            line, known, refused = self._without_repeats(prepared, known)
        if self._apart is not None and line:
            placed = self._apart.place(line, known, split)
            split, line = placed.split, placed.line
            if placed.refused:
                refused += placed.refused
                # What is left out is repeated by nobody.
                digests = _digests(prepared, {message for message, _ in placed.refused})
        if line:
            self._seen |= digests
            self.bases[prepared.basis] += 1
            if prepared.redacted:
                self.redacted.update(prepared.redacted)
        windows -= len(refused)
        excluded += [Exclusion(name, message, reason) for message, reason in refused]
        for exclusion in excluded:
            self.excluded[exclusion.reason] += 1
        self.candidates += prepared.candidates
        self.disagreements += prepared.disagreements
        self.examples += windows
        self.splits[split] += windows
        return Taken(split, line, tuple(excluded))

    def _without_repeats(self, prepared: Prepared, known: Likeness) -> tuple[bytes, Likeness, list[tuple[int, str]]]:
        """The line without duplicates, its likeness, and `(message id, reason)` of what was taken out of it."""
        line = _decode_line(prepared.line)
        digests = iter(prepared.digests)
        seen: set[bytes] = set()
        windows: list[Window] = []
        repeating: list[tuple[int, str]] = []

        def repeats(digest: bytes) -> bool:
            if digest in self._seen or digest in seen:
                return True
            seen.add(digest)
            return False

        for window in line.examples:
            good, bad = window.chosen is not None, window.rejected is not None
            good_repeats = good and repeats(next(digests))
            bad_repeats = bad and repeats(next(digests))
            if repeats(next(digests)) if good and bad else good_repeats or bad_repeats:
                repeating.append((window.message, "duplicate"))
            else:
                windows.append(_replace(window, chosen_repeats=good_repeats, rejected_repeats=bad_repeats))
        left = shortened(line, windows)
        if left is None:
            return b"", known, repeating
        return _encode(left), known if self._apart is None else likeness_left(line, known, left), repeating


def _digests(prepared: Prepared, without: set[int]) -> set[bytes]:
    """The digests of the windows of some messages are left out."""
    digests = iter(prepared.digests)
    kept: set[bytes] = set()
    for window in _decode_line(prepared.line).examples if prepared.digests else ():
        own = [next(digests) for _ in range(3 if window.chosen is not None and window.rejected is not None else 1)]
        kept.update(() if window.message in without else own)
    return kept
