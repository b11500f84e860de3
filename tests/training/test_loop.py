"""The whole loop on a model made on the spot: corrected, fine-tuned, evaluated, promoted, and it answers. No network."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from local_jobs import ROOT, need_local
from tiny import write_base

import trainerlib
from trainerlib import Recipe, Split
from trainerlib.errors import PromotionError

need_local()

# Other people's code warns as it likes.
pytestmark = pytest.mark.filterwarnings("ignore")

TOPICS = (
    ("the shop open", "The shop is open from 9 to 18, every day."),
    ("a bunch of tulips ready", "Tulips are ready an hour after you order."),
    ("my parcel on its way", "Parcels leave at noon and arrive the day after."),
    ("the greenhouse closed", "The greenhouse is closed on Mondays."),
    ("магазин открыт", "Магазин открыт с 9 до 18, без выходных."),
    ("букет тюльпанов готов", "Тюльпаны готовы через час после заказа."),
    ("моя посылка в пути", "Посылки уходят в полдень и приходят на другой день."),
    ("теплица закрыта", "Теплица закрыта по понедельникам."),
)
"""What people ask about, and what they should be told."""

ASKED = (
    ("When is {}?", "Hello! When is {}?", "Tell me when is {}", "Could you say when is {}?", "Is {} today?",
     "I would like to know: is {} now?", "Is {}, please?", "Hi, is {} on Sunday?", "So, when is {}?",
     "Please, is {} tomorrow?"),
    ("Когда {}?", "Здравствуйте! Когда {}?", "Скажите, когда {}", "Не подскажете, когда {}?", "А сегодня {}?",
     "Хочу узнать: сейчас {}?", "{}, да?", "Привет, в воскресенье {}?", "Так когда {}?", "А завтра {}?"),
)  # fmt: skip
"""How they ask."""

WRONG = ("I do not know.", "Не знаю.")

RECIPE = Recipe(targets="corrected", near_duplicates=0.0, split=Split(train=0.75, validation=0.0, test=0.25, seed=7))
TRAINING = {"lora": False, "epochs": 6, "batch_size": 8, "learning_rate": 5e-3, "logging_steps": 10, "save_steps": 40}


def tell(ws):
    """Every topic, asked in every way, each answered wrongly and corrected."""
    for number, (subject, answer) in enumerate(TOPICS):
        russian = number >= len(TOPICS) // 2
        for way, phrase in enumerate(ASKED[russian]):
            chat = ws.conversation(f"telegram:{number}-{way}")
            chat.record("user", phrase.format(subject))
            ws.correct(chat.record("assistant", WRONG[russian]).id, answer, by="anna")


SETTINGS = """\
[chat]
model = "local:base"

[recall]
count = 0  # what the model answers by itself
"""


def test_corrections_become_a_model_that_answers_questions_it_never_saw_better(tmp_path, monkeypatch):
    """Talk, correct, dataset, fine-tune, evaluate, promote, talk: measured by chrF on held-out phrasings."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    shop = tmp_path / "shop"
    shop.mkdir()
    (shop / "workspace.toml").write_text(SETTINGS)
    with trainerlib.open(shop) as ws:
        tell(ws)
        dataset = ws.datasets.build("support", RECIPE)
        assert dataset.splits["train"] > dataset.splits["test"] > 10
        held_out = next(one for one in [*dataset.read("test")] if one.context[-1].content.isascii())
        question = held_out.context[-1].content
        texts = [text for example in dataset.read() for text in (example.context[-1].content, example.chosen)]
        write_base(shop / "models" / "base", texts, width=128)
        assert held_out.chosen not in chat(shop, question)

        job = ws.jobs.start(dataset, model="local:base", trainer="local", hyperparameters=TRAINING, seed=7)
        state = job.follow(timeout=240)
        assert (state.state, state.model) == ("succeeded", "local:support-v1"), state
        with pytest.raises(PromotionError):
            ws.models.promote(state.model)

        evaluation = ws.evaluations.evaluate(
            state.model, against="current", dataset=dataset, corrections=False, parameters={"max_tokens": 60}
        )
        recorded = evaluation.event
        assert (recorded.against, recorded.split, recorded.cases) == ("local:base", "test", dataset.splits["test"])
        assert (recorded.errors, recorded.against_errors) == (0, 0)
        assert recorded.differences["chrf"].low > 30, evaluation

        ws.models.promote(state.model)
        assert ws.models.current == state.model
        assert held_out.chosen in chat(shop, question)
        assert not ws.verify()


def chat(workspace, question):
    """What `trainerlib chat` prints when a question is typed into it."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}
    command = [sys.executable, "-m", "trainerlib", "-w", str(workspace), "chat"]
    done = subprocess.run(
        command, input=f"{question}\n", env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
