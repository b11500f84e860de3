r"""The commands that every bot has: who may give each, what it does, and the help that lists it.

>>> import asyncio, trainerlib
>>> from bots.dialogue import Dialogue
>>> from bots.port import Caller
>>> async def say(ws, name):
...     commands = Commands(ws, Dialogue(ws))
...     ben = Request(Caller("telegram:7", "Ben"), "telegram:42")
...     return [said.text async for said in commands.run(name, ben)]
>>> with trainerlib.open(tmp / "shop") as ws:
...     print(*asyncio.run(say(ws, "hi")), *asyncio.run(say(ws, "trane")), *asyncio.run(say(ws, "train")), sep="\n")
Hello, Ben! Ask me anything, or see what I can do: /help
I do not know /trane. What I can do: /help
/train is for the owner of this bot. What you can do: /help
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from difflib import get_close_matches

import msgspec

from bots.bot import EVERY, Bot, Command, MisuseError
from bots.dataset_commands import datasets, datasets_tapped, select_dataset
from bots.dialogue import Dialogue
from bots.file_commands import archive, getfile, show_instruction
from bots.job_following import Notify
from bots.marking import code, one_line, plain
from bots.model_commands import model, model_tapped, try_cases
from bots.places import LIMIT
from bots.port import Caller, Request, Role, Say
from bots.roles import RoleError, give, owners, role_of
from bots.texts import N_, Speaker, speaker
from bots.training_commands import jobs, jobs_tapped, train, train_tapped
from trainerlib import TrainerlibError, Workspace
from trainerlib.errors import (
    BudgetError,
    DatasetError,
    ImportError_,
    LogMismatchError,
    ModelError,
    NotFoundError,
    PathRefusedError,
    SettingsError,
    StoreError,
    TrainingError,
    UploadRefusedError,
)

_log = logging.getLogger(__name__)

_ROLES = {"владелец": "owner", "учитель": "trainer", "тренер": "trainer", "человек": "person"}
_ROLE_NAMES: dict[Role, str] = {"owner": N_("owner"), "trainer": N_("trainer"), "person": N_("person")}

_SENTENCES: tuple[tuple[type[TrainerlibError], str], ...] = (
    (NotFoundError, N_("There is nothing of that name.")),
    (BudgetError, N_("The tokens set aside for this are used up.")),
    (ModelError, N_("The model cannot be used.")),
    (TrainingError, N_("The training cannot be begun or changed.")),
    (DatasetError, N_("That cannot be done with these files.")),
    (ImportError_, N_("That cannot be read as examples.")),
    (SettingsError, N_("The settings of this bot are wrong; whoever runs it has to look.")),
    (TrainerlibError, N_("That did not work.")),
)
"""What kinds of errors are called; the words of the library follow for those who may look."""


class Commands:
    """The commands of a workspace's bots. One for a workspace and an event loop.

    Every command may be run again with the same request, after a crash: what it did is not done twice, and the same is
    said.

    Args:
        workspace: whose bot it is.
        dialogue: what the talk is; some commands belong to it.
        largest: bytes of the largest file that the platform takes.
        every: seconds between two words on how far something is.
    """

    def __init__(self, workspace: Workspace, dialogue: Dialogue, *, largest: int = LIMIT, every: float = EVERY) -> None:
        self._bot = Bot(workspace, dialogue, largest=largest, every=every)

    async def run(self, name: str, request: Request) -> AsyncGenerator[Say]:
        """What comes of a command. To be read to its end, with `contextlib.aclosing` around it.

        Args:
            name: its name, without `/`.
            request: who gives it where; its text is what follows the name.

        Raises:
            StoreError: the log cannot be read or written now; the same request may be run again.
        """
        command = COMMANDS.get(name.lower())
        if command is None:
            yield self._unknown(name, request)
        elif not self._bot.may(request.caller, command.name):
            yield self._refused(command, request)
        else:
            async with aclosing(self._guarded(command, request, command.run(self._bot, request))) as says:
                async for say in says:
                    yield say

    async def tap(self, request: Request, action: str) -> AsyncGenerator[Say]:
        """What comes of a tap on a button of a command. To be read to its end, likewise.

        Args:
            request: who taps where.
            action: of the button, `cmd:<name>:...`.

        Raises:
            StoreError: as for `run`.
        """
        _cmd, _colon, rest = action.partition(":")
        name, _colon, given = rest.partition(":")
        _ = speaker(request.caller.language)
        command = COMMANDS.get(name)
        if command is None or command.tap is None:
            yield Say(_("That button is not known any more."))
        elif not self._bot.may(request.caller, command.name):
            yield self._refused(command, request)
        else:
            async with aclosing(self._guarded(command, request, command.tap(self._bot, request, given))) as says:
                async for say in says:
                    yield say

    def listed(self, role: Role, language: str) -> list[tuple[str, str]]:
        """`(name, what it does)` of the commands that somebody of a role may give, in the order to show them.

        Args:
            role: theirs.
            language: of what is said.
        """
        _ = speaker(language)
        return [
            (command.name, _(command.help)) for command in COMMANDS.values() if self._bot.allows(role, command.name)
        ]

    def takes_files(self, name: str, caller: Caller) -> bool:
        """Whether a command does something with the files that come with it, and somebody may give it.

        Args:
            name: its name, without `/`.
            caller: who gives it.
        """
        command = COMMANDS.get(name.lower())
        return command is not None and command.files and self._bot.may(caller, command.name)

    def is_live(self, name: str) -> bool:
        """Whether a command shows for minutes how something goes on and changes nothing: nobody need wait for its end.

        Args:
            name: its name, without `/`.
        """
        command = COMMANDS.get(name.lower())
        return command is not None and command.live

    async def resume(self, notify: Notify) -> None:
        """Go on with the training jobs that have not ended, and tell whoever began one how it ended.

        Run it as long as the bot runs: it ends when it is cancelled, and the jobs go on at the next start.

        Args:
            notify: shows something to a person; it raises nothing, and says whether it could.
        """
        await self._bot.jobs.resume(notify)

    async def close(self) -> None:
        """Stop what goes on in threads; to be called before the workspace is closed."""
        await self._bot.close()

    # --- what is not done --------------------------------------------------------------------------------------------

    async def _guarded(self, command: Command, request: Request, says: AsyncIterator[Say]) -> AsyncGenerator[Say]:
        """What a command says, and a sentence for what goes wrong."""
        shown = False
        try:
            async for say in says:
                yield say
                shown = True
        except TrainerlibError as error:
            # What the machine is to blame for gets better, and the same request is run again.
            if isinstance(error, StoreError) and not isinstance(error, LogMismatchError):
                raise
            # What was shown said that it is being done.
            yield msgspec.structs.replace(self._mistaken(command, request, error), replaces=shown)

    def _mistaken(self, command: Command, request: Request, error: TrainerlibError) -> Say:
        _ = speaker(request.caller.language)
        if isinstance(error, MisuseError):
            return Say(str(error))
        if isinstance(error, (PathRefusedError, UploadRefusedError, RoleError)):
            example = _("For example: {example}").format(example=code(command.example)) if command.example else ""
            return Say(f"{_(str(error))} {example}".rstrip())
        _log.warning("/%s: %s", command.name, error)
        sentence = next(sentence for kind, sentence in _SENTENCES if isinstance(error, kind))
        # What people of no role may do says what went wrong by itself.
        why = plain(str(error), self._bot.workspace.path) if request.caller.role != "person" else ""
        return Say("\n".join([_(sentence), code(one_line(why, 600))]).rstrip())

    def _unknown(self, name: str, request: Request) -> Say:
        _ = speaker(request.caller.language)
        known = [command for command, _help in self.listed(request.caller.role, request.caller.language)]
        close = get_close_matches(name.lower(), known, n=1, cutoff=0.6)
        shown = one_line(name, 32)
        if close:
            return Say(
                _("I do not know /{name}. Did you mean /{close}?").format(name=shown, close=close[0]), plain=True
            )
        return Say(_("I do not know /{name}. What I can do: /help").format(name=shown), plain=True)

    def _refused(self, command: Command, request: Request) -> Say:
        _ = speaker(request.caller.language)
        if self._bot.allows("trainer", command.name):
            text = _("/{name} is for those who teach this bot. What you can do: /help")
        else:
            text = _("/{name} is for the owner of this bot. What you can do: /help")
        return Say(text.format(name=command.name), plain=True)


# --- small talk ------------------------------------------------------------------------------------------------------


async def start(bot: Bot, request: Request) -> AsyncIterator[Say]:
    """Greet, and say what there is."""
    _ = speaker(request.caller.language)
    title = bot.workspace.settings.workspace.title
    lines = [_greeting(_, request)]
    lines.append(_("I am {title}: ask me anything.").format(title=title) if title else _("Ask me anything."))
    lines.append(_("/help says what I can do, /privacy what I keep."))
    yield Say("\n".join(lines), plain=True)


async def hi(_bot: Bot, request: Request) -> AsyncIterator[Say]:
    """Greet."""
    _ = speaker(request.caller.language)
    yield Say(f"{_greeting(_, request)} {_('Ask me anything, or see what I can do: /help')}", plain=True)


def _greeting(_: Speaker, request: Request) -> str:
    name = one_line(request.caller.name, 64)
    return _("Hello, {name}!").format(name=name) if name else _("Hello!")


async def show_help(bot: Bot, request: Request) -> AsyncIterator[Say]:
    """List what somebody may do here, or say more of one command."""
    _ = speaker(request.caller.language)
    mine = [command for command in COMMANDS.values() if bot.may(request.caller, command.name)]
    wanted = request.text.strip().lstrip("/").lower()
    chosen = [command for command in mine if command.name == wanted] or mine
    lines = []
    for command in chosen:
        arguments = f" {_(command.arguments)}" if command.arguments else ""
        lines.append(f"/{command.name}{arguments}: {_(command.help)}")
    if len(chosen) == 1 and chosen[0].example:
        lines.append(_("For example: {example}").format(example=chosen[0].example))
    if len(chosen) > 1 and bot.may(request.caller, "correct"):
        lines.append(_("To correct an answer, tap ✏️ under it, or reply to it with /correct and the better answer."))
    yield Say("\n".join(lines), plain=True)


async def cancel(bot: Bot, request: Request) -> AsyncIterator[Say]:
    """Stop the answers that are being written."""
    _ = speaker(request.caller.language)
    if await bot.dialogue.cancel(request):
        yield Say(_("Stopped."))
    elif request.private or request.caller.role != "person":
        yield Say(_("There is nothing to stop."))
    else:
        yield Say(_("No answer to you is being written."))


# --- the workspace ---------------------------------------------------------------------------------------------------


async def stats(bot: Bot, request: Request) -> AsyncIterator[Say]:
    """Say how much there is."""
    _ = speaker(request.caller.language)
    workspace = bot.workspace
    found = await bot.thread(workspace.stats)
    pending = len(await bot.thread(workspace.jobs.pending))
    facts = (
        (_("Conversations"), found.conversations),
        (_("Messages"), found.messages),
        (_("Replies"), found.replies),
        (_("Corrections"), found.corrections),
        (_("Rated up"), found.up),
        (_("Rated down"), found.down),
        (_("Datasets"), found.datasets),
        (_("Trainings that go on"), pending),
        (_("Imported files"), found.imports),
    )
    lines = [f"{label}: {count:,}" for label, count in facts]
    lines.append(_("Database: {count} MB").format(count=f"{found.database_bytes / 1e6:,.1f}"))
    lines.append(_("{model} answers.").format(model=code(workspace.models.current)))
    yield Say("\n".join(lines))


async def role(bot: Bot, request: Request) -> AsyncIterator[Say]:
    """Say who owns the bot, or give somebody a role."""
    _ = speaker(request.caller.language)
    words = request.text.split()
    example = _("For example: {example}").format(example=code(COMMANDS["role"].example))
    if not words:
        known = await bot.thread(lambda: owners(bot.workspace))
        yield Say(f"{_('Owners: {people}.').format(people=', '.join(map(code, known)))} {example}")
        return
    # Who is meant is on the platform of whoever says it.
    person = words[0] if ":" in words[0] else f"{request.caller.person.partition(':')[0]}:{words[0]}"
    if len(words) == 1:
        found = await bot.thread(lambda: role_of(bot.workspace, person))
        yield Say(_("{person}: {role}.").format(person=code(person), role=_(_ROLE_NAMES[found])))
        return
    wanted = words[1].lower()
    if len(words) > 2:
        raise MisuseError(f"{_('Say who, and which role: owner, trainer or person.')} {example}")
    wanted = _ROLES.get(wanted, wanted)
    await bot.thread(lambda: give(bot.workspace, request.caller.person, person, wanted))
    given = await bot.thread(lambda: role_of(bot.workspace, person))
    yield Say(_("{person}: {role}.").format(person=code(person), role=_(_ROLE_NAMES[given])))


# --- the table -------------------------------------------------------------------------------------------------------


def _of_dialogue(name: str) -> Callable[[Bot, Request], AsyncIterator[Say]]:
    """A command that belongs to the talk."""

    def run(bot: Bot, request: Request) -> AsyncIterator[Say]:
        says: AsyncIterator[Say] = getattr(bot.dialogue, name)(request)
        return says

    return run


_TABLE = (
    Command("start", start, N_("says hello and what this is")),
    Command("help", show_help, N_("says what you can do here"), N_("[COMMAND]")),
    Command("hi", hi, N_("says hello")),
    Command("new", _of_dialogue("new"), N_("begins a fresh conversation")),
    Command("cancel", cancel, N_("stops the answer that is being written")),
    Command("feedback", _of_dialogue("feedback"), N_("says what you think of an answer"), N_("TEXT")),
    Command("correct", _of_dialogue("correct"), N_("says what an answer should have been"), N_("[NUMBER] TEXT")),
    Command("privacy", _of_dialogue("privacy"), N_("says what is kept, and what for")),
    Command("consent", _of_dialogue("consent"), N_("allows training on what you write, or forbids it")),
    Command("export", _of_dialogue("export"), N_("gives you everything there is about you")),
    Command("forget", _of_dialogue("forget"), N_("erases everything there is about you")),
    Command(
        "train",
        train,
        N_("makes examples of a file or directory, or trains on a dataset"),
        N_("[DATASET | DIRECTORY] [positive | negative]"),
        "/train support",
        train_tapped,
        files=True,
    ),
    Command(
        "test",
        try_cases,
        N_("asks the model cases of your own"),
        N_("JSON"),
        '/test [{"input": "When are you open?", "contains": "9"}]',
        files=True,
    ),
    Command("datasets", datasets, N_("lists the datasets, or builds one"), N_("[build [NAME]]"), "/datasets build support",
            datasets_tapped),
    Command(
        "select_dataset",
        select_dataset,
        N_("chooses what the next training learns, or avoids"),
        N_("NAME | DIRECTORY [positive | negative]"),
        "/select_dataset support positive",
    ),
    Command("jobs", jobs, N_("shows how trainings go on"), N_("[JOB]"), tap=jobs_tapped, live=True),
    Command(
        "model",
        model,
        N_("lists the models, or changes which one answers"),
        N_("[promote NAME | evaluate NAME | rollback]"),
        "/model promote openai:gpt-x",
        model_tapped,
    ),
    Command("instruction", show_instruction, N_("shows what the model is told")),
    Command("archive", archive, N_("packs a directory into an archive"), N_("DIRECTORY"), "/archive datasets/support"),
    Command("getfile", getfile, N_("sends a file of the workspace"), N_("PATH"), "/getfile files/prices.pdf"),
    Command("stats", stats, N_("says how much there is")),
    Command("role", role, N_("says or changes what somebody may do"), N_("PERSON owner | trainer | person"),
            "/role telegram:7 trainer"),
)  # fmt: skip

COMMANDS: dict[str, Command] = {command.name: command for command in _TABLE}
"""Every command, by its name, in the order they are listed."""
