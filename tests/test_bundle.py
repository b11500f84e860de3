"""Bundles: everything needed to train elsewhere, the same to the byte, and the model that comes back."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import trainerlib
from trainerlib import Recipe, Split
from trainerlib.checks import check
from trainerlib.erasure import erase_person
from trainerlib.errors import TrainingError
from trainerlib.trainers.bundle import BundleTrainer, in_turn

sys.path.insert(0, str(Path(__file__).parent / "training"))

from tiny_model import make_model, make_tokenizer
from workshop_history import tell

METHODS = ("sft", "dpo", "kto")


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    """The workspace of a bicycle workshop, in two languages, with a dataset."""
    with trainerlib.open(tmp_path_factory.mktemp("bundles") / "workshop") as ws:
        tell(ws)
        split = Split(train=0.7, validation=0.3, test=0, seed=7)
        ws.datasets.build("ответы", Recipe(rated_down="reject", split=split))
        yield ws


def begin(ws, method="sft", **more):
    return ws.jobs.start("ответы", model="org/base", trainer="bundle", method=method, **more)


@pytest.fixture(scope="module")
def bundles(workshop):
    """A bundle of each method."""
    found = {}
    for method in METHODS:
        job = begin(workshop, method)
        job.advance()
        found[method] = job.directory / "bundle"
    return found


@pytest.fixture
def ws(tmp_path):
    """A small workspace of its own."""
    with trainerlib.open(tmp_path / "shop") as workspace:
        for number in range(8):
            chat = workspace.conversation(f"telegram:{number}")
            chat.record("user", f"Сколько стоит букет {number}?", author="telegram:7")
            workspace.correct(chat.record("assistant", "Не знаю.").id, f"{number}00 рублей.", by="anna")
        workspace.person("telegram:7").give_consent()
        workspace.datasets.build("ответы", Recipe(targets="corrected", split=Split(train=1.0, validation=0, test=0)))
        yield workspace


def rows(path):
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


# --- what is in it ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_every_file_is_in_the_sums(bundles, method):
    directory = bundles[method]
    listed = [line[66:] for line in (directory / "SHA256SUMS").read_text().splitlines()]
    assert sorted([*listed, "SHA256SUMS"]) == sorted(path.name for path in directory.iterdir())


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="sha256sum is not installed")
def test_sha256sum_takes_the_sums(bundles):
    for directory in bundles.values():
        words = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
        done = subprocess.run(words, cwd=directory, capture_output=True, text=True, check=True)
        assert done.stdout.count(": OK") == len(list(directory.iterdir())) - 1


@pytest.mark.parametrize("method", METHODS)
def test_no_row_is_lost(workshop, bundles, method):
    facts = json.loads((bundles[method] / "job.json").read_text(encoding="utf-8"))
    for split, count in facts["rows"].items():
        assert len(rows(bundles[method] / f"{split}.jsonl")) == count
        assert len(rows(bundles[method].parent / f"{split}.jsonl")) == count
    assert facts["rows"]["validation"] > 0
    assert facts["dataset_version"] == workshop.datasets.get("ответы").version


@pytest.mark.parametrize("method", METHODS)
def test_rows_are_such_as_llama_factory_leaves_none_of_out(bundles, method):
    """Its converter wants a question first, then answers and questions in turn, and a reply's side as a table."""
    for row in rows(bundles[method] / "train.jsonl"):
        roles = [turn["role"] for turn in row["messages"]]
        turns = roles[1:] if roles[0] == "system" else roles
        assert turns == [("user", "assistant")[number % 2] for number in range(len(turns))]
        assert len(turns) % 2 == (1 if method == "dpo" else 0)
        if method == "dpo":
            assert row["chosen"]["role"] == row["rejected"]["role"] == "assistant"
        if method == "kto":
            assert isinstance(row["label"], bool)
    info = json.loads((bundles[method] / "dataset_info.json").read_text(encoding="utf-8"))
    assert (info["train"]["formatting"], info["train"].get("ranking", False)) == ("sharegpt", method == "dpo")
    assert set(info["train"]["columns"].values()) <= set(row)
    assert (bundles[method] / info["validation"]["file_name"]).is_file()


