"""Models are evaluated, compared and tested from the command line."""

from __future__ import annotations

import json

import pytest

import trainerlib
from trainerlib import Recipe
from trainerlib.recipes import Split

FLOWERS = ["rose", "lily", "tulip", "iris", "aster", "daisy", "peony", "violet"]


@pytest.fixture
def shop(cli, tmp_path):
    """A workspace whose questions each came twice, in other words, and a dataset that holds half of them out."""
    with trainerlib.open(tmp_path / "workspace") as ws:
        for number in range(8):
            for turn, wording in enumerate(("Do you sell the flower {}?", "The flower {}, do you sell it?")):
                chat = ws.conversation(f"telegram:{number}-{turn}")
                chat.record("user", wording.format(FLOWERS[number]))
                ws.correct(chat.record("assistant", "No idea.").id, f"Yes, for {number} euros.", by="anna")
        ws.datasets.build("support", Recipe(targets="corrected", split=Split(train=0.5, test=0.5)))
    return cli


def test_an_evaluation_says_what_was_asked_and_how_the_answers_were(shop):
    said = shop("evaluate", "memory").out
    assert "support v1, split test" in said
    assert "held-out replies   chrF " in said
    assert "past corrections   chrF " in said
    assert "ROUGE-L" in said
    assert "16 questions asked" in said


def test_it_is_recorded_once(shop):
    first = shop("evaluate", "memory", "--json").json
    again = shop("evaluate", "memory", "--json").json
    assert (first["new"], again["new"], again["asked"], again["reused"]) == (True, False, 0, 16)
    assert again["event"] == first["event"]
    assert len(first["cases"]) == 16
    assert "nothing changed: this evaluation was recorded before" in shop("evaluate", "memory").out
    recorded = [line for line in shop("events", "--json").lines if line["type"] == "model.evaluated"]
    assert [line["stream"] for line in recorded] == ["model/memory"]


def test_a_dry_run_asks_and_records_nothing(shop, tmp_path):
    said = shop("evaluate", "memory", "--dry-run", "--limit", 5).out
    assert "Nothing asked (dry run)" in said
    assert "11  left out: more than were asked for  [limit]" in said
    counts = shop("evaluate", "memory", "--dry-run", "--no-corrections", "--json").json
    assert (counts["cases"]["correction"], counts["split"]) == (0, "test")
    assert not (tmp_path / "workspace/models/evaluations").exists()


def test_what_cannot_be_evaluated_is_refused_in_a_line(shop):
    assert "memory against itself" in shop("evaluate", "memory", "--against", "current", status=1).err
    assert "there is no model 'x'" in shop("evaluate", "x", status=1).err
    assert "no dataset 'none'" in shop.refuse("evaluate", "memory", "--dataset", "none")
    assert "has no split 'all'" in shop.refuse("evaluate", "memory", "--dataset", "support", "--split", "all")


CASES = [
    {"input": "Do you sell the flower rose?", "expected": "Yes, for 0 euros.", "name": "rose"},
    {"input": "Продаёте ли вы ёлки?", "contains": "да", "name": "ёлки"},
]


def test_cases_are_reported_line_by_line_and_one_that_fails_fails_the_test(shop, tmp_path):
    (tmp_path / "cases.json").write_text(json.dumps(CASES), encoding="utf-8")
    said = shop("test", "cases.json", status=1).out
    assert "pass   rose" in said
    assert "FAIL   ёлки: does not contain 'да'" in said
    assert "answered   Я этого пока не знаю." in said
    assert "memory: 1 of 2 cases passed" in said


def test_cases_can_be_given_on_the_line_or_by_a_pipe(shop):
    case = json.dumps(CASES[0], ensure_ascii=False)
    assert "memory: 1 of 1 case passed" in shop("test", f"[{case}]", "--model", "memory").out
    assert shop("test", "-", "--json", stdin=case).json["passed"] is True


def test_a_mistake_in_the_cases_is_a_wrong_call(shop):
    assert "case 1: there is no key 'expect'; did you mean 'expected'?" in shop.refuse(
        "test", '[{"input": "Hi", "expect": "Hello"}]'
    )
    assert "line 2: this is not JSON" in shop.refuse("test", "-", stdin='{"input": "a", "expected": "b"}\n{')
    assert "No such file" in shop.refuse("test", "none.json")
