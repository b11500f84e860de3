"""`/archive`, `/getfile`, `/instruction`: what lies in the workspace.

Which paths may be named, and what is never given out, is decided by `bots.places`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bots import places
from bots.bot import Bot, MisuseError, Progress
from bots.dataset_commands import find
from bots.marking import code, one_line
from bots.port import Request, Say
from bots.texts import Speaker, speaker
from trainerlib import Dataset, Workspace
from trainerlib.archives import archive_directory
from trainerlib.containers import default_suffix
from trainerlib.errors import DatasetError, PathRefusedError
from trainerlib.settings import INSTRUCTION, instruction

if TYPE_CHECKING:
    from trainerlib.archives import ArchiveReport

_ARCHIVES = "archive"
_SHOWN = 5


async def archive(bot: Bot, request: Request) -> AsyncIterator[Say]:
    """Put the files of a directory, or of a dataset, into one archive, and send it when it is small enough."""
    _ = speaker(request.caller.language)
    given = request.text.strip().rstrip("/")
    if not given:
        raise MisuseError(
            _("Which directory of the workspace? For example: {example}").format(
                example=code("/archive datasets/support")
            )
        )
    source = await bot.thread(lambda: _source(bot.workspace, given))
    work = bot.work(partial(_packed, bot.workspace, source, request.sent_at or datetime.now(UTC)))
    yield Say(_("Archiving…"))
    async for share in work.shares():
        yield Say(_("Archiving: {share}").format(share=share), replaces=True)
    report = await work.result()
    where = f"{_ARCHIVES}/{report.path.name}"
    files = _.plural("{name}: {count} file", "{name}: {count} files", report.files)
    lines = [files.format(name=code(where), count=f"{report.files:,}"), f"sha256 {code(report.sha256)}"]
    lines += [] if report.new else [_("The same archive was there already.")]
    lines += [
        _("{name} was left out: {reason}").format(name=code(one_line(name, 80)), reason=reason)
        for name, reason in report.skipped[:_SHOWN]
    ]
    if len(report.skipped) > _SHOWN:
        lines.append(_("{count} more were left out.").format(count=f"{len(report.skipped) - _SHOWN:,}"))
    small = report.archive_bytes <= bot.largest
    if not small:
        lines.append(_("It is too large to send here; it lies in the workspace as {path}.").format(path=code(where)))
    yield Say("\n".join(lines), replaces=True)
    if small:
        # What was shown is text, and stays text.
        yield Say(code(report.path.name), file=report.path)


def _source(workspace: Workspace, given: str) -> Path | Dataset:
    """The directory or the dataset that is meant."""
    try:
        return places.directory(workspace.path, given)
    except PathRefusedError:
        data = find(workspace, given)
        if data is None:
            raise
        return data


def _packed(workspace: Workspace, source: Path | Dataset, at: datetime, tell: Progress) -> ArchiveReport:
    """The archive of a directory or dataset; another one is made where one of this name holds something else by now.

    Args:
        workspace: the workspace.
        source: what it holds.
        at: when it was asked for; names the other one, so that the same request makes the same one.
        tell: called with bytes read and bytes to read.
    """
    place = workspace.path / _ARCHIVES
    place.mkdir(exist_ok=True)
    if isinstance(source, Dataset):
        return source.archive(place / f"{source.name}-v{source.version}{default_suffix()}", progress=tell)
    name = "-".join(source.relative_to(workspace.path.resolve()).parts)
    target = place / f"{name}{default_suffix()}"
    try:
        return archive_directory(source, target, progress=tell)
    except DatasetError:
        if not target.exists():
            raise
        return archive_directory(source, place / f"{name}-{at:%Y%m%d-%H%M%S}{default_suffix()}", progress=tell)


async def getfile(bot: Bot, request: Request) -> AsyncIterator[Say]:
    """Send a file of the workspace."""
    path = await bot.thread(lambda: _served(bot.workspace.path, request.text.strip(), bot.largest))
    yield Say(code(path.name), file=path)


def _served(workspace: Path, given: str, limit: int) -> Path:
    """A file that may be given out, judged by its name and by what is in it."""
    places.open_servable(workspace, given, limit=limit).close()
    return places.servable(workspace, given, limit=limit)


async def show_instruction(bot: Bot, request: Request) -> AsyncIterator[Say]:
    """Show what the model is told before each conversation."""
    _ = speaker(request.caller.language)
    text = await bot.thread(lambda: instruction(bot.workspace.path))
    if text:
        yield Say(text, plain=True)
    else:
        yield Say(_no_instruction(_))


def _no_instruction(_: Speaker) -> str:
    return _("There is no instruction yet. It is written into {file} of the workspace.").format(file=code(INSTRUCTION))
