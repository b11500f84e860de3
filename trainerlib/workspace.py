"""The one door: a workspace is one directory with the log, files, datasets, archives and models of one bot.

>>> ws = open_workspace(tmp / "shop")
>>> chat = ws.conversation("telegram:42")
>>> question = chat.record("user", "когда вы открыты?", author="telegram:7", key="telegram:1:42:1001")
>>> answer = chat.record("assistant", "В 10.", in_reply_to=question, model="gpt-x")
>>> correction = ws.correct(answer.id, "С 9 до 18, без выходных.", by="telegram:1")
>>> feedback = ws.give_feedback(answer.id, rating=-1, text="wrong hours", by="telegram:7")
>>> print(chat.state)
telegram:42
  #2 telegram:7: когда вы открыты?
  #3 assistant: В 10.
      should be (telegram:1): С 9 до 18, без выходных.
      -1 (telegram:7) wrong hours
>>> dataset = ws.datasets.build("support")
>>> dataset.export(tmp / "preference.jsonl", format="openai-preference").rows
1
>>> ws.close()
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from hashlib import sha256
from html import escape
from pathlib import Path
from typing import Self

import msgspec

from trainerlib import importers, settings
from trainerlib.builds import Datasets
from trainerlib.conversations import Conversation, Correction, Feedback, Message, fold
from trainerlib.errors import (
    BadLineError,
    InvalidEventError,
    NotFoundError,
    VersionConflictError,
    WorkspaceNotFoundError,
)
from trainerlib.events import (
    Attachment,
    ConversationStarted,
    ConversationTagged,
    Corrected,
    CorrectionWithdrawn,
    Event,
    FeedbackGiven,
    FeedbackWithdrawn,
    Imported,
    MessageDeleted,
    MessageEdited,
    MessageRecorded,
    RecordedEvent,
    ReplyGenerated,
    Role,
    conversation_stream,
)
from trainerlib.importers.recorder import Recorder, find_assistant
from trainerlib.importers.records import BadLine
from trainerlib.recipes import Recipe
from trainerlib.store import projections
from trainerlib.store.eventstore import EventStore
from trainerlib.store.projections import ConversationSummary
from trainerlib.store.search import SearchIndex

DATABASE = "trainer.db"
DIRECTORIES = ("files", "datasets", "archive", "models")

Progress = Callable[[int, int], None]
"""Called with how much is done and how much there is."""

_ROLES = ("system", "user", "assistant", "tool")
_REPORTED_LINES = 1_000
_RECORDED_LINES = 100


class SearchHit(msgspec.Struct, frozen=True):
    """A message that a search found, and the conversation it is in."""

    conversation: str
    message: Message


class Stats(msgspec.Struct, frozen=True):
    """How much a workspace holds.

    Attributes:
        events: events in the log.
        position: position of the last one.
        conversations: conversations.
        messages: messages, replies included, deleted ones left out.
        replies: the assistant's messages.
        corrections: corrections that were not withdrawn.
        up: ratings above 0 that were not withdrawn.
        down: ratings below 0 that were not withdrawn.
        datasets: dataset versions built.
        imports: files imported.
        database_bytes: size of the database file.
    """

    events: int
    position: int
    conversations: int
    messages: int
    replies: int
    corrections: int
    up: int
    down: int
    datasets: int
    imports: int
    database_bytes: int


class ImportReport(msgspec.Struct, frozen=True):
    """What a file held and what importing it did.

    Attributes:
        file: the file's name.
        format: the format it was read as.
        assistant: who was taken for the assistant; empty when the source says every role.
        sha256: hex digest of the file.
        conversations: conversations in the file.
        messages: messages in the file.
        corrections: corrections in the file.
        feedback: ratings in the file.
        events: events this run added to the log.
        edited: messages found changed since an earlier import.
        deleted: messages found deleted since an earlier import.
        bad_lines: the first thousand bad lines (the first hundred when the file was imported before).
        bad_line_count: all of them.
        already: this very file was imported before, and nothing was added.
    """

    file: str
    format: str
    assistant: str
    sha256: str
    conversations: int
    messages: int
    corrections: int
    feedback: int
    events: int = 0
    edited: int = 0
    deleted: int = 0
    bad_lines: tuple[BadLine, ...] = ()
    bad_line_count: int = 0
    already: bool = False


def open_workspace(path: str | Path = "workspace", *, create: bool = True) -> Workspace:
    """Open a workspace, or make one where there is none; also known as `trainerlib.open`.

    Args:
        path: its directory; its parent has to exist.
        create: make it when it is missing. An existing directory with other things in it is never taken over.

    Raises:
        WorkspaceNotFoundError: there is none, and it may not or cannot be made there.
        SettingsError: `workspace.toml` or an environment variable is wrong.
        StoreError: the database cannot be opened; one of its subclasses says why.
    """
    return Workspace(Path(path), create=create)


class Workspace:
    """One bot's log, files, datasets and models in one directory. Made by `trainerlib.open`; close it when done.

    Attributes:
        path: the directory.
        settings: what `workspace.toml` and the environment say.
        store: the event log.
        datasets: its datasets.
    """

    def __init__(self, path: Path, *, create: bool = True) -> None:
        if path.exists() and not path.is_dir():
            raise WorkspaceNotFoundError(f"{path} is a file, not a workspace directory")
        ready = path.is_dir() and ((path / DATABASE).exists() or (path / settings.FILE).exists())
        if not ready:
            if not create:
                raise WorkspaceNotFoundError(f"no workspace at {path}; make one with: trainerlib init {path}")
            if path.is_dir() and any(path.iterdir()):
                raise WorkspaceNotFoundError(
                    f"{path} is not a workspace and not empty; to make it one: trainerlib init {path}"
                )
            if not path.parent.is_dir():
                raise WorkspaceNotFoundError(f"{path.parent}: no such directory")
        if not create and not (path / DATABASE).is_file():
            raise WorkspaceNotFoundError(f"{path} has no {DATABASE} yet: nothing was recorded there")
        self.path = path
        self.settings = settings.load(path, os.environ)
        path.mkdir(exist_ok=True)
        self.store = EventStore(
            path / DATABASE,
            synchronous=self.settings.database.synchronous,
            busy_timeout=self.settings.database.busy_timeout,
        )
        for name in DIRECTORIES:
            (path / name).mkdir(exist_ok=True)
        self.datasets = Datasets(self.store, path / "datasets")
        self._search = SearchIndex(self.store)
        self._started: set[str] = set()

    # --- conversations -----------------------------------------------------------------------------------------------

    def conversation(self, conversation: str, *, platform: str = "", title: str = "", tags: Sequence[str] = ()) -> Chat:
        """A conversation to read or to record in; nothing is recorded before somebody says something.

        Args:
            conversation: its id, `telegram:42`.
            platform: where it takes place; by default what its id says before the colon.
            title: name of the chat, for a new conversation.
            tags: labels, for a new conversation.

        Raises:
            InvalidEventError: the id is empty or holds a control character.
        """
        if not conversation.strip() or not conversation.isprintable():
            raise InvalidEventError(f"{conversation!r} is no id for a conversation")
        default = conversation.partition(":")[0] if ":" in conversation else ""
        return Chat(self, conversation, ConversationStarted(platform or default, title, tuple(tags)))

    def conversations(
        self,
        *,
        platform: str | None = None,
        language: str | None = None,
        tag: str | None = None,
        rated: str | None = None,
        corrected: bool | None = None,
        limit: int | None = None,
    ) -> list[ConversationSummary]:
        """Conversations that fit every condition given, the most recent first.

        Args:
            platform: where they take place.
            language: `en`, `ru` or `und`.
            tag: one of their labels.
            rated: `up` or `down`: with at least one such rating.
            corrected: with, or without, a correction.
            limit: most conversations.
        """
        found = projections.summaries(
            self.store.database,
            platform=platform,
            language=language,
            rated=rated,
            corrected=corrected,
            limit=limit if tag is None else None,
        )
        if tag is None:
            return found
        return [summary for summary in found if tag in self.conversation(summary.id).state.tags][:limit]

    def message(self, message_id: int) -> Message:
        """A message as it stands, by its id.

        Raises:
            NotFoundError: no message has that id.
        """
        recorded = self._located(message_id)
        found = fold(self.store.read(recorded.stream)).message(recorded.version)
        if found is None:
            raise NotFoundError(f"no message {message_id}")
        return found

    def find(self, key: str) -> Message | None:
        """The message that was recorded with a natural key."""
        recorded = self.store.by_keys([key]).get(key)
        return None if recorded is None else self.message(recorded.position)

    def conversation_of(self, message_id: int) -> str:
        """Id of the conversation a message is in.

        Raises:
            NotFoundError: no message has that id.
        """
        return self._located(message_id).stream.partition("/")[2]

    def search(self, query: str, *, limit: int = 20) -> list[SearchHit]:
        """Messages that match words in any form, in English and Russian, best first; corrections are searched too."""
        return [
            SearchHit(self.conversation_of(found), self.message(found))
            for found in self._search.search(query, limit=limit)
        ]

    # --- teaching ----------------------------------------------------------------------------------------------------

    def correct(self, message_id: int, text: str, *, by: str, note: str = "", key: str | None = None) -> Correction:
        """Say what a reply should have been. A person's later correction replaces their earlier one, nobody else's.

        Args:
            message_id: id of the reply.
            text: the better reply.
            by: person id of the corrector.
            note: why.
            key: a natural key, so that a redelivered correction is recorded once.

        Raises:
            NotFoundError: no message has that id.
            InvalidEventError: it is not a reply, or `text` or `by` is empty.
            KeyConflictError: the key belongs to something else.
        """
        reply = self._reply(message_id)
        if not text.strip():
            raise InvalidEventError("a correction says what the reply should have been; it cannot be empty")
        event = Corrected(reply.version, text, _person(by), note)
        [recorded] = self.store.append(reply.stream, [event], keys=[key])
        return Correction(recorded.position, recorded.version, text, by, note)

    def withdraw_correction(self, correction_id: int, *, by: str = "") -> None:
        """Take a correction back; it stays in the log but no longer counts.

        Args:
            correction_id: its id (log position).
            by: person id of who withdraws it.

        Raises:
            NotFoundError: no such correction stands.
        """
        self._withdraw(correction_id, Corrected, lambda version: CorrectionWithdrawn(version, by))

    def give_feedback(
        self,
        message_id: int,
        *,
        by: str,
        rating: int | None = None,
        text: str = "",
        reason: str = "",
        key: str | None = None,
    ) -> Feedback:
        """Rate a reply, or say something about it. A person's later rating replaces their earlier one.

        Args:
            message_id: id of the reply.
            by: person id of the rater.
            rating: -5 to 5, positive is good.
            text: words.
            reason: a short code such as `wrong-fact`.
            key: a natural key, so that redelivered feedback is recorded once.

        Raises:
            NotFoundError: no message has that id.
            InvalidEventError: it is not a reply, the rating is out of range, or nothing is said.
            KeyConflictError: the key belongs to something else.
        """
        reply = self._reply(message_id)
        if rating is None and not (text.strip() or reason):
            raise InvalidEventError("feedback has a rating, words or a reason")
        if rating is not None and not -5 <= rating <= 5:
            raise InvalidEventError(f"a rating is from -5 to 5, not {rating}")
        event = FeedbackGiven(reply.version, _person(by), rating, text, reason)
        [recorded] = self.store.append(reply.stream, [event], keys=[key])
        return Feedback(recorded.position, recorded.version, by, rating, text, reason)

    def withdraw_feedback(self, feedback_id: int, *, by: str = "") -> None:
        """Take feedback back; it stays in the log but no longer counts.

        Args:
            feedback_id: its id (log position).
            by: person id of who withdraws it.

        Raises:
            NotFoundError: no such feedback stands.
        """
        self._withdraw(feedback_id, FeedbackGiven, lambda version: FeedbackWithdrawn(version, by))

    def edit(self, message_id: int, text: str, *, edited_at: datetime | None = None) -> Message:
        """Record that a message was changed on its platform; the same text again records nothing.

        Raises:
            NotFoundError: no message has that id.
        """
        if self.message(message_id).text != text:
            recorded = self._located(message_id)
            self.store.append(recorded.stream, [MessageEdited(recorded.version, text, edited_at)])
        return self.message(message_id)

    def delete(self, message_id: int) -> Message:
        """Record that a message was taken down on its platform; once is enough.

        Raises:
            NotFoundError: no message has that id.
        """
        recorded = self._located(message_id)
        while not self.message(message_id).deleted:
            # Deleting counts down in the projection, so two processes must not both do it.
            version = self.store.version(recorded.stream)
            try:
                self.store.append(recorded.stream, [MessageDeleted(recorded.version)], expected_version=version)
            except VersionConflictError:
                continue
        return self.message(message_id)

    def _located(self, message_id: int) -> RecordedEvent:
        recorded = self.store.at(message_id)
        if recorded is None or not isinstance(recorded.event, (MessageRecorded, ReplyGenerated)):
            raise NotFoundError(f"no message {message_id}")
        return recorded

    def _reply(self, message_id: int) -> RecordedEvent:
        recorded = self._located(message_id)
        if isinstance(recorded.event, MessageRecorded) and recorded.event.role != "assistant":
            raise InvalidEventError(f"message {message_id} is not a reply but a {recorded.event.role} message")
        return recorded

    def _withdraw(self, event_id: int, kind: type[Event], withdrawal: Callable[[int], Event]) -> None:
        recorded = self.store.at(event_id)
        while True:
            if recorded is None or type(recorded.event) is not kind:
                raise NotFoundError(f"nothing to withdraw at {event_id}")
            state = fold(self.store.read(recorded.stream))
            corrections = (item.version for message in state.messages for item in message.corrections)
            feedback = (item.version for message in state.messages for item in message.feedback)
            if recorded.version not in {*corrections, *feedback}:
                raise NotFoundError(f"{event_id} does not stand any more")
            try:
                self.store.append(recorded.stream, [withdrawal(recorded.version)], expected_version=state.version)
            except VersionConflictError:
                continue
            return

    # --- imports -----------------------------------------------------------------------------------------------------

    def import_file(
        self,
        path: str | Path,
        *,
        format: str | None = None,  # noqa: A002 - the field's word
        assistant: str | None = None,
        basis: str = "",
        strict: bool = False,
        progress: Progress | None = None,
    ) -> ImportReport:
        """Record what a file holds, each message once, however often and in whatever newer edition it is imported.

        Args:
            path: the file, plain or gzip.
            format: a name in `trainerlib.importers.FORMATS`; by default told from the content.
            assistant: display name or person id of the assistant in a chat export that does not say who is a bot.
            basis: on what grounds its content may be used for training, `licence: CC BY 4.0`.
            strict: record nothing when the file has a bad line.
            progress: called with bytes read and bytes to read.

        Raises:
            NotFoundError: no such file.
            UnrecognisedFormatError: its content fits no format.
            AssistantUnknownError: nobody said who the assistant is; nothing was recorded.
            BadLineError: `strict`, and there is a bad line; nothing was recorded.
            StoreError: the log cannot be written; what was recorded so far stays, and a new run goes on from there.
        """
        source = Path(path)
        size, digest = _hashed(source)
        known = format or importers.detect(source)
        earlier = self._imported(digest)
        if earlier is not None and earlier.format == known and assistant in (None, "", earlier.assistant):
            if basis and basis != earlier.basis:
                changed = msgspec.structs.replace(earlier, basis=basis)
                self.store.append(f"import/{digest}", [changed])
                return _report(changed, events=1)
            return _report(earlier, already=True)
        name = find_assistant(importers.read(source, known), assistant)
        if strict:
            for record in importers.read(source, known):
                if isinstance(record, BadLine):
                    raise BadLineError(record.line, record.reason)
        bad_lines: list[BadLine] = []
        bad_line_count = 0

        def note(bad: BadLine) -> None:
            nonlocal bad_line_count
            bad_line_count += 1
            if len(bad_lines) < _REPORTED_LINES:
                bad_lines.append(bad)

        read = None if progress is None else (lambda done: progress(done, size))
        recorder = Recorder(
            self.store,
            source=digest,
            assistant=name,
            silence=self.settings.import_.silence_hours * 3600,
            on_bad_line=note,
        )
        with self.store.database.bulk():
            counts = recorder.record(importers.read(source, known, progress=read))
        event = Imported(
            source.name,
            digest,
            known,
            name,
            basis,
            counts.conversations,
            counts.messages,
            counts.corrections,
            counts.feedback,
            bad_line_count,
            tuple((bad.line, bad.reason) for bad in bad_lines[:_RECORDED_LINES]),
        )
        self.store.append(f"import/{digest}", [event])
        report = _report(event, events=counts.events + 1, edited=counts.edited, deleted=counts.deleted)
        return msgspec.structs.replace(report, bad_lines=tuple(bad_lines))

    def imports(self) -> list[Imported]:
        """Every file that was imported, in order; of one imported again, the latest word."""
        return [event for stream in self.store.streams("import/") if (event := self._imported(stream[7:])) is not None]

    def _imported(self, digest: str) -> Imported | None:
        events = [recorded.event for recorded in self.store.read(f"import/{digest}")]
        return next((event for event in reversed(events) if isinstance(event, Imported)), None)

    # --- the whole ---------------------------------------------------------------------------------------------------

    def stats(self) -> Stats:
        """How much the workspace holds."""
        position = self.store.position
        return Stats(
            position,
            position,
            *projections.totals(self.store.database),
            datasets=len(self.datasets.list()),
            imports=len(self.store.streams("import/")),
            database_bytes=(self.path / DATABASE).stat().st_size,
        )

    def rebuild(self) -> int:
        """Derive every projection and the search index again from the log; returns its last position."""
        position = self.store.rebuild()
        self._search.rebuild()
        return position

    def verify(self) -> list[str]:
        """Re-derive everything that is stored; one line for each thing that does not hold, none when all does."""
        problems = self.store.verify()
        if problems:
            return problems
        problems += self._search.verify()
        for dataset in self.datasets.list():
            problems += dataset.verify()
        return problems

    def backup(self, target: str | Path) -> Path:
        """Copy the log, as of one moment and while others write, into a new file.

        Raises:
            StoreError: the file exists already or cannot be written.
        """
        self.store.backup(Path(target))
        return Path(target)

    def close(self) -> None:
        """Close the log."""
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        """What it holds, a line each."""
        rows = "\n".join(f"  {name:<14}{value:>12,}" for name, value in self._rows())
        return f"Workspace {self.path}\n{rows}"

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><th>{name}</th><td>{value:,}</td></tr>" for name, value in self._rows())
        return f"<table><caption>{escape(str(self.path))}</caption>{rows}</table>"

    def _rows(self) -> Iterator[tuple[str, int]]:
        stats = self.stats()
        for name in ("conversations", "messages", "replies", "corrections", "up", "down", "datasets", "imports"):
            yield {"up": "rated up", "down": "rated down"}.get(name, name), getattr(stats, name)


class Chat:
    """A conversation of a workspace, to read and to record in.

    Attributes:
        id: `telegram:42`.
    """

    def __init__(self, workspace: Workspace, conversation: str, beginning: ConversationStarted) -> None:
        self.id = conversation
        self._workspace = workspace
        self._store = workspace.store
        self._stream = conversation_stream(conversation)
        self._beginning = beginning

    @property
    def state(self) -> Conversation:
        """The conversation as it stands; `print` it to read the dialogue."""
        folded = fold(self._store.read(self._stream))
        return folded if folded.id else Conversation(self.id)

    @property
    def messages(self) -> tuple[Message, ...]:
        """Its messages, oldest first."""
        return self.state.messages

    def record(
        self,
        role: Role,
        text: str,
        *,
        author: str = "",
        name: str = "",
        sent_at: datetime | None = None,
        in_reply_to: Message | int | None = None,
        attachments: Sequence[Attachment] = (),
        model: str = "",
        key: str | None = None,
    ) -> Message:
        """Record a message, durably, once.

        Args:
            role: `user`, `assistant`, `system` (sets the instruction from here on) or `tool`.
            text: the words, kept exactly as they are.
            author: person id, `telegram:7`.
            name: the author's display name.
            sent_at: when the platform says it was sent; aware.
            in_reply_to: the message it answers, or its id.
            attachments: voice, documents, pictures.
            model: the model that wrote it.
            key: its natural key, `telegram:<bot>:<chat>:<message>`: a redelivered message is recorded once.

        Raises:
            InvalidEventError: an unknown role, a naive time, or neither words nor attachments.
            NotFoundError: `in_reply_to` names no message of this conversation.
            KeyConflictError: the key belongs to other content.
            StoreError: nothing was recorded.
        """
        if role not in _ROLES:
            raise InvalidEventError(f"unknown role {role!r}; one of {', '.join(_ROLES)}")
        if not text and not attachments:
            raise InvalidEventError("a message has words or attachments")
        if sent_at is not None and sent_at.tzinfo is None:
            raise InvalidEventError("sent_at has no time zone")
        event = MessageRecorded(role, text, author, name, sent_at, self._number(in_reply_to), tuple(attachments), model)
        return fold((self._append(event, key),)).messages[0]

    def tag(self, *add: str, remove: Sequence[str] = ()) -> None:
        """Put labels on the conversation, or take them off."""
        self._append(ConversationTagged(add, tuple(remove)), None)

    def _append(self, event: Event, key: str | None) -> RecordedEvent:
        """Append to the conversation, its beginning first when it is new."""
        started = self._workspace._started  # noqa: SLF001 - one class in two halves
        if self.id not in started and self._store.version(self._stream) == 0:
            try:
                return self._store.append(self._stream, [self._beginning, event], keys=[None, key], expected_version=0)[
                    1
                ]
            except VersionConflictError:
                # Another process began it a moment ago.
                started.add(self.id)
        if len(started) > 10_000:
            started.clear()
        started.add(self.id)
        return self._store.append(self._stream, [event], keys=[key])[0]

    def _number(self, target: Message | int | None) -> int | None:
        if target is None:
            return None
        if isinstance(target, Message):
            return target.number
        recorded = self._store.at(target)
        if recorded is None or recorded.stream != self._stream:
            raise NotFoundError(f"message {target} is not in conversation {self.id}")
        return recorded.version

    def __repr__(self) -> str:
        """The dialogue."""
        return str(self.state)

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self.state))}</pre>"


def load_recipe(path: str | Path) -> Recipe:
    """Read a recipe from a TOML file.

    Raises:
        NotFoundError: no such file.
        RecipeError: it is wrong; the message has the line and what would be right.
    """
    file = Path(path)
    try:
        return Recipe.from_toml(file.read_text(encoding="utf-8"), name=file.name)
    except OSError as error:
        raise NotFoundError(f"{file}: {error.strerror}") from error


def _person(by: str) -> str:
    if not by.strip():
        raise InvalidEventError("`by` names the person who says it; it cannot be empty")
    return by


def _hashed(path: Path) -> tuple[int, str]:
    """Size and sha256 of a file."""
    digest = sha256()
    size = 0
    try:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
                size += len(chunk)
    except OSError as error:
        raise NotFoundError(f"{path}: {error.strerror}") from error
    return size, digest.hexdigest()


def _report(
    event: Imported, *, events: int = 0, edited: int = 0, deleted: int = 0, already: bool = False
) -> ImportReport:
    return ImportReport(
        event.file,
        event.format,
        event.assistant,
        event.sha256,
        event.conversations,
        event.messages,
        event.corrections,
        event.feedback,
        events,
        edited,
        deleted,
        tuple(BadLine(line, reason) for line, reason in event.first_bad_lines),
        event.bad_lines,
        already,
    )
