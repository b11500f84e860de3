"""What is asked of a training with TRL, here or elsewhere: its files, its hyperparameters, the name of its model."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args, get_type_hints

import msgspec
from msgspec import Meta

from trainerlib.errors import TrainingError
from trainerlib.events import JsonObject, TrainingRequested
from trainerlib.local_models import NAME

Method = Literal["sft", "dpo", "kto"]

FORMATS: Mapping[str, str] = {"sft": "trl-sft", "dpo": "trl-preference", "kto": "trl-kto"}
"""The export format of each method."""

SEED = 42
"""Of a training for which none was asked."""

BETA = 0.1
"""`beta` where it is not set."""

_RATES = {"sft": 2e-5, "dpo": 1e-6, "kto": 1e-6}
_Count = Annotated[int, Meta(ge=1, description="a whole number from 1")]
_Choice = Annotated[bool, Meta(description="true or false")]


class Hyperparameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a model is trained; what is `None` is chosen by method, model and machine.

    Attributes:
        epochs: how often every row is seen.
        max_steps: optimiser steps, whatever `epochs` says.
        learning_rate: at its highest; by default 2e-5 for `sft` and 1e-6 for `dpo` and `kto`, ten times that with
            LoRA (the TRL documentation's advice).
        batch_size: rows a forward pass.
        gradient_accumulation: forward passes an optimiser step.
        max_length: tokens of a row at most; longer ones are left out and counted. By default what the model takes.
        lora: train an adapter (LoRA, arXiv:2106.09685) and merge it; otherwise every weight.
        lora_r: rank of the adapter.
        lora_alpha: scale of the adapter, as a multiple of its rank's inverse.
        lora_dropout: share of the adapter's inputs that are dropped.
        beta: how near the model is held to what it was; 0.1 by default; `dpo` and `kto` alone.
        warmup: share of the steps in which the learning rate rises.
        save_steps: steps between checkpoints; a tenth of all by default.
        logging_steps: steps between reports; a hundredth of all by default.
        precision: of the arithmetic; `auto` is bf16 on a GPU that has it, else fp32.
        gradient_checkpointing: compute more to hold less in memory; by default on a GPU.

    >>> parse({"epochs": "2", "lora": "false"}, "sft").epochs
    2.0
    >>> parse({"learningrate": 1e-4}, "sft")
    Traceback (most recent call last):
    trainerlib.errors.TrainingError: there is no hyperparameter 'learningrate'; did you mean 'learning_rate'?
    >>> parse({"batch_size": 0}, "sft")
    Traceback (most recent call last):
    trainerlib.errors.TrainingError: batch_size cannot be 0; a whole number from 1
    """

    epochs: Annotated[float, Meta(gt=0, le=10_000, description="a number above 0")] = 3.0
    max_steps: _Count | None = None
    learning_rate: Annotated[float, Meta(gt=0, le=1, description="a number above 0, such as 2e-4")] | None = None
    batch_size: _Count = 4
    gradient_accumulation: _Count = 1
    max_length: Annotated[int, Meta(ge=2, description="a whole number from 2")] | None = None
    lora: _Choice = True
    lora_r: Annotated[int, Meta(ge=1, le=4096, description="a whole number from 1 to 4096")] = 16
    lora_alpha: Annotated[float, Meta(gt=0, description="a number above 0")] = 32.0
    lora_dropout: Annotated[float, Meta(ge=0, lt=1, description="a number from 0, below 1")] = 0.05
    beta: Annotated[float, Meta(gt=0, description="a number above 0")] | None = None
    warmup: Annotated[float, Meta(ge=0, lt=1, description="a share of the steps, from 0, below 1")] = 0.03
    save_steps: _Count | None = None
    logging_steps: _Count | None = None
    precision: Annotated[Literal["auto", "bf16", "fp16", "fp32"], Meta(description="auto, bf16, fp16 or fp32")] = "auto"
    gradient_checkpointing: _Choice | None = None

    def rate(self, method: Method) -> float:
        """The learning rate at its highest, chosen where it is not set."""
        return self.learning_rate or _RATES[method] * (10 if self.lora else 1)


_KINDS: dict[str, Any] = get_type_hints(Hyperparameters, include_extras=True)
_OF_AN_ADAPTER = ("lora_r", "lora_alpha", "lora_dropout")


def parse(given: JsonObject, method: Method) -> Hyperparameters:
    """Hyperparameters by name, each checked; text that reads as the right kind is taken.

    Raises:
        TrainingError: a name that does not exist, an impossible value, or values that contradict each other.
    """
    values: JsonObject = {}
    for name, value in given.items():
        kind = _KINDS.get(name)
        if kind is None:
            close = difflib.get_close_matches(name, _KINDS, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there is {', '.join(_KINDS)}"
            raise TrainingError(f"there is no hyperparameter {name!r}; {hint}")
        try:
            values[name] = msgspec.convert(value, kind, strict=False)
        except msgspec.ValidationError:
            raise TrainingError(f"{name} cannot be {value!r}; {_right(kind)}") from None
    parsed = Hyperparameters(**values)
    if not parsed.lora and (unused := [name for name in _OF_AN_ADAPTER if name in given]):
        raise TrainingError(f"{unused[0]} is for LoRA, and lora is false")
    if parsed.beta is not None and method == "sft":
        raise TrainingError("beta is for the methods dpo and kto, not for sft")
    if method == "kto" and parsed.batch_size < 2:
        raise TrainingError("kto compares the rows of a batch: batch_size must be 2 or more")
    return parsed


def _right(kind: Any) -> str:
    """What a value of a kind should be."""
    annotated = next((one for one in get_args(kind) if hasattr(one, "__metadata__")), kind)
    return str(annotated.__metadata__[0].description)


def check(request: TrainingRequested) -> None:
    """Refuse hyperparameters that cannot be, and a name that no model can have.

    Raises:
        TrainingError: what is wrong, and what would be right.
    """
    parse(request.hyperparameters, request.method)
    if request.suffix and not NAME.fullmatch(request.suffix):
        raise TrainingError(
            f"{request.suffix!r} is no name for a model: letters, digits, and . _ - after the first, 100 at most"
        )
