"""`/datasets` and `/select_dataset`: what was built of what was taught, and what the next training learns."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import groupby
from typing import Literal

from bots.bot import Bot, MisuseError, Progress
from bots.marking import button, code, one_line, short
from bots.port import Caller, Request, Say
from bots.texts import Speaker, speaker
from trainerlib import Dataset, Recipe, Workspace

Side = Literal["positive", "negative"]

_POSITIVE = frozenset({"positive", "good", "+", "положительные", "положительный", "хорошие"})
_NEGATIVE = frozenset({"negative", "bad", "-", "отрицательные", "отрицательный", "плохие"})
_SHOWN = 10
_BAD = 5
_DEFAULT = "chat"


async def datasets(bot: Bot, request: Request) -> AsyncIterator[Say]:
    """List the datasets, or build one of everything that was taught."""
    _ = speaker(request.caller.language)
    words = request.text.split()
    if words and words[0].lower() == "build":
        async for say in _build(bot, request.caller, "".join(words[1:2])):
            yield say
        return
    if words:
        raise MisuseError(
            _("{list} lists the datasets, {build} builds one.").format(
                list=code("/datasets"), build=code("/datasets build support")
            )
        )
    built = await bot.thread(bot.workspace.datasets.list)
    if not built:
        yield Say(
            _("There is no dataset yet. {build} makes one of what was corrected and rated well.").format(
                build=code("/datasets build support")
            )
        )
        return
    latest = []
    for _name, versions in groupby(built, key=lambda data: data.name):
        *earlier, last = versions
        latest += [data for data in earlier if data.selected] + [last]
    shown = latest[-_SHOWN:]
    lines = [_told_dataset(data, _) for data in shown]
    if len(latest) > len(shown):
        lines.append(_("The latest {count} of {total} are shown.").format(count=len(shown), total=len(latest)))
    offered = [data for data in shown if not data.erased] if bot.may(request.caller, "train") else []
    label = _("Train on {dataset}")
    rows = [
        (
            button(
                label.format(dataset=one_line(f"{data.name}@{data.version}", 40)),
                "train", "plan", short(data.name), data.version,
            ),
        )
        for data in offered
    ]  # fmt: skip
    yield Say("\n".join(lines), tuple(rows))


async def datasets_tapped(bot: Bot, request: Request, _action: str) -> AsyncIterator[Say]:
    """Build a dataset of everything that was taught."""
    async for say in _build(bot, request.caller, ""):
        yield say


def _told_dataset(data: Dataset, _: Speaker) -> str:
    name = code(f"{data.name}@{data.version}")
    if data.erased:
        return _("{dataset}: held somebody who was erased; build it again").format(dataset=name)
    left_out = sum(data.excluded.values())
    text = _.plural("{dataset}: {count} example", "{dataset}: {count} examples", data.examples).format(
        dataset=name, count=f"{data.examples:,}"
    )
    parts = [text, " · ".join(f"{split} {count:,}" for split, count in data.splits.items())]
    parts += [_("{count} left out").format(count=f"{left_out:,}")] if left_out else []
    parts += [_("to be learned next")] if data.selected == "positive" else []
    parts += [_("to be avoided next")] if data.selected == "negative" else []
    return ", ".join(parts)


async def _build(bot: Bot, caller: Caller, name: str) -> AsyncIterator[Say]:
    """Build a dataset as it was built before; the first one of what was corrected or rated well."""
    _ = speaker(caller.language)
    if not bot.may(caller, "train"):
        raise MisuseError(_("Building datasets is for the owner of this bot."))
    workspace = bot.workspace

    def build(tell: Progress) -> Dataset:
        built = workspace.datasets.list()
        chosen = name or (built[-1].name if built else _DEFAULT)
        earlier = [data for data in built if data.name == chosen]
        recipe = earlier[-1].recipe if earlier else Recipe(targets="corrected-or-approved")
        return workspace.datasets.build(chosen, recipe, progress=tell)

    work = bot.work(build)
    yield Say(_("Building…"))
    async for share in work.shares():
        yield Say(_("Building: {share}").format(share=share), replaces=True)
    data = await work.result()
    lines = [_told_dataset(data, _)]
    lines += [] if data.new else [_("Nothing was taught since: it is the same as before.")]
    lines += [f"- {reason}: {count:,}" for reason, count in sorted(data.excluded.items(), key=_most)[:_BAD]]
    label = _("Train on {dataset}").format(dataset=one_line(f"{data.name}@{data.version}", 40))
    buttons = ((button(label, "train", "plan", short(data.name), data.version),),) if data.examples else ()
    yield Say("\n".join(lines), buttons, replaces=True)


def _most(reason: tuple[str, int]) -> int:
    return -reason[1]


async def select_dataset(bot: Bot, request: Request) -> AsyncIterator[Say]:
    """Choose what the next training learns, or avoids."""
    _ = speaker(request.caller.language)
    words, side = side_of(request.text.split())
    given = " ".join(words)
    example = code("/select_dataset support positive")
    if not given:
        raise MisuseError(_("Which dataset? For example: {example}").format(example=example))
    data = await bot.thread(lambda: find(bot.workspace, given.rstrip("/")))
    if data is None:
        raise unknown(bot.workspace, given, _)
    chosen, before = side or "positive", data.selected
    await bot.thread(lambda: data.select(chosen))
    name = code(f"{data.name}@{data.version}")
    if before == chosen:
        yield Say(_("{dataset} was chosen already.").format(dataset=name))
    elif chosen == "positive":
        yield Say(_("The next training learns from {dataset}. {command} begins it.").format(
            dataset=name, command=code("/train")))  # fmt: skip
    else:
        yield Say(_("The next training takes {dataset} as what to avoid.").format(dataset=name))


# --- which dataset -----------------------------------------------------------------------------------------------------


def side_of(words: list[str]) -> tuple[list[str], Side | None]:
    """The words of a command without the last one where that says good or bad, and what it says."""
    last = words[-1].lower() if words else ""
    if last in _POSITIVE or last in _NEGATIVE:
        return words[:-1], "positive" if last in _POSITIVE else "negative"
    return words, None


def find(workspace: Workspace, given: str) -> Dataset | None:
    """The dataset that a name, `name@version`, or its directory in the workspace stands for; `None` for none.

    Args:
        workspace: the workspace.
        given: what somebody wrote.
    """
    parts = [part for part in given.split("/") if part not in ("", ".")]
    if len(parts) in (2, 3) and parts[0] == "datasets":
        name, version = parts[1], parts[2].removeprefix("v") if len(parts) == 3 else ""
    else:
        name, _at, version = given.partition("@")
    found = [one for one in workspace.datasets.list() if one.name == name]
    if version:
        found = [one for one in found if str(one.version) == version.removeprefix("v")]
    else:
        found = [one for one in found if one.selected == "positive"] or found
    return found[-1] if found else None


def names(workspace: Workspace) -> list[str]:
    """The names of the datasets, in the order they were first built."""
    return list(dict.fromkeys(data.name for data in workspace.datasets.list()))


def unknown(workspace: Workspace, given: str, _: Speaker) -> MisuseError:
    """What is said to a name that is none of a dataset or directory."""
    known = names(workspace)
    if not known:
        return MisuseError(_("There is no dataset or directory {name}.").format(name=code(one_line(given, 60))))
    return MisuseError(
        _("There is no dataset or directory {name}. The datasets are {names}. For example: {example}").format(
            name=code(one_line(given, 60)), names=", ".join(map(code, known)), example=code(f"/train {known[0]}")
        )
    )
