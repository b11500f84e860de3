"""`chat`: talk in the terminal to a workspace, and teach it while talking.

A model answers; a correction counts from the next similar question on. With `--teacher` a person at the keyboard is
asked for each answer instead, which is recorded as the assistant's reply.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trainerlib import settings
from trainerlib.cli import datasets
from trainerlib.cli.chat_words import WORDS
from trainerlib.cli.failures import misuse
from trainerlib.cli.looking import dialogue
from trainerlib.cli.output import clean, emit, note, one_line, say, styled
from trainerlib.cli.session import Session, person
from trainerlib.errors import InvalidEventError, ModelError, SettingsError, TrainerlibError

if TYPE_CHECKING:
    from trainerlib.chats import Chat
    from trainerlib.conversations import Conversation, Message
    from trainerlib.replies import Answer
    from trainerlib.workspace import Workspace

_RECENT = 6


def chat(
    session: Session,
    conversation: Annotated[
        str | None,
        typer.Argument(
            metavar="[CONVERSATION]",
            help="Id of the conversation to go on with; a new one by default.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The model that answers; by default the workspace's.", show_default=False),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(metavar="PERSON", help="Ask a person for each answer instead: their id.", show_default=False),
    ] = None,
) -> None:
    """Talk to a workspace in the terminal. /help says what can be typed there."""
    if model is not None and teacher is not None:
        raise misuse("--teacher answers in the place of a model; give one of --model and --teacher")
    if model is not None and not model.strip():
        raise misuse("--model needs a name, such as memory or openai:NAME")
    name = conversation or f"terminal:{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    with session.open(create=True) as workspace:
        if teacher is None:
            # Nothing is loaded by that; a name that means nothing is refused before anybody types.
            workspace.models.open(model or "current")
        Talk(session, workspace, workspace.conversation(name), model=model, teacher=teacher).run()


class Talk:
    """One sitting.

    Args:
        session: the run of the command line.
        workspace: what is taught.
        chat: the conversation.
        model: name of the model that answers; `None` for the workspace's.
        teacher: person id of who answers in its place and corrects; `None` when a model answers.
    """

    def __init__(
        self, session: Session, workspace: Workspace, chat: Chat, *, model: str | None, teacher: str | None
    ) -> None:
        import asyncio

        self._json = session.json
        self._workspace = workspace
        self._chat = chat
        self._model = model
        self._by_hand = teacher is not None
        self._teacher = teacher or person()
        self._words = WORDS[workspace.settings.workspace.language]
        self._asks = sys.stdin.isatty() and not session.json
        self._asked = False
        self._question: Message | None = None
        self._unknown: int | None = None
        self._loop = asyncio.Runner()
        self._commands = {
            "correct": self._correct,
            "feedback": self._feedback,
            "model": self._tell_model,
            "export": self._export,
            "show": self._show,
            "help": self._help,
        }

    def run(self) -> None:
        """Take lines until the person leaves."""
        if self._asks:
            with suppress(ImportError):  # not on every system
                import readline  # noqa: F401 - gives `input` its history and arrow keys

        self._tell("begin", conversation=self._chat.id, workspace=self._workspace.path)
        state = self._chat.state
        if state.messages and not self._json:
            for text, style in dialogue(state, last=_RECENT):
                styled(text, style)
        with self._loop:
            try:
                if self._resume(state):
                    while (line := self._read("you")) is not None and self._take(line):
                        pass
            except KeyboardInterrupt:
                say()
                self._tell("end")
                raise
            finally:
                self._loop.run(self._workspace.replies.close())
        self._tell("end")

    def _resume(self, state: Conversation) -> bool:
        """Go on where a sitting in the terminal broke off: the last question is answered, replies count as read."""
        if state.platform != "terminal":
            return True
        for message in state.messages:
            if message.delivered is None:
                self._workspace.deliver(message.id)
        said = [message for message in state.messages if message.role != "system" and not message.deleted]
        if self._by_hand or not said or said[-1].role != "user":
            return True
        self._question = said[-1]
        return self._answer(self._question)

    def _read(self, speaker: str) -> str | None:
        """The next line; `None` at the end of the input."""
        try:
            if self._asks:
                return input(f"{self._words[speaker]}> ").strip()
            # Line by line: one that does not decode must not take its neighbours along.
            raw = sys.stdin.buffer.readline()
            return raw.decode().strip() if raw else None
        except EOFError:
            say()
            return None
        except UnicodeDecodeError:
            note(f"  {self._words['not-utf-8']}")
            return ""

    def _take(self, line: str) -> bool:
        """Do what a line says; False when it says goodbye."""
        if line.startswith("/"):
            return self._obey(line)
        if not line:
            return True
        try:
            self._agree()
            self._instruct()
            self._question = self._chat.record("user", line, author=person())
        except InvalidEventError as error:
            note(f"  {one_line(str(error))}")
            return True
        self._did("message", self._question.id, role="user", text=line)
        return self._answer_by_hand() if self._by_hand else self._answer(self._question)

    def _answer(self, question: Message) -> bool:
        """Have the model answer; where it does not know, the teacher may."""
        try:
            answer = self._workspace.reply(self._chat, to=question, model=self._model)
            self._loop.run(self._hear(answer))
        except (ModelError, SettingsError, InvalidEventError) as error:
            self._failed(question, error)
            return True
        reply = answer.message
        if reply is None:
            self._tell("stopped")
            return True
        self._workspace.deliver(reply.id)
        self._did("message", reply.id, role="assistant", text=reply.text, model=reply.model, known=answer.known)
        if answer.known:
            return True
        self._tell("unknown-offer" if self._asks else "unknown-reply")
        return self._learn(reply.id) if self._asks else True

    async def _hear(self, answer: Answer) -> None:
        """Print an answer as it is written; Ctrl-C stops it, and nothing else."""
        import asyncio

        begun = False
        try:
            async for piece in answer:
                if self._asks:
                    start = "" if begun else f"{self._words['assistant']}> "
                    print(start + clean(piece.replace("\r", "")), end="", flush=True)
                    begun = True
        except asyncio.CancelledError:
            await answer.stop()
        finally:
            if begun:
                say()

    def _failed(self, question: Message, error: TrainerlibError) -> None:
        if self._json:
            emit({"did": "failure", "id": question.id, "error": str(error)})
        note(f"  {one_line(str(error))}")

    def _learn(self, reply: int) -> bool:
        """Take what the reply should have been from the keyboard; an empty line, or `/correct`, will do as well."""
        self._unknown = reply
        try:
            line = self._from_teacher()
        finally:
            self._unknown = None
        if line:
            self._obey(f"/correct #{reply} {line}")
        return line is not None

    def _answer_by_hand(self) -> bool:
        """Ask the teacher; an empty answer leaves the question open."""
        if self._asks and not self._asked:
            self._asked = True
            self._tell("ask")
        line = self._from_teacher()
        if line is None:
            return False
        if not line:
            self._tell("skipped")
            return True
        reply = self._chat.record("assistant", line, author=self._teacher, in_reply_to=self._question)
        self._workspace.give_feedback(reply.id, rating=1, by=self._teacher)
        self._did("message", reply.id, role="assistant", text=line, model="", known=True)
        return True

    def _from_teacher(self) -> str | None:
        """What the teacher says, `None` when they leave; commands work here too."""
        waited = self._unknown
        while (line := self._read("teacher")) is not None and line.startswith("/"):
            if not self._obey(line):
                return None
            if self._unknown != waited:
                return ""
        return line

    def _agree(self) -> None:
        """Whoever teaches at the keyboard consents by it, is told so once, and can take it back."""
        somebody = self._workspace.person(person())
        if somebody.consent.status == "unknown":
            somebody.give_consent(wording="terminal-1", text=self._words["consent"])
            self._tell("consent", person=somebody.id)

    def _instruct(self) -> None:
        """Record the workspace's instruction where the conversation does not have it yet."""
        text = settings.instruction(self._workspace.path)
        given = [message.text for message in self._chat.messages if message.role == "system"]
        if text and given[-1:] != [text]:
            self._chat.record("system", text)

    def _obey(self, line: str) -> bool:
        """Do what a command says; False when it says goodbye."""
        word, _, rest = line[1:].partition(" ")
        if word in ("quit", "exit", "q"):
            return False
        act = self._commands.get(word)
        if act is None:
            self._tell("unknown", command=word)
            return True
        try:
            act(rest.strip())
        except TrainerlibError as error:
            note(f"  {one_line(str(error))}")
        return True

    def _target(self, rest: str) -> tuple[Message | None, str]:
        """The reply that is meant: `#12` or `12` in front names one of this conversation, otherwise the last."""
        replies = {message.id: message for message in self._chat.messages if message.role == "assistant"}
        first, _, words = rest.partition(" ")
        digits = first.removeprefix("#")
        if digits.isdecimal() and (first.startswith("#") or int(digits) in replies):
            return replies.get(int(digits)), words.strip()
        return next(reversed(replies.values()), None), rest

    def _correct(self, rest: str) -> None:
        reply, text = self._target(rest)
        if reply is None:
            self._tell("no-reply")
        elif not text:
            self._tell("correct-how")
        else:
            self._workspace.correct(reply.id, text, by=self._teacher)
            if reply.id == self._unknown:
                self._unknown = None
            self._did("correction", reply.id, text=text)
            self._tell("corrected", id=reply.id, was=one_line(reply.content, 60), text=one_line(text, 60))

    def _feedback(self, rest: str) -> None:
        # A bare number is the rating here, so only #ID names a reply.
        reply, said = self._target(rest if rest.startswith("#") else "")
        first, _, words = (said if rest.startswith("#") else rest).partition(" ")
        try:
            rating = int(first)
        except ValueError:
            rating, words = None, f"{first} {words}"
        if reply is None:
            self._tell("no-reply")
        elif rating is None and not words.strip():
            self._tell("feedback-how")
        else:
            self._workspace.give_feedback(reply.id, rating=rating, text=words.strip(), by=self._teacher)
            self._did("feedback", reply.id, rating=rating, text=words.strip())
            self._tell("rated", id=reply.id)

    def _export(self, rest: str) -> None:
        from trainerlib.formats import find_format
        from trainerlib.recipes import Recipe

        name = rest or "openai-chat"
        find_format(name)
        platform = self._chat.state.platform
        dataset = self._workspace.datasets.build("chat", Recipe(platforms=(platform,) if platform else ()))
        path = self._workspace.path / "exports" / f"chat.{name}.jsonl"
        path.parent.mkdir(exist_ok=True)
        report = dataset.export(path, format=name)
        if self._json:
            emit({"did": "export", **datasets.summary(dataset), "file": path, "format": name, "rows": report.rows})
            return
        datasets.tell(dataset)
        self._tell("exported", path=path, rows=report.rows)

    def _show(self, _: str) -> None:
        if self._json:
            emit({"did": "show", "messages": self._chat.messages})
            return
        for line, style in dialogue(self._chat.state):
            styled(line, style)

    def _tell_model(self, _: str) -> None:
        model = self._teacher if self._by_hand else self._model or self._workspace.replies.answering(self._chat.id)
        if self._json:
            emit({"did": "model", "model": model})
        self._tell("model", model=model)

    def _help(self, _: str) -> None:
        self._tell("help")

    def _tell(self, what: str, **facts: Any) -> None:
        if not self._json:
            say("\n".join(f"  {line}" for line in clean(self._words[what].format(**facts)).split("\n")))

    def _did(self, what: str, message: int, **facts: Any) -> None:
        if self._json:
            emit({"did": what, "id": message, **facts})
        elif what == "message" and not self._asks:
            say(f"  #{message} {facts['role']}: {facts['text']}")
