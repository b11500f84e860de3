"""What the local trainer decides without training anything: hyperparameters, models, progress files, names."""

from __future__ import annotations

import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainerlib import settings
from trainerlib.errors import ModelError, TrainingError
from trainerlib.events import TrainingProgressed, TrainingRequested
from trainerlib.local_models import locate
from trainerlib.trainers.hyperparameters import Hyperparameters, parse
from trainerlib.trainers.local import LocalTrainer, _place
from trainerlib.trainers.local_job import Failed, Progress, Read, Stopped, append, read
from trainerlib.trainers.local_worker import failure
from trainerlib.training import TrainingJob

WANTED = TrainingRequested("local", "base", "поддержка", 3, "sft", "trl-sft", {"train": "9f"}, {"train": 5})


class Shop(msgspec.Struct):
    """What a trainer works with."""

    path: object
    settings: settings.Settings = settings.Settings()

    def secret(self, _name):
        return None


@pytest.fixture
def model(tmp_path):
    """A directory that looks like a model."""
    directory = tmp_path / "models" / "base"
    directory.mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (directory / name).write_text("{}")
    return directory


# --- hyperparameters --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["sft", "dpo", "kto"])
def test_nothing_said_is_the_defaults(method):
    assert parse({}, method) == Hyperparameters()


def test_values_may_be_text():
    """As a command line has them."""
    told = {"epochs": "2", "lora": "false", "learning_rate": "2e-4", "max_steps": "30", "precision": "bf16"}
    assert parse(told, "dpo") == Hyperparameters(
        epochs=2.0, lora=False, learning_rate=2e-4, max_steps=30, precision="bf16"
    )


@pytest.mark.parametrize(
    ("told", "method", "message"),
    [
        ({"epoch": 3}, "sft", "no hyperparameter 'epoch'; did you mean 'epochs'"),
        ({"n": 3}, "sft", "there is epochs, max_steps"),
        ({"max_steps": 0}, "sft", "max_steps cannot be 0; a whole number from 1"),
        ({"learning_rate": "fast"}, "sft", "learning_rate cannot be 'fast'; a number above 0"),
        ({"gradient_checkpointing": "maybe"}, "sft", "gradient_checkpointing cannot be 'maybe'; true or false"),
        ({"precision": "int8"}, "sft", "precision cannot be 'int8'; auto, bf16, fp16 or fp32"),
        ({"beta": 0.1}, "sft", "beta is for the methods dpo and kto"),
        ({"lora": False, "lora_r": 8}, "sft", "lora_r is for LoRA, and lora is false"),
        ({"batch_size": 1}, "kto", "batch_size must be 2 or more"),
    ],
)
def test_a_wrong_hyperparameter_is_refused_with_what_would_be_right(told, method, message):
    with pytest.raises(TrainingError, match=message):
        parse(told, method)


# --- models -----------------------------------------------------------------------------------------------------------


def test_a_model_is_found_by_name_by_path_and_by_its_place_in_the_workspace(model, tmp_path):
    names = ("local:base", "local:models/base", "base", "models/base", str(model))
    assert {locate(name, tmp_path) for name in names} == {model}


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("config.json", "has no config.json"),
        ("model.safetensors", "has no weights"),
        ("tokenizer.json", "has no tokenizer"),
    ],
)
def test_a_directory_that_lacks_a_part_is_no_model(model, tmp_path, missing, message):
    (model / missing).unlink()
    with pytest.raises(ModelError, match=message):
        locate("local:base", tmp_path)


def test_an_adapter_alone_is_no_model(model, tmp_path):
    (model / "config.json").rename(model / "adapter_config.json")
    with pytest.raises(ModelError, match="an adapter alone"):
        locate("local:base", tmp_path)


@pytest.mark.parametrize("name", ["local:nothing", "./nothing", "", "такой нет"])
def test_a_model_that_is_not_there_is_an_error(tmp_path, name):
    with pytest.raises(ModelError, match=r"no directory|no such directory"):
        locate(name, tmp_path)


