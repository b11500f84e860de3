"""Folding: what the events of a conversation add up to, whole or piece by piece."""

from __future__ import annotations

from event_histories import events
from hypothesis import given, settings
from hypothesis import strategies as st

from trainerlib.conversations import Conversation, fold
from trainerlib.events import (
    Attachment,
    ConversationContinued,
    ConversationStarted,
    ConversationTagged,
    Corrected,
    CorrectionWithdrawn,
    FeedbackGiven,
    FeedbackWithdrawn,
    MessageEdited,
    MessageRecorded,
    RecordedEvent,
    ReplyDelivered,
    ReplyFailed,
    ReplyGenerated,
    TranscriptRecorded,
)


def log(*history):
    """The events as a conversation's log would have them, other conversations in between."""
    return [
        RecordedEvent(3 * version + 5, "conversation/telegram:42", version, event, 1_000 * version)
        for version, event in enumerate(history, start=1)
    ]


@settings(deadline=None, max_examples=200)
@given(history=st.lists(events, max_size=20))
def test_folding_the_rest_into_a_beginning_is_folding_everything(history):
    """Wherever a history is cut, folding the rest into the folded beginning gives the whole."""
    recorded = log(*history)
    whole = fold(recorded)
    for cut in range(len(recorded) + 1):
        # A beginning without events is a conversation that has none yet, not one to continue.
        beginning = fold(recorded[:cut]) if cut else None
        assert fold(recorded[cut:], into=beginning) == whole


@settings(deadline=None, max_examples=100)
@given(history=st.lists(events, max_size=20))
def test_a_person_has_one_standing_correction_and_one_rating(history):
    """However people correct and rate, each has at most one standing correction and one standing rating a reply."""
    for message in fold(log(*history)).messages:
        correctors = [correction.by for correction in message.corrections]
        raters = [feedback.by for feedback in message.feedback if feedback.rating is not None]
        assert len(correctors) == len({*correctors})
        assert len(raters) == len({*raters})


def test_nothing_folds_to_an_empty_conversation():
    """No events are no conversation."""
    assert fold([]) == Conversation("")


QUESTION = MessageRecorded("user", "Когда вы открыты?", author="telegram:7")
ANSWER = MessageRecorded("assistant", "В 10.")


def test_several_correctors_are_kept_and_the_latest_counts():
    """Two people correct one reply: both corrections stand, and the later is the corrected text."""
    answer = fold(
        log(QUESTION, ANSWER, Corrected(2, "С 9.", by="anna"), Corrected(2, "С 9 до 18.", by="boris"))
    ).message(2)

    assert [(correction.by, correction.text) for correction in answer.corrections] == [
        ("anna", "С 9."),
        ("boris", "С 9 до 18."),
    ]
    assert answer.corrected_text == "С 9 до 18."
    assert answer.text == "В 10."


def test_a_later_correction_replaces_the_same_persons_own():
    """Whoever corrects again replaces their own correction, and theirs is the latest again."""
    history = log(
        QUESTION,
        ANSWER,
        Corrected(2, "С 9.", by="anna"),
        Corrected(2, "С 8.", by="boris"),
        Corrected(2, "С 9 до 18.", by="anna"),
    )

    assert [correction.text for correction in fold(history).message(2).corrections] == ["С 8.", "С 9 до 18."]


def test_a_withdrawn_correction_is_gone():
    """A withdrawn correction no longer counts, the others do; without any the text itself is the corrected text."""
    history = log(
        QUESTION,
        ANSWER,
        Corrected(2, "С 9.", by="anna"),
        Corrected(2, "С 8.", by="boris"),
        CorrectionWithdrawn(4, by="boris"),
        CorrectionWithdrawn(3, by="anna"),
    )

    assert fold(history[:5]).message(2).corrected_text == "С 9."
    assert fold(history).message(2).corrections == ()
    assert fold(history).message(2).corrected_text == "В 10."


def test_rating_again_replaces_only_ones_own_rating():
    """A new rating replaces the same person's old one; others' ratings and everybody's words stay."""
    history = log(
        QUESTION,
        ANSWER,
        FeedbackGiven(2, "anna", 1),
        FeedbackGiven(2, "boris", -2),
        FeedbackGiven(2, "anna", text="неясно"),
        FeedbackGiven(2, "anna", -1),
    )

    assert [(item.by, item.rating, item.text) for item in fold(history).message(2).feedback] == [
        ("boris", -2, ""),
        ("anna", None, "неясно"),
        ("anna", -1, ""),
    ]


def test_withdrawn_feedback_is_gone():
    """Withdrawn feedback no longer counts, the others' does."""
    history = log(QUESTION, ANSWER, FeedbackGiven(2, "anna", 1), FeedbackGiven(2, "boris", -2), FeedbackWithdrawn(3))

    assert [item.by for item in fold(history).message(2).feedback] == ["boris"]


def test_an_edit_keeps_what_was_said_first():
    """After several edits a message says what it says now and knows what it said first."""
    message = fold(log(QUESTION, MessageEdited(1, "Когда открыты?"), MessageEdited(1, "Вы открыты?"))).message(1)

    assert (message.text, message.original) == ("Вы открыты?", "Когда вы открыты?")


def test_a_transcript_becomes_part_of_the_words():
    """A voice message says what its transcript says once that is known."""
    voice = MessageRecorded("user", "", attachments=(Attachment("voice", file="files/1.ogg"),))
    history = log(voice, TranscriptRecorded(1, 0, "Есть ли розы?", engine="whisper"))

    assert fold(history[:1]).message(1).content == ""
    assert fold(history).message(1).content == "Есть ли розы?"


def test_a_generated_reply_is_pending_until_it_is_delivered():
    """A reply of ours has no platform ids before its delivery; a recorded message was never pending."""
    history = log(
        QUESTION, ReplyGenerated("В 10.", 1, model="m"), ReplyDelivered(2, ("501",)), ReplyFailed(1, "timeout")
    )

    assert fold(history[:2]).message(2).delivered is None
    assert fold(history).message(2).delivered == ("501",)
    assert fold(history).message(1).delivered == ()
    assert fold(history).failures == ((1, "timeout"),)


def test_a_conversation_knows_where_it_came_from():
    """Start, further files and tags add up to what the conversation says of itself."""
    state = fold(
        log(
            ConversationStarted("telegram", "Цветы", ("b", "a"), "sha1"),
            ConversationContinued("sha2"),
            ConversationTagged(("c",), ("b",)),
            QUESTION,
        )
    )

    assert (state.id, state.platform, state.title) == ("telegram:42", "telegram", "Цветы")
    assert (state.tags, state.sources) == (("a", "c"), ("sha1", "sha2"))
    assert (state.version, state.position, state.language) == (4, 8, "ru")
