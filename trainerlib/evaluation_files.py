"""The files of evaluations: a directory each below the workspace's `models`, gone when somebody was erased.

>>> import trainerlib
>>> with trainerlib.open(tmp / "shop") as ws:
...     files = EvaluationFiles(ws.path, ws.store)
...     directory = files.begin("9f2c", {"model": "memory"}, began=ws.store.position)
...     digests = write(directory, {"report.md": b"# memory"})
>>> sorted(path.name for path in directory.iterdir()), sorted(digests)
(['evaluation.json', 'report.md'], ['report.md'])
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from trainerlib.asking import kept
from trainerlib.evaluation import Answer
from trainerlib.local_models import MODELS
from trainerlib.store.erasing import last_erasure
from trainerlib.store.eventstore import EventStore

DIRECTORY = "evaluations"
"""Where evaluations are kept, below the workspace's `models`."""

_FACTS = "evaluation.json"


class EvaluationFiles:
    """What is kept of the evaluations of a workspace.

    Args:
        workspace: its directory.
        store: its log.
    """

    def __init__(self, workspace: Path, store: EventStore) -> None:
        self._directory = workspace / MODELS / DIRECTORY
        self._store = store

    def begin(self, evaluation: str, facts: Mapping[str, object], *, began: int) -> Path:
        """The directory of an evaluation, made when there is none.

        Args:
            evaluation: its id.
            facts: what it is.
            began: log position at which it began.
        """
        directory = self._directory / evaluation
        directory.mkdir(parents=True, exist_ok=True)
        told = {**facts, "log": self._store.log_id, "position": began}
        _replace(
            directory / _FACTS, msgspec.json.format(msgspec.json.encode(told, order="deterministic"), indent=1) + b"\n"
        )
        return directory

    def known(self, directory: Path, model: str) -> dict[str, Answer]:
        """What a model answered before, by the digest of what it was asked.

        Args:
            directory: of an evaluation, whose answers go before those of others.
            model: its name.
        """
        file = answers_of(directory, model)
        others = sorted(self._directory.glob(f"*/{file.name}"), key=lambda path: path.stat().st_mtime)
        # The latest word counts, and before all what was answered here.
        return {answer.prompt: answer for path in (*others, file) for answer in kept(path) if not answer.error}

    def forget_erased(self) -> None:
        """Delete what was kept before somebody was erased: their words may be in any of it."""
        erased = last_erasure(self._store)
        for directory in self._directory.glob("*/") if erased else ():
            try:
                facts = msgspec.json.decode((directory / _FACTS).read_bytes())
                current = facts["log"] == self._store.log_id and facts["position"] >= erased
            except (OSError, msgspec.MsgspecError, KeyError, TypeError):
                current = False
            if not current:
                shutil.rmtree(directory, ignore_errors=True)


def answers_of(directory: Path, model: str) -> Path:
    """Where the answers of a model to an evaluation are.

    >>> answers_of(tmp, "openai:gpt-x").name
    'openai%3Agpt-x.jsonl'
    """
    return directory / f"{quote(model, safe='')}.jsonl"


def write(directory: Path, files: Mapping[str, bytes]) -> dict[str, str]:
    """Write files, each whole or not at all; sha256 of each, in the order of their names.

    Args:
        directory: where they go.
        files: content by name.
    """
    for name, content in files.items():
        _replace(directory / name, content)
    return {name: sha256(content).hexdigest() for name, content in sorted(files.items())}


def lines(rows: Iterable[Any]) -> bytes:
    """Values as JSON, one a line.

    >>> lines([{"id": "1"}, {"id": "ёлки"}]).decode().splitlines()
    ['{"id":"1"}', '{"id":"ёлки"}']
    """
    return b"".join([msgspec.json.encode(row) + b"\n" for row in rows])


def _replace(path: Path, content: bytes) -> None:
    """Put a file in the place of another, whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(content)
    partial.replace(path)
