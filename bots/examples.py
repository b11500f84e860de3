"""Examples that somebody gives to the bot: a file, or a directory of the workspace, rated as good or bad."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from bots import places
from bots.bot import Bot, Progress, Work
from bots.dataset_commands import Side, unknown
from bots.marking import button, code, one_line, plain, short
from bots.port import Button, Caller, Say, Upload
from bots.texts import Speaker, speaker
from trainerlib import Workspace
from trainerlib.errors import NotFoundError, PathRefusedError, StoreError

if TYPE_CHECKING:
    from trainerlib.imports import DirectoryReport

_SHOWN = 10
_BAD = 5


def not_taken(bot: Bot, upload: Upload, _: Speaker) -> str:
    """Why a file that came with a command is not there, in a sentence.

    Args:
        bot: whose command it is.
        upload: the file.
        _: says it in somebody's language.
    """
    if upload.refused:
        return f"{upload.name or upload.kind}: {_(upload.refused)}"
    return _("The file could not be taken in: {count} MB are the most.").format(
        count=bot.workspace.settings.bots.upload_mb
    )


async def add_file(bot: Bot, caller: Caller, upload: Upload, side: Side) -> AsyncIterator[Say]:
    """Make examples of a file that came with a message."""
    kept = cast(Path, upload.path)
    name = places.upload_name(upload.name or kept.name, kind="examples.txt")
    work = bot.work(partial(_add_kept, bot.workspace, kept, name, side))
    async for say in _adding(bot, caller, work, name, side):
        yield say


def _add_kept(workspace: Workspace, kept: Path, name: str, side: Side, tell: Progress) -> DirectoryReport:
    """Add a file as the only one of a directory of its own.

    The directory has the same name each time, so what a kill leaves of it is gone when the file is added again.
    """
    directory = workspace.path / places.FILES / f".adding-{short(str(kept))}"
    shutil.rmtree(directory, ignore_errors=True)
    try:
        directory.mkdir(parents=True)
        try:
            os.link(kept, directory / name)
        except OSError:
            # Not every disk gives a file a second name.
            shutil.copyfile(kept, directory / name)
        return _added(workspace, directory, side, tell)
    except FileNotFoundError as error:
        raise NotFoundError(f"{name}: {error.strerror}") from error
    except OSError as error:
        raise StoreError(f"{name}: {error.strerror}") from error
    finally:
        shutil.rmtree(directory, ignore_errors=True)


async def add_directory(bot: Bot, caller: Caller, given: str, side: Side) -> AsyncIterator[Say]:
    """Make examples of the files of a directory of the workspace."""
    _ = speaker(caller.language)
    try:
        where = await bot.thread(lambda: places.directory(bot.workspace.path, given))
    except PathRefusedError as error:
        # Most often it is the name of a dataset with a slip in it.
        raise (error if "/" in given else unknown(bot.workspace, given, _)) from error
    work = bot.work(partial(_added, bot.workspace, where, side))
    async for say in _adding(bot, caller, work, given, side):
        yield say


def _added(workspace: Workspace, directory: Path, side: Side, tell: Progress) -> DirectoryReport:
    return workspace.add_directory(
        directory, rating=1 if side == "positive" else -1, basis="operator: given to the bot", progress=tell
    )


async def _adding(bot: Bot, caller: Caller, work: Work[DirectoryReport], name: str, side: Side) -> AsyncIterator[Say]:
    """What came of adding examples, and how far it is before."""
    _ = speaker(caller.language)
    yield Say(_("Reading {name}…").format(name=code(name)))
    async for share in work.shares():
        yield Say(_("Reading {name}: {share}").format(name=code(name), share=share), replaces=True)
    report = await work.result()
    lines = [_read(report, name, side, _)]
    lines += [
        _("{name} was left out: {reason}").format(
            name=code(one_line(file.file, 80)), reason=one_line(plain(file.reason, bot.workspace.path), 200)
        )
        for file in report.skipped[:_SHOWN]
    ]
    if len(report.skipped) > _SHOWN:
        lines.append(_("{count} more were left out.").format(count=f"{len(report.skipped) - _SHOWN:,}"))
    for file, bad in report.bad_lines[:_BAD]:
        lines.append(
            _("{name}, line {line}: {reason}").format(
                name=code(one_line(file, 80)), line=f"{bad.line:,}", reason=one_line(bad.reason, 160)
            )
        )
    if report.bad_line_count > _BAD:
        lines.append(_("{count} lines in all could not be read.").format(count=f"{report.bad_line_count:,}"))
    buttons: tuple[tuple[Button, ...], ...] = ()
    if report.ratings and bot.may(caller, "train"):
        buttons = ((button(_("Build a dataset"), "datasets", "build"),),)
    yield Say("\n".join(lines), buttons, replaces=True)


def _read(report: DirectoryReport, name: str, side: Side, _: Speaker) -> str:
    """What was read, in a sentence."""
    conversations, ratings = report.conversations, report.ratings
    if not (report.imported or report.already):
        return _("Nothing in {name} could be read as examples. JSONL, text, Markdown, CSV and PDF can.").format(
            name=code(name)
        )
    if side == "positive":
        rated = _.plural("{count} reply is a good example", "{count} replies are good examples", ratings)
    else:
        rated = _.plural("{count} reply is a bad example", "{count} replies are bad examples", ratings)
    about = _.plural("{name}: {count} conversation", "{name}: {count} conversations", conversations).format(
        name=code(name), count=f"{conversations:,}"
    )
    again = "" if report.imported else f" {_('All of it was known before.')}"
    return f"{about}; {rated.format(count=f'{ratings:,}')}.{again}"
