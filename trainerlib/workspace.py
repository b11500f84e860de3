"""The one door: a workspace is one directory with the log, files, datasets, archives and models of one bot.

>>> ws = open_workspace(tmp / "shop")
>>> chat = ws.conversation("telegram:42")
>>> question = chat.record("user", "когда вы открыты?", author="telegram:7", key="telegram:1:42:1001")
>>> answer = chat.record("assistant", "В 10.", in_reply_to=question, model="gpt-x")
>>> correction = ws.correct(answer.id, "С 9 до 18, без выходных.", by="telegram:1")
>>> feedback = ws.give_feedback(answer.id, rating=-1, text="wrong hours", by="telegram:7")
>>> ws.person("telegram:7").give_consent(wording="2026-11")
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
from functools import partial
from html import escape
from pathlib import Path
from typing import Self

import msgspec

from trainerlib import settings
from trainerlib.blanking import is_erased
from trainerlib.budgets import Budgets
from trainerlib.chat.models import open_model
from trainerlib.chats import Chat
from trainerlib.consent import ERASED
from trainerlib.conversations import Correction, Feedback, Message, fold
from trainerlib.erasure import unfinished
from trainerlib.errors import (
    InvalidEventError,
    NotFoundError,
    RecipeError,
    VersionConflictError,
    WorkspaceNotFoundError,
)
from trainerlib.evaluations import Evaluations
from trainerlib.events import (
    ConversationStarted,
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
    TranscriptRecorded,
)
from trainerlib.importers.verdicts import Rating
from trainerlib.imports import DirectoryReport, ImportReport, Progress, import_directory, import_file, imported
from trainerlib.jobs import Jobs
from trainerlib.models import Models
from trainerlib.pending import Pending, unanswered, undelivered
from trainerlib.people import Person, Policies
from trainerlib.prompts import Prompts
from trainerlib.recipes import Recipe
from trainerlib.registry import Datasets
from trainerlib.replies import Answer, Replier
from trainerlib.store import projections
from trainerlib.store.answers import AnswerIndex
from trainerlib.store.authors import conversations_of
from trainerlib.store.eventstore import EventStore
from trainerlib.store.projections import ConversationSummary
from trainerlib.store.search import SearchIndex
from trainerlib.versions import Held

DATABASE = "trainer.db"
DIRECTORIES = ("files", "datasets", "archive", "models")


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
        corrections: corrections given and not withdrawn.
        up: ratings above 0, given and not withdrawn.
        down: ratings below 0, given and not withdrawn.
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
        jobs: its training jobs.
        models: its models, and which one answers.
        evaluations: how models did.
        policies: the permissions of the platforms.
        replies: what answers questions; `await ws.replies.close()` lets go of the models it opened.
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
        redaction = self.settings.redaction
        self.datasets = Datasets(self.store, path / "datasets", names=redaction.names, patterns=redaction.patterns)
        self.jobs = Jobs(self.store, self.datasets, path, self.settings)
        self.policies = Policies(self.store)
        self._search = SearchIndex(self.store)
        self._answers = AnswerIndex(self.store)
        self.models = Models(
            self.store,
            path,
            self.settings,
            jobs=self.jobs,
            opened=partial(open_model, directory=path, settings=self.settings, secret=self._secret),
        )
        self.replies = Replier(
            self.store,
            Prompts(self.store, self._answers, self.settings, path),
            answering=self.models.answering,
            open_model=self.models.open,
            budgets=Budgets(self.store, self.settings.budget),
            settings=self.settings,
        )
        self.evaluations = Evaluations(
            self.store,
            self.datasets,
            path,
            self.settings,
            index=self._answers,
            opened=self.models.open,
            current=lambda: self.models.current,
        )
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
        beginning = ConversationStarted(platform or default, title, tuple(tags))
        return Chat(self.store, conversation, beginning, self._started)

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
        recorded = self._located(message_id)
        if self.message(message_id).text != text and not is_erased(recorded.event):
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

    def transcribe(self, message_id: int, text: str, *, attachment: int = 0, engine: str = "") -> Message:
        """Record the words of a voice message or document that became known later.

        Args:
            message_id: id of the message.
            text: the transcript.
            attachment: index of the attachment, from 0.
            engine: what produced it.

        Raises:
            NotFoundError: no message has that id, or it has no such attachment.
        """
        if not 0 <= attachment < len(self.message(message_id).attachments):
            raise NotFoundError(f"message {message_id} has no attachment {attachment}")
        recorded = self._located(message_id)
        self.store.append(recorded.stream, [TranscriptRecorded(recorded.version, attachment, text, engine)])
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

    # --- answering ---------------------------------------------------------------------------------------------------

    def reply(self, conversation: Chat | str, *, to: Message | int, model: str | None = None) -> Answer:
        """The answer to a question: the reply it has, or one that a model writes now, recorded once whoever asks again.

        `await` it for the reply, or read it piece by piece with `async for`.

        Args:
            conversation: the conversation, or its id.
            to: the question, or its id.
            model: name of the model; by default the one that answers this conversation.

        Raises:
            NotFoundError: the conversation has no such message.
            InvalidEventError: it is not a message of a person.
        """
        name = conversation if isinstance(conversation, str) else conversation.id
        return self.replies.reply(name, to if isinstance(to, int) else to.id, model=model)

    def answer_unrecorded(self, text: str, *, conversation: str, person: str = "") -> Answer:
        """The answer to a question of which nothing is to be recorded, for people who do not want that.

        It reads as the answer of `reply` does, and its `message` is always `None`.

        Args:
            text: the question; the model is shown it alone, and similar corrections.
            conversation: id of the conversation it belongs to, which decides the model.
            person: person id of who asks, for their budget.

        Raises:
            InvalidEventError: the question has no words.
        """
        return self.replies.answer_unrecorded(text, conversation=conversation, person=person)

    def deliver(self, reply_id: int, platform_ids: Sequence[str] = ()) -> None:
        """Record that the platform took a reply; once is enough, and the first word counts.

        Args:
            reply_id: id of the reply.
            platform_ids: ids of its messages there.

        Raises:
            NotFoundError: no message has that id.
            InvalidEventError: it is not a reply.
        """
        self.replies.deliver(reply_id, platform_ids)

    async def deliver_async(self, reply_id: int, platform_ids: Sequence[str] = (), *, flush: bool = True) -> None:
        """`deliver` for a coroutine: the event loop does not wait for the disk.

        Args:
            reply_id: id of the reply.
            platform_ids: ids of its messages there.
            flush: wait until a power cut would spare it; see `EventStore.append_async`.
        """
        await self.replies.deliver_async(reply_id, platform_ids, flush=flush)

    def fail(self, message_id: int, error: str) -> None:
        """Record that a question could not be answered, or a reply not be sent; the same error once.

        Args:
            message_id: id of the question or of the reply.
            error: why; what looks like a secret is left out.

        Raises:
            NotFoundError: no message has that id.
        """
        self.replies.fail(message_id, error)

    def unanswered(self, *, platform: str | None = None) -> list[Pending]:
        """Questions that wait for a reply, oldest first; those of imported conversations wait for nothing.

        A question is answered by a reply that names it, by one that a model wrote having been shown it, and by any later
        one that names nothing. One that failed waits still, with the reason.

        Args:
            platform: only of conversations there.
        """
        return unanswered(self.store, platform=platform)

    def undelivered(self, *, platform: str | None = None) -> list[Pending]:
        """Replies that no platform is known to have taken, oldest first.

        Args:
            platform: only of conversations there.
        """
        return undelivered(self.store, platform=platform)

    def _secret(self, name: str) -> str | None:
        return settings.secret(name, self.path, os.environ)

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
        return import_file(
            self.store,
            Path(path),
            silence=self.settings.import_.silence_hours * 3600,
            format=format,
            assistant=assistant,
            basis=basis,
            strict=strict,
            progress=progress,
        )

    def add_directory(
        self,
        directory: str | Path,
        *,
        rating: Rating,
        basis: str = "",
        assistant: str | None = None,
        strict: bool = False,
        progress: Progress | None = None,
    ) -> DirectoryReport:
        """Record a directory of good or bad examples, each file once: JSONL, text, Markdown, CSV, PDF, Word and chat exports.

        Args:
            directory: it, and what is below it.
            rating: 1 for examples to learn, -1 for examples to avoid.
            basis: on what grounds they may be used for training.
            assistant: who the assistant is, in files that do not say so.
            strict: record nothing of a file that has a bad line.
            progress: called with bytes read and bytes to read.

        Raises:
            NotFoundError: no such directory.
            StoreError: the log cannot be written; a new run goes on from there.
        """
        return import_directory(
            self.store,
            Path(directory),
            rating=rating,
            silence=self.settings.import_.silence_hours * 3600,
            basis=basis,
            assistant=assistant,
            strict=strict,
            progress=progress,
        )

    def imports(self) -> list[Imported]:
        """Every file that was imported, in order; of one imported again, the latest word."""
        return [event for stream in self.store.streams("import/") if (event := imported(self.store, stream[7:]))]

    # --- people ------------------------------------------------------------------------------------------------------

    def person(self, person: str) -> Person:
        """Somebody who writes: their consent and their role.

        Args:
            person: person id, `telegram:7`.

        Raises:
            InvalidEventError: the id is empty.
        """
        return Person(self.store, person)

    def people(self) -> list[Person]:
        """Everybody who said something about their consent or was given a role, in the order they first did."""
        names = [stream.partition("/")[2] for stream in self.store.streams("person/")]
        return [Person(self.store, name) for name in names if not name.startswith(ERASED)]

    def holding(self, person: str) -> list[Held]:
        """Every dataset that conversations of a person went into, the examples made of them, and what was trained on it."""
        conversations = frozenset(conversations_of(self.store.database, person))
        return list(self.datasets.holding(conversations)) if conversations else []

    def lineage(self, message_id: int) -> list[Held]:
        """Every dataset, job and model that a message went into, and the examples that show it or answer with it.

        Raises:
            NotFoundError: no message has that id.
        """
        return list(self.datasets.holding({self.conversation_of(message_id)}, message=message_id))

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
        self._answers.rebuild()
        return position

    def verify(self) -> list[str]:
        """Re-derive everything that is stored; one line for each thing that does not hold, none when all does."""
        problems = self.store.verify()
        if problems:
            return problems
        problems += self._search.verify() + self._answers.verify() + unfinished(self.store) + self.models.verify()
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


def load_recipe(path: str | Path) -> Recipe:
    """Read a recipe from a TOML file.

    Raises:
        NotFoundError: no such file.
        RecipeError: it is wrong; the message has the line and what would be right.
    """
    file = Path(path)
    try:
        return Recipe.from_toml(file.read_text(encoding="utf-8-sig"), name=file.name)
    except OSError as error:
        raise NotFoundError(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{file.name}: byte {error.start + 1} is not UTF-8") from error


def _person(by: str) -> str:
    if not by.strip():
        raise InvalidEventError("`by` names the person who says it; it cannot be empty")
    return by
