"""What one conversation offers a dataset: the part of a build that needs no other conversation.

Every reply is a candidate: it becomes a window over the dialogue, or an exclusion with a reason code. A pure function
of conversation and recipe, so a build may ask for any number of conversations at once, in any process.

>>> from trainerlib.conversations import Conversation, Correction, Message
>>> preparer = Preparer(Recipe(targets="corrected"), Permissions())
>>> prepared = preparer.prepare(Conversation("telegram:42", position=1, messages=(
...     Message(2, 2, "user", "When are you open?"),
...     Message(3, 3, "assistant", "At 10.", corrections=(Correction(4, 4, "9 to 18.", by="anna"),)),
...     Message(5, 5, "user", "Thanks"),
...     Message(6, 6, "assistant", "You are welcome."),
... )))
>>> prepared.candidates, prepared.windows, prepared.excluded
(2, 1, ((6, 'not-corrected'),))
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from itertools import accumulate
from typing import TYPE_CHECKING

import msgspec

from trainerlib.consent import Permissions
from trainerlib.conversations import Conversation, Correction, Feedback, Message
from trainerlib.events import from_microseconds
from trainerlib.examples import ConversationExamples, Turn, Window
from trainerlib.likeness import likenesses
from trainerlib.near_duplicates import utf8
from trainerlib.quality import filters
from trainerlib.recipes import Recipe
from trainerlib.redaction import Redaction, Redactor
from trainerlib.redaction.traces import traces_of
from trainerlib.tokens import estimate_tokens

if TYPE_CHECKING:
    from _hashlib import HASH

_encode = msgspec.json.Encoder().encode

_NOTHING: array[int] = array("Q")

_FRAMES = {"user": b"\xffuser ", "assistant": b"\xffassistant "}
"""What stands before a turn that is hashed: FF is in no UTF-8, so it tells where the one before ends, whatever its text."""

_NO_TURN = -1
"""In place of the index of a turn: the message is none, so nothing can be an answer to it."""


class Prepared(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What a recipe makes of one conversation, before other conversations are considered.

    Attributes:
        conversation: its id.
        candidates: replies in it.
        line: `ConversationExamples` as JSON; empty when there is no example.
        windows: examples in `line`.
        digests: 16 bytes for each thing that must not be said twice: for each window its context with the chosen side,
            with the rejected side, with both, as far as there are such; empty where duplicates are kept.
        excluded: `(message id, reason)` of each candidate that makes no example.
        basis: on what ground the conversation may be used.
        disagreements: replies about which those who judged them do not agree.
        redacted: values replaced by placeholders, by kind.
        fingerprint: of `likeness`, where near-duplicates are looked for.
        said: of `likeness`, likewise.
    """

    conversation: str
    candidates: int = 0
    line: bytes = b""
    windows: int = 0
    digests: tuple[bytes, ...] = ()
    excluded: tuple[tuple[int, str], ...] = ()
    basis: str = ""
    disagreements: int = 0
    redacted: dict[str, int] = {}
    fingerprint: bytes = b""
    said: tuple[bytes, ...] = ()


class _Draft:
    """A conversation that may be used, on its way to what is `Prepared`.

    Attributes:
        conversation: the conversation.
        ground: on what ground it may be used.
        replies: its candidates.
        dialogue: it as its model should see it.
        offers: `(index, message, window)` of each reply in the dialogue; in place of a window the reason why there is none.
        digests: of the windows.
        excluded: `(message id, reason)` of each reply without a window.
        line: the windows with their turns; `None` without any.
        fingerprint: of its `likeness`, where near-duplicates are looked for.
        said: of its `likeness`, likewise.
    """

    __slots__ = ("conversation", "dialogue", "digests", "excluded", "fingerprint", "ground", "line", "offers", "replies",
                 "said")  # fmt: skip

    def __init__(self, conversation: Conversation, ground: str, replies: list[Message], dialogue: Dialogue) -> None:
        self.conversation = conversation
        self.ground = ground
        self.replies = replies
        self.dialogue = dialogue
        self.offers: list[tuple[int, Message, Window | str]] = []
        self.digests: list[bytes] = []
        self.excluded: list[tuple[int, str]] = []
        self.line: ConversationExamples | None = None
        self.fingerprint = _NOTHING
        self.said: tuple[bytes, ...] = ()

    def prepared(self) -> Prepared:
        """What was made of it."""
        line, redact = self.line, self.dialogue.redact
        judged = [message for message in self.replies if message.feedback or message.corrections]
        return Prepared(
            self.conversation.id,
            len(self.replies),
            _encode(line) if line is not None else b"",
            len(line.examples) if line is not None else 0,
            tuple(self.digests),
            tuple(self.excluded),
            self.ground if line is not None else "",
            sum(map(_disagree, judged)),
            redact.counts if redact is not None and line is not None else {},
            self.fingerprint.tobytes(),
            self.said,
        )


