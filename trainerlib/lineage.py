"""Lineage, both ways: from a line of an exported file to what was said, and from what was said to every dataset.

A line is found by what it says: the datasets' rows are made again and compared, so the file may have been moved, cut,
shuffled or written again by another program, as long as the row means the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from trainerlib.candidates import Preparer
from trainerlib.checks import guess_format
from trainerlib.conversations import Conversation, Message, fold
from trainerlib.errors import DatasetError
from trainerlib.events import Corrected, FeedbackGiven, JsonObject, MessageDeleted, MessageEdited, RecordedEvent
from trainerlib.examples import ConversationExamples, Example, Window
from trainerlib.formats import rows


class Judgement(msgspec.Struct, frozen=True):
    """What somebody said about the reply.

    Attributes:
        event: position of the event.
        by: person id.
        what: `correction` or `feedback`.
        rating: the rating given, if one was.
        text: their words.
    """

    event: int
    by: str
    what: str
    rating: int | None = None
    text: str = ""


class Explanation(msgspec.Struct, frozen=True):
    """Where an example comes from.

    Attributes:
        dataset: its dataset's name.
        version: its dataset's version.
        split: its split.
        format: the format of the row, empty when no row was asked about.
        row: number of the row among those its dataset gives in this format and split, from 1.
        conversation: id of the conversation.
        message: id of the reply.
        messages: ids of the messages the context was made of, oldest first.
        judgements: corrections and ratings of the reply, as of the dataset's position.
        events: positions of every event that had a part in it, in order.
        example: the example.
    """

    dataset: str
    version: int
    split: str
    format: str
    row: int
    conversation: str
    message: int
    messages: tuple[int, ...]
    judgements: tuple[Judgement, ...]
    events: tuple[int, ...]
    example: Example

    def __str__(self) -> str:
        """A line each for the dataset, the conversation, the events and the judgements."""
        row = f" · row {self.row:,} of its {self.split} split as {self.format}" if self.format else ""
        lines = [
            f"{self.dataset} v{self.version}{row}",
            f"  conversation {self.conversation}, reply #{self.message}",
            f"  context: {', '.join(f'#{number}' for number in self.messages) or 'none'}",
        ]
        for one in self.judgements:
            rating = "" if one.rating is None else f" {one.rating:+d}"
            lines.append(f"  {one.what}{rating} by {one.by} (event {one.event}): {one.text}".rstrip(": "))
        lines.append(f"  events: {', '.join(map(str, self.events))}")
        return "\n".join(lines)


class Found(msgspec.Struct, frozen=True):
    """A row of a dataset.

    Attributes:
        split: its split.
        format: its format.
        row: its number among those the dataset gives in this format and split, from 1.
        line: the examples of its conversation.
        window: the example it is made of.
    """

    split: str
    format: str
    row: int
    line: ConversationExamples
    window: Window


def find_row(lines: Iterable[tuple[str, ConversationExamples]], wanted: JsonObject) -> Found | None:
    """The first row of a dataset that means the same as a row.

    Args:
        lines: `(split, examples)` of each conversation.
        wanted: what the row says, of `meaning`.
    """
    name = guess_format(wanted) or ""
    probe = _probe(wanted)
    before: Counter[str] = Counter()
    for split, line in lines:
        made = rows(line, name)
        for index, row in enumerate(made):
            if probe in row and meaning(row) == wanted:
                return Found(split, name, before[split] + index + 1, line, _window_of(line, name, index))
        before[split] += len(made)
    return None


def explained(
    events: Sequence[RecordedEvent], preparer: Preparer, found: Found, *, dataset: str, version: int
) -> Explanation:
    """Where an example comes from.

    Args:
        events: the events of its conversation, up to the dataset's position.
        preparer: what applies the dataset's recipe.
        found: the example; its `format` is empty when no row was asked about.
        dataset: name of the dataset.
        version: version of the dataset.
    """
    conversation = fold(events)
    window = found.window
    reply = next(message for message in conversation.messages if message.id == window.message)
    context = _shown(conversation, preparer, window)
    judged = tuple(
        [Judgement(item.id, item.by, "correction", None, item.text) for item in reply.corrections]
        + [Judgement(item.id, item.by, "feedback", item.rating, item.text) for item in reply.feedback]
    )
    numbers = {message.number for message in (*context, reply)} | _instructions(conversation, reply)
    example = next(one for one in found.line.expand(found.split) if one.message == window.message)
    return Explanation(
        dataset, version, found.split, found.format, found.row, conversation.id, reply.id,
        tuple([message.id for message in context]), judged, tuple(_about(events, numbers)), example,
    )  # fmt: skip


def windows_with(
    events: Sequence[RecordedEvent], preparer: Preparer, line: ConversationExamples, message: int
) -> Iterator[Window]:
    """The examples of a conversation that answer with a message, or show it in their context.

    Args:
        events: the events of the conversation, up to the dataset's position.
        preparer: what applies the dataset's recipe.
        line: the conversation's examples.
        message: id of the message.
    """
    conversation = fold(events)
    for window in line.examples:
        if window.message == message or any(one.id == message for one in _shown(conversation, preparer, window)):
            yield window


def _shown(conversation: Conversation, preparer: Preparer, window: Window) -> list[Message]:
    """The messages that an example's context is made of."""
    return [message for turn in preparer.turns(conversation)[window.start : window.stop] for message in turn]


def _window_of(line: ConversationExamples, format: str, index: int) -> Window:  # noqa: A002 - as above
    """The example that a conversation's row of a number is made of."""
    for window in line.examples:
        made = len(rows(msgspec.structs.replace(line, examples=(window,)), format))
        if index < made:
            return window
        index -= made
    raise AssertionError(index)


def _probe(wanted: JsonObject) -> bytes:
    """Bytes that a row must hold to mean the same: its longest text, as rows write it. Most rows are passed over so."""
    texts: list[str] = [""]

    def collect(value: Any) -> None:
        if isinstance(value, str):
            texts.append(value)
        elif isinstance(value, (list, dict)):
            for item in value.values() if isinstance(value, dict) else value:
                collect(item)

    collect(wanted)
    # Turns in a row are joined in some formats; a text is written whole in all of them.
    return msgspec.json.encode(max(texts, key=len))[1:-1]


def meaning(line: bytes) -> JsonObject:
    """What a row says, however it is written.

    Raises:
        DatasetError: it is no JSON object, or has the keys of no format.

    >>> meaning(b'{ "label": true, "completion": [] }')
    {'label': True, 'completion': []}
    """
    try:
        value = msgspec.json.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DatasetError(f"the line is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise DatasetError("the line is not a JSON object, as a row of a dataset is")
    if guess_format(value) is None:
        raise DatasetError("the line has the keys of no format of trainerlib")
    return value


def _about(events: Iterable[RecordedEvent], numbers: set[int]) -> Iterator[int]:
    """Positions of the events that recorded, changed or judged messages of these numbers."""
    for recorded in events:
        message = getattr(recorded.event, "message", None)
        if recorded.version in numbers or (isinstance(recorded.event, _CHANGES) and message in numbers):
            yield recorded.position


def _instructions(conversation: Conversation, reply: Message) -> set[int]:
    """Number of the message that set the instruction in force when a reply was given."""
    before = [message.number for message in conversation.messages if message.role == "system" and not message.deleted]
    return set([number for number in before if number < reply.number][-1:])


_CHANGES = (Corrected, FeedbackGiven, MessageEdited, MessageDeleted)
