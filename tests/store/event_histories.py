"""Events as Hypothesis makes them up: what could be in a conversation's log, sensible or not."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import strategies as st

from trainerlib.events import (
    Attachment,
    ConversationContinued,
    ConversationStarted,
    ConversationTagged,
    Corrected,
    CorrectionWithdrawn,
    FeedbackGiven,
    FeedbackWithdrawn,
    MessageDeleted,
    MessageEdited,
    MessageRecorded,
    ReplyDelivered,
    ReplyFailed,
    ReplyGenerated,
    TranscriptRecorded,
)

# Small numbers, so that most events name a message, a correction or a rating that is there, and some do not.
numbers = st.integers(1, 12)
people = st.sampled_from(["anna", "telegram:7", "борис"])
words = st.sampled_from(["When are you open?", "Когда вы открыты?", "9–18", "", "🌷", "ещё"])
attachments = st.lists(st.builds(Attachment, st.sampled_from(["voice", "photo"]), text=words), max_size=2).map(tuple)
tags = st.lists(st.sampled_from("abc"), max_size=2).map(tuple)
events = st.one_of(
    st.builds(ConversationStarted, words, words, tags, words),
    st.builds(ConversationContinued, words),
    st.builds(ConversationTagged, tags, tags),
    st.builds(
        MessageRecorded,
        st.sampled_from(["user", "assistant", "system"]),
        words,
        people,
        sent_at=st.none() | st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - Hypothesis adds the zone
        in_reply_to=st.none() | numbers,
        attachments=attachments,
    ),
    st.builds(MessageEdited, numbers, words),
    st.builds(MessageDeleted, numbers),
    st.builds(TranscriptRecorded, numbers, st.integers(0, 2), words),
    st.builds(ReplyGenerated, words, numbers),
    st.builds(ReplyDelivered, numbers, tags),
    st.builds(ReplyFailed, numbers, words),
    st.builds(Corrected, numbers, words, people),
    st.builds(CorrectionWithdrawn, numbers),
    st.builds(FeedbackGiven, numbers, people, st.none() | st.integers(-5, 5), words),
    st.builds(FeedbackWithdrawn, numbers),
)