@pytest.mark.usefixtures("model")
def test_a_missing_extra_is_refused_with_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "trl", None)
    with pytest.raises(TrainingError, match=r"needs .*trl.*pip install 'trainerlib\[local\]'"):
        LocalTrainer(Shop(tmp_path)).check(WANTED)


# --- progress ---------------------------------------------------------------------------------------------------------

LINES = st.lists(
    st.one_of(
        st.builds(lambda words: Progress(TrainingProgressed(message=words)), st.text(max_size=20)),
        st.just(Stopped()),
        st.builds(Failed, st.text(max_size=20)),
    ),
    max_size=6,
)


@given(LINES, LINES, st.data())
def test_a_line_keeps_its_number_wherever_a_writer_was_killed(tmp_path_factory, before, after, data):
    """Whole lines are read under the same numbers at once, later, and piece by piece; the torn one never."""
    path = tmp_path_factory.mktemp("progress") / "progress.jsonl"
    for line in before:
        append(path, line)
    whole = path.read_bytes() if before else b""
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    first = read(path)
    for line in after:
        append(path, line)
    second = read(path, first)
    at_once = read(path)
    assert first.lines + second.lines == at_once.lines
    assert (second.number, second.offset) == (at_once.number, at_once.offset)
    told = [line for _, line in at_once.lines]
    assert told[len(told) - len(after) :] == after
    assert told[: len(told) - len(after)] == before[: len(told) - len(after)]
    assert [number for number, _ in at_once.lines] == sorted({number for number, _ in at_once.lines})


def test_there_is_nothing_to_read_before_anybody_wrote(tmp_path):
    assert read(tmp_path / "progress.jsonl") == Read([])


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def finished(tmp_path):
    """Makes a finished model of a job that is not placed yet."""

    def finished(job):
        directory = tmp_path / "jobs" / job / "finished"
        directory.mkdir(parents=True)
        (directory / "trainerlib.json").write_text(f'{{"job": "{job}"}}')
        return directory

    return finished


def test_a_model_is_called_after_its_dataset_or_as_was_asked(finished, tmp_path):
    asked = msgspec.structs.replace(WANTED, suffix="магазин")
    assert _place(TrainingJob("a", WANTED), finished("a"), tmp_path / "models") == "поддержка-v3"
    assert _place(TrainingJob("b", asked), finished("b"), tmp_path / "models") == "магазин"


def test_no_model_takes_the_place_of_another(finished, tmp_path):
    names = [_place(TrainingJob(job, WANTED), finished(job), tmp_path / "models") for job in "abc"]
    assert names == ["поддержка-v3", "поддержка-v3-2", "поддержка-v3-3"]


def test_a_model_that_was_placed_before_a_kill_keeps_its_name(finished, tmp_path):
    job, directory = TrainingJob("a", WANTED), finished("a")
    _place(TrainingJob("b", WANTED), finished("b"), tmp_path / "models")
    assert _place(job, directory, tmp_path / "models") == _place(job, directory, tmp_path / "models")


def test_a_model_that_is_gone_is_an_error(tmp_path):
    with pytest.raises(TrainingError, match="is gone"):
        _place(TrainingJob("a", WANTED), tmp_path / "finished", tmp_path / "models")


def test_a_model_that_cannot_be_moved_is_an_error_and_not_tried_under_every_name(finished):
    directory = finished("a")
    with pytest.raises(OSError, match="поддержка-v3"):
        _place(TrainingJob("a", WANTED), directory, directory / "models")


# --- failures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError(), "out-of-memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "out-of-memory"),
        (OSError(28, "No space left on device"), "disk-full"),
        (ModuleNotFoundError("No module named 'trl'"), "extra-missing"),
        (TrainingError("no row"), ""),
        (KeyError("prompt"), "KeyError"),
    ],
)
def test_a_failure_has_a_code_and_one_line(error, code):
    told = failure(error)
    assert told.code == code
    assert told.error
    assert "\n" not in told.error