class Preparer:
    """Applies a recipe to conversations, to each by itself.

    Args:
        recipe: what to take, and how.
        permissions: whose words may be used.
    """

    def __init__(self, recipe: Recipe, permissions: Permissions) -> None:
        self._recipe = recipe
        self._permissions = permissions
        self._filters = filters(recipe.quality)
        redacts = recipe.redact or recipe.patterns or recipe.names
        self._redactor = Redactor(recipe.redact, patterns=recipe.patterns, names=recipe.names) if redacts else None

    def prepare(self, conversation: Conversation) -> Prepared:
        """What the recipe makes of a conversation."""
        return self.prepare_all([conversation])[0]

    def prepare_all(self, conversations: Sequence[Conversation]) -> list[Prepared]:
        """What the recipe makes of each of some conversations.

        A step is taken for all of them before the next one, so that its code is still in the processor's cache.
        """
        begun = [self._begun(conversation) for conversation in conversations]
        drafts = [one for one in begun if isinstance(one, _Draft)]
        for step in (self._offer, self._filter, self._digest, self._finish):
            for draft in drafts:
                step(draft)
        if self._recipe.near_duplicates > 0:
            finished = [draft for draft in drafts if draft.line is not None]
            found = likenesses(
                [draft.line for draft in finished if draft.line is not None],
                [draft.dialogue.encoded for draft in finished],
            )
            for draft, (fingerprint, said) in zip(finished, found, strict=True):
                draft.fingerprint, draft.said = fingerprint, said
        return [one if isinstance(one, Prepared) else one.prepared() for one in begun]

    def _begun(self, conversation: Conversation) -> Prepared | _Draft:
        """What is to be made of a conversation, or what there is to say when nothing of it is taken."""
        replies = [message for message in conversation.messages if message.role == "assistant"]
        if not replies:
            return Prepared(conversation.id)
        forbidden, ground = self._permissions.verdict(conversation, self._recipe.bases)
        reason = _unselected(conversation, self._recipe) or forbidden
        if reason:
            return Prepared(
                conversation.id, len(replies), excluded=tuple([(message.id, reason) for message in replies])
            )
        return _Draft(conversation, ground, replies, self._dialogue(conversation))

    def _offer(self, draft: _Draft) -> None:
        """Find what each candidate offers, before it is filtered."""
        dialogue = draft.dialogue
        draft.offers = [
            (index, message, self._window(dialogue, index, message)) for index, message in dialogue.candidates
        ]

    def _filter(self, draft: _Draft) -> None:
        """Put the reason of a filter in place of each window that it refuses."""
        if not self._filters:
            return
        turns, offers = draft.dialogue.turns, draft.offers
        for place, (index, message, window) in enumerate(offers):
            if isinstance(window, str) or window.chosen is None:
                continue
            context = turns[window.start : window.stop]
            for reason, keeps in self._filters:
                if not keeps(context, window.chosen):
                    offers[place] = (index, message, reason)
                    break

    def _digest(self, draft: _Draft) -> None:
        """Digest what each window says, by which exact duplicates are found."""
        if self._recipe.duplicates != "exclude":
            return
        dialogue, digests, turns = draft.dialogue, draft.digests, draft.dialogue.turns
        for index, _message, window in draft.offers:
            if isinstance(window, str):
                continue
            start, stop, system = window.start, window.stop, window.system
            if stop == index and window.rejected is None and window.chosen is turns[index].content:
                # The usual case: the reply is the turn after its context.
                digests.append(dialogue.hashed(start, stop + 1, system).digest()[:16])
                continue
            good, bad = _side(window.chosen), _side(window.rejected)
            if bad:
                hashed = dialogue.hashed(start, stop, system)
                if good:
                    digests.append(_digest(hashed, good))
                digests.append(_digest(hashed, bad + b"\xff-"))
                if good:
                    # Each side may have been seen with another: only the same two together are a duplicate.
                    digests.append(_digest(hashed, good + bad + b"\xff="))
            else:
                digests.append(_digest(dialogue.hashed(start, stop, system), good))

    def _finish(self, draft: _Draft) -> None:
        """Make the line of the windows that are left, and list the reasons of the others."""
        dialogue = draft.dialogue
        draft.excluded = [(message.id, reason) for message, reason in dialogue.dropped]
        draft.excluded += [(message.id, reason) for _, message, reason in draft.offers if isinstance(reason, str)]
        windows = [window for _, _, window in draft.offers if not isinstance(window, str)]
        if windows:
            turns = dialogue.turns[: max([window.stop for window in windows])]
            conversation = draft.conversation
            draft.line = ConversationExamples(
                conversation.id, conversation.position, tuple(turns), tuple(windows), tuple(dialogue.systems)
            )

    def turns(self, conversation: Conversation) -> list[list[Message]]:
        """The messages that each turn of the conversation's dialogue is made of."""
        dialogue = self._dialogue(conversation)
        turns: list[list[Message]] = [[] for _ in dialogue.turns]
        for message in conversation.messages:
            index = dialogue.numbers.get(message.number, _NO_TURN)
            if index != _NO_TURN:
                turns[index].append(message)
        return turns

    def _dialogue(self, conversation: Conversation) -> Dialogue:
        redaction = self._redactor.conversation() if self._redactor is not None else None
        return Dialogue(conversation, self._recipe, redaction)

    def _window(self, dialogue: Dialogue, index: int, message: Message) -> Window | str:
        """The example a candidate makes, or the reason why it makes none."""
        stop = dialogue.question(index, message)
        if stop is None:
            return "no-question"
        sides = _sides(message, dialogue.sent[index], self._recipe, dialogue.redact)
        if isinstance(sides, str):
            return sides
        chosen, rejected = sides
        system = dialogue.system_before[index]
        if system < 0 and dialogue.roomy and not message.corrections:
            # The reply is one of the turns, so context and reply fit without being counted.
            return Window(message.id, dialogue.opening(stop), stop, chosen, rejected)
        start = dialogue.start(stop, system, max([estimate_tokens(side) for side in sides if side is not None]))
        return "context-limit" if start is None else Window(message.id, start, stop, chosen, rejected, system)


