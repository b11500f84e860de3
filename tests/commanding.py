"""A shop whose bot is given commands: who gives them, what comes of them, and the server that it trains with."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

from histories import write
from training_shop import hurried, talks, train_with

import trainerlib
from bots.commands import Commands
from bots.dialogue import Dialogue
from bots.port import Caller, Request, Upload
from trainerlib import Recipe, Split

OWNER, TRAINER, PERSON = "telegram:1", "telegram:2", "telegram:7"
ROLES = {OWNER: "owner", TRAINER: "trainer", PERSON: "person"}


def asked(text="", *, by=OWNER, language="en", key="telegram:9:42:1", files=(), **more):
    """A request of somebody, in the role they have."""
    caller = Caller(by, "Anna", language, ROLES.get(by, "person"))
    return Request(caller, "telegram:42", text, files=tuple(files), key=key, **more)


def commands(ws, **more):
    """The commands of a workspace, without the waiting between two words."""
    return Commands(ws, Dialogue(ws), every=0.02, **more)


async def collected(says):
    """Everything that is said."""
    async with aclosing(says) as open_says:
        return [say async for say in open_says]


def run(ws, line, **who):
    """Everything that is said to a command, `/stats`, `/train support`."""
    name, _, text = line.removeprefix("/").partition(" ")

    async def give():
        mine = commands(ws)
        try:
            return await collected(mine.run(name, asked(text, **who)))
        finally:
            await mine.close()

    return asyncio.run(give())


def tap(ws, action, **who):
    """Everything that is said to a tap on a button."""

    async def give():
        mine = commands(ws)
        try:
            return await collected(mine.tap(asked(**who), action))
        finally:
            await mine.close()

    return asyncio.run(give())


def said(says):
    """The last thing that is said."""
    return says[-1].text


def buttons(says):
    """The actions of the buttons below the last thing said, by what they say."""
    return {button.label: button.action for row in says[-1].buttons for button in row}


def uploaded(ws, name, content):
    """A file that came with a message."""
    place = Path(write(ws.path / "files" / f"5c3aee2c-{name}", content))
    return Upload("document", place, name, size=place.stat().st_size)


def built_shop(place):
    """A workspace with a dataset `support`, and its owner in the settings."""
    with trainerlib.open(place) as workspace:
        workspace.import_file(write(place.parent / "talks.jsonl", list(talks())), basis="operator: our own")
        recipe = Recipe(targets="corrected", split=Split(train=0.7, validation=0.2, test=0.1, seed=3))
        workspace.datasets.build("support", recipe)
    return place


def owned(place, more=""):
    """Say in the settings who owns a shop and who teaches."""
    file = place / "workspace.toml"
    settings = file.read_text(encoding="utf-8") if file.exists() else ""
    bots = f'\n[bots]\nowners = ["{OWNER}"]\ntrainers = ["{TRAINER}"]\n{more}\n'
    file.write_text(settings + bots, encoding="utf-8")


def training_shop(place, server):
    """A shop that trains with a server, opened."""
    train_with(server, place, timeout=0.5)
    owned(place)
    return hurried(trainerlib.open(place))


async def happened(condition):
    """Wait until something is so; 20 seconds at most."""
    for _ in range(1_000):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise TimeoutError
