"""What a conversation offers by itself: the same whatever is prepared beside it, and recognised whatever its spelling."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from trainerlib import Recipe
from trainerlib.candidates import Preparer
from trainerlib.consent import Permissions
from trainerlib.conversations import Conversation, Correction, Feedback, Message
from trainerlib.examples import ConversationExamples, Turn, Window
from trainerlib.likeness import likeness, likenesses
from trainerlib.near_duplicates import fingerprint, normalised
from trainerlib.quality import Quality

SAID = (
    "Когда вы открыты?",
    "когда вы открыты",
    "Ещё раз!",
    "еще  РАЗ",
    "don’t",
    "don't",
    "Don t",
    "When are you open?",
    "when are\nyou open",
    "🙂",
    "...",
    "",
    "ÿ \x00 ÿ",
    "\ud800",
    "+7 916 123-45-67",
    "a@example.com",
    "I'm sorry, but I can't help with that.",
    "да да да да да да да да да да",
)


@st.composite
def conversations(draw):
    """One with anything in it that a recipe looks at."""
    messages = []
    for number in range(1, draw(st.integers(0, 9)) + 1):
        role = draw(st.sampled_from(["user", "assistant", "assistant", "user", "system"]))
        better = draw(st.sampled_from((None, None, None, *SAID[:8])))
        rating = draw(st.sampled_from([None, None, -1, 1]))
        messages.append(
            Message(
                number,
                number,
                role,
                draw(st.sampled_from(SAID[:-5] + SAID[-4:])).replace("\ud800", "?"),
                corrections=(Correction(100 + number, 100 + number, better, "anna"),) if better else (),
                feedback=(Feedback(200 + number, 200 + number, "ben", rating),) if rating else (),
                deleted=draw(st.integers(0, 9)) == 0,
            )
        )
    return Conversation(f"c{draw(st.integers(0, 99))}", 9, 1, "rows", messages=tuple(messages))


@settings(max_examples=100, deadline=None)
@given(st.lists(conversations(), max_size=6), st.booleans(), st.sampled_from(["exclude", "keep"]), st.integers(1, 4))
def test_a_conversation_offers_the_same_alone_and_among_others(several, near, duplicates, turns):
    recipe = Recipe(
        redact=("all",),
        near_duplicates=0.85 if near else 0.0,
        duplicates=duplicates,
        context_turns=turns,
        quality=Quality(max_repetition=0.3, refusals="exclude", same_language=True),
    )
    preparer = Preparer(recipe, Permissions())
    together = preparer.prepare_all(several)
    assert together == [preparer.prepare(conversation) for conversation in several]
    assert all(one.candidates == one.windows + len(one.excluded) for one in together)


@st.composite
def lines(draw):
    """Turns, and examples that begin anywhere among them and say one of them or something else."""
    said = draw(st.lists(st.sampled_from(SAID), min_size=1, max_size=8))
    windows = []
    for number in range(draw(st.integers(0, 6))):
        stop = draw(st.integers(1, len(said)))
        start = draw(st.one_of(st.just(0), st.integers(0, stop - 1)))
        follows = stop < len(said) and draw(st.booleans())
        chosen = said[stop] if follows else draw(st.sampled_from((*SAID, None)))
        rejected = draw(st.sampled_from(SAID if chosen is None else (None, *SAID)))
        windows.append(Window(number, start, stop, chosen, rejected))
    return ConversationExamples("c", 1, tuple(Turn("user", text) for text in said), tuple(windows))


def encoded(line):
    return [turn.content.encode(errors="surrogatepass") for turn in line.turns]


@settings(max_examples=300, deadline=None)
@given(st.lists(lines(), min_size=1, max_size=3))
def test_examples_are_said_alike_just_when_context_and_reply_have_the_same_words(several):
    digests: dict[bytes, tuple[str, ...]] = {}
    for line, (_, said) in zip(several, likenesses(several, list(map(encoded, several))), strict=True):
        assert len(said) == len(line.examples)
        for window, digest in zip(line.examples, said, strict=True):
            side = window.chosen if window.chosen is not None else window.rejected
            texts = [turn.content for turn in line.turns[window.start : window.stop]]
            words = tuple(map(normalised, [*texts, side]))
            assert digests.setdefault(digest, words) == words
    assert len(set(digests.values())) == len(digests)


@settings(max_examples=100, deadline=None)
@given(st.lists(lines(), max_size=4))
def test_the_fingerprint_is_that_of_the_turns_and_of_each_side_that_is_none(several):
    for line, (marks, said) in zip(several, likenesses(several, list(map(encoded, several))), strict=True):
        texts = [turn.content for turn in line.turns]
        sides = [side for window in line.examples for side in (window.chosen, window.rejected) if side is not None]
        assert marks == fingerprint([*texts, *dict.fromkeys(side for side in sides if side not in texts)])
        assert likeness(line) == (marks, said)
