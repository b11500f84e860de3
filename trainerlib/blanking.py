"""Which events of a log hold a person, and what those events say once the person is erased: decided here, done elsewhere.

The words of a person are in what they wrote and in what answers it, since a reply may repeat them. Where nobody but they
and the assistant speaks, everything said is about them.

>>> from trainerlib.events import MessageRecorded, RecordedEvent
>>> group = [
...     RecordedEvent(1, "conversation/a", 1, MessageRecorded("user", "Я Ольга", "telegram:7"), 0),
...     RecordedEvent(2, "conversation/a", 2, MessageRecorded("assistant", "Здравствуйте, Ольга!"), 0),
...     RecordedEvent(3, "conversation/a", 3, MessageRecorded("user", "When are you open?", "telegram:8"), 0),
...     RecordedEvent(4, "conversation/a", 4, MessageRecorded("assistant", "At 10."), 0),
... ]
>>> name = pseudonym("9f2c", "telegram:7")
>>> name
'erased:2f4568c0b4cac803'
>>> [(one.position, one.event.text, one.event.author) for one in blank(group, "telegram:7", name).changed]
[(1, '', 'erased:2f4568c0b4cac803'), (2, '', '')]
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

import msgspec

from trainerlib.consent import ERASED
from trainerlib.events import (
    ConsentGiven,
    ConsentWithdrawn,
    ConversationStarted,
    Corrected,
    CorrectionWithdrawn,
    DatasetBuilt,
    Event,
    FeedbackGiven,
    FeedbackWithdrawn,
    Imported,
    MessageEdited,
    MessageRecorded,
    ModelAdded,
    ModelPromoted,
    ModelRolledBack,
    RecordedEvent,
    ReplyFailed,
    ReplyGenerated,
    TranscriptRecorded,
)

_replace = msgspec.structs.replace

_CODES = frozenset({"wrong-fact", "tone", "language", "too-long", "unsafe"})
"""Reasons of a rating that are codes of ours; any other may be somebody's words."""

_PHRASE = 24
"""Characters from which two people hardly say the same by chance."""

_EVER = 2**63
"""Later than any time, in microseconds since 1970."""


def pseudonym(log_id: str, person: str) -> str:
    """The name that stands in the place of a person: the same everywhere in a log, another one in every other log.

    Args:
        log_id: id of the log.
        person: person id.
    """
    key = log_id.encode()[:64]
    return ERASED + blake2b(person.encode(errors="surrogatepass"), key=key, digest_size=8).hexdigest()


def is_erased(event: Event) -> bool:
    """Whether an event was blanked, or names somebody who was erased as the one who acts.

    An edit, a rating or a correction of a blanked message does not tell by itself: its message does.
    """
    if getattr(event, "erased", False):
        return True
    return any(getattr(event, field, "").startswith(ERASED) for field in ("author", "by"))


class Spoken(msgspec.Struct, frozen=True):
    """A person's part in a conversation.

    Attributes:
        theirs: numbers of the messages they wrote.
        answers: numbers of the replies to these.
        alone: of all people only they speak in it.
        names: the display names they had.
    """

    theirs: frozenset[int]
    answers: frozenset[int]
    alone: bool
    names: frozenset[str]


class Blanked(msgspec.Struct, frozen=True):
    """What becomes of a conversation when a person is erased.

    Attributes:
        changed: its events that say something else from now on, each in its place.
        messages: messages among them that are blanked.
        corrections: corrections among them.
        feedback: ratings among them.
        speaks: the person wrote in this conversation.
        words: position of the first event that lost words a dataset could show, 0 for none.
        names: the display names the person had in it.
        files: what the blanked attachments named.
    """

    changed: tuple[RecordedEvent, ...]
    messages: int
    corrections: int
    feedback: int
    speaks: bool
    words: int
    names: frozenset[str]
    files: frozenset[str]


