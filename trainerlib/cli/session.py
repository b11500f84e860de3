"""What every command is given: which workspace, whether a script is reading, and who is at the keyboard."""

from __future__ import annotations

import getpass
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import typer

from trainerlib import settings
from trainerlib.cli.failures import PIPE_CLOSED, misuse

if TYPE_CHECKING:
    from trainerlib.workspace import Workspace

VARIABLE = "TRAINERLIB_WORKSPACE"
"""Environment variable that names the workspace."""

WorkspaceOption = Annotated[
    str | None,
    typer.Option(
        "-w",
        "--workspace",
        metavar="DIR",
        help=f"The workspace. Without it ${VARIABLE}, the current directory when it is one, or ./workspace.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]

F = TypeVar("F", bound=Callable[..., Any])


class Session:
    """One run of the command line.

    Args:
        workspace: the directory asked for, if one was.
        json: print JSON.

    Attributes:
        json: print JSON.
        given: the directory asked for, by option or environment.
    """

    def __init__(self, workspace: str | None = None, *, json: bool = False) -> None:
        if workspace is not None and not workspace.strip():
            raise misuse("-w needs a directory, and what it was given is empty")
        self.given = Path(workspace).expanduser() if workspace is not None else None
        self.json = json

    @property
    def directory(self) -> Path:
        """The workspace to use."""
        if self.given is not None:
            return self.given
        here = Path()
        marked = any((here / name).exists() for name in (settings.FILE, "trainer.db"))
        return here if marked else Path("workspace")

    def open(self, *, create: bool = False) -> Workspace:
        """Open the workspace; only commands that record may `create` it."""
        from trainerlib.workspace import open_workspace

        return open_workspace(self.directory, create=create)

    def narrowed(self, workspace: str | None, *, json: bool) -> Session:
        """This session with what was said after the command's name."""
        given = workspace if workspace is not None else None if self.given is None else str(self.given)
        return Session(given, json=self.json or json)


def person() -> str:
    """Person id of whoever is at the keyboard."""
    try:
        return f"terminal:{getpass.getuser()}"
    except (OSError, KeyError):  # a container may run under a number without a name
        return "terminal:someone"


def command(app: typer.Typer, name: str, *, panel: str | None = None) -> Callable[[F], F]:
    """Register a function as a command. It is given the `Session` first; `-w` and `--json` come by themselves.

    Args:
        app: where it belongs.
        name: what is typed.
        panel: the part of the help it is listed in.
    """

    def register(function: F) -> F:
        hints = get_type_hints(function, include_extras=True)
        _, *own = inspect.signature(function).parameters.values()
        keyword = inspect.Parameter.KEYWORD_ONLY
        parameters = [
            inspect.Parameter("context", keyword, annotation=typer.Context),
            *(parameter.replace(kind=keyword, annotation=hints[parameter.name]) for parameter in own),
            inspect.Parameter("workspace", keyword, default=None, annotation=WorkspaceOption),
            inspect.Parameter("json", keyword, default=False, annotation=JsonOption),
        ]

        def run(*, context: typer.Context, workspace: str | None, json: bool, **given: Any) -> None:
            try:
                function(context.obj.narrowed(workspace, json=json), **given)
            except BrokenPipeError as error:
                # Typer would swallow it, and with it the difference between a full pipe and a failure.
                raise typer.Exit(PIPE_CLOSED) from error

        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        run.__doc__ = function.__doc__
        app.command(name, rich_help_panel=panel)(run)
        return function

    return register
