"""The process in which a local model is trained: TRL and PEFT, from a job file to a directory with the model.

It outlives whoever started it, holds a lock while it lives, and tells what it does in a progress file. A kill costs no
more than the steps since the last checkpoint: the next worker goes on from there and says nothing twice.
"""

from __future__ import annotations

import errno
import hashlib
import math
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from trainerlib import __version__
from trainerlib.errors import TrainerlibError, TrainingError
from trainerlib.events import TrainingCheckpointed, TrainingProgressed
from trainerlib.local_models import INSTALL, load_tokenizer, one_line
from trainerlib.trainers.hyperparameters import BETA, Method
from trainerlib.trainers.local_job import (
    BUSY,
    CHECKPOINTS,
    COMPLETE,
    FINISHED,
    LOCK,
    ORIGIN,
    PID,
    PROGRESS,
    Failed,
    Finished,
    Job,
    Kept,
    Line,
    Progress,
    Stopped,
    append,
    read,
    read_job,
)

PACKAGES = ("torch", "transformers", "trl", "peft", "datasets", "accelerate", "filelock")
"""What the worker imports."""

_CHECKPOINT = "checkpoint-"
_KEPT = 2  # The one before is needed while the next is written.

_SUMMARY = "train_loss"
"""What only the last thing that a trainer logs has: a summary of this process, whatever went before a kill."""

# What begins anew in each process, and what says more about the machine than about the model.
_UNTOLD = ("epoch", "step", "tokens", "runtime", "per_second", "total_flos")

_LESS_MEMORY = (
    "lower batch_size (and raise gradient_accumulation to make up for it) or max_length, leave lora and "
    "gradient_checkpointing on, or begin with a smaller model"
)
_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "cannot allocate memory")


class _StoppedError(Exception):
    """It was told to stop."""


def main(directory: str) -> None:
    """Do the job in a directory: what the worker process runs.

    Args:
        directory: the job's own, with its job file.
    """
    _prepare_environment()
    from filelock import FileLock, Timeout

    place = Path(directory)
    # A trainer that looks whether somebody works here holds the lock for a moment.
    lock = FileLock(place / LOCK)
    try:
        lock.acquire(timeout=3)
    except Timeout:
        sys.exit(BUSY)
    (place / PID).write_text(str(os.getpid()))
    job = read_job(place)
    if job is None:
        sys.exit(f"{place.name} has no job")
    told = _Told(place / PROGRESS)
    stop = _Stop()
    try:
        _train(job, place, told, stop)
    except _StoppedError:
        told.append(Stopped())
    except (Exception, MemoryError) as error:  # noqa: BLE001 - whatever it is, the trainer has to be told
        traceback.print_exc()
        told.append(failure(error))
        sys.exit(1)


def _prepare_environment() -> None:
    """Settings that the libraries read when they are imported."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # With several GPUs in sight the libraries would split each batch among them, which LoRA and DPO do not survive.
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")
    os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")


class _Stop:
    """Whether somebody wants the worker to stop; SIGTERM says so."""

    def __init__(self) -> None:
        self.wanted = False
        signal.signal(signal.SIGTERM, self._want)
        # Ctrl-C in the terminal is for whoever watches.
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def _want(self, *_: object) -> None:
        self.wanted = True

    def check(self) -> None:
        """Stop here, if somebody wants that."""
        if self.wanted:
            raise _StoppedError


class _Told:
    """The progress file, and which steps it tells of already."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._steps: dict[str, int] = {}
        for _, line in read(path).lines:
            if isinstance(line, Progress | Kept) and line.event.step is not None:
                self._steps[_kind(line)] = line.event.step

    def append(self, line: Line) -> None:
        """Tell something, unless it is about a step that was told of before a kill."""
        if isinstance(line, Progress | Kept) and line.event.step is not None:
            if line.event.step <= self._steps.get(_kind(line), -1):
                return
            self._steps[_kind(line)] = line.event.step
        append(self._path, line)

    def say(self, message: str = "", *, state: str = "", steps: int | None = None, level: str = "info") -> None:
        """Tell something that belongs to no step."""
        event = TrainingProgressed(state=state, steps=steps, message=message, level=level, at=datetime.now(UTC))
        append(self._path, Progress(event))


