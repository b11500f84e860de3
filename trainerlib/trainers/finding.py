"""Trainers by their names: ours, and those that other packages add.

Other packages add a trainer by an entry point of the group `trainerlib.trainers`: a name, and a function or class that
is called with the `Workshop` and gives a `Trainer`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points

from trainerlib.errors import TrainingError
from trainerlib.trainers.port import Trainer, Workshop

ENTRY_POINTS = "trainerlib.trainers"
"""Group of the entry points that add trainers."""


def find_trainer(name: str, workshop: Workshop) -> Trainer:
    """The trainer with a name, ours or one that an entry point adds.

    Raises:
        TrainingError: there is none, or its package does not load.
    """
    make = _OURS.get(name)
    if make is not None:
        return make(workshop)
    found = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if name not in found:
        raise TrainingError(f"there is no trainer {name!r}; there is {', '.join([*_OURS, *sorted(found)])}")
    try:
        trainer: Trainer = found[name].load()(workshop)
    except ImportError as error:
        raise TrainingError(f"trainer {name!r} does not load: {error}") from error
    return trainer


def _openai(workshop: Workshop) -> Trainer:
    from trainerlib.trainers.openai_api import OpenAITrainer

    return OpenAITrainer(workshop)


def _local(workshop: Workshop) -> Trainer:
    from trainerlib.trainers.local import LocalTrainer

    return LocalTrainer(workshop)


def _bundle(workshop: Workshop) -> Trainer:
    from trainerlib.trainers.bundle import BundleTrainer

    return BundleTrainer(workshop)


_OURS: dict[str, Callable[[Workshop], Trainer]] = {"openai": _openai, "local": _local, "bundle": _bundle}
