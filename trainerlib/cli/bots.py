"""`telegram`: the bots of a workspace. The command line knows none of them: each is an entry point of `trainerlib.bots`."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trainerlib.cli.output import emit, say
from trainerlib.cli.session import Session
from trainerlib.errors import NotFoundError

if TYPE_CHECKING:
    from trainerlib.workspace import Workspace

GROUP = "trainerlib.bots"
"""Entry points that are bots: modules with `check(workspace)` and `run(workspace)`."""

_MARKS = {"ok": "✓", "hint": "!", "bad": "✗"}


def telegram(
    session: Session,
    check: Annotated[
        bool, typer.Option("--check", help="Look at token, rights and model, say what is missing, and end.")
    ] = False,
) -> None:
    """Run the Telegram bot of a workspace until it is stopped."""
    bot = _bot("telegram")
    with session.open() as workspace:
        if check:
            _check(session, bot, workspace)
        else:
            bot.run(workspace)


def _bot(name: str) -> Any:
    found = next(iter(entry_points(group=GROUP, name=name)), None)
    if found is None:
        raise NotFoundError(f"there is no bot {name!r}; install trainerlib again")
    return found.load()


def _check(session: Session, bot: Any, workspace: Workspace) -> None:
    found = bot.check(workspace)
    if session.json:
        emit([{"what": one.what, "state": one.state, "words": one.words} for one in found])
    else:
        for one in found:
            say(f"  {_MARKS[one.state]} {one.what}: {one.words}")
    if any(one.state == "bad" for one in found):
        raise typer.Exit(1)