def _disagree(message: Message) -> bool:
    """Whether people who judged a reply do not agree: one rates it up and one down, or they correct it differently."""
    if len(message.feedback) + len(message.corrections) < 2:
        return False
    ratings = [item.rating for item in message.feedback if item.rating]
    return bool(ratings and min(ratings) < 0 < max(ratings)) or len({item.text for item in message.corrections}) > 1


def _side(text: str | None) -> bytes:
    """A side in its frame, empty for none."""
    return b"" if text is None else _FRAMES["assistant"] + utf8(text)


def _digest(context: HASH, side: bytes) -> bytes:
    hashed = context.copy()
    hashed.update(side)
    return hashed.digest()[:16]


class Dialogue:
    """A conversation as its model should see it: turns in order, the instruction in force at each, what is no turn."""

    __slots__ = ("_ends", "_hashed", "_hashed_stop", "_hashed_system", "_joined", "_recipe", "_tokens", "candidates", "dropped",
                 "encoded", "numbers", "redact", "roomy", "sent", "system_before", "systems", "turns")  # fmt: skip

    def __init__(self, conversation: Conversation, recipe: Recipe, redact: Redaction | None) -> None:
        self._recipe = recipe
        self.redact = redact
        self.turns: list[Turn] = []
        self.systems: list[str] = []
        self.system_before: list[int] = []
        self.candidates: list[tuple[int, Message]] = []
        self.dropped: list[tuple[Message, str]] = []
        self.sent: dict[int, str] = {}
        self.numbers: dict[int, int] = {}
        system = -1
        if recipe.system not in ("as-recorded", "none"):
            self.systems.append(recipe.system)
            system = 0
        before: Message | None = None
        turns, numbers, sent, system_before = self.turns, self.numbers, self.sent, self.system_before
        texts = [message.content if message.attachments else message.text for message in conversation.messages]
        # Most texts show nothing of a value, which is told of all at once.
        shown = traces_of(texts) if redact is not None else [b""] * len(texts)
        for message, text, traces in zip(conversation.messages, texts, shown, strict=True):
            role, content = message.role, text
            if role == "system":
                if not message.deleted:
                    system = self._system(message.text, system)
                continue
            if message.deleted or message.delivered is None or role == "tool" or not content or content.isspace():
                # Seldom; only a correction gives such a message a place in the dialogue.
                reason = _no_turn(message, content)
                if reason or role == "tool":
                    self._leave_out(message, reason)
                    continue
            if redact is not None and (traces or redact.thorough):
                content = redact(content, traces)
            index = len(turns)
            if message.timed and before is not None and before.role == role and self._continues(before, message):
                index -= 1
                if role == "assistant":
                    sent[index] = f"{sent[index]}\n\n{content}"
                    self.dropped.append((message, "merged"))
                turns[index] = Turn(role, f"{turns[index].content}\n\n{content}")
            else:
                in_force = system
                if role == "assistant":
                    self.candidates.append((index, message))
                    sent[index] = content
                    if message.instruction:
                        in_force = self._system(message.instruction, system)
                    # A reply without words of its own is shown by its correction.
                    if message.corrections and (recipe.context_replies == "corrected" or not content.strip()):
                        content = message.corrected_text if redact is None else redact(message.corrected_text)
                turns.append(Turn(role, content))
                system_before.append(in_force)
            numbers[message.number] = index
            before = message
        self._measure()

    def _measure(self) -> None:
        """What windows over the turns are measured and compared by."""
        self.encoded = list(map(utf8, [turn.content for turn in self.turns]))
        framed = [_FRAMES[turn.role] + content for turn, content in zip(self.turns, self.encoded, strict=True)]
        self._joined = b"".join(framed)
        self._ends = [0, *accumulate(map(len, framed))]
        # A text has fewer tokens than it has bytes in its frame by four, so here all turns fit, and one of them once more.
        self.roomy = len(self._joined) <= 2 * self._recipe.context_tokens
        self._tokens: list[int] | None = None
        self._hashed = sha256()
        self._hashed_system, self._hashed_stop = -1, 0

    def _leave_out(self, message: Message, reason: str) -> None:
        if message.role == "assistant":
            self.dropped.append((message, reason))
        elif message.role == "user":
            self.numbers[message.number] = _NO_TURN

    def _system(self, text: str, current: int) -> int:
        """Index into `systems` of the instruction in force once `text` was given, by the recipe."""
        if not text.strip() or self._recipe.system != "as-recorded":
            return current
        if self.redact is not None:
            text = self.redact(text)
        if text not in self.systems:
            self.systems.append(text)
        return self.systems.index(text)

    def _continues(self, before: Message, message: Message) -> bool:
        """The message belongs to the turn before it: same person, moments later, and nobody judged either."""
        return (
            before.timed
            and message.author == before.author
            and 0 <= message.at - before.at <= self._recipe.merge_seconds * 1_000_000
            and self._recipe.merge_seconds > 0
            and not (message.corrections or message.feedback or before.corrections or before.feedback)
            and message.weight == before.weight
            # Replies to two people are two, however quickly they came.
            and message.in_reply_to in (None, before.in_reply_to, before.number)
        )

    def question(self, index: int, message: Message) -> int | None:
        """Index after the turn that the reply answers: the one it names, else the one right before it."""
        if message.in_reply_to is not None:
            named = self.numbers.get(message.in_reply_to)
            if named == _NO_TURN:
                return None
            if named is not None and named < index and self.turns[named].role == "user":
                return named + 1
        return index if index and self.turns[index - 1].role == "user" else None

    def start(self, stop: int, system: int, reply_tokens: int) -> int | None:
        """Index of the first turn that fits the limits; `None` when not even the question does."""
        budget = self._recipe.context_tokens - reply_tokens
        if system >= 0:
            budget -= estimate_tokens(self.systems[system])
        least = 0
        if len(self._joined) > 4 * budget:
            if self._tokens is None:
                # Sums up to each turn, so that any window's count is one subtraction.
                self._tokens = [0, *accumulate([estimate_tokens(turn.content) for turn in self.turns])]
            tokens = self._tokens
            least = max(0, stop - self._recipe.context_turns)
            while least < stop and tokens[stop] - tokens[least] > budget:
                least += 1
            if least == stop:
                return None
        return self.opening(stop, least)

    def opening(self, stop: int, least: int = 0) -> int:
        """Index of the first turn of a context that is not too long, from `least` on: one of a person, where it was cut."""
        start = max(least, stop - self._recipe.context_turns)
        while start and self.turns[start].role == "assistant":
            start += 1
        return start

    def hashed(self, start: int, stop: int, system: int) -> HASH:
        """The hash of some turns and the instruction, to go on with: the same only for those that say the same.

        Windows of a conversation mostly begin at its first turn, so the hash of the last one is gone on with.
        """
        if start or system != self._hashed_system or stop < self._hashed_stop:
            hashed = sha256(b"" if system < 0 else _encode(self.systems[system]))
            done = start
        else:
            hashed, done = self._hashed, self._hashed_stop
        hashed.update(self._joined[self._ends[done] : self._ends[stop]])
        if start == 0:
            self._hashed, self._hashed_system, self._hashed_stop = hashed, system, stop
        return hashed


