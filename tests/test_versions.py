"""What is said about the versions of a dataset: tags, notes, the choice for the next training, why examples differ."""

from __future__ import annotations

import pytest

import trainerlib
from trainerlib import Recipe
from trainerlib.diffs import Change


@pytest.fixture
def ws(tmp_path):
    with trainerlib.open(tmp_path / "shop") as workspace:
        for number in range(4):
            chat = workspace.conversation(f"rows:{number}")
            chat.record("user", f"Вопрос {number}")
            chat.record("assistant", f"Reply {number}")
        yield workspace


def test_tags_are_put_on_and_taken_off(ws):
    dataset = ws.datasets.build("support")
    dataset.tag("май", "vip")
    dataset.tag("vip", "final", remove=["май", "none"])
    assert dataset.tags == ("final", "vip")
    assert ws.datasets.get("support").tags == ("final", "vip")


def test_a_note_replaces_the_one_before(ws):
    dataset = ws.datasets.build("support")
    dataset.write_note("draft")
    dataset.write_note("Без цен")
    assert ws.datasets.get("support", 1).note == "Без цен"
    dataset.write_note("")
    assert ws.datasets.get("support", 1).note == ""


def test_one_version_is_selected_and_the_next_takes_its_place(ws):
    first = ws.datasets.build("support")
    second = ws.datasets.build("support", Recipe(context_turns=1))
    first.select()
    assert [one.version for one in ws.datasets.selected()] == [1]
    second.select()
    assert [one.version for one in ws.datasets.selected()] == [2]


def test_positive_and_negative_examples_are_selected_side_by_side(ws):
    good = ws.datasets.build("good")
    bad = ws.datasets.build("bad")
    good.select()
    bad.select("negative")
    assert [one.name for one in ws.datasets.selected("positive")] == ["good"]
    assert [one.name for one in ws.datasets.selected("negative")] == ["bad"]


def test_saying_the_same_again_records_nothing(ws):
    dataset = ws.datasets.build("support")
    for _ in range(2):
        dataset.tag("vip")
        dataset.write_note("x")
        dataset.select()
    assert ws.store.version("dataset/support") == 4


def test_what_is_said_of_a_dataset_is_no_news_for_a_build(ws):
    """Tags and notes are about datasets, not in them; versions go on counting."""
    dataset = ws.datasets.build("support")
    dataset.tag("vip")
    assert not ws.datasets.build("support").new
    assert ws.datasets.build("support", Recipe(context_turns=1)).version == 2
    assert ws.verify() == []


def test_a_diff_says_why_an_example_is_in_one_only(ws):
    before = ws.datasets.build("support")
    reply = ws.conversation("rows:1").messages[1]
    ws.give_feedback(reply.id, rating=-1, by="anna")
    after = ws.datasets.build("support")
    assert before.diff(after).removed == (Change("rows:1", reply.id, "excluded: rated-down"),)
    assert after.diff(before).added == (Change("rows:1", reply.id, "excluded: rated-down"),)


def test_a_diff_says_which_part_changed(ws):
    before = ws.datasets.build("support")
    question = ws.conversation("rows:1").messages[0]
    ws.edit(question.id, "Другой вопрос")
    [change] = before.diff(ws.datasets.build("support")).changed
    assert change.why == "context"


def test_a_diff_names_examples_that_went_to_another_split(ws):
    before = ws.datasets.build("support", Recipe(split=trainerlib.Split(train=1.0)))
    after = ws.datasets.build("support", Recipe(split=trainerlib.Split(test=1.0)))
    assert {change.why for change in before.diff(after).changed} == {"split"}


def test_a_recipe_that_redacts_takes_the_workspaces_own_values_along(tmp_path):
    """They are part of the recipe, so the dataset can be built again anywhere."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "workspace.toml").write_text(
        '[redaction]\nnames = ["Анна"]\npatterns = { order = "ORD-[0-9]+" }\n', encoding="utf-8"
    )
    with trainerlib.open(tmp_path / "shop") as ws:
        chat = ws.conversation("rows:1")
        chat.record("user", "Где ORD-4711? Анна обещала")
        chat.record("assistant", "Спрошу у Анны про ORD-4711.")
        dataset = ws.datasets.build("support", Recipe(redact=("email",)))
        assert (dataset.recipe.names, dataset.recipe.patterns) == (("Анна",), {"order": "ORD-[0-9]+"})
        [example] = dataset.read()
        assert example.context[0].content == "Где <order_1>? <name_1> обещала"
        assert example.chosen == "Спрошу у <name_1> про <order_1>."
        assert dataset.redacted == {"name": 2, "order": 2}
        assert ws.datasets.build("plain").recipe == Recipe()


def test_replies_that_people_judge_differently_are_counted(ws):
    replies = [ws.conversation(f"rows:{number}").messages[1].id for number in range(3)]
    ws.correct(replies[0], "А", by="anna")
    ws.correct(replies[0], "Б", by="ben")
    ws.give_feedback(replies[1], rating=1, by="anna")
    ws.give_feedback(replies[1], rating=-1, by="ben")
    ws.correct(replies[2], "А", by="anna")
    ws.correct(replies[2], "А", by="ben")
    assert ws.datasets.build("support").disagreements == 2