def _kind(line: Progress | Kept) -> str:
    """What a line is about: no two of a kind tell of the same step."""
    if isinstance(line, Kept):
        return "kept"
    return "measured" if any(name.startswith("eval_") for name in line.event.metrics) else "trained"


def failure(error: BaseException) -> Failed:
    """What to tell of an error: in one line, with what to do about it.

    >>> failure(MemoryError()).code
    'out-of-memory'
    """
    words = f"{type(error).__name__}: {one_line(error)}"
    if isinstance(error, TrainerlibError):
        return Failed(one_line(error))
    if isinstance(error, MemoryError) or any(sign in str(error).lower() for sign in _NO_MEMORY):
        return Failed(f"out of memory: {words}", "out-of-memory", _LESS_MEMORY)
    if isinstance(error, ModuleNotFoundError):
        return Failed(words, "extra-missing", f"install what local training needs: {INSTALL}")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Failed("the disk is full", "disk-full", "make room, then train again")
    return Failed(words, type(error).__name__)


# --- training ---------------------------------------------------------------------------------------------------------


def _train(job: Job, place: Path, told: _Told, stop: _Stop) -> None:
    told.say(state="loading")
    import torch
    from transformers import AutoConfig, set_seed
    from transformers.utils import logging

    logging.disable_progress_bar()
    set_seed(job.seed)
    tokenizer, templated = load_tokenizer(Path(job.model))
    if not templated:
        told.say(
            "the model has no chat template, so it learns a plain one (ChatML), which is kept with it", level="warn"
        )
    config = AutoConfig.from_pretrained(job.model, local_files_only=True)
    limit = _limit(job, config)
    files = {"train": job.train} | ({"validation": job.validation} if job.validation else {})
    rows = {split: _rows(split, Path(path), tokenizer, limit, told) for split, path in files.items()}
    if not rows["train"]:
        raise TrainingError(f"no row of the train split is short enough: max_length is {limit:,} tokens")
    stop.check()

    device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    trainer = _trainer(job, place, rows, tokenizer, device)
    if (kept := len(trainer.train_dataset)) < len(rows["train"]):
        told.say(f"TRL left out {len(rows['train']) - kept:,} rows of the train split", level="warn")
    trainer.add_callback(_callback(place, told, stop, f"{kept:,} of {job.rows['train']:,} rows on {device}"))
    stop.check()
    trainer.train(resume_from_checkpoint=_last_checkpoint(place / CHECKPOINTS))
    stop.check()

    told.say(state="saving")
    _save(job, place, trainer, tokenizer, config)
    metrics = _last_metrics(trainer.state.log_history)
    tokens = int(trainer.state.num_input_tokens_seen) or None
    told.append(Finished(tokens, metrics, sha256_of(place / FINISHED)))


def _limit(job: Job, config: Any) -> int | None:
    """Tokens that a row may have; `None` for any number."""
    limits = [job.hyperparameters.max_length, getattr(config, "max_position_embeddings", None)]
    return min((limit for limit in limits if limit), default=None)


def _rows(split: str, path: Path, tokenizer: Any, limit: int | None, told: _Told) -> list[dict[str, Any]]:
    """The rows of a file that are short enough; what is left out is told. TRL would cut off replies, or drop rows."""
    rows: list[dict[str, Any]] = []
    left_out = longest = 0
    with path.open("rb") as stream:
        for line in stream:
            row = msgspec.json.decode(line)
            length = _length(row, tokenizer) if limit is not None else 0
            if limit is None or length <= limit:
                rows.append(row)
            else:
                left_out += 1
                longest = max(longest, length)
    if left_out:
        told.say(
            f"{left_out:,} of {len(rows) + left_out:,} rows of the {split} split are longer than {limit:,} tokens and were "
            f"left out; the longest has {longest:,}",
            level="warn",
        )
    return rows


def _length(row: dict[str, Any], tokenizer: Any) -> int:
    """Tokens of a row, with the longer of its replies."""
    replies = [row[side] for side in ("completion", "chosen", "rejected") if side in row]
    return max(len(tokenizer.apply_chat_template(row["prompt"] + reply, return_dict=False)) for reply in replies)


