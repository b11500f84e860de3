"""`dataset explain`, `dataset lineage`, `dataset leakage`: where a line comes from, where a message went, what leaks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trainerlib.cli.datasets import Which, find, opened
from trainerlib.cli.failures import FAILED, misuse
from trainerlib.cli.output import emit, progress_bar, say, table
from trainerlib.cli.recording import number
from trainerlib.cli.session import Session
from trainerlib.errors import DatasetError, NotFoundError

if TYPE_CHECKING:
    from trainerlib.versions import Held


def explain(
    session: Session,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An exported file; - for standard input.")],
    line: Annotated[int, typer.Argument(metavar="LINE", min=1, help="The number of a line in it.")],
    name: Annotated[
        str | None, typer.Option("--dataset", metavar="NAME", help="Look only at one dataset.", show_default=False)
    ] = None,
) -> None:
    """Say where a line of an exported file comes from: dataset, conversation, messages, raters, events."""
    with opened(file.expanduser()) as lines:
        row = next(islice(lines, line - 1, None), None)
    if row is None or not row.strip():
        raise misuse(f"{file} has no line {line:,}")
    with session.open() as workspace, progress_bar("looking for the line") as progress:
        try:
            found = workspace.datasets.explain(row, name=name, progress=progress)
        except DatasetError as error:
            raise misuse(f"{file}, line {line:,}: {error}") from error
        except NotFoundError as error:
            raise NotFoundError(f"{file}, line {line:,}: {error}") from error
    if session.json:
        emit(found)
    else:
        say("\n".join(f"  {part}" for part in str(found).splitlines()))


def lineage(
    session: Session,
    message: Annotated[
        str, typer.Argument(metavar="MESSAGE_ID", help="Id of the message, as `show` and `search` print it.")
    ],
) -> None:
    """Say which datasets, training jobs and models a message went into."""
    with session.open() as workspace:
        held = workspace.lineage(number(message))
    if session.json:
        emit(held)
    elif not held:
        say(f"  message #{message} is in no dataset")
    else:
        tell_held(held)


def tell_held(held: Sequence[Held]) -> None:
    """Which datasets hold something, a row each."""
    table(
        ("dataset", "split", "conversation", "#examples", "trained"),
        [
            (f"{one.dataset}@{one.version}", one.split, one.conversation, len(one.examples), _trained(one))
            for one in held
        ],
    )


def _trained(held: Held) -> str:
    return ", ".join([*(f"job {job}" for job in held.jobs), *held.models])


def leakage(session: Session, name: Which) -> None:
    """Look for anything that is in two splits of a dataset; exit status 1 when something is."""
    with session.open() as workspace:
        dataset = find(workspace, name)
        found = dataset.leakage()
    if session.json:
        emit(found)
    else:
        say(f"{found.conversations:>8,}  conversations in two splits")
        say(f"{found.texts:>8,}  examples whose normalised text is in another split")
        say(f"{found.near_duplicates:>8,}  conversations with a near-duplicate in another split")
        if found and not dataset.recipe.near_duplicates:
            say("  the recipe does not look for near-duplicates: set near_duplicates = 0.85 under [clean]")
    if found:
        raise typer.Exit(FAILED)
