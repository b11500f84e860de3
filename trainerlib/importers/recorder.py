"""Records what a reader yields: foreign messages become events, each exactly once.

Nothing here depends on how far an earlier run came. A batch is a fixed number of source messages; for each
conversation in it the recorder folds what the log already has and appends only the difference, so a second run, a run
after a crash and a newer export of the same chat all come to the same log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from trainerlib.blanking import blank, is_erased
from trainerlib.conversations import fold
from trainerlib.errors import AssistantUnknownError, VersionConflictError
from trainerlib.events import (
    ConversationContinued,
    ConversationStarted,
    Corrected,
    Event,
    FeedbackGiven,
    MessageDeleted,
    MessageEdited,
    MessageRecorded,
    RecordedEvent,
    Role,
    conversation_stream,
    from_microseconds,
)
from trainerlib.importers.records import BadLine, Record, SourceChat, SourceConversation, SourceMessage
from trainerlib.importers.verdicts import Verdict
from trainerlib.store.erasing import ErasedPeople
from trainerlib.store.eventstore import Append, EventStore
from trainerlib.store.scratch import ScratchCounter

BATCH = 15_000
"""Source messages a transaction; with their ratings and corrections about 20,000 events."""

_ATTEMPTS = 5


class Counts(msgspec.Struct):
    """What a file contains (the first four) and what this run added to the log."""

    conversations: int = 0
    messages: int = 0
    corrections: int = 0
    feedback: int = 0
    events: int = 0
    edited: int = 0
    deleted: int = 0


class _Origin(NamedTuple):
    """Where the messages of one conversation come from."""

    conversation: str
    platform: str
    title: str
    tags: tuple[str, ...]
    keys: str
    """What the natural key of each message begins with."""
    complete: bool
    """The messages are all there is: one the log has beyond them was deleted."""


def find_assistant(records: Iterable[Record], assistant: str | None) -> str:
    """Who the assistant of a file's timelines is; reads no further than it must.

    Args:
        records: what the reader yields.
        assistant: display name or person id, if the caller knows.

    Returns:
        The name as given; empty when the source itself says who is a bot, or says every role.

    Raises:
        AssistantUnknownError: nobody by that name speaks in the file, or no name was given and the source does not tell.
    """
    authors: dict[str, int] = {}
    for record in records:
        if isinstance(record, SourceConversation):
            return ""
        if not isinstance(record, SourceMessage):
            continue
        if not assistant and record.is_bot:
            return ""
        if assistant and _is(record, assistant):
            return assistant
        name = record.name or record.author
        authors[name] = authors.get(name, 0) + 1
    if not authors:
        return ""
    raise AssistantUnknownError(dict(sorted(authors.items(), key=lambda item: -item[1])))


def _decimal(message_id: str) -> int:
    """The number that an id is; 0 for any other, which says nothing about the order of messages."""
    return int(message_id) if message_id.isdecimal() else 0


def _is(message: SourceMessage, assistant: str) -> bool:
    return assistant in (message.name, message.author, message.author.partition(":")[2])


class _Names:
    """Gives each conversation of a file its id."""

    def __init__(self) -> None:
        self._given = ScratchCounter()

    def give(self, source: SourceConversation) -> tuple[str, BadLine | None]:
        """The id, and what is wrong with the one the source gives."""
        name = first = source.id if ":" in source.id else f"{source.platform}:{source.id or self._content_id(source)}"
        times = self._given.add(name)
        if times == 1:
            return name, None
        while self._given.add(name := f"{first}-{times}") > 1:
            times += 1
        return name, BadLine(source.line, f"id {source.id} again, kept as another conversation")

    def _content_id(self, source: SourceConversation) -> str:
        """An id for a conversation without one: a hash of what it says, numbered when the file has it again."""
        parts = [(message.role, message.text, message.weight, message.ratings, message.corrections)
                 for message in source.messages]  # fmt: skip
        digest = blake2b(msgspec.json.encode(parts), digest_size=12).hexdigest()
        times = self._given.add(digest)
        return digest if times == 1 else f"{digest}-{times}"

    def close(self) -> None:
        self._given.close()


def bad_lines_of(records: Iterable[Record]) -> Iterator[BadLine]:
    """Every bad line that recording these records would report."""
    names = _Names()
    try:
        for record in records:
            bad = names.give(record)[1] if isinstance(record, SourceConversation) else record
            if isinstance(bad, BadLine):
                yield bad
    finally:
        names.close()


class Recorder:
    """Takes the records of one file and appends what the log does not have yet.

    Args:
        store: the log.
        source: sha256 of the file.
        assistant: display name or person id of the assistant; empty when the source tells.
        silence: seconds of silence after which a chat's next message begins a new conversation.
        on_bad_line: called with each bad line.
        verdict: what the directory of the file says of its replies.
    """

    def __init__(
        self,
        store: EventStore,
        *,
        source: str,
        assistant: str,
        silence: float,
        on_bad_line: Callable[[BadLine], None],
        verdict: Verdict | None = None,
    ) -> None:
        self.counts = Counts()
        self._store = store
        self._erased = ErasedPeople(store)
        self._source = source
        self._assistant = assistant
        self._silence = silence
        self._on_bad_line = on_bad_line
        self._verdict = verdict
        self._chat: SourceChat | None = None
        self._waiting: list[SourceMessage] = []
        self._batch: dict[str, tuple[_Origin, list[SourceMessage]]] = {}
        self._batched = 0
        self._current = ""
        self._last_at: float | None = None
        self._names = _Names()
        self._bad_line = 0
        self._seen: ScratchCounter | None = None
        self._span: tuple[int, int] | None = None
        self._before = 0
        self._torn: set[int] = set()
        self._unread: list[range] = []

    def record(self, records: Iterable[Record]) -> Counts:
        """Take every record of the file, to its end."""
        try:
            for record in records:
                if isinstance(record, SourceMessage):
                    self._waiting.append(record)
                    if len(self._waiting) + self._batched >= BATCH:
                        self._flush()
                elif isinstance(record, SourceConversation):
                    self._take_conversation(record)
                elif isinstance(record, SourceChat):
                    self._end_chat()
                    self._begin_chat(record)
                else:
                    self._take_bad_line(record)
            self._end_chat()
            self._flush()
        finally:
            self._names.close()
            if self._seen is not None:
                self._seen.close()
        return self.counts

    def _take_bad_line(self, bad: BadLine) -> None:
        self._on_bad_line(bad)
        self._bad_line = bad.line
        if self._seen is not None:
            self._torn.add(_decimal(self._waiting[-1].id) if self._waiting else self._before)

    # --- complete conversations --------------------------------------------------------------------------------------

    def _take_conversation(self, source: SourceConversation) -> None:
        name, bad = self._names.give(source)
        if bad is not None:
            self._on_bad_line(bad)
        # What could not be read of a conversation was not deleted from it.
        complete = source.line != self._bad_line
        origin = _Origin(name, source.platform, source.title, source.tags, keys=f"{name}#", complete=complete)
        self.counts.conversations += 1
        self._batch[name] = (origin, list(source.messages))
        self._batched += len(source.messages)
        if self._batched >= BATCH:
            self._flush()

    # --- timelines ---------------------------------------------------------------------------------------------------

    def _begin_chat(self, chat: SourceChat) -> None:
        self._chat = chat
        self._current, self._last_at = "", None
        self._span = None
        self._before = 0
        self._torn.clear()
        self._unread.clear()
        known = next(self._store.keys_starting(self._key(chat, "")), None) if chat.complete else None
        if known is not None and self._seen is None:
            self._seen = ScratchCounter()
        elif self._seen is not None:
            self._seen.close()
            self._seen = ScratchCounter() if known is not None else None

    def _end_chat(self) -> None:
        if self._chat is None:
            return
        self._flush()
        if self._seen is not None and self._span is not None:
            self._record_deletions(self._chat, self._seen, self._span)
        self._chat = None

    @staticmethod
    def _key(chat: SourceChat, message: str) -> str:
        return f"{chat.platform}-export:{chat.id}:{message}"

    def _place_waiting(self) -> None:
        """Deal the waiting messages of a timeline into conversations: replies join, silences part."""
        chat, waiting = self._chat, self._waiting
        if chat is None or not waiting:
            return
        wanted = {self._key(chat, message.id) for message in waiting}
        wanted |= {self._key(chat, message.in_reply_to) for message in waiting if message.in_reply_to}
        known = {
            key: recorded.stream.partition("/")[2] for key, recorded in self._store.by_keys(sorted(wanted)).items()
        }
        for message in waiting:
            key = self._key(chat, message.id)
            at = None if message.sent_at is None else message.sent_at.timestamp()
            name = known.get(key) or (known.get(self._key(chat, message.in_reply_to)) if message.in_reply_to else None)
            if name is None:
                silent = at is not None and self._last_at is not None and at - self._last_at > self._silence
                name = f"{chat.platform}:{chat.id}/{message.id}" if silent or not self._current else self._current
            known[key] = name
            # A conversation is named after its first message; counting those keeps no names in memory.
            if not self._current or name == f"{chat.platform}:{chat.id}/{message.id}":
                self.counts.conversations += 1
            self._current = name
            self._last_at = at if at is not None else self._last_at
            if name not in self._batch:
                origin = _Origin(name, chat.platform, chat.title, (), keys=self._key(chat, ""), complete=False)
                self._batch[name] = (origin, [])
            self._batch[name][1].append(message)
            self._remember(message.id)
        waiting.clear()

    def _remember(self, message_id: str) -> None:
        if self._seen is not None:
            self._seen.add(message_id)
            if message_id.isdecimal():
                number = int(message_id)
                low, high = self._span or (number, number)
                self._span = (min(low, number), max(high, number))
                if self._before in self._torn and number > self._before + 1:
                    self._unread.append(range(self._before + 1, number))
                self._before = number

    def _record_deletions(self, chat: SourceChat, seen: ScratchCounter, span: tuple[int, int]) -> None:
        """Messages the log has between the first and last of this export, but the export has not: deleted.

        Where the export has a bad line, a message may be there that could not be read.
        """
        prefix = self._key(chat, "")
        gone: list[str] = []
        for key in self._store.keys_starting(prefix):
            number = _decimal(key[len(prefix) :])
            if not span[0] <= number <= span[1] or seen.count(key[len(prefix) :]):
                continue
            if not any(number in unread for unread in self._unread):
                gone.append(key)
        for start in range(0, len(gone), BATCH):
            streams: dict[str, set[str]] = {}
            for key, recorded in self._store.by_keys(gone[start : start + BATCH]).items():
                streams.setdefault(recorded.stream, set()).add(key)
            for stream, keys in streams.items():
                self._delete(stream, keys)

    def _delete(self, stream: str, keys: set[str]) -> None:
        for attempt in range(_ATTEMPTS):
            state = fold(self._store.read(stream))
            events: list[Event] = [
                MessageDeleted(message.number)
                for message in state.messages
                if message.key in keys and not message.deleted
            ]
            if not events:
                return
            if self._source not in state.sources:
                events.insert(0, ConversationContinued(self._source))
            try:
                self._store.append(stream, events, expected_version=state.version)
            except VersionConflictError:
                if attempt == _ATTEMPTS - 1:
                    raise
                continue
            self.counts.events += len(events)
            self.counts.deleted += sum(isinstance(event, MessageDeleted) for event in events)
            return

    # --- writing -----------------------------------------------------------------------------------------------------

    def _flush(self) -> None:
        """Append what the log does not have of the batch, in one transaction."""
        self._place_waiting()
        batch = self._batch
        if not batch:
            return
        for attempt in range(_ATTEMPTS):
            counts = Counts()
            self._erased = ErasedPeople(self._store)
            appends = [
                append
                for origin, messages in batch.values()
                if (append := self._append(origin, messages, counts)) is not None
            ]
            try:
                self._store.append_batch(appends)
                break
            except VersionConflictError:
                # Somebody wrote to one of the conversations in the meantime: compare again with what it is now.
                if attempt == _ATTEMPTS - 1:
                    raise
        for field in ("messages", "corrections", "feedback", "events", "edited", "deleted"):
            setattr(self.counts, field, getattr(self.counts, field) + getattr(counts, field))
        self._batch = {}
        self._batched = 0

    def _append(self, origin: _Origin, messages: list[SourceMessage], counts: Counts) -> Append | None:
        stream = conversation_stream(origin.conversation)
        if self._verdict is not None:
            origin = origin._replace(tags=tuple(dict.fromkeys((*origin.tags, self._verdict.tag))))
        decision = _Decision(origin, list(self._store.read(stream)), self._source, self._role, self._erased)
        for message in messages:
            decision.take(message, counts)
        if origin.complete:
            decision.delete_missing({message.id for message in messages}, counts)
        decision.blank_erased()
        if self._verdict is not None:
            decision.judge_replies(self._verdict, messages, counts)
        if not decision.events:
            return None
        counts.events += len(decision.events)
        return Append(stream, decision.events, decision.keys, expected_version=decision.version)

    def _role(self, message: SourceMessage) -> bool:
        """Whether a timeline's message was written by the assistant."""
        return _is(message, self._assistant) if self._assistant else bool(message.is_bot)


