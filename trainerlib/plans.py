"""Plans of training jobs: the files a trainer would be given, checked, and how many tokens and dollars they come to.

A plan is made by writing the files, so what it counts is what the job will send. Nothing is recorded, sent or spent.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import msgspec

from trainerlib.checks import Checker
from trainerlib.errors import TrainingError
from trainerlib.events import TrainingRequested
from trainerlib.examples import Turn
from trainerlib.formats import expressible, find_format
from trainerlib.prices import Price, no_price, price, training_cost
from trainerlib.tokens import Tokenizer, count_chat
from trainerlib.trainers.port import SPLITS, Trainer
from trainerlib.versions import Dataset
from trainerlib.vocabularies import tokenizer

_EPOCH_KEYS = ("n_epochs", "epochs", "num_train_epochs")
_FREE = ("local", "bundle")
_SHOWN = 3


class Plan(msgspec.Struct, frozen=True):
    """What a job would do, before anything is recorded, sent or spent.

    Attributes:
        request: what would be asked for: rows and sha256 of each file, tokens, cost.
        exact: whether the tokens are those of the model; otherwise they are an estimate.
        tokenizer: what counted them.
        epochs: how often each example would be seen; the trainer may choose another number where none is set.
        sizes: bytes of the file of each split.
        left_out: examples of each split that the format cannot say, for want of a rejected side, or says already.
        problems: why the job would be refused, a line each; none when it can begin.
        warnings: what else there is to know, a line each.
    """

    request: TrainingRequested
    exact: bool
    tokenizer: str
    epochs: float
    sizes: dict[str, int]
    left_out: dict[str, int]
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        """A few lines for people."""
        wanted = self.request
        about = "" if self.exact else "about "
        rows = " · ".join(f"{split} {count:,}" for split, count in wanted.rows.items())
        cost = "" if wanted.cost is None else f", {about}${wanted.cost:,.2f}"
        lines = [
            f"{wanted.dataset} v{wanted.dataset_version} -> {wanted.trainer}:{wanted.model} by {wanted.method}",
            f"  rows    {rows}",
            f"  tokens  {about}{wanted.tokens:,}, {self.epochs:g} epochs{cost}",
        ]
        lines += [f"  refused: {line}" for line in self.problems]
        lines += [f"  note: {line}" for line in self.warnings]
        return "\n".join(lines)

    @property
    def paid(self) -> bool:
        """Whether somebody else's machines do it, who want money for that."""
        return _is_paid(self.request)


def make_plan(
    trainer: Trainer,
    dataset: Dataset,
    wanted: TrainingRequested,
    directory: Path,
    *,
    validation: bool,
    prices: Mapping[str, Price],
) -> Plan:
    """Write the files of a job into a directory and say what it would do.

    Args:
        trainer: who would do it.
        dataset: what it would learn from.
        wanted: what somebody asks for, without what follows from the dataset.
        directory: an empty one; `train.jsonl` and `validation.jsonl` are in it afterwards.
        validation: give the trainer the validation split too, where there is one.
        prices: what models cost, in place of the built-in table.

    Raises:
        TrainingError: the trainer knows no such method, or the dataset has nothing to train on.
        DatasetError: the dataset cannot be exported.
    """
    form = trainer.formats.get(wanted.method)
    if form is None:
        known = ", ".join(trainer.formats)
        raise TrainingError(f"trainer {wanted.trainer} has no method {wanted.method!r}; it has {known}")
    if "train" not in dataset.splits:
        raise TrainingError(f"dataset {dataset.name} v{dataset.version} has no split train")
    files = _Files(dataset, form, directory)
    for split in SPLITS[: 2 if validation and "validation" in dataset.splits else 1]:
        files.write(split)
    counter = tokenizer(wanted.model)
    tokens = _tokens(dataset, form, counter)
    epochs = _epochs(wanted, files.rows.get("train", 0))
    paid = _is_paid(wanted)
    request = msgspec.structs.replace(
        wanted,
        dataset=dataset.name,
        dataset_version=dataset.version,
        format=form,
        sha256=files.sha256,
        rows=files.rows,
        tokens=tokens,
        cost=training_cost(tokens, epochs, price(wanted.model, prices)) if paid else None,
    )
    problems, warnings = files.problems, files.warnings
    if not request.model:
        problems.append("name the model to begin with")
    try:
        trainer.check(request)
    except TrainingError as error:
        problems.append(str(error))
    if paid and request.cost is None:
        warnings.append(no_price(request.model))
    return Plan(
        request,
        counter.exact,
        counter.name,
        epochs,
        files.sizes,
        files.left_out,
        tuple(problems),
        tuple(warnings),
    )


