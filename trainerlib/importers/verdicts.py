"""What a directory of examples says of the replies in its files: that they are good, or bad."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from trainerlib.blanking import is_erased
from trainerlib.conversations import fold
from trainerlib.events import ConversationTagged, Event, FeedbackGiven, RecordedEvent

Rating = Literal[1, -1]
"""What a directory says of the replies in it: good or bad."""

RATER = "operator:directory"
"""Person id of whoever keeps the directory: who its ratings are by."""

_TAGS = {1: "positive", -1: "negative"}


class Verdict(msgspec.Struct, frozen=True):
    """What a directory says: every reply that is to be learned is rated by `RATER`, and every conversation labelled.

    A reply that was given this rating before is left alone, also when it was taken back since; the other rating is
    replaced: the last word counts.

    Attributes:
        rating: 1 for good replies, -1 for bad ones.
    """

    rating: Rating

    @property
    def tag(self) -> str:
        """The label of a conversation: `positive` or `negative`."""
        return _TAGS[self.rating]

    def on(self, log: Sequence[RecordedEvent], keys: Iterable[str]) -> tuple[int, list[Event]]:
        """How many replies of a conversation it is about, and the events that say what the log does not have yet.

        Args:
            log: the events of the conversation.
            keys: natural keys of its messages that the file neither rates nor corrects.

        >>> log = [RecordedEvent(1, "conversation/directory:a", 1, MessageRecorded("assistant", "С 9 до 18."), 0, "a#0")]
        >>> Verdict(1).on(log, ["a#0"])
        (1, [ConversationTagged(add=('positive',), remove=()), FeedbackGiven(message=1, by='operator:directory',
        rating=1, text='', reason='')])
        """
        state = fold(log)
        said: list[Event] = []
        other = _TAGS[-self.rating]
        if self.tag not in state.tags or other in state.tags:
            said.append(ConversationTagged((self.tag,), (other,) if other in state.tags else ()))
        given = {
            recorded.event.message: recorded.event.rating
            for recorded in log
            if isinstance(recorded.event, FeedbackGiven)
            and recorded.event.by == RATER
            and recorded.event.rating is not None
        }
        blank = {recorded.version for recorded in log if is_erased(recorded.event)}
        known = {message.key: message for message in state.messages}
        replies = [
            message.number
            for message in map(known.__getitem__, keys)
            if message.role == "assistant"
            and message.weight != 0
            and not message.deleted
            and message.number not in blank
        ]
        said += [FeedbackGiven(number, RATER, self.rating) for number in replies if given.get(number) != self.rating]
        return len(replies), said