class _Decision:
    """The events that bring one conversation of the log up to what the source says: pure, given what the log has.

    Whoever was erased stays erased: a file from before brings back nothing they, or others about their words, said.
    """

    def __init__(
        self,
        origin: _Origin,
        log: list[RecordedEvent],
        source: str,
        is_assistant: Callable[[SourceMessage], bool],
        erased: ErasedPeople,
    ) -> None:
        state = fold(log)
        self.version = state.version
        self.events: list[Event] = []
        self.keys: list[str | None] = []
        self._origin = origin
        self._state = state
        self._source = source
        self._is_assistant = is_assistant
        self._known = {message.key: message for message in state.messages if message.key is not None}
        # Whatever was ever said counts, not what stands: a withdrawn correction does not come back with an old file.
        self._said = {
            (event.message, event.by, event.rating if isinstance(event, FeedbackGiven) else None, event.text)
            for event in (recorded.event for recorded in log)
            if isinstance(event, (Corrected, FeedbackGiven))
        }
        self._edited = {
            recorded.event.message: recorded.event.edited_at
            for recorded in log
            if isinstance(recorded.event, MessageEdited) and recorded.event.edited_at is not None
        }
        self._log = log
        self._erased = erased
        self._blank = {recorded.version for recorded in log if is_erased(recorded.event)}
        self._returning = {message.author: message.author for message in state.messages if erased.when(message.author)}
        self._numbers: dict[str, int] = {}
        self._prefix = origin.keys

    def take(self, message: SourceMessage, counts: Counts) -> None:
        """Record a message, or what is new about one the log has."""
        key = f"{self._prefix}{message.id}"
        counts.messages += 1
        known = self._known.get(key)
        if known is None:
            number = self._record(message, key)
            assistant = self._role_of(message) == "assistant"
        else:
            number = known.number
            assistant = known.role == "assistant"
            changed = known.text != message.text and not known.deleted and number not in self._blank
            if changed and not self._is_older(message, number):
                self._add(MessageEdited(number, message.text, message.edited_at))
                counts.edited += 1
        self._numbers[message.id] = number
        if assistant:
            self._judge(message, number, counts)

    def _is_older(self, message: SourceMessage, number: int) -> bool:
        """The source shows a message as it was before an edit that the log has: an older export."""
        edited_at = self._edited.get(number)
        return edited_at is not None and (message.edited_at is None or message.edited_at < edited_at)

    def delete_missing(self, ids: set[str], counts: Counts) -> None:
        """Record the deletion of messages that the log has from this source, and the source has no more."""
        for key, message in self._known.items():
            if key.startswith(self._prefix) and key[len(self._prefix) :] not in ids and not message.deleted:
                self._add(MessageDeleted(message.number))
                counts.deleted += 1

    def _record(self, message: SourceMessage, key: str) -> int:
        target = message.in_reply_to
        in_reply_to = None
        if target is not None:
            in_reply_to = self._numbers.get(target)
            if in_reply_to is None and (earlier := self._known.get(f"{self._prefix}{target}")) is not None:
                in_reply_to = earlier.number
        if self._erased.when(message.author):
            self._returning[self._erased.name(message.author)] = message.author
        event = MessageRecorded(
            self._role_of(message),
            message.text,
            message.author,
            message.name,
            message.sent_at,
            in_reply_to,
            message.attachments,
            message.model,
            message.weight,
        )
        return self._add(event, key)

    def _role_of(self, message: SourceMessage) -> Role:
        if message.role is not None:
            return message.role
        return "assistant" if self._is_assistant(message) else "user"

    def _judge(self, message: SourceMessage, number: int, counts: Counts) -> None:
        counts.corrections += len(message.corrections)
        counts.feedback += len(message.ratings)
        for correction in message.corrections:
            by = correction.by or "import"
            if self._may_say(message, number, by) and self._is_new((number, by, None, correction.text)):
                self._add(Corrected(number, correction.text, by))
        anonymous = 0
        for rating in message.ratings:
            by = rating.by
            if not by:
                anonymous += 1
                by = "anonymous" if anonymous == 1 else f"anonymous/{anonymous}"
            if self._may_say(message, number, by) and self._is_new((number, by, rating.rating, rating.text)):
                self._add(FeedbackGiven(number, by, rating.rating, rating.text))

    def _may_say(self, message: SourceMessage, number: int, by: str) -> bool:
        """Whether a judgement may be recorded: none of a blanked reply, none that an erased person gave before."""
        if number in self._blank:
            return False
        when = self._erased.when(by)
        return not when or (message.sent_at is not None and message.sent_at > from_microseconds(when))

    def blank_erased(self) -> None:
        """Blank what erased people said before they were erased, and the answers: so they come into the log."""
        for name, person in self._returning.items():
            log = [*self._log, *self._recorded()]
            blanked = blank(log, person, name, until=self._erased.when(person))
            blank_now = {recorded.version: recorded.event for recorded in blanked.changed}
            self.events = [blank_now.get(number, event) for number, event in enumerate(self.events, self.version + 1)]

    def judge_replies(self, verdict: Verdict, messages: Sequence[SourceMessage], counts: Counts) -> None:
        """Record what a directory says of the replies, after all that its file says of them."""
        log = [*self._log, *self._recorded()]
        keys = [f"{self._prefix}{message.id}" for message in messages if not (message.ratings or message.corrections)]
        replies, said = verdict.on(log, keys)
        counts.feedback += replies
        for event in said:
            self._add(event)

    def _recorded(self) -> Iterator[RecordedEvent]:
        """The new events as the log will have them."""
        new = zip(self.events, self.keys, strict=True)
        stream = conversation_stream(self._origin.conversation)
        return (
            RecordedEvent(0, stream, number, event, 0, key) for number, (event, key) in enumerate(new, self.version + 1)
        )

    def _is_new(self, judgement: tuple[int, str, int | None, str]) -> bool:
        is_new = judgement not in self._said
        self._said.add(judgement)
        return is_new

    def _add(self, event: Event, key: str | None = None) -> int:
        """Add an event, the conversation's beginning before the first; returns the version it will have."""
        if not self.events:
            if self.version == 0:
                origin = self._origin
                self._put(ConversationStarted(origin.platform, origin.title, origin.tags, self._source), None)
            elif self._source not in self._state.sources:
                self._put(ConversationContinued(self._source), None)
        return self._put(event, key)

    def _put(self, event: Event, key: str | None) -> int:
        self.events.append(event)
        self.keys.append(key)
        return self.version + len(self.events)
