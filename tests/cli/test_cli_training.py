"""`train` and `job`: what is said before anything is spent, while a job goes on, and when it has ended."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from histories import write
from training_server import Fault, TrainingServer
from training_shop import KEY, talks, train_with, without_environment

import trainerlib
from trainerlib import Recipe, Split
from trainerlib.trainers.openai_api import OpenAITrainer


@pytest.fixture
def shop(tmp_path, cli, monkeypatch):
    """A workspace with the dataset `support`."""
    without_environment(monkeypatch)
    cli("init", "workspace")
    with trainerlib.open("workspace") as ws:
        ws.import_file(write(tmp_path / "talks.jsonl", list(talks(30))), basis="operator: our own")
        ws.datasets.build(
            "support", Recipe(targets="corrected", split=Split(train=0.8, validation=0.2, test=0, seed=3))
        )
    return tmp_path / "workspace"


@pytest.fixture
def server(shop, monkeypatch):
    """A server that trains, which the workspace is set to use."""
    # A real server is asked every few seconds.
    monkeypatch.setitem(OpenAITrainer.__init__.__kwdefaults__, "soonest", 0.01)
    with TrainingServer() as running:
        train_with(running, shop, timeout=5.0)
        yield running


def test_a_dry_run_says_what_it_would_cost_and_sends_nothing(cli, server):
    told = cli("train", "support", "--model", "openai:gpt-x", "--epochs", "3", "--dry-run").out
    assert "SFT examples" in told
    assert "about $" in told
    assert "at 3 epochs. Nothing sent (dry run)." in told
    assert "preference pairs in it as well: --method dpo" in told
    plan = cli("train", "support", "--model", "openai:gpt-x", "--dry-run", "--json").json
    assert plan["request"]["rows"]["train"] > 10
    assert "preference pairs" in cli("train", "support", "--model", "openai:gpt-x", "--method", "dpo", "--dry-run").out
    assert server.requests == []
    assert "no training jobs yet" in cli("job", "list").out


def test_a_dry_run_tells_what_would_be_refused(cli, shop):
    (shop / ".env").write_text(f"OPENAI_API_KEY={KEY}\n", encoding="utf-8")
    told = cli("train", "support", "--model", "openai:gpt-x", "--set", "n_epoch=3", "--dry-run", status=1).out
    assert "would be refused: OpenAI has no hyperparameter 'n_epoch'" in told
    assert "did you mean 'n_epochs'" in told


def test_nothing_is_spent_where_nobody_can_be_asked(cli, server):
    refused = cli("train", "support", "--model", "openai:gpt-x", status=2).err
    assert "say --yes" in refused
    assert refused.count("\n") == 1
    assert server.requests == []
    assert cli("job", "list", "--json").json == []


def test_a_job_is_followed_to_its_model_and_found_again(cli, server):
    told = cli("train", "support", "--model", "openai:gpt-x", "--yes")
    assert "job " in told.err
    assert "succeeded" in told.out
    assert "openai:ft:gpt-x" in told.out
    assert "next: trainerlib evaluate openai:ft:gpt-x" in told.out
    [job] = cli("job", "list", "--json").json
    assert (job["state"], job["request"]["by"]) == ("succeeded", "terminal:anna")
    assert job["id"] in cli("job", "list").out
    assert "succeeded" in cli("job", "show", job["id"][:4]).out
    assert cli("job", "follow", "--json").json["model"] == job["model"]
    assert "nothing changed: it had ended" in cli("job", "cancel").out
    assert cli("job", "pause", status=1).err.startswith("trainerlib: ")
    assert len(server.jobs) == 1


@pytest.mark.usefixtures("shop")
def test_of_several_jobs_the_one_to_end_is_named(cli):
    """A wrong guess would cost a training."""
    first = cli("train", "support", "--model", "one", "--trainer", "bundle", "--json").json["id"]
    cli("train", "support", "--model", "two", "--trainer", "bundle")
    assert "which job?" in cli.refuse("job", "cancel")
    assert "ended" in cli("job", "cancel", first).out
    assert "two" in cli("job", "cancel", "--json").json["request"]["model"]


def test_a_job_that_is_begun_and_left_is_gone_on_with(cli, server):
    begun = cli("train", "support", "--model", "openai:gpt-x", "--yes", "--detach", "--json").json
    assert begun["state"] == "running"
    assert cli("job", "follow", begun["id"], "--json").json["state"] == "succeeded"
    assert len(server.jobs) == 1


def at_a_terminal(words, answer):
    """`(status, what was shown)` of a command that somebody types at a terminal, and answers when it asks."""
    pty = pytest.importorskip("pty", reason="this system has no pseudo-terminals")
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "trainerlib", *words]
    with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave) as process:
        os.close(slave)
        os.write(master, f"{answer}\n".encode())
        shown = b""
        # Linux ends a terminal that nobody writes to any more with an error.
        with suppress(OSError):
            while data := os.read(master, 4096):
                shown += data
        os.close(master)
    return process.returncode, shown.decode()


def test_somebody_at_a_terminal_is_asked_before_anything_is_spent(cli, server):
    words = ["train", "support", "--model", "openai:gpt-x", "--epochs", "3", "--detach"]
    status, shown = at_a_terminal(words, "n")
    assert status == 1
    assert "Send this to openai and spend about $0.01?" in shown
    assert (server.requests, cli("job", "list", "--json").json) == ([], [])
    status, shown = at_a_terminal(words, "y")
    assert (status, len(server.jobs)) == (0, 1)
    assert "watch it with: trainerlib job follow" in shown
    server.stages = ("validating_files", "succeeded")
    status, shown = at_a_terminal(["job", "follow"], "")
    assert (status, "openai:ft:gpt-x" in shown) == (0, True)


TRAIN = """
import signal
import sys

