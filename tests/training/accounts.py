"""How many rows each split of a dataset should give: counted from its examples, and told by its manifest."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from trainerlib import Dataset


def manifest_of(dataset: Dataset) -> dict[str, Any]:
    """The manifest that lies beside the files of a dataset."""
    manifest: dict[str, Any] = json.loads((dataset.directory / "manifest.json").read_bytes())
    return manifest


def account(dataset: Dataset, needs: str) -> dict[str, Counter[str]]:
    """For each split, how many rows a format with such needs should give, and what becomes of the other examples.

    Counted from the texts of the examples, in the order of the log.
    """
    counted: dict[str, Counter[str]] = {split: Counter() for split in dataset.splits}
    said: set[Any] = set()
    for example in dataset.read():
        sides = [(example.chosen, True), (example.rejected, False)]
        present = [side for side in sides if side[0] is not None]
        if needs == "both":
            wanted, lacking = [(example.chosen, example.rejected)], len(present) < 2
        elif needs == "chosen":
            wanted, lacking = sides[:1], example.chosen is None
        else:
            wanted, lacking = present, False
        new = [] if lacking else [side for side in wanted if (example.context, side) not in said]
        if dataset.recipe.duplicates == "keep" and not lacking:
            new = wanted
        said.update((example.context, side) for side in [*wanted, *present])
        counted[example.split].update(
            rows=len(new), without=lacking, repeated=not lacking and not new, partly=len(new) < len(wanted)
        )
    return counted
