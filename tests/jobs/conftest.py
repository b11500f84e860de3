"""What the tests of jobs share: a dataset to train on, and a server that trains."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from histories import write
from training_server import TrainingServer
from training_shop import hurried, talks, train_with, without_environment

import trainerlib
from trainerlib import Recipe, Split


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    without_environment(monkeypatch)


@pytest.fixture
def server():
    with TrainingServer() as running:
        yield running


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    """A workspace with a dataset `support`, made once."""
    place = tmp_path_factory.mktemp("template")
    with trainerlib.open(place / "shop") as workspace:
        workspace.import_file(write(place / "talks.jsonl", list(talks())), basis="operator: our own")
        recipe = Recipe(targets="corrected", split=Split(train=0.7, validation=0.2, test=0.1, seed=3))
        workspace.datasets.build("support", recipe)
    return place / "shop"


@pytest.fixture
def shop(template, tmp_path, server):
    """The directory of a workspace with a dataset `support`, set to train with the server."""
    place = Path(shutil.copytree(template, tmp_path / "shop"))
    train_with(server, place, timeout=0.5)
    return place


@pytest.fixture
def ws(shop):
    with trainerlib.open(shop) as workspace:
        yield hurried(workspace)