def _is_paid(request: TrainingRequested) -> bool:
    return request.trainer not in _FREE


class _Files:
    """The files of a job, written and checked."""

    def __init__(self, dataset: Dataset, form: str, directory: Path) -> None:
        self._dataset = dataset
        self._form = form
        self._directory = directory
        self.sha256: dict[str, str] = {}
        self.rows: dict[str, int] = {}
        self.sizes: dict[str, int] = {}
        self.left_out: dict[str, int] = {}
        self.problems: list[str] = []
        self.warnings: list[str] = []

    def write(self, split: str) -> None:
        """Write the file of a split; a validation file without a row is none."""
        path = self._directory / f"{split}.jsonl"
        report = self._dataset.export(path, format=self._form, split=split)
        left_out = report.without + report.repeated
        if left_out:
            self.left_out[split] = left_out
            side = "rejected side" if find_format(self._form).needs == "both" else "chosen side"
            self.warnings.append(
                f"{left_out:,} of {report.examples:,} examples of {split} are not in the file: no {side}, or said twice"
            )
        if not report.rows:
            path.unlink()
            where = (
                f"dataset {self._dataset.name} v{self._dataset.version} has no rows of {self._form} in split {split}"
            )
            (self.problems if split == "train" else self.warnings).append(where)
            return
        self.sha256[split], self.rows[split] = report.sha256, report.rows
        self.sizes[split] = path.stat().st_size
        with path.open("rb") as lines:
            # How few rows are too few is for the trainer to say.
            found = (one for one in Checker(self._form).problems(lines) if one.code != "too-few-rows")
            shown = list(islice(found, _SHOWN + 1))
        self.problems += [f"{path.name}, line {one.line:,}: {one.message}" for one in shown[:_SHOWN]]
        if len(shown) > _SHOWN:
            self.problems.append(f"{path.name} has more problems; see them with: trainerlib dataset check")


def _tokens(dataset: Dataset, form: str, counter: Tokenizer) -> int:
    """Tokens of the training file, each row seen once: its context and its sides, counted as a chat."""
    alone = count_chat([], counter)
    needs = find_format(form).needs

    def count(text: str) -> int:
        return count_chat([Turn("user", text)], counter) - alone

    total = 0
    for _, line in dataset.lines("train"):
        # One turn is in many examples: counted once, then only added.
        turns = [count(turn.content) for turn in line.turns]
        for window in line.examples:
            rows = expressible(window, form)
            context = sum(turns[window.start : window.stop])
            context += count(line.systems[window.system]) if window.system >= 0 else 0
            good = 0 if window.chosen is None else count(window.chosen)
            bad = 0 if window.rejected is None or needs == "chosen" else count(window.rejected)
            if needs == "either":
                good *= not window.chosen_repeats
                bad *= not window.rejected_repeats
            total += rows * (alone + context) + (good + bad if rows else 0)
    return total


def _epochs(wanted: TrainingRequested, rows: int) -> float:
    """How often each row is seen: what was asked for, else 3, or what OpenAI's cookbook says its default is.

    The formula is that of "Data preparation and analysis for chat model fine-tuning" in the OpenAI cookbook: 3, more
    where that makes fewer than 100 examples altogether (25 at most), fewer where it makes more than 25,000.
    """
    for key in _EPOCH_KEYS:
        told = wanted.hyperparameters.get(key)
        if isinstance(told, (int, float)):
            return float(told)
    if wanted.trainer != "openai":
        return 3.0
    if rows and rows * 3 < 100:
        return float(min(25, 100 // rows))
    return float(max(1, 25_000 // rows)) if rows * 3 > 25_000 else 3.0