def _trainer(job: Job, place: Path, rows: dict[str, list[dict[str, Any]]], tokenizer: Any, device: str) -> Any:
    """TRL's trainer for the job, its model loaded."""
    import torch
    from transformers import AutoModelForCausalLM

    wanted = job.hyperparameters
    precision = wanted.precision
    if precision == "auto":
        precision = "bf16" if device == "cuda" and torch.cuda.is_bf16_supported() else "fp32"
    # An adapter is trained in fp32 beside weights that never change; weights that do change need fp32 themselves.
    halves = {"bf16": torch.bfloat16, "fp16": torch.float16}
    dtype = halves.get(precision, torch.float32) if wanted.lora else torch.float32
    model = AutoModelForCausalLM.from_pretrained(job.model, local_files_only=True, dtype=dtype)
    model.config.use_cache = False

    trainer_class, config_class = _classes(job.method)
    checkpointing = device != "cpu" if wanted.gradient_checkpointing is None else wanted.gradient_checkpointing
    options: dict[str, Any] = {} if job.method == "sft" else {"beta": wanted.beta or BETA}
    config = config_class(
        output_dir=str(place / CHECKPOINTS),
        num_train_epochs=wanted.epochs,
        max_steps=wanted.max_steps or -1,
        learning_rate=wanted.rate(job.method),
        warmup_steps=wanted.warmup,
        per_device_train_batch_size=wanted.batch_size,
        per_device_eval_batch_size=wanted.batch_size,
        gradient_accumulation_steps=wanted.gradient_accumulation,
        gradient_checkpointing=checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False},
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        use_cpu=device == "cpu",
        max_length=None,
        logging_steps=wanted.logging_steps or 0.01,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=wanted.save_steps or 0.1,
        save_total_limit=_KEPT,
        eval_strategy="steps" if rows.get("validation") else "no",
        eval_steps=(wanted.save_steps or 0.1) if rows.get("validation") else None,
        include_num_input_tokens_seen="non_padding",
        seed=job.seed,
        report_to=[],
        disable_tqdm=True,
        **options,
    )
    return trainer_class(
        model=model,
        args=config,
        train_dataset=_dataset(rows["train"]),
        eval_dataset=_dataset(rows["validation"]) if rows.get("validation") else None,
        processing_class=tokenizer,
        peft_config=_adapter(job) if wanted.lora else None,
    )


def _classes(method: Method) -> tuple[Any, Any]:
    """`(trainer, its settings)` of a method."""
    import trl

    match method:
        case "sft":
            return trl.SFTTrainer, trl.SFTConfig
        case "dpo":
            return trl.DPOTrainer, trl.DPOConfig
        case "kto":
            return trl.KTOTrainer, trl.KTOConfig


def _adapter(job: Job) -> Any:
    """LoRA on every linear layer, as QLoRA (arXiv:2305.14314) found best."""
    from peft import LoraConfig

    wanted = job.hyperparameters
    return LoraConfig(
        r=wanted.lora_r,
        lora_alpha=wanted.lora_alpha,
        lora_dropout=wanted.lora_dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )


def _dataset(rows: list[dict[str, Any]]) -> Any:
    """Rows as a dataset, its columns named: what the loader guesses is wrong for replies that are all dates, say."""
    import datasets

    datasets.disable_progress_bars()
    text = datasets.Value("string")
    turns = [{"role": text, "content": text}]
    kinds = {"label": datasets.Value("bool")}
    return datasets.Dataset.from_list(
        rows, features=datasets.Features({name: kinds.get(name, turns) for name in rows[0]})
    )


