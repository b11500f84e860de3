"""What the training tests share: the history of a bicycle workshop, its datasets, and every export of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from workshop_history import tell

import trainerlib
from trainerlib import Dataset, ExportReport, Recipe, Split
from trainerlib.formats import FORMATS

SPLIT = Split(train=0.5, validation=0.3, test=0.2, seed=7)

RECIPES = {
    "chosen": Recipe(split=SPLIT),
    "both": Recipe(targets="corrected", split=SPLIT),
    "either": Recipe(rated_down="reject", split=SPLIT),
}
"""A recipe for the formats that need a good reply, a pair, or either side."""


class Export(NamedTuple):
    """A file that was written from a split of a dataset."""

    dataset: Dataset
    report: ExportReport
    path: Path
    rows: list[dict[str, Any]]


@pytest.fixture(scope="session")
def workshop(tmp_path_factory):
    """The workspace with that history."""
    with trainerlib.open(tmp_path_factory.mktemp("workshop") / "log") as ws:
        tell(ws)
        yield ws


@pytest.fixture(scope="session")
def built(workshop):
    """A dataset for each kind of format, by what the format needs."""
    return {needs: workshop.datasets.build(needs, recipe) for needs, recipe in RECIPES.items()}


@pytest.fixture(scope="session")
def exports(built, tmp_path_factory):
    """Every format of its dataset, every split: exports by format and split."""
    directory = tmp_path_factory.mktemp("exports")
    made: dict[str, dict[str, Export]] = {}
    for name, form in FORMATS.items():
        dataset = built[form.needs]
        for split in dataset.splits:
            path = directory / f"{name}.{split}.jsonl"
            report = dataset.export(path, format=name, split=split)
            rows = [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]
            made.setdefault(name, {})[split] = Export(dataset, report, path, rows)
    return made


@pytest.fixture(scope="session")
def offline(tmp_path_factory):
    """The libraries of Hugging Face ask no network and leave nothing at home; they look when they are imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hugging-face")))
        patch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
        yield


@pytest.fixture(scope="session")
def datasets(offline):  # noqa: ARG001 - it has to come before the import
    """The library `datasets`, without its progress bars."""
    library = pytest.importorskip("datasets", reason="datasets is not installed: pip install datasets")
    library.disable_progress_bars()
    return library


@pytest.fixture(scope="session")
def load(datasets, tmp_path_factory):
    """Load JSONL files, by split, as everybody does."""

    def load(files, **options):
        data_files = {split: str(path) for split, path in files.items()}
        cache = str(tmp_path_factory.mktemp("cache"))
        return datasets.load_dataset("json", data_files=data_files, cache_dir=cache, **options)

    return load
