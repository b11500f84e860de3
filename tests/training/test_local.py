"""The local trainer: a job comes to its end whatever is killed, and tells everything once. Skipped without its extra."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from hashlib import sha256

import pytest
from local_jobs import ROOT, follower, need_local, until
from tiny import write_base
from workshop_history import tell

import trainerlib
from trainerlib import Recipe, Split
from trainerlib.errors import TrainingError
from trainerlib.events import ModelAdded, TrainingCheckpointed, TrainingProgressed, TrainingSucceeded

need_local()

# Other people's code warns as it likes.
pytestmark = pytest.mark.filterwarnings("ignore")

STEPS = 20
QUICK = {"max_steps": STEPS, "save_steps": 4, "logging_steps": 1, "batch_size": 2, "learning_rate": 1e-2}
RECIPE = Recipe(rated_down="reject", split=Split(train=0.8, validation=0.1, test=0.1, seed=7))


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Workers compute on one thread, so that the same numbers come out of every run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="module")
def ws(tmp_path_factory):
    with trainerlib.open(tmp_path_factory.mktemp("local") / "workshop") as workspace:
        tell(workspace)
        workspace.datasets.build("support", RECIPE)
        yield workspace


@pytest.fixture(scope="module")
def texts(ws):
    dataset = ws.datasets.get("support")
    said = [turn.content for example in dataset.read() for turn in example.context]
    return said + [side for example in dataset.read() for side in (example.chosen, example.rejected) if side]


@pytest.fixture(scope="module")
def base(texts, tmp_path_factory):
    return str(write_base(tmp_path_factory.mktemp("base") / "tiny", texts))


@pytest.fixture
def start(ws, base):
    """Ask for a job; what is left of it at the end of the test is cancelled."""
    jobs = []

    def start(method="sft", *, model=base, **hyperparameters):
        job = ws.jobs.start(
            "support",
            model=model,
            trainer="local",
            method=method,
            hyperparameters={**QUICK, **hyperparameters},
            seed=7,
            again=True,
        )
        jobs.append(job)
        return job

    yield start
    for job in jobs:
        job.cancel()


@pytest.fixture(scope="module")
def undisturbed(ws, base):
    """A job that nobody disturbed."""
    job = ws.jobs.start("support", model=base, trainer="local", hyperparameters=QUICK, seed=7, suffix="undisturbed")
    assert job.follow(timeout=300).state == "succeeded", job.state
    return job


def events(job, kind):
    return [recorded.event for recorded in job.events() if isinstance(recorded.event, kind)]


def files(ws, job):
    """The digests of the files of a job's model as they are on the disk."""
    directory = ws.path / "models" / job.state.model.removeprefix("local:")
    paths = [path for path in directory.rglob("*") if path.is_file()]
    return {path.relative_to(directory).as_posix(): sha256(path.read_bytes()).hexdigest() for path in paths}


def trained(job):
    """`{step: loss}` as it was told; no step twice."""
    told = [(event.step, event.metrics["loss"]) for event in events(job, TrainingProgressed) if "loss" in event.metrics]
    assert max(Counter(step for step, _ in told).values()) == 1
    return dict(told)


def worker(job):
    """Process id of the worker that has begun to train."""
    return int((job.directory / "worker.pid").read_text())


def reaches(job, step):
    """Follow a job until its worker has told of a checkpoint at or after a step."""

    def reached():
        job.advance()
        assert not job.state.ended, job.state
        return [kept.step for kept in job.state.checkpoints if kept.step >= step]

    return until(reached)


def went_as_if_undisturbed(ws, job, undisturbed):
    """Whether a disturbed job ended with the same weights, and told every step and checkpoint once."""
    assert job.state.state == "succeeded", job.state
    assert sorted(trained(job)) == list(range(1, STEPS + 1)) == sorted(trained(undisturbed))
    kept = [event.checkpoint for event in events(job, TrainingCheckpointed)]
    assert len(set(kept)) == len(kept)
    assert {event.checkpoint for event in events(undisturbed, TrainingCheckpointed)} <= {*kept}
    assert len(events(job, TrainingSucceeded)) == 1
    weights = "model.safetensors"
    assert files(ws, job)[weights] == files(ws, undisturbed)[weights]
    assert job.state.tokens == undisturbed.state.tokens
    return True


# --- a job that nobody disturbs ---------------------------------------------------------------------------------------


def test_a_job_tells_every_step_and_ends_with_a_model(undisturbed):
    job = undisturbed.state
    losses = trained(undisturbed)
    assert sorted(losses) == list(range(1, STEPS + 1))
    assert losses[STEPS] < losses[1]
    assert (job.step, job.steps, job.model) == (STEPS, STEPS, "local:undisturbed")
    assert [kept.step for kept in job.checkpoints] == list(range(4, STEPS + 1, 4))
    assert "eval_loss" in job.metrics
    assert job.tokens > 0
    states = [event.state for event in events(undisturbed, TrainingProgressed) if event.state]
    assert states == ["starting", "loading", "training", "saving"]


