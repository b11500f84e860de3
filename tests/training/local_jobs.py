"""Jobs of the local trainer for tests: a workspace to train in, and a script that follows a job and can be killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

NEEDS = ("torch", "transformers", "trl", "peft", "datasets", "accelerate")

FOLLOW = """
import sys
import trainerlib

with trainerlib.open(sys.argv[1]) as ws:
    ws.jobs.get(sys.argv[2]).follow()
"""


def need_local() -> None:
    """Skip what needs the extra where it is not installed, in a line that names it."""
    from trainerlib.local_models import INSTALL, missing_packages

    if missing := missing_packages(NEEDS):
        pytest.skip(f"{', '.join(missing)}: not installed; {INSTALL}", allow_module_level=True)


def follower(workspace: Path, job: str) -> subprocess.Popen[bytes]:
    """A process that follows a job to its end."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", FOLLOW, str(workspace), job], env=environment)


def until(condition, *, seconds=120.0):
    """Wait until something holds, and return it."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return result
