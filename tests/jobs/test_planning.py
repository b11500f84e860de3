"""What a job would do is said before anything is recorded, sent or spent, and what would fail is refused."""

from __future__ import annotations

import pytest
from histories import row, write
from training_shop import hurried

import trainerlib
from trainerlib import Recipe, Split
from trainerlib.checks import check
from trainerlib.errors import NotFoundError, TrainingError
from trainerlib.tokens import ESTIMATE, count_chat


def test_a_plan_counts_rows_tokens_and_cost_and_records_and_sends_nothing(ws, server):
    before = ws.store.position
    plan = ws.jobs.plan("support", model="openai:gpt-x", hyperparameters={"n_epochs": 4})
    wanted = plan.request
    assert (wanted.trainer, wanted.model, wanted.rows) == ("openai", "gpt-x", {"train": 27, "validation": 11})
    assert wanted.cost == pytest.approx(wanted.tokens * 4 * 3.0 / 1e6)
    assert (plan.exact, plan.epochs, plan.problems, plan.warnings) == (False, 4.0, (), ())
    assert ws.store.position == before
    assert server.requests == []
    assert list((ws.path / "models" / "jobs").iterdir()) == []


def test_jobs_that_were_given_a_dataset_are_named(ws):
    job = ws.jobs.start("support", model="gpt-x")
    assert [one.id for one in ws.jobs.holding([("support", 1), ("other", 1)])] == [job.id]
    assert ws.jobs.holding([("support", 2)]) == []


@pytest.mark.parametrize("method", ["sft", "dpo"])
def test_tokens_are_those_of_the_training_file_alone(ws, method):
    plan = ws.jobs.plan("support", model="gpt-x", method=method)
    total = 0
    for example in ws.datasets.get("support").read("train"):
        sides = [example.chosen] if method == "sft" else [example.chosen, example.rejected]
        texts = [turn.content for turn in example.context] + sides
        total += count_chat([], ESTIMATE) + sum(ESTIMATE.count(text) + 4 for text in texts)
    assert plan.request.tokens == total


def test_a_plan_is_a_few_lines_for_people(ws):
    words = str(ws.jobs.plan("support", model="gpt-y"))
    assert "support v1 -> openai:gpt-y by sft" in words
    assert "train 27 · validation 11" in words
    assert "no price known for gpt-y" in words


def test_a_plan_says_what_start_would_refuse(shop):
    (shop / "workspace.toml").unlink()
    with trainerlib.open(shop) as other:
        plan = other.jobs.plan("support", model="gpt-x", hyperparameters={"epochs": 3})
    assert plan.problems == ("OpenAI has no hyperparameter 'epochs' for sft; did you mean 'n_epochs'?",)


def test_a_plan_says_that_the_same_job_goes_on(ws):
    job = ws.jobs.start("support", model="gpt-x")
    assert ws.jobs.plan("support", model="gpt-x").warnings == (f"job {job.id} goes on and does the same",)


def test_examples_without_a_rejected_side_are_counted(ws, tmp_path):
    rows = [row(f"more:{number}", f"Вопрос {number}?", f"Ответ {number}.") for number in range(20)]
    ws.import_file(write(tmp_path / "more.jsonl", rows), basis="operator: our own")
    ws.datasets.build("mixed", Recipe(split=Split(train=1.0, validation=0.0, test=0.0)))
    plan = ws.jobs.plan("mixed", model="gpt-x", method="dpo")
    assert (plan.request.rows, plan.left_out) == ({"train": 40}, {"train": 20})
    assert "20 of 60 examples of train are not in the file" in plan.warnings[0]


@pytest.mark.parametrize(
    ("hyperparameters", "words"),
    [
        ({"n_epochs": 0}, "n_epochs cannot be 0"),
        ({"n_epochs": 2.5}, "n_epochs cannot be 2.5; a whole number from 1 to 50, or auto"),
        ({"n_epochs": "many"}, "n_epochs cannot be 'many'"),
        ({"batch_size": True}, "batch_size cannot be True"),
        ({"learning_rate_multiplier": -1}, "learning_rate_multiplier cannot be -1"),
        ({"beta": 0.1}, "no hyperparameter 'beta' for sft"),
        ({"n_epoch": 3}, "did you mean 'n_epochs'"),
    ],
)
def test_hyperparameters_that_cannot_be_are_refused(shop, hyperparameters, words):
    settings = shop / "workspace.toml"
    settings.write_text("")
    with trainerlib.open(shop) as ws:
        hurried(ws)
        before = ws.store.position
        with pytest.raises(TrainingError, match=words):
            ws.jobs.start("support", model="gpt-x", hyperparameters=hyperparameters)
        assert ws.store.position == before