def test_only_the_last_reply_of_a_row_has_a_weight(bundles):
    """Axolotl learns by it, and the file is one of OpenAI's chat format as well."""
    for row in rows(bundles["sft"] / "train.jsonl"):
        *before, last = row["messages"]
        assert last["weight"] == 1
        assert all(turn.get("weight", 0) == 0 for turn in before)
    with (bundles["sft"] / "train.jsonl").open("rb") as lines:
        report = check(lines)
    assert (report.format, report.problems) == ("openai-chat", ())


@given(st.lists(st.tuples(st.sampled_from(["system", "user", "assistant", "tool"]), st.text(max_size=4))))
def test_in_turn_alternates_whatever_was_said_and_keeps_every_question(turns):
    told = in_turn([{"role": role, "content": text} for role, text in turns])
    roles = [turn["role"] for turn in told if turn["role"] != "system"]
    assert roles == [("user", "assistant")[number % 2] for number in range(len(roles))]
    assert roles[-1] == "user"
    asked = "\n\n".join(turn["content"] for turn in told if turn["role"] == "user")
    assert all(text in asked for role, text in turns if role in {"user", "tool"})


@pytest.mark.parametrize("method", METHODS)
def test_the_yaml_files_say_what_the_job_does(bundles, method):
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    llama = yaml.safe_load((bundles[method] / "llama-factory.yaml").read_text(encoding="utf-8"))
    axolotl = yaml.safe_load((bundles[method] / "axolotl.yaml").read_text(encoding="utf-8"))
    assert (llama["stage"], llama["model_name_or_path"], llama["dataset"]) == (method, "org/base", "train")
    assert llama.get("mask_history", False) == (method == "sft")
    assert (axolotl["base_model"], axolotl.get("rl", "sft")) == ("org/base", method)
    [data] = axolotl["datasets"]
    assert (data["path"], axolotl["test_datasets"][0]["path"]) == ("train.jsonl", "validation.jsonl")
    assert data["type"] == {"sft": "chat_template", "dpo": "chat_template.default", "kto": "axolotl_kto.chat"}[method]
    assert isinstance(llama["learning_rate"], float)
    assert llama["learning_rate"] == axolotl["learning_rate"]
    assert llama["cutoff_len"] == axolotl["sequence_len"]


def test_hyperparameters_are_those_of_all_three(ws):
    job = begin(ws, hyperparameters={"lora": False, "learning_rate": 1e-7, "max_length": 77, "epochs": 2}, seed=5)
    job.advance()
    directory = job.directory / "bundle"
    facts = json.loads((directory / "job.json").read_text(encoding="utf-8"))
    assert (facts["seed"], facts["hyperparameters"]["longer_rows"]) == (5, "leave out")
    llama = (directory / "llama-factory.yaml").read_text(encoding="utf-8").splitlines()
    axolotl = (directory / "axolotl.yaml").read_text(encoding="utf-8").splitlines()
    assert {"learning_rate: 1.0e-7", "cutoff_len: 77", 'finetuning_type: "full"', "seed: 5"} <= set(llama)
    assert {"learning_rate: 1.0e-7", "sequence_len: 77", "num_epochs: 2.0", "seed: 5"} <= set(axolotl)
    assert not any("lora" in line for line in llama + axolotl)
    assert not (directory / "llama-factory-merge.yaml").exists()


def test_the_readme_names_every_file_and_the_way_back(bundles):
    for directory in bundles.values():
        text = (directory / "README.md").read_text(encoding="utf-8")
        named = [path.name for path in directory.iterdir() if path.name != "README.md"]
        assert [name for name in named if f"`{name}`" not in text] == []
        assert f"trainerlib model add DIRECTORY --job {directory.parent.name}" in text
        assert "local:ответы-v1" in text
        assert "{" not in text.replace('{"', "").replace("{...}", "")


# --- the job ----------------------------------------------------------------------------------------------------------


