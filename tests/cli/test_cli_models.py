"""`model`: which models there are, which one answers, and how another one takes its place."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import trainerlib
from trainerlib.events import Interval, ModelEvaluated

TUNED = "openai:ft:gpt-x:цветы"


def evaluated(model, against="memory", *, low=12.1, errors=0, **more):
    """Record that a model was evaluated, as `evaluate` does."""
    event = ModelEvaluated(
        "e1",
        "support",
        1,
        "test",
        against,
        cases=97,
        errors=errors,
        scores={"chrf": 58.9, "latency": 1.25},
        against_scores={"chrf": 41.2, "latency": 0.01},
        differences={"chrf": Interval(low + 5.6, low, low + 10.7), "latency": Interval(1.24, 1.1, 1.4)},
        worse=6,
        **more,
    )
    with trainerlib.open("workspace") as ws:
        ws.store.append(f"model/{model}", [event])


def write_model(directory, *, weights=b"weights"):
    """A directory that looks like a model, without one that could answer."""
    directory.mkdir(parents=True)
    for name, content in (("config.json", b"{}"), ("tokenizer.json", b"{}"), ("model.safetensors", weights)):
        (directory / name).write_bytes(content)
    return directory


@pytest.fixture
def shop(cli):
    """A workspace that knows one fine-tuned model."""
    cli("init", "workspace")
    return cli("model", "add", TUNED, "--base", "openai:gpt-x", "--note", "обучена на отзывах")


def test_memory_answers_before_any_model_was_promoted(cli):
    cli("init", "workspace")
    [only] = cli("model", "list", "--json").json
    assert (only["name"], only["current"]) == ("memory", True)
    assert "memory" in cli("model", "show").out
    assert cli("model", "show", "current", "--json").json["name"] == "memory"


@pytest.mark.usefixtures("shop")
def test_a_model_is_added_once_and_listed_with_its_note(cli):
    assert "nothing changed" in cli("model", "add", TUNED).out
    listed = cli("model", "list").out
    assert TUNED in listed
    assert "обучена на отзывах" in listed
    assert "answers" in listed
    assert cli("model", "show", TUNED, "--json").json["base"] == "openai:gpt-x"


@pytest.mark.usefixtures("shop")
def test_a_model_that_was_not_evaluated_is_refused_in_one_line(cli):
    told = cli("model", "promote", TUNED, status=1)
    assert "was not evaluated" in told.err
    assert f"trainerlib evaluate {TUNED} --against current" in told.err


@pytest.mark.usefixtures("shop")
def test_a_better_model_is_promoted_and_what_got_worse_is_told(cli):
    evaluated(TUNED)
    told = cli("model", "promote", TUNED, "--note", "лучше").out
    assert f"{TUNED} answers from here on; before it was memory" in told
    assert "chrF 41.2 -> 58.9 (+17.7, 95 % interval +12.1 to +22.8)" in told
    assert "seconds 0.01 -> 1.25" in told
    assert "worse on 6 of 97" in told
    assert "answers already" in cli("model", "promote", TUNED).out
    assert cli("model", "promote", TUNED, "--json").json["new"] is False
    shown = cli("model", "show", "current").out
    assert f"{TUNED} · from openai:gpt-x · answers" in shown


@pytest.mark.usefixtures("shop")
def test_a_worse_model_is_refused_with_figures_unless_it_is_forced(cli):
    evaluated(TUNED, low=-30.0)
    refused = cli("model", "promote", TUNED, status=1).err
    assert "is worse than memory" in refused
    assert "95 % interval -30.0 to -19.3" in refused
    forced = cli("model", "promote", TUNED, "--force").out
    assert "forced: " in forced
    event = cli("events", "--json").lines[-1]
    assert (event["type"], event["data"]["forced"], event["data"]["by"]) == ("model.promoted", True, "terminal:anna")


@pytest.mark.usefixtures("shop")
def test_rolling_back_says_who_answers_again(cli):
    cli("model", "promote", TUNED, "--force")
    assert f"memory answers again, in the place of {TUNED}" in cli("model", "rollback").out
    assert "nothing to go back to" in cli("model", "rollback", status=1).err


@pytest.mark.usefixtures("shop")
def test_a_name_that_nobody_knows_is_a_misuse_with_names_like_it(cli):
    assert f"did you mean {TUNED}?" in cli.refuse("model", "promote", TUNED[:-1])
    assert f"did you mean {TUNED}?" in cli.refuse("model", "show", TUNED.removeprefix("openai:"))


@pytest.mark.usefixtures("shop")
def test_a_candidate_is_offered_compared_and_taken_back(cli):
    assert "no candidate is on offer" in cli("model", "compare", status=1).err
    told = cli("model", "offer", TUNED, "--share", "0.25").out
    assert f"{TUNED} answers 25 % of the conversations, memory the others" in told
    assert "nothing changed" in cli("model", "offer", TUNED, "--share", "0.25").out
    compared = cli("model", "compare").out
    assert "0 of 0, 0 % (0 to 100)" in compared
    assert "has answered nobody yet" in compared
    assert cli("model", "compare", "--json").json["candidate"]["model"] == TUNED
    assert "candidate for 25 %" in cli("model", "list").out
    assert "memory answers every conversation again" in cli("model", "offer", TUNED, "--share", "0").out
    assert "from 0 to 1" in cli.refuse("model", "offer", TUNED, "--share", "25")


@pytest.mark.usefixtures("shop")
def test_a_directory_becomes_a_model_and_what_changed_in_it_is_told(cli, tmp_path):
    directory = write_model(tmp_path / "trained")
    added = cli("model", "add", directory, "--name", "цветы-v2", "--json").json
    assert (added["name"], added["new"], added["present"]) == ("local:цветы-v2", True, True)
    weights = tmp_path / "workspace" / "models" / "цветы-v2" / "model.safetensors"
    weights.write_bytes(b"others")
    assert "is not the file that was added (sha256)" in cli("model", "show", "local:цветы-v2").out
    assert "sha256" in cli("model", "promote", "local:цветы-v2", "--force", status=1).err
    weights.unlink()
    assert "files gone" in cli("model", "list").out


def test_a_directory_without_a_model_is_refused(cli, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "no config.json" in cli("model", "add", tmp_path / "empty", status=1).err
    assert "always there" in cli("model", "add", "memory", status=1).err


def test_every_command_that_stands_in_the_place_of_an_old_call_is_there(cli):
    text = (Path(__file__).resolve().parents[2] / "docs" / "from-the-old-bots.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(?:\.\.\. )?trainerlib ((?:job|model|dataset) [a-z-]+|[a-z]+)", text))
    assert {"chat", "test", "job list", "model add", "dataset select"} <= named
    for words in named:
        cli(*words.split(), "--help")