def test_the_files_of_the_model_are_those_of_the_log(ws, undisturbed):
    [ended] = events(undisturbed, TrainingSucceeded)
    assert ended.sha256 == files(ws, undisturbed)
    assert {"model.safetensors", "tokenizer.json", "chat_template.jinja", "adapter/adapter_model.safetensors"} <= {
        *ended.sha256
    }
    [added] = [one.event for one in ws.store.read("model/local:undisturbed")]
    assert isinstance(added, ModelAdded)
    assert (added.job, added.sha256) == (undisturbed.id, ended.sha256)


def test_the_model_says_what_it_was_made_from(ws, undisturbed, base):
    origin = json.loads((ws.path / "models/undisturbed/trainerlib.json").read_bytes())
    assert (origin["job"], origin["base"], origin["dataset"], origin["dataset_version"], origin["seed"]) == (
        undisturbed.id,
        base,
        "support",
        1,
        7,
    )
    assert origin["sha256"] == undisturbed.state.request.sha256


def test_what_only_training_needs_goes_away(undisturbed):
    assert not (undisturbed.directory / "checkpoints").exists()
    assert not (undisturbed.directory / "finished").exists()


@pytest.mark.usefixtures("undisturbed")
def test_the_merged_weights_are_those_of_base_and_adapter(ws, base):
    """The model answers alone; its adapter gives the same on top of the base."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    directory = ws.path / "models/undisturbed"
    merged = AutoModelForCausalLM.from_pretrained(directory)
    stacked = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), directory / "adapter")
    tokens = torch.arange(12).reshape(1, 12)
    with torch.inference_mode():
        assert torch.allclose(merged(tokens).logits, stacked(tokens).logits, atol=1e-4)
        assert not torch.allclose(
            merged(tokens).logits, AutoModelForCausalLM.from_pretrained(base)(tokens).logits, atol=1e-2
        )


@pytest.mark.parametrize(("method", "lora"), [("dpo", True), ("kto", True), ("sft", False)])
def test_every_method_makes_a_model(ws, start, method, lora):
    job = start(method, lora=lora, max_steps=4, save_steps=2)
    assert job.follow(timeout=200).state == "succeeded", job.state
    assert sorted(trained(job)) == [1, 2, 3, 4]
    assert ("adapter/adapter_config.json" in files(ws, job)) is lora


def test_a_workspace_and_a_base_may_be_named_from_where_one_is(base, tmp_path, monkeypatch):
    """The worker is elsewhere, and whoever takes the job up again may be as well."""
    shutil.copytree(base, tmp_path / "base")
    monkeypatch.chdir(tmp_path)
    with trainerlib.open("shop") as ws:
        tell(ws)
        ws.datasets.build("support", RECIPE)
        hyperparameters = {**QUICK, "max_steps": 2, "lora": False}
        done = ws.jobs.start("support", model="base", trainer="local", hyperparameters=hyperparameters).follow(
            timeout=120
        )
        assert (done.state, done.error) == ("succeeded", "")


def test_long_rows_are_counted_and_a_template_that_is_missing_is_said(ws, start, texts, tmp_path):
    """Rows of more than 120 tokens are left out, and whoever follows the job reads how many."""
    job = start(model=str(write_base(tmp_path / "plain", texts, template=False)), max_steps=2, max_length=120)
    assert job.follow(timeout=200).state == "succeeded", job.state
    told = [event.message for event in events(job, TrainingProgressed) if event.level == "warn"]
    assert any("has no chat template" in message for message in told)
    [left_out] = [message for message in told if "rows of the train split are longer than 120 tokens" in message]
    count, of = map(int, re.findall(r"\d+", left_out)[:2])
    assert 0 < count < of == job.state.request.rows["train"]
    [training] = [event.message for event in events(job, TrainingProgressed) if event.state == "training"]
    assert training.startswith(f"training on {of - count} of {of} rows")
    assert "chat_template.jinja" in files(ws, job)


def test_rows_that_are_all_too_long_are_a_clear_error(start):
    job = start(max_length=2)
    state = job.follow(timeout=200)
    assert (state.state, state.error) == (
        "failed",
        "no row of the train split is short enough: max_length is 2 tokens",
    )


# --- kills ------------------------------------------------------------------------------------------------------------


def test_a_killed_worker_costs_nothing_but_time(ws, start, undisturbed):
    """SIGKILL: the weights are the same to the byte, and no step is told twice."""
    job = start()
    reaches(job, 4)
    os.kill(worker(job), signal.SIGKILL)
    job.follow(timeout=300)
    assert went_as_if_undisturbed(ws, job, undisturbed)
    [told] = [event.message for event in events(job, TrainingProgressed) if event.level == "warn"]
    assert told.startswith("the worker was killed (SIGKILL); going on from checkpoint-")


def test_a_worker_outlives_whoever_started_it(ws, start, undisturbed):
    """The process that follows the job is killed; the next one finds the same worker at work."""
    job = start()
    following = follower(ws.path, job.id)
    until(lambda: job.state.checkpoints)
    following.kill()
    following.wait()
    at_work = worker(job)
    os.kill(at_work, 0)
    job.follow(timeout=300)
    assert worker(job) == at_work
    assert went_as_if_undisturbed(ws, job, undisturbed)
    states = [event.state for event in events(job, TrainingProgressed) if event.state]
    assert states == ["starting", "loading", "training", "saving"]


def test_a_job_goes_on_when_both_are_killed_in_the_middle_of_a_checkpoint(ws, start, undisturbed):
    """What was half written looks like the newest checkpoint, and is not gone on from."""
    job = start()
    following = follower(ws.path, job.id)
    until(lambda: [kept for kept in job.state.checkpoints if kept.step >= 8])
    following.kill()
    os.kill(worker(job), signal.SIGKILL)
    following.wait()
    half = job.directory / f"checkpoints/checkpoint-{STEPS - 1}"
    half.mkdir()
    (half / "trainer_state.json").write_text("{")
    job.follow(timeout=300)
    assert went_as_if_undisturbed(ws, job, undisturbed)


def test_a_worker_that_gets_nowhere_is_given_up(start):
    """Killed three times before its first step: the job fails, and says what to do about memory."""
    job = start()
    for _ in range(3):
        until(lambda: job.advance() and (job.directory / "worker.pid").exists())
        os.kill(worker(job), signal.SIGKILL)
        (job.directory / "worker.pid").unlink()
    state = job.follow(timeout=60)
    assert (state.state, state.code) == ("failed", "worker-died")
    assert "was killed (SIGKILL), the 3rd time without getting any further" in state.error
    assert "lower batch_size or max_length" in state.advice
    assert "\n" not in state.error


# --- holding and ending -----------------------------------------------------------------------------------------------


def test_a_job_that_is_held_goes_on_with_the_step_after(ws, start, undisturbed):
    job = start()
    reaches(job, 4)
    job.pause()
    assert job.state.state == "paused"
    with pytest.raises(ProcessLookupError):
        os.kill(worker(job), 0)
    step = job.state.step
    assert job.advance() > 0
    assert (job.state.state, job.state.step) == ("paused", step)
    job.resume()
    job.follow(timeout=300)
    assert went_as_if_undisturbed(ws, job, undisturbed)
    assert not [event for event in events(job, TrainingProgressed) if event.level == "warn"]


def test_a_cancelled_job_leaves_no_process_and_no_checkpoint(start):
    job = start()
    reaches(job, 4)
    job.cancel(by="anna")
    assert job.state.state == "cancelled"
    with pytest.raises(ProcessLookupError):
        os.kill(worker(job), 0)
    assert not (job.directory / "checkpoints").exists()
    assert job.advance() is None


def test_a_job_that_was_not_begun_can_be_cancelled(start):
    job = start()
    job.cancel()
    assert job.state.state == "cancelled"


# --- what cannot go well ----------------------------------------------------------------------------------------------


def test_memory_that_is_missing_is_a_clear_error():
    import torch

    from trainerlib.trainers.local_worker import failure

    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 52)
    told = failure(caught.value)
    assert told.code == "out-of-memory"
    assert "lower batch_size" in told.advice
    assert "\n" not in told.error


def test_a_base_that_does_not_load_is_a_failure_in_one_line(start, base, tmp_path):
    broken = shutil.copytree(base, tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"no weights")
    state = start(model=str(broken)).follow(timeout=200)
    assert state.state == "failed"
    assert state.error
    assert "\n" not in state.error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hyperparameters": {"learning_rat": 1e-3}}, "did you mean 'learning_rate'"),
        ({"suffix": "../elsewhere"}, "no name for a model"),
        ({"model": "nobody/no-such-model"}, "hf download nobody/no-such-model"),
    ],
)
def test_what_can_be_seen_to_fail_is_refused_before_anything_is_recorded(ws, base, options, message):
    before = ws.store.position
    with pytest.raises(TrainingError, match=message):
        ws.jobs.start("support", **{"model": base, "trainer": "local", "again": True, **options})
    assert ws.store.position == before


LOCATE = """
import sys
from pathlib import Path
from trainerlib.local_models import locate

print(locate("somebody/tiny", Path(sys.argv[1])))
"""


def test_a_hub_model_is_found_in_the_cache(base, tmp_path):
    """Under its id, as `hf download` leaves it; nothing is asked of the Hub."""
    cached = tmp_path / "hub/models--somebody--tiny"
    snapshot = cached / "snapshots/0a1b"
    shutil.copytree(base, snapshot)
    (cached / "refs").mkdir()
    (cached / "refs/main").write_text("0a1b")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_CACHE": str(tmp_path / "hub")}
    command = [sys.executable, "-c", LOCATE, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(snapshot)