def _unselected(conversation: Conversation, recipe: Recipe) -> str:
    """The reason why a recipe does not take a conversation; empty when it does."""
    if recipe.platforms and conversation.platform not in recipe.platforms:
        return "platform"
    if recipe.tags and not set(recipe.tags).intersection(conversation.tags):
        return "tag"
    if recipe.since is not None or recipe.until is not None:
        began = from_microseconds(min(message.at for message in conversation.messages))
        if (recipe.since is not None and began < recipe.since) or (recipe.until is not None and began >= recipe.until):
            return "time"
    if recipe.authors and not any(message.author in recipe.authors for message in conversation.messages):
        return "author"
    if recipe.languages and conversation.language not in recipe.languages:
        return "language"
    return ""


def _no_turn(message: Message, content: str) -> str:
    """The reason why a message is no turn of the dialogue; empty when it is one."""
    if message.deleted:
        return "deleted"
    if message.delivered is None:
        return "not-delivered"
    if not content.strip() and not message.corrections:
        return "empty"
    return ""


def _sides(
    message: Message, content: str, recipe: Recipe, redact: Redaction | None
) -> tuple[str | None, str | None] | str:
    """`(chosen, rejected)` of a candidate, sent as `content`, by the recipe, or the reason why it has none."""
    if message.weight == 0:
        return "weight-zero"
    if message.lost and not message.corrections:
        return "erased"
    if message.shortfall and not message.corrections:
        return message.shortfall
    if not message.corrections and not message.feedback:
        # The usual case: nobody said anything about it.
        if recipe.targets == "all":
            return content, None
        return "not-approved" if recipe.targets == "approved" else "not-corrected"
    correction = _correction(message.corrections, recipe)
    verdict = _verdict(message.feedback, recipe)
    if correction is not None:
        if recipe.targets == "approved":
            return "corrected"
        text = correction.text if redact is None else redact(correction.text)
        # What was cut short is no example of a bad answer.
        said = content.strip() and content != text and message.shortfall != "stopped"
        return text, content if said else None
    if recipe.targets == "corrected":
        return "not-corrected"
    if not content.strip():
        return "empty"
    if verdict < 0:
        return (None, content) if recipe.rated_down == "reject" else "rated-down"
    if recipe.targets == "all" or verdict > 0:
        return content, None
    return "not-approved"


def _correction(corrections: Sequence[Correction], recipe: Recipe) -> Correction | None:
    """The correction that counts."""
    raters = recipe.raters
    if isinstance(raters, tuple):
        corrections = [correction for correction in corrections if correction.by in raters]
    if not corrections:
        return None
    if raters == "majority":
        votes = Counter(correction.text for correction in corrections)
        most = max(votes.values())
        corrections = [correction for correction in corrections if votes[correction.text] == most]
    return corrections[-1]


def _verdict(feedback: Sequence[Feedback], recipe: Recipe) -> int:
    """1 when the ratings that count approve a reply, -1 when they reject it, else 0."""
    raters = recipe.raters
    ratings = [
        item.rating
        for item in feedback
        if item.rating is not None and not (isinstance(raters, tuple) and item.by not in raters)
    ]
    if raters != "majority":
        ratings = ratings[-1:]
    up = sum(rating >= recipe.min_rating for rating in ratings)
    down = sum(rating < 0 for rating in ratings)
    return (up > down) - (down > up)