from trainerlib.cli import main

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(main(sys.argv[1:]))
"""


def test_an_interrupted_job_says_how_to_go_on(cli, server):
    """Somebody presses Ctrl-C while the server trains."""
    server.stages = ("validating_files", "running")
    words = ["train", "support", "--model", "openai:gpt-x", "--yes"]
    process = subprocess.Popen([sys.executable, "-c", TRAIN, *words], stderr=subprocess.PIPE, text=True)
    told = []
    for line in process.stderr:
        told.append(line)
        if "running" in line:
            process.send_signal(signal.SIGINT)
            break
    told += process.stderr.readlines()
    process.stderr.close()
    assert process.wait(30) == 130
    server.stages = ("validating_files", "running", "succeeded")
    [job] = cli("job", "list", "--json").json
    assert f"go on with: trainerlib job follow {job['id']}" in "".join(told)
    assert f"trainerlib job cancel {job['id']}" in told[-1]
    assert "succeeded" in cli("job", "follow").out
    assert len(server.jobs) == 1


def test_a_refusal_is_told_with_what_to_do_instead(cli, server):
    words = "Fine-tuning is not available for this organization."
    server.fail("POST .*/jobs", Fault(status=403, message=words, code="training_not_available"))
    told = cli("train", "support", "--model", "openai:gpt-x", "--yes", status=1)
    assert "Fine-tuning is not available" in told.out
    assert cli("job", "show", "--json").json["state"] == "refused"


@pytest.mark.usefixtures("shop")
def test_what_is_missing_is_asked_for_in_one_line(cli):
    assert "--model says" in cli.refuse("train", "support")
    assert "--trainer says who trains gpt-x" in cli.refuse("train", "support", "--model", "gpt-x")
    assert "no dataset 'nobody'" in cli.refuse("train", "nobody", "--model", "openai:gpt-x")
    assert "trainerlib dataset select" in cli.refuse("train", "--model", "openai:gpt-x")
    assert "KEY=VALUE" in cli.refuse("train", "support", "--model", "openai:gpt-x", "--set", "beta")
    assert "given twice" in cli.refuse(
        "train", "support", "--model", "openai:gpt-x", "--epochs", "2", "--set", "n_epochs=3"
    )
    assert "no training jobs yet" in cli.refuse("job", "show")
    assert "no job 'abc'" in cli.refuse("job", "show", "abc")
    assert "for --trainer bundle" in cli.refuse("train", "support", "--model", "openai:gpt-x", "--output", "x")


@pytest.mark.usefixtures("shop")
def test_the_selected_dataset_is_bundled_and_its_model_comes_back(cli, tmp_path):
    cli("dataset", "select", "support")
    told = cli("train", "--model", "Qwen/Qwen3-0.6B", "--trainer", "bundle", "--output", tmp_path / "out").out
    assert f"bundle written to {tmp_path / 'out'}" in told
    sums = (tmp_path / "out" / "SHA256SUMS").read_text().splitlines()
    assert all(hashlib.sha256((tmp_path / "out" / line[66:]).read_bytes()).hexdigest() == line[:64] for line in sums)
    [job] = cli("job", "list", "--json").json
    assert (job["state"], job["remote_state"]) == ("running", "waiting for the model")
    assert f"--job {job['id']}" in cli("job", "follow").out

    trained = tmp_path / "trained"
    trained.mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (trained / name).write_bytes(b"{}")
    assert cli("model", "add", trained, "--job", job["id"][:5], "--json").json["name"] == "local:support-v1"
    assert cli("job", "show", "--json").json["model"] == "local:support-v1"
    assert "job " + job["id"] in cli("model", "list").out


@pytest.mark.usefixtures("shop")
def test_a_bundle_is_the_same_archive_again(cli, tmp_path):
    words = ("train", "support", "--model", "org/model", "--trainer", "bundle", "--output")
    first = cli(*words, tmp_path / "a.zip", "--json").json
    again = cli(*words, tmp_path / "b.zip", "--json").json
    assert first["id"] == again["id"]
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    assert "not empty" in cli.refuse(*words, tmp_path)


@pytest.mark.usefixtures("shop")
def test_the_hyperparameters_of_a_bundle_are_checked(cli):
    words = ("train", "support", "--model", "org/model", "--trainer", "bundle")
    assert "did you mean 'learning_rate'" in cli(*words, "--set", "learningrate=1", status=1).err
    job = cli(*words, "--set", "learning_rate=1e-4", "--epochs", "2", "--suffix", "цветы", "--json").json
    assert job["request"]["hyperparameters"] == {"epochs": 2, "learning_rate": 1e-4}
    facts = json.loads((Path(job["bundle"]) / "job.json").read_text(encoding="utf-8"))
    assert (facts["name"], facts["hyperparameters"]["epochs"]) == ("цветы", 2.0)