def _callback(place: Path, told: _Told, stop: _Stop, what: str) -> Any:
    """What tells of steps and checkpoints, and stops between two steps when somebody wants that."""
    from transformers import TrainerCallback

    class Tell(TrainerCallback):  # type: ignore[misc] # transformers has types that mypy does not see
        def __init__(self) -> None:
            self._warned = False

        def on_train_begin(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
            told.say(f"training on {what}", state="training", steps=state.max_steps)

        def on_step_end(self, _args: Any, _state: Any, control: Any, **_: Any) -> None:
            if stop.wanted:
                control.should_save = control.should_training_stop = True

        def on_log(self, _args: Any, state: Any, _control: Any, logs: dict[str, float], **_: Any) -> None:
            if _SUMMARY in logs:
                return
            metrics = _metrics(logs)
            event = TrainingProgressed(
                step=state.global_step,
                steps=state.max_steps,
                epoch=state.epoch,
                metrics=metrics,
                at=datetime.now(UTC),
            )
            told.append(Progress(event))
            if "loss" in logs and "loss" not in metrics and not self._warned:
                self._warned = True
                told.say(f"the loss is no number at step {state.global_step:,}: lower learning_rate", level="warn")

        def on_save(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
            name = f"{_CHECKPOINT}{state.global_step}"
            _complete(place / CHECKPOINTS / name)
            measured = [entry for entry in state.log_history if entry.get("step") == state.global_step]
            metrics = {name: value for entry in measured for name, value in _metrics(entry).items()}
            told.append(Kept(TrainingCheckpointed(name, state.global_step, metrics)))

    return Tell()


def _metrics(logs: dict[str, Any]) -> dict[str, float]:
    """The numbers among what a trainer logs, without times and counts that begin anew in each process."""
    return {
        name: float(value)
        for name, value in logs.items()
        if not any(word in name for word in _UNTOLD) and isinstance(value, int | float) and math.isfinite(value)
    }


def _last_metrics(history: list[dict[str, Any]]) -> dict[str, float]:
    """The last of each metric that was logged while training; that history goes on over kills."""
    last: dict[str, float] = {}
    for entry in history:
        if _SUMMARY not in entry:
            last |= _metrics(entry)
    return last


# --- checkpoints and the finished model -------------------------------------------------------------------------------


def _complete(checkpoint: Path) -> None:
    """Mark a checkpoint as whole once all of it is on the disk."""
    for path in _files(checkpoint):
        _sync(path)
    mark = checkpoint / COMPLETE
    mark.touch()
    _sync(mark)
    _sync(checkpoint)
    _sync(checkpoint.parent)


def _last_checkpoint(directory: Path) -> str | None:
    """The newest whole checkpoint; those that a kill left half written are removed."""
    found: dict[int, Path] = {}
    for path in directory.glob(f"{_CHECKPOINT}*"):
        if (path / COMPLETE).exists():
            found[int(path.name.removeprefix(_CHECKPOINT))] = path
        else:
            shutil.rmtree(path)
    return str(found[max(found)]) if found else None


def _save(job: Job, place: Path, trainer: Any, tokenizer: Any, config: Any) -> None:
    """Put the model into `FINISHED`: merged, in the precision of its base, with tokenizer, template and origin."""
    finished, part = place / FINISHED, place / f"{FINISHED}.part"
    for old in (finished, part):
        shutil.rmtree(old, ignore_errors=True)
    model = trainer.accelerator.unwrap_model(trainer.model)
    if job.hyperparameters.lora:
        model.save_pretrained(str(part / "adapter"))
        model = model.merge_and_unload()
    dtype = getattr(config, "dtype", None)
    if dtype is not None:
        model = model.to(dtype)
    model.config.use_cache = True
    model.save_pretrained(str(part))
    tokenizer.save_pretrained(str(part))
    origin = {
        "job": job.id,
        "base": job.base,
        "method": job.method,
        "dataset": job.dataset,
        "dataset_version": job.dataset_version,
        "sha256": job.sha256,
        "seed": job.seed,
        "hyperparameters": msgspec.to_builtins(job.hyperparameters),
        "metrics": _last_metrics(trainer.state.log_history),
        "versions": {"trainerlib": __version__} | {name: version(name) for name in PACKAGES[:4]},
    }
    (part / ORIGIN).write_bytes(msgspec.json.format(msgspec.json.encode(origin), indent=2) + b"\n")
    for path in _files(part):
        _sync(path)
    part.rename(finished)
    _sync(place)


def sha256_of(directory: Path) -> dict[str, str]:
    """Hex digest of every file below a directory, by its path from there."""
    digests = {}
    for path in _files(directory):
        with path.open("rb") as stream:
            digests[path.relative_to(directory).as_posix()] = hashlib.file_digest(stream, "sha256").hexdigest()
    return digests


def _files(directory: Path) -> Iterator[Path]:
    return (path for path in sorted(directory.rglob("*")) if path.is_file())


def _sync(path: Path) -> None:
    """Have a file or directory on the disk; Windows flushes neither by a handle that only reads."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
