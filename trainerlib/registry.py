"""The datasets of a workspace: built and recorded, listed, found, explained."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

import msgspec

from trainerlib.builds import Building, Progress, run
from trainerlib.erasure import MANIFEST, erased_datasets
from trainerlib.errors import DatasetError, LogMismatchError, NotFoundError, VersionConflictError
from trainerlib.events import DatasetBuilt
from trainerlib.lineage import Explanation, meaning
from trainerlib.recipes import Recipe
from trainerlib.store.eventstore import EventStore
from trainerlib.training import PREFIX, fold_all, trained_on
from trainerlib.versions import Dataset, Held, Side, refuse_erased

_NAME = re.compile(r"[^\W_][\w.-]{0,99}")
_encode = msgspec.json.Encoder().encode


class Datasets:
    """The datasets of a workspace.

    Args:
        store: the log.
        directory: where the files of each go.
        names: people and companies that a recipe which redacts anything replaces as well.
        patterns: regular expressions of values it replaces as well, by the name of their placeholder.
    """

    def __init__(
        self,
        store: EventStore,
        directory: Path,
        *,
        names: Sequence[str] = (),
        patterns: Mapping[str, str] | None = None,
    ) -> None:
        self._store = store
        self._directory = directory
        self._names = tuple(names)
        self._patterns = dict(patterns or {})

    def build(
        self,
        name: str,
        recipe: Recipe | None = None,
        *,
        position: int | None = None,
        progress: Progress | None = None,
        workers: int | None = None,
    ) -> Dataset:
        """Build a dataset and record it; the same recipe at the same position is the same dataset, built once.

        Args:
            name: letters, digits, `.`, `_` and `-`.
            recipe: what to take and how; the default takes every reply.
            position: build as of this log position; by default everything recorded so far.
            progress: called with events read and events to read.
            workers: processes that share the work, this one among them; by default one a core for a large log.

        Raises:
            DatasetError: an impossible name or position.
            LogMismatchError: files of a later version lie there: this log is an older copy.
        """
        if not _NAME.fullmatch(name):
            raise DatasetError(f"{name!r} is no name for a dataset: letters, digits, '.', '_' and '-', a letter first")
        recipe = self._completed(recipe or Recipe())
        end = self._store.last_position(_feeds_datasets)
        if position is not None and not 0 <= position <= self._store.position:
            raise DatasetError(f"there is no position {position} in this log; it ends at {self._store.position}")
        position = end if position is None else min(position, end)
        while True:
            head = self._store.version(f"dataset/{name}")
            earlier = self._versions(name)
            for dataset in earlier:
                if dataset.recipe == recipe and dataset.position == position:
                    return dataset
            version = len(earlier) + 1
            target = self._directory / name / f"v{version}"
            if target.exists() and len(self._versions(name)) == len(earlier):
                raise LogMismatchError(f"{target} is there, but not in this log: an older copy? move it away to go on")
            try:
                return self._build(name, version, recipe, position, head=head, progress=progress, workers=workers)
            except VersionConflictError:
                # Another process built a version of it meanwhile: perhaps this very one.
                continue

    def _completed(self, recipe: Recipe) -> Recipe:
        """The recipe with what the workspace wants redacted: the recipe alone has to say what a dataset holds."""
        if not (recipe.redact or recipe.names or recipe.patterns):
            return recipe
        names = tuple(dict.fromkeys((*recipe.names, *self._names)))
        return msgspec.structs.replace(recipe, names=names, patterns={**self._patterns, **recipe.patterns})

    def _build(
        self,
        name: str,
        version: int,
        recipe: Recipe,
        position: int,
        *,
        head: int,
        progress: Progress | None,
        workers: int | None,
    ) -> Dataset:
        began = self._store.position
        try:
            with Building(self._directory / name) as directory:
                built = run(self._store, recipe, position, directory, progress=progress, workers=workers)
                built = msgspec.structs.replace(built, name=name, dataset_version=version)
                manifest = {"log": self._store.log_id, **msgspec.to_builtins(built)}
                (directory / MANIFEST).write_bytes(msgspec.json.format(_encode(manifest), indent=1) + b"\n")
                refuse_erased(self._store, name, began)
                # The event first: should the process end here, the files follow from the log.
                self._store.append(f"dataset/{name}", [built], expected_version=head)
                refuse_erased(self._store, name, began)
                dataset = Dataset(self._store, self._directory, built, new=True)
                try:
                    directory.replace(dataset.directory)
                except OSError:
                    # Somebody read the new version already and made its files from the log: they are the same.
                    if not dataset.directory.is_dir():
                        raise
        except FileNotFoundError:
            # An erasure deletes what is being made meanwhile.
            refuse_erased(self._store, name, began)
            raise
        return dataset

    def list(self) -> _Versions:
        """Every version of every dataset, names in the order they were first built."""
        erased = erased_datasets(self._store)
        streams = self._store.streams("dataset/")
        return [dataset for stream in streams for dataset in self._versions(stream.partition("/")[2], erased)]

    def get(self, name: str, version: int | None = None) -> Dataset:
        """A dataset.

        Args:
            name: its name.
            version: which version; the latest by default.

        Raises:
            NotFoundError: there is none.
        """
        versions = self._versions(name)
        if not versions:
            known = ", ".join(dict.fromkeys(dataset.name for dataset in self.list())) or "none yet"
            raise NotFoundError(f"no dataset {name!r}; there are: {known}")
        for dataset in versions if version is not None else versions[-1:]:
            if version in (None, dataset.version):
                return dataset
        raise NotFoundError(f"dataset {name!r} has versions 1 to {len(versions)}, not {version}")

    def selected(self, side: Side = "positive") -> _Versions:
        """The versions that the next training uses."""
        return [dataset for dataset in self.list() if dataset.selected == side]

    def explain(self, row: bytes, *, name: str | None = None, progress: Progress | None = None) -> Explanation:
        """Where a line of an exported file comes from: the newest dataset that gives a row which means the same.

        Args:
            row: the line.
            name: look only at datasets of this name.
            progress: called with datasets looked at and datasets there are.

        Raises:
            DatasetError: it is no row of a dataset.
            NotFoundError: no dataset gives such a row.
        """
        wanted = meaning(row)
        datasets = [one for one in reversed(self.list()) if name in (None, one.name) and not one.erased]
        for done, dataset in enumerate(datasets):
            if progress is not None:
                progress(done, len(datasets))
            found = dataset.find_row(wanted)
            if found is not None:
                return found
        where = f"dataset {name!r}" if name is not None else "any dataset of this workspace"
        raise NotFoundError(f"no row of {where} says this: the line was edited, or comes from elsewhere")

    def holding(self, conversations: Collection[str], *, message: int | None = None) -> Iterator[Held]:
        """Every dataset that conversations, or one message of them, went into, and what was trained on it."""
        jobs = fold_all(self._store.read_named(PREFIX))
        for held in chain.from_iterable(dataset.holding(conversations, message=message) for dataset in self.list()):
            given = [job for job in jobs if trained_on(job, held.dataset, held.version, held.split)]
            models = tuple([job.model for job in given if job.model])
            yield msgspec.structs.replace(held, jobs=tuple([job.id for job in given]), models=models)

    def _versions(self, name: str, erased: frozenset[tuple[str, int]] | None = None) -> _Versions:
        """The versions of a dataset; `erased` are those that `erased_datasets` names, where they were looked up."""
        gone = erased_datasets(self._store) if erased is None else erased
        said = [recorded.event for recorded in self._store.read(f"dataset/{name}")]
        return [
            Dataset(self._store, self._directory, event, said, erased=(name, event.dataset_version) in gone)
            for event in said
            if isinstance(event, DatasetBuilt)
        ]


_Versions = list[Dataset]


def _feeds_datasets(wire_name: str) -> bool:
    """Whether an event of this name can change what a dataset has: its own record cannot."""
    return not wire_name.startswith(("dataset.", "training.", "model.", "candidate."))
