"""The program: every command, and what may stand before one."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer
from typer.main import get_command

from trainerlib import __version__
from trainerlib.cli import (
    adding,
    archiving,
    beginning,
    bots,
    chatting,
    consenting,
    curating,
    datasets,
    demonstration,
    evaluating,
    importing,
    lineage,
    log,
    looking,
    models,
    recording,
    training,
)
from trainerlib.cli import people as about_people
from trainerlib.cli.failures import misuse
from trainerlib.cli.output import emit, say
from trainerlib.cli.session import VARIABLE, JsonOption, Session, WorkspaceOption, command

_BEGIN, _RECORD, _LOOK, _TRAIN, _KEEP = "Begin", "Record and teach", "Look", "Train", "Look after the log"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")


@app.callback(invoke_without_command=True)
def start(
    context: typer.Context,
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Every message, correction and rating of your bot as an event; fine-tuning datasets built from them."""
    if version:
        if json:
            emit({"version": __version__})
        else:
            say(f"trainerlib {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        if workspace is not None or json:
            raise misuse("which command? `trainerlib --help` lists them")
        typer.echo(context.get_help())
        raise typer.Exit
    context.obj = Session(workspace if workspace is not None else os.environ.get(VARIABLE) or None, json=json)


def _group(name: str, panel: str, about: str, **more: Any) -> typer.Typer:
    """A group of commands; named alone, it prints its help."""
    group = typer.Typer(no_args_is_help=False, **more)

    @group.callback(invoke_without_command=True, help=about)
    def enter(context: typer.Context, workspace: WorkspaceOption = None, json: JsonOption = False) -> None:
        if context.invoked_subcommand is None:
            typer.echo(context.get_help())
            raise typer.Exit
        context.obj = context.obj.narrowed(workspace, json=json)

    app.add_typer(group, name=name, rich_help_panel=panel)
    return group


dataset = _group("dataset", _TRAIN, "Build datasets, look at them, export and check them.")
person = _group("person", _RECORD, "People: their consent to training, everything about them, and their erasure.")
archive = _group(
    "archive",
    _KEEP,
    "Write a directory into one file that is the same wherever it is made, and bring it back.",
    cls=archiving.DirectoryOrCommand,
    subcommand_metavar="DIRECTORY | COMMAND [ARGS]...",
)
job = _group("job", _TRAIN, "Training jobs: follow them, hold them, end them.")
model = _group("model", _TRAIN, "Models: which there are, which one answers, and which is tried out.")
policy = _group("policy", _RECORD, "Platforms that restrict training, and their permissions.")

command(app, "init", panel=_BEGIN)(beginning.init)
command(app, "demo", panel=_BEGIN)(demonstration.demo)
command(app, "chat", panel=_BEGIN)(chatting.chat)
command(app, "telegram", panel=_BEGIN)(bots.telegram)
command(app, "import", panel=_RECORD)(importing.import_)
command(app, "record", panel=_RECORD)(recording.record)
command(app, "correct", panel=_RECORD)(recording.correct)
command(app, "feedback", panel=_RECORD)(recording.feedback)
command(app, "conversations", panel=_LOOK)(looking.conversations)
command(app, "show", panel=_LOOK)(looking.show)
command(app, "search", panel=_LOOK)(looking.search)
command(app, "stats", panel=_LOOK)(looking.stats)
command(app, "events", panel=_LOOK)(log.events)
command(dataset, "build")(datasets.build)
command(dataset, "list")(datasets.list_)
command(dataset, "show")(datasets.show)
command(dataset, "export")(datasets.export)
command(dataset, "check")(datasets.check)
command(dataset, "diff")(datasets.diff)
command(dataset, "explain")(lineage.explain)
command(dataset, "lineage")(lineage.lineage)
command(dataset, "leakage")(lineage.leakage)
command(dataset, "tag")(curating.tag)
command(dataset, "note")(curating.write_note)
command(dataset, "select")(curating.select)
command(dataset, "card")(curating.card)
command(dataset, "add-directory")(adding.add_directory)
command(dataset, "cost")(curating.cost)
command(dataset, "archive")(archiving.dataset_archive)
command(app, "train", panel=_TRAIN)(training.train)
command(app, "evaluate", panel=_TRAIN)(evaluating.evaluate)
command(app, "test", panel=_TRAIN)(evaluating.run_cases)
command(job, "list")(training.list_)
command(job, "show")(training.show)
command(job, "follow")(training.follow)
command(job, "cancel")(training.cancel)
command(job, "pause")(training.pause)
command(job, "resume")(training.resume)
command(model, "list")(models.list_)
command(model, "show")(models.show)
command(model, "add")(models.add)
command(model, "promote")(models.promote)
command(model, "rollback")(models.rollback)
command(model, "offer")(models.offer)
command(model, "compare")(models.compare)
command(archive, "create")(archiving.archive_)
command(archive, "restore")(archiving.restore)
command(person, "list")(consenting.people)
command(person, "consent")(consenting.consent)
command(person, "withdraw")(consenting.withdraw)
command(person, "show")(about_people.show)
command(person, "export")(about_people.export)
command(person, "erase")(about_people.erase)
command(policy, "list")(consenting.policies)
command(policy, "grant")(consenting.grant)
command(policy, "revoke")(consenting.revoke)
command(app, "verify", panel=_KEEP)(log.verify)
command(app, "rebuild", panel=_KEEP)(log.rebuild)
command(app, "backup", panel=_KEEP)(log.backup)
command(app, "restore", panel=_KEEP)(about_people.restore)


def program() -> Any:
    """The command line, ready for `main(args=...)`."""
    return get_command(app)
