"""`demo`: the whole loop on a history written for it, without a key or a network."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from trainerlib import demo as history
from trainerlib import settings
from trainerlib.cli.beginning import write_files
from trainerlib.cli.datasets import splits, summary
from trainerlib.cli.failures import misuse
from trainerlib.cli.output import emit, say, styled, table
from trainerlib.cli.session import Session

if TYPE_CHECKING:
    from trainerlib.exports import ExportReport
    from trainerlib.versions import Dataset
    from trainerlib.workspace import Workspace

_MARK = "# This workspace was made by `trainerlib demo`.\n"
_BASIS = "operator: written for this demo"


class _Teaching(msgspec.Struct, forbid_unknown_fields=True):
    """A line of the history's teaching: a correction or a rating of one reply."""

    chat: str
    message: int
    by: str
    correction: str | None = None
    rating: int | None = None
    text: str = ""
    reason: str = ""


def demo(
    session: Session,
    directory: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="Where; ./demo by default.", show_default=False)
    ] = None,
) -> None:
    """Play an invented flower shop's history: import, corrections, dataset, every format."""
    target = directory.expanduser() if directory is not None else session.given or Path("demo")
    _prepare(target)
    with Session(str(target)).open(create=True) as workspace:
        before = workspace.store.position
        workspace.import_file(history.HISTORY, assistant=history.ASSISTANT, basis=_BASIS)
        _teach(workspace)
        dataset = workspace.datasets.build("support")
        reports, written = _export(dataset, target / "exports")
        changed = workspace.store.position != before or written
        stats = workspace.stats()
        if session.json:
            counts = ("conversations", "messages", "replies", "corrections", "up", "down")
            emit(
                {
                    "workspace": target,
                    **{name: getattr(stats, name) for name in counts},
                    "dataset": summary(dataset),
                    "files": [
                        {"file": item.path, "format": item.format, "rows": item.rows, "sha256": item.sha256}
                        for item in reports
                    ],
                    "changed": changed,
                }
            )
            return
        _tell(workspace, dataset, reports)
        if not changed:
            say("  nothing changed: the demo was here before")
        _next(workspace, target)


def _prepare(target: Path) -> None:
    """Make the directory, or recognise it as a demo of ours; anything else stays untouched."""
    marked = target / settings.FILE
    if target.exists() and not target.is_dir():
        raise misuse(f"{target} is a file; the demo needs a directory")
    if target.is_dir() and any(target.iterdir()):
        if not marked.is_file() or not marked.read_bytes().startswith(_MARK.encode()):
            raise misuse(f"{target} is not empty and no demo of ours; try: trainerlib demo OTHER-DIRECTORY")
    else:
        target.mkdir(parents=True, exist_ok=True)
        title = settings.TEMPLATE.replace('# title = "" ', 'title = "Flower shop (demo)" ')
        marked.write_text(_MARK + title, encoding="utf-8")
    write_files(target)


def _teach(workspace: Workspace) -> None:
    """Give the corrections and ratings of two invented trainers, each once."""
    for line in history.TEACHING.read_bytes().splitlines():
        item = msgspec.json.decode(line, type=_Teaching)
        place = f"{item.chat}:{item.message}"
        reply = workspace.find(f"telegram-export:{place}")
        if reply is None:
            continue
        if item.correction is not None:
            key = f"demo:{place}:correction:{item.by}"
            workspace.correct(reply.id, item.correction, by=item.by, note=item.text, key=key)
        else:
            key = f"demo:{place}:rating:{item.by}"
            workspace.give_feedback(
                reply.id, rating=item.rating, text=item.text, reason=item.reason, by=item.by, key=key
            )


def _export(dataset: Dataset, directory: Path) -> tuple[list[ExportReport], bool]:
    """Every format's file of the training split, and whether any of them is new or different."""
    from trainerlib.formats import FORMATS

    directory.mkdir(exist_ok=True)
    reports, changed = [], False
    for name in FORMATS:
        path = directory / f"{dataset.name}.{name}.jsonl"
        before = path.read_bytes() if path.exists() else None
        reports.append(dataset.export(path, format=name, split="train"))
        changed = changed or path.read_bytes() != before
    return reports, changed


def _tell(workspace: Workspace, dataset: Dataset, reports: list[ExportReport]) -> None:
    from trainerlib.datasets import why

    stats = workspace.stats()
    languages: dict[str, int] = {}
    for item in workspace.conversations():
        languages[item.language] = languages.get(item.language, 0) + 1
    spoken = " · ".join(f"{languages.get(code, 0)} {name}" for code, name in (("en", "English"), ("ru", "Russian")))
    told: list[tuple[Any, ...]] = [
        ("conversations", stats.conversations, spoken),
        ("messages", stats.messages, f"{stats.replies:,} replies of the bot"),
        ("corrections", stats.corrections, "what two trainers would have answered"),
        ("ratings", stats.up + stats.down, f"{stats.up:,} up · {stats.down:,} down"),
    ]
    became: list[tuple[Any, ...]] = [
        ("candidates", dataset.candidates, "every reply is one"),
        ("  examples", dataset.examples, splits(dataset)),
        *(("  excluded", count, f"{reason}: {why(reason)}") for reason, count in dataset.excluded.items()),
    ]
    files: list[tuple[Any, ...]] = [
        (item.path.name if item.path else "", item.rows, f"sha256 {item.sha256[:16]}…") for item in reports
    ]
    styled(f"  {workspace.settings.workspace.title}: {workspace.path}", "bold")
    table(("", "#", ""), told + became + files, sections=(len(told), len(told) + len(became)))
    say(
        f"  {dataset.name} v{dataset.version} at position {dataset.position:,} · files (train) in {workspace.path / 'exports'}"
    )


def _next(workspace: Workspace, target: Path) -> None:
    corrected = workspace.conversations(corrected=True, rated="down", language="en", limit=1)
    where = f"trainerlib -w {shlex.quote(str(target))}"
    file = shlex.quote(str(target / "exports" / "support.openai-chat.jsonl"))
    commands = [
        *((f"{where} show {shlex.quote(item.id)}", "a dialogue with a correction") for item in corrected),
        (f"{where} search опоздал курьер", "words in any form, Russian or English"),
        (f"{where} chat", "talk to it, and teach it"),
        (f"{where} dataset build taught --targets corrected", "only what somebody corrected"),
        (f"trainerlib dataset check {file}", "would a trainer take this file?"),
    ]
    say("  next:")
    wide = max(len(line) for line, _ in commands)
    for line, meaning in commands:
        say(f"    {line:<{wide}}  # {meaning}")