def spoken(events: Sequence[RecordedEvent], person: str, *, name: str = "", until: int = _EVER) -> Spoken:
    """Which messages of a conversation a person wrote, and which answer them.

    A reply answers the message it names. One that names none answers whoever spoke last.

    Args:
        events: every event of the conversation.
        person: person id.
        name: what stands in their place where they were erased before; empty for nothing.
        until: take no message of theirs that was sent after this time, in microseconds since 1970.
    """
    called = (person, name) if name else (person,)
    theirs: set[int] = set()
    answers: set[int] = set()
    known: set[int] = set()
    people: set[str] = set()
    names: set[str] = set()
    asked = is_speaking = False
    for recorded in events:
        event, number = recorded.event, recorded.version
        if not isinstance(event, MessageRecorded | ReplyGenerated):
            continue
        if isinstance(event, MessageRecorded) and event.author in called and _at(recorded) <= until:
            theirs.add(number)
            names.add(event.name)
            is_speaking = True if event.role == "user" else is_speaking
            asked = asked or event.role == "user"
        elif isinstance(event, MessageRecorded) and event.role == "user":
            is_speaking = False
            people.add(event.author)
        elif isinstance(event, ReplyGenerated) or event.role != "system":
            target = event.in_reply_to
            if target in theirs or target in answers if target in known else is_speaking:
                answers.add(number)
        known.add(number)
    alone = asked and not any(author and author != person and not author.startswith(ERASED) for author in people)
    return Spoken(frozenset(theirs), frozenset(answers), alone, frozenset(names - {""}))


def blank(events: Sequence[RecordedEvent], person: str, name: str, *, until: int = _EVER) -> Blanked:
    """What the events of a conversation say once a person is erased.

    Places, kinds, times, ratings, models and counts stay. The words of the person's messages go, with their
    attachments, display name and edits; so do the words of replies to them, of what others said about these, and of the
    person's own corrections and ratings. Where of all people only they speak, every word and the title go.

    Args:
        events: every event of the conversation.
        person: person id.
        name: what stands in its place.
        until: leave messages of theirs that were sent after this time, in microseconds since 1970.
    """
    part = spoken(events, person, name=name, until=until)
    gone = part.theirs | part.answers
    if part.alone:
        gone |= {
            recorded.version
            for recorded in events
            if isinstance(recorded.event, MessageRecorded | ReplyGenerated) and _at(recorded) <= until
        }
    times = {recorded.version: _at(recorded) for recorded in events}
    changed: list[RecordedEvent] = []
    counts = {"messages": 0, "corrections": 0, "feedback": 0}
    words = 0
    files: set[str] = set()
    for recorded in events:
        event = recorded.event
        new: Event = event
        about = getattr(event, "message", None)
        match event:
            case ConversationStarted(title=title) if part.alone or title.strip() in part.names:
                new = _replace(event, title="")
            case MessageRecorded() if recorded.version in gone:
                new = _blank_message(event, recorded.version in part.theirs, name)
                files.update(attachment.file for attachment in event.attachments if attachment.file)
            case ReplyGenerated() if recorded.version in gone:
                new = _replace(event, text="", instruction="", parameters={}, erased=True)
            case ReplyGenerated():
                new = _replace(event, parameters=renamed(event.parameters, person, name))
            case MessageEdited() | TranscriptRecorded() if about in gone:
                new = _replace(event, text="")
            case ReplyFailed() if about in gone:
                new = _replace(event, error="")
            case Corrected(message=number) | FeedbackGiven(message=number):
                is_theirs = event.by == person and times.get(number, 0) <= until
                if is_theirs or number in gone:
                    new = _blank_judgement(event, name if is_theirs else event.by)
            case CorrectionWithdrawn(by=by) | FeedbackWithdrawn(by=by) if by == person and _at(recorded) <= until:
                new = _replace(event, by=name)
        if new == event:
            continue
        changed.append(_replace(recorded, event=new))
        kind = _COUNTED.get(type(event))
        if kind is not None:
            counts[kind] += 1
        if not words and _shown(event) and not _shown(new):
            words = recorded.position
    return Blanked(tuple(changed), **counts, speaks=bool(part.theirs), words=words, names=part.names,
                   files=frozenset(files))  # fmt: skip


