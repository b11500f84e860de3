"""What doctests find in their namespace: a directory of their own, and the names a reader would have imported."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _doctest_namespace(doctest_namespace: dict[str, object], tmp_path: Path) -> None:
    from trainerlib.events import MessageRecorded

    doctest_namespace.update(tmp=tmp_path, MessageRecorded=MessageRecorded)
