"""`archive DIRECTORY`, `archive restore FILE DIRECTORY` and `dataset archive NAME`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from trainerlib.cli.datasets import Which, find, label
from trainerlib.cli.failures import FAILED, misuse
from trainerlib.cli.output import counted, emit, note, one_line, progress_bar, say
from trainerlib.cli.session import Session

if TYPE_CHECKING:
    from trainerlib.archives import ArchiveReport

_SHOWN = 20
_DEFAULT = "create"


class DirectoryOrCommand(TyperGroup):
    """A group of commands of which `create` is meant when none is named: `archive DIRECTORY`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put in `create` before the first word that is neither an option of the group nor a command."""
        options = {name: option for option in self.get_params(ctx) for name in option.opts}
        first = 0
        while first < len(args) and (option := options.get(args[first].partition("=")[0])) is not None:
            first += 1 if "=" in args[first] or getattr(option, "is_flag", False) else 2
        if first < len(args) and args[first] not in self.commands:
            args = [*args[:first], _DEFAULT, *args[first:]]
        return super().parse_args(ctx, args)


def archive_(
    session: Session,
    directory: Annotated[Path, typer.Argument(metavar="DIRECTORY", help="What to archive.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The archive, .tar.zst or .zip; DIRECTORY.tar.zst by default.", show_default=False
        ),
    ] = None,
    hidden: Annotated[
        bool, typer.Option("--hidden", help="Take files whose names begin with a dot too; .env may hold keys.")
    ] = False,
) -> None:
    """Write every file of a directory into one archive, the same bytes wherever it is made; `create` may be left out."""
    from trainerlib.archives import BY_RULE, archive_directory
    from trainerlib.containers import default_suffix

    place = directory.expanduser()
    if not place.is_dir():
        raise misuse(f"{place}: no such directory")
    if output is None:
        named = place if place.name not in ("", "..") else place.resolve()
        if not named.name:
            raise misuse(f"{place} has no name to call the archive by; say --output FILE")
        target = named.with_name(named.name + default_suffix())
    else:
        target = _checked(output)
    if target.resolve().is_relative_to(place.resolve()):
        raise misuse(f"{target} is in the directory that it would hold; choose another place")
    with progress_bar(f"archiving {place.name}") as progress:
        report = archive_directory(place, target, hidden=hidden, progress=progress)
    _tell(session, report)
    if any(reason not in BY_RULE for _, reason in report.skipped):
        raise typer.Exit(FAILED)


def restore(
    session: Session,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The archive.", show_default=False)],
    directory: Annotated[
        Path,
        typer.Argument(metavar="DIRECTORY", help="Where to; a new directory, or an empty one.", show_default=False),
    ],
) -> None:
    """Bring the files of an archive back, each verified; all of them or none."""
    from trainerlib.archives import restore_archive

    source, place = file.expanduser(), directory.expanduser()
    if source.is_dir():
        raise misuse(f"{source} is a directory; which archive in it?")
    if place.is_file() or (place.is_dir() and any(place.iterdir())):
        raise misuse(f"{place} is there already and not empty; restore into a new directory")
    with progress_bar(f"restoring {source.name}") as progress:
        report = restore_archive(source, place, progress=progress)
    if session.json:
        emit(report)
    else:
        say(f"  {report.path}: {counted(report.files, 'file')}, {_size(report.bytes)}, each as the manifest says")


def dataset_archive(
    session: Session,
    which: Which,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The archive, .tar.zst or .zip; archive/NAME-vVERSION.tar.zst in the workspace by default.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write the files of a dataset and what it was built from into one archive."""
    from trainerlib.containers import default_suffix

    target = None if output is None else _checked(output)
    with session.open() as workspace:
        dataset = find(workspace, which)
        if target is None:
            target = workspace.path / "archive" / f"{dataset.name}-v{dataset.version}{default_suffix()}"
        with progress_bar(f"archiving {label(dataset)}") as progress:
            report = dataset.archive(target, progress=progress)
    _tell(session, report)


def _checked(output: Path) -> Path:
    """A name for an archive, refused before anything is read when it cannot be one."""
    from trainerlib.containers import SUFFIXES

    target = output.expanduser()
    if target.is_dir():
        raise misuse(f"{target} is a directory; --output takes a file")
    if not target.name.lower().endswith(SUFFIXES):
        raise misuse(f"{target}: the name of an archive ends with {' or '.join(SUFFIXES)}")
    return target


def _tell(session: Session, report: ArchiveReport) -> None:
    if session.json:
        emit(report)
        return
    say(f"  {report.path}: {counted(report.files, 'file')}, {_size(report.bytes)} in {_size(report.archive_bytes)}")
    say(f"  sha256 {report.sha256}")
    if not report.new:
        say("  nothing changed: the same archive was there already, and is whole")
    for name, reason in report.skipped[:_SHOWN]:
        note(f"  left out: {one_line(name, 200)} ({reason})")
    if len(report.skipped) > _SHOWN:
        note(f"  left out: {len(report.skipped) - _SHOWN:,} more; --json lists all")


def _size(number: int) -> str:
    """A size in bytes, for people.

    >>> _size(812), _size(327_680), _size(2_114_000_000)
    ('812 bytes', '327.7 kB', '2,114.0 MB')
    """
    if number < 1_000:
        return counted(number, "byte")
    return f"{number / 1_000:,.1f} kB" if number < 1_000_000 else f"{number / 1_000_000:,.1f} MB"