def lost(event: Event) -> str:
    """The words of a blanked event that may stand in replies to others: a correction, or more than a phrase."""
    saying = MessageRecorded | MessageEdited | TranscriptRecorded | ReplyGenerated | Corrected
    text = event.text if isinstance(event, saying) else ""
    return text if isinstance(event, Corrected) or len(text) >= _PHRASE else ""


def blank_shown(event: ReplyGenerated, words: Mapping[int, str]) -> ReplyGenerated:
    """What a reply to somebody else says once words that it was shown are lost: nothing that repeats them.

    Args:
        event: the reply.
        words: lost words, by the position of their event.
    """
    repeated = [
        re.compile(rf"(?<!\w){re.escape(words[shown].strip())}(?!\w)") for shown in event.context if shown in words
    ]
    gone = {
        field: "" for field in ("text", "instruction") if any(one.search(getattr(event, field)) for one in repeated)
    }
    return _replace(event, **gone, erased=True) if gone else event


def blank_elsewhere(event: Event, person: str, name: str, names: frozenset[str]) -> Event:
    """What an event outside conversations says once a person is erased.

    Args:
        event: of their own stream, or any that names them.
        person: person id.
        name: what stands in its place.
        names: the display names they had.
    """
    match event:
        case ConsentGiven():
            event = _replace(event, text="")
        case ConsentWithdrawn():
            event = _replace(event, note="")
        case ModelAdded(by=by) | ModelPromoted(by=by) | ModelRolledBack(by=by) if by == person:
            event = _replace(event, note="")
        case Imported():
            # What was wrong with a line may quote it; a chat export is often named after the person.
            lines = tuple([(line, "") for line, _ in event.first_bad_lines])
            file = "" if any(_names(event.file, called) for called in names) else event.file
            assistant = name if event.assistant in names else event.assistant
            event = _replace(event, first_bad_lines=lines, file=file, assistant=assistant)
        case DatasetBuilt() if event.recipe.get("names"):
            called = [name if one in names else one for one in event.recipe["names"]]
            event = _replace(event, recipe={**event.recipe, "names": called})
    return msgspec.convert(renamed(msgspec.to_builtins(event), person, name), type(event))


def renamed(value: Any, person: str, name: str) -> Any:
    """A JSON value with another id in the place of a person's, wherever the id stands alone.

    >>> renamed({"raters": ["telegram:7", "telegram:70"]}, "telegram:7", "erased:9f")
    {'raters': ['erased:9f', 'telegram:70']}
    """
    if isinstance(value, str):
        return name if value == person else value
    if isinstance(value, dict):
        return {renamed(key, person, name): renamed(item, person, name) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)([renamed(item, person, name) for item in value])
    return value


_COUNTED: dict[type[Event], str] = {
    MessageRecorded: "messages",
    ReplyGenerated: "messages",
    Corrected: "corrections",
    FeedbackGiven: "feedback",
}


def _blank_message(event: MessageRecorded, is_theirs: bool, name: str) -> MessageRecorded:
    called = "" if is_theirs or event.role == "user" else event.name
    author = name if is_theirs else event.author
    return _replace(event, text="", attachments=(), name=called, author=author, erased=True)


def _blank_judgement(event: Corrected | FeedbackGiven, by: str) -> Event:
    if isinstance(event, Corrected):
        return _replace(event, text="", note="", by=by)
    return _replace(event, text="", by=by, reason=event.reason if event.reason in _CODES else "")


def _at(recorded: RecordedEvent) -> int:
    """When a message was sent or, where nobody says so, recorded."""
    sent_at = getattr(recorded.event, "sent_at", None)
    return recorded.recorded_us if sent_at is None else round(sent_at.timestamp() * 1_000_000)


def _shown(event: Event) -> str:
    """The words of an event that a dataset could show."""
    match event:
        case MessageRecorded():
            return event.text + "".join(attachment.text for attachment in event.attachments)
        case ReplyGenerated():
            return event.text + event.instruction
        case MessageEdited() | TranscriptRecorded() | Corrected():
            return event.text
    return ""


def _names(file: str, called: str) -> bool:
    """Whether the name of a file has a person's name in it."""
    return called.casefold() in file.casefold()