def test_a_bundle_is_written_once_and_the_job_waits(ws):
    job = begin(ws)
    assert job.advance() == math.inf
    state = job.follow(timeout=0)
    assert (state.state, state.remote_state) == ("running", "waiting for the model")
    before, position = (job.directory / "bundle" / "SHA256SUMS").read_bytes(), ws.store.position
    assert job.advance() == math.inf
    assert ws.store.position == position
    shutil.rmtree(job.directory)
    job.advance()
    assert (job.directory / "bundle" / "SHA256SUMS").read_bytes() == before
    assert ws.store.position == position


def test_a_half_written_bundle_is_written_again(ws):
    job = begin(ws)
    job.advance()
    (job.directory / "bundle" / "SHA256SUMS").unlink()
    (job.directory / "bundle" / "train.jsonl").write_bytes(b"half a ro")
    job.advance()
    assert len(rows(job.directory / "bundle" / "train.jsonl")) == 8
    assert not list(job.directory.glob(".building*"))


def test_a_cancelled_job_leaves_no_bundle(ws):
    job = begin(ws)
    job.advance()
    assert job.cancel(by="telegram:1").state == "cancelled"
    assert not (job.directory / "bundle").exists()
    assert job.advance() is None


def test_a_bundle_of_somebody_who_was_erased_is_not_written_again(ws):
    job = begin(ws)
    job.advance()
    erase_person(ws.store, ws.path, "telegram:7")
    assert not (job.directory / "bundle").exists()
    with pytest.raises(TrainingError, match="held a person who was erased since"):
        job.advance()
    assert not (job.directory / "bundle").exists()


def test_nobody_holds_what_is_trained_elsewhere(ws):
    job = begin(ws)
    for change in (job.pause, job.resume):
        with pytest.raises(TrainingError, match="is trained elsewhere"):
            change()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"model": "local:base"}, "means nothing where a bundle is trained"),
        ({"hyperparameters": {"n_epochs": 3}}, "there is no hyperparameter 'n_epochs'; did you mean 'epochs'"),
        ({"suffix": "../rose"}, "is no name for a model"),
        ({"method": "kto", "hyperparameters": {"batch_size": 1}}, "batch_size must be 2 or more"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_recorded(ws, more, words):
    before = ws.store.position
    with pytest.raises(TrainingError, match=words):
        ws.jobs.start("ответы", **{"model": "org/base", "trainer": "bundle", **more})
    assert ws.store.position == before


def test_the_trainer_is_found_by_its_name(ws):
    assert isinstance(ws.jobs.trainer("bundle"), BundleTrainer)


# --- with TRL ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def base(bundles, tmp_path_factory):
    """A tiny model, made on the spot."""
    for name in ("torch", "peft", "datasets", "trl"):
        pytest.importorskip(name, reason=f"{name} is not installed: pip install 'trainerlib[local]'")
    directory = tmp_path_factory.mktemp("base")
    tokenizer = make_tokenizer((bundles["kto"] / "train.jsonl").read_text(encoding="utf-8").split("\n"))
    make_model(tokenizer).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("method", "lora"), [("sft", False), ("dpo", True), ("kto", True)])
def test_the_script_trains_with_trl_and_its_model_comes_back(workshop, base, method, lora, tmp_path):
    hyperparameters = {"max_steps": 2, "batch_size": 2, "lora": lora}
    job = begin(workshop, method, hyperparameters=hyperparameters, suffix=f"{method}-{lora}")
    job.advance()
    directory = shutil.copytree(job.directory / "bundle", tmp_path / "elsewhere")
    environment = {
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "HF_HOME": str(tmp_path / "hub"),
        "PATH": "/usr/bin:/bin",
    }
    words = [sys.executable, "train.py", "--model", str(base)]
    done = subprocess.run(
        words, cwd=directory, env=environment, capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "bring it back with: trainerlib model add" in done.stdout
    model = workshop.models.add(directory / "model", job=job.id)
    assert (model.name, job.state.model, model.base) == (f"local:{method}-{lora}", f"local:{method}-{lora}", "org/base")
    assert workshop.models.problems(model.name) == []
