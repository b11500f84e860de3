"""`import trainerlib` is quick and loads nothing heavy; every public name is there when it is asked for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import trainerlib

HEAVY = (
    "sqlalchemy",
    "alembic",
    "openai",
    "pandas",
    "aiogram",
    "hikari",
    "torch",
    "typer",
    "rich",
    "asyncio",
    "msgspec",
)
ROOT = Path(__file__).parents[1]
REPORT = """
import sys, time
began = time.perf_counter()
import trainerlib
took = time.perf_counter() - began
import json
print(json.dumps([took, sorted({name.partition(".")[0] for name in sys.modules})]))
"""


def fresh_import():
    """Seconds that `import trainerlib` takes in a new interpreter, and the packages that are loaded afterwards."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", REPORT]
    output = subprocess.run(command, env=environment, capture_output=True, check=True, text=True).stdout
    return json.loads(output)


def test_importing_loads_nothing_heavy():
    """`import trainerlib` in a new interpreter loads none of the heavy packages."""
    _, loaded = fresh_import()

    assert "trainerlib" in loaded
    assert {*HEAVY} & {*loaded} == set()


def test_importing_takes_no_time():
    """`import trainerlib` takes less than 150 ms."""
    assert min(fresh_import()[0] for _ in range(3)) < 0.15


@pytest.mark.parametrize("name", [*trainerlib.__all__, "__version__"])
def test_a_public_name_is_there(name):
    """Every public name can be had and is listed."""
    assert getattr(trainerlib, name) is getattr(trainerlib, name)
    assert name in dir(trainerlib)


def test_public_names_are_listed_once_and_sorted():
    """The list of public names is sorted, so that two people do not add the same one."""
    assert list(trainerlib.__all__) == sorted({*trainerlib.__all__})


def test_an_unknown_name_is_an_attribute_error():
    """A name that does not exist is an `AttributeError`, as of any module."""
    with pytest.raises(AttributeError, match="has no attribute 'shut'"):
        trainerlib.shut  # noqa: B018 - the access is the test
    assert not hasattr(trainerlib, "__wrapped__")