def test_hyperparameters_of_another_server_are_left_to_it(ws, server):
    ws.jobs.start("support", model="gpt-x", hyperparameters={"lora": True, "n_epochs": "auto"}).follow(timeout=20)
    assert server.jobs[0]["method"]["supervised"]["hyperparameters"] == {"lora": True, "n_epochs": "auto"}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"suffix": "x" * 65}, "64 characters at most, not 65"),
        ({"seed": -1}, "a seed is from 0"),
        ({"method": "kto"}, "has no method 'kto'; it has sft, dpo"),
        ({"model": " "}, "name the model"),
        ({"trainer": "nobody"}, "there is no trainer 'nobody'"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(ws, more, words):
    with pytest.raises(TrainingError, match=words):
        ws.jobs.start("support", **{"model": "gpt-x", **more})
    assert ws.jobs.list() == []


def test_too_few_rows_are_refused_with_the_rule(ws):
    ws.datasets.build("few", Recipe(targets="corrected", split=Split(train=0.1, validation=0.0, test=0.9, seed=3)))
    with pytest.raises(TrainingError, match="OpenAI refuses fewer than 10 rows to train on; there are"):
        ws.jobs.start("few", model="gpt-x")


def test_a_dataset_without_pairs_cannot_be_preferred(ws, tmp_path):
    rows = [row(f"more:{number}", f"Вопрос {number}?", f"Ответ {number}.") for number in range(20)]
    ws.import_file(write(tmp_path / "more.jsonl", rows), basis="operator: our own")
    ws.datasets.build("plain", Recipe(targets="approved"))
    with pytest.raises(TrainingError, match="has no rows of openai-preference in split train"):
        ws.jobs.start("plain", model="gpt-x", method="dpo")


def test_the_key_is_asked_for_before_anything_is_recorded(shop):
    (shop / ".env").unlink()
    (shop / "workspace.toml").unlink()
    with trainerlib.open(shop) as ws, pytest.raises(TrainingError, match="needs a key: put OPENAI_API_KEY"):
        ws.jobs.start("support", model="gpt-x")


@pytest.mark.parametrize("address", ["localhost:11434/v1", "http://", "http://host:port/v1"])
def test_an_address_that_is_none_is_refused(shop, address):
    (shop / "workspace.toml").write_text(f'[openai]\nbase_url = "{address}"\n')
    with trainerlib.open(shop) as ws, pytest.raises(TrainingError, match="base_url is"):
        ws.jobs.start("support", model="gpt-x")


def test_a_key_that_cannot_be_sent_is_refused_and_not_shown(shop):
    (shop / ".env").write_text("OPENAI_API_KEY=sk-ключ\n", encoding="utf-8")
    with trainerlib.open(shop) as ws, pytest.raises(TrainingError, match="OPENAI_API_KEY holds a character") as refused:
        ws.jobs.start("support", model="gpt-x")
    assert "ключ" not in str(refused.value)


def test_a_server_of_ones_own_needs_no_key(shop):
    (shop / ".env").unlink()
    with trainerlib.open(shop) as ws:
        assert hurried(ws).jobs.start("support", model="gpt-x").follow(timeout=20).state == "succeeded"


def test_the_version_that_was_selected_is_trained_on(ws):
    ws.datasets.build("support", Recipe(targets="corrected", split=Split(train=1.0, validation=0.0, test=0.0)))
    assert ws.jobs.plan("support", model="gpt-x").request.dataset_version == 2
    ws.datasets.get("support", 1).select()
    assert ws.jobs.plan("support", model="gpt-x").request.dataset_version == 1
    assert ws.jobs.plan(ws.datasets.get("support", 2), model="gpt-x").request.rows == {"train": 40}


def test_the_files_are_those_that_dataset_check_passes(ws):
    job = ws.jobs.start("support", model="gpt-x")
    for split, rows in job.state.request.rows.items():
        with (job.directory / f"{split}.jsonl").open("rb") as lines:
            report = check(lines)
        assert (report.rows, report.problems) == (rows, ())


def test_a_job_is_found_by_the_beginning_of_its_id(ws):
    job = ws.jobs.start("support", model="gpt-x")
    assert ws.jobs.get(job.id[:6]).id == job.id
    assert [one.id for one in ws.jobs.list()] == [one.id for one in ws.jobs.pending()] == [job.id]
    with pytest.raises(NotFoundError, match=f"no job 'zzz'; there are: {job.id}"):
        ws.jobs.get("zzz")
    with pytest.raises(NotFoundError, match="no job ''"):
        ws.jobs.get("")


def test_a_job_prints_as_one_line(ws):
    job = ws.jobs.start("support", model="gpt-x")
    assert repr(job) == f"Job {job.id} requested · openai:gpt-x on support v1 by sft"
    job.follow(timeout=20)
    assert repr(job) == (
        f"Job {job.id} succeeded · openai:gpt-x on support v1 by sft · step 3 of 3 -> openai:ft:gpt-x:shop::a1"
    )
    assert "&gt;" in job._repr_html_()
