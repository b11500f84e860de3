"""The files of models: those of a workspace lie in `models/`, a directory each, and are known by their sha256.

>>> files = ModelFiles(tmp / "shop")
>>> trained = tmp / "trained"
>>> trained.mkdir()
>>> for name in ("config.json", "model.safetensors", "tokenizer.json"):
...     _ = (trained / name).write_text("{}")
>>> name, digests = files.take(str(trained), "роза")
>>> name, sorted(digests)
('local:роза', ['config.json', 'model.safetensors', 'tokenizer.json'])
>>> _ = (files.place(name) / "config.json").write_text("{ }")
>>> files.problems(name, digests)
['model local:роза: models/роза/config.json is not the file that was added (sha256)']
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from hashlib import file_digest, sha256
from pathlib import Path

from trainerlib.builds import BUFFER, Building
from trainerlib.errors import ModelError
from trainerlib.local_models import MODELS, PREFIX, locate

_NAME = re.compile(r"[^\W_][\w.-]{0,99}")
_RESERVED = frozenset({"jobs", "evaluations"})
_CHECKPOINT = re.compile(r"checkpoint-\d+")


class ModelFiles:
    """The files of the models of a workspace.

    Args:
        workspace: its directory.
    """

    def __init__(self, workspace: Path) -> None:
        self._workspace = workspace
        self._directory = workspace / MODELS
        self._digests: dict[Path, tuple[int, int, str]] = {}

    # --- those that are there ----------------------------------------------------------------------------------------

    def place(self, name: str) -> Path | None:
        """Where the files of a model are; `None` for one that has none here."""
        return self._directory / name.removeprefix(PREFIX) if name.startswith(PREFIX) else None

    def present(self, name: str, files: Iterable[str]) -> bool:
        """Whether the files of a model are all there; so they are for one that has none here."""
        directory = self.place(name)
        return directory is None or (directory.is_dir() and all((directory / one).is_file() for one in files))

    def problems(self, name: str, files: Mapping[str, str]) -> list[str]:
        """What is wrong with the files of a model, a line each.

        Args:
            name: what it is chosen by.
            files: sha256 of each.
        """
        directory = self.place(name)
        if directory is None:
            return []
        where = f"{MODELS}/{directory.name}"
        if not directory.is_dir():
            return [f"model {name}: its directory {where} is gone"]
        found = []
        for one, digest in files.items():
            path = directory / one
            if not path.is_file():
                found.append(f"model {name}: {where}/{one} is gone")
            elif self._digest(path) != digest:
                found.append(f"model {name}: {where}/{one} is not the file that was added (sha256)")
        return found

    # --- a new one ---------------------------------------------------------------------------------------------------

    def take(self, model: str, name: str = "", *, preferred: str = "") -> tuple[str, dict[str, str]]:
        """Put a model where models are; one that lies there already is taken where it is.

        Args:
            model: `local:NAME`, a directory, or the id of a model in the Hugging Face cache.
            name: what to call it.
            preferred: what to call it when nobody said, with a number when that is taken; by default as its directory is.

        Returns:
            `(name, sha256 of each file)`.

        Raises:
            ModelError: there is no model there, or its name cannot be or is taken by another one.
        """
        source = locate(canonical(model), self._workspace)
        files = _files(source)
        wanted = name.removeprefix(PREFIX)
        if source.resolve().parent == self._directory.resolve() and wanted in ("", source.name):
            _refuse_name(source.name)
            return PREFIX + source.name, {one: self._digest(path) for one, path in files.items()}
        # A model in the Hugging Face cache lies in a directory that is called by its revision.
        called = source.name if Path(model).expanduser().is_dir() else model.rpartition("/")[2]
        stem = wanted or preferred or called
        _refuse_name(stem)
        self._directory.mkdir(parents=True, exist_ok=True)
        number = 1
        while True:
            label = stem if number == 1 else f"{stem}-{number}"
            digests = self._put(files, self._directory / label)
            if digests is not None:
                return PREFIX + label, digests
            if wanted:
                raise ModelError(f"{MODELS}/{label} is another model; give this one another name")
            number += 1

    def _put(self, files: Mapping[str, Path], target: Path) -> dict[str, str] | None:
        """Copy files into a new directory; their sha256. `None` when something else is there; the same is left alone."""
        if not target.exists():
            with Building(self._directory) as building:
                digests = {one: _copy(path, building / one) for one, path in files.items()}
                try:
                    building.replace(target)
                except OSError:
                    # Somebody took the name meanwhile.
                    if not target.is_dir():
                        raise
                else:
                    return digests
        there = _files(target) if target.is_dir() else {}
        if there.keys() != files.keys():
            return None
        digests = {one: self._digest(path) for one, path in files.items()}
        return digests if all(self._digest(path) == digests[one] for one, path in there.items()) else None

    def _digest(self, path: Path) -> str:
        """sha256 of a file; one that was read before and has not been touched is not read again."""
        found = path.stat()
        known = self._digests.get(path)
        if known is None or known[:2] != (found.st_mtime_ns, found.st_size):
            with path.open("rb") as stream:
                digest = file_digest(stream, "sha256").hexdigest()
            known = self._digests[path] = (found.st_mtime_ns, found.st_size, digest)
        return known[2]


def canonical(name: str) -> str:
    """The one name of a model: `local:models/NAME` is `local:NAME`.

    >>> canonical("local:models/роза"), canonical("openai:gpt-x")
    ('local:роза', 'openai:gpt-x')
    """
    whole = f"{PREFIX}{MODELS}/"
    return PREFIX + name.removeprefix(whole) if name.startswith(whole) else name


def _refuse_name(name: str) -> None:
    if not _NAME.fullmatch(name) or name in _RESERVED:
        raise ModelError(
            f"{name!r} cannot be the name of a model: letters, digits, and . _ - after the first, 100 at most, and "
            f"not {' or '.join(sorted(_RESERVED))}"
        )


def _files(directory: Path) -> dict[str, Path]:
    """The files of a model by their names; hidden ones and the checkpoints of its training are none of them."""
    found: dict[str, Path] = {}
    for path in sorted(directory.rglob("*")):
        parts = path.relative_to(directory).parts
        left_out = any(part.startswith(".") or _CHECKPOINT.fullmatch(part) for part in parts)
        if not left_out and path.is_file():
            found["/".join(parts)] = path
    return found


def _copy(source: Path, target: Path) -> str:
    """Copy a file; its sha256."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = sha256()
    with source.open("rb") as reader, target.open("wb") as writer:
        while data := reader.read(BUFFER):
            digest.update(data)
            writer.write(data)
    return digest.hexdigest()
