"""Every example of a dataset is accounted for in every export: rows, examples without a side, and repeats."""

from __future__ import annotations

import io
from collections import Counter

import pytest
from accounts import account, manifest_of
from hypothesis import given, settings
from hypothesis import strategies as st

import trainerlib
from trainerlib import Recipe, Split
from trainerlib.formats import FORMATS

EXAMPLES = settings(max_examples=15, deadline=None)


def check_accounts(dataset):
    """Every export of a dataset says what `account` counts, and its manifest has as many examples."""
    manifest = manifest_of(dataset)
    assert manifest["examples"] == sum(manifest["splits"].values()) == len(list(dataset.read()))
    assert manifest["candidates"] == manifest["examples"] + sum(manifest["excluded"].values())
    for name, form in FORMATS.items():
        counted = account(dataset, form.needs)
        for split in dataset.splits:
            stream = io.BytesIO()
            report = dataset.export(stream, format=name, split=split)
            expected = counted[split]
            assert stream.getvalue().count(b"\n") == report.rows == expected["rows"], (name, split)
            assert (report.without, report.repeated) == (expected["without"], expected["repeated"]), (name, split)
            assert report.examples == manifest["splits"][split]
            if form.needs != "either":
                assert report.rows + report.without + report.repeated == manifest["splits"][split], (name, split)
        whole = dataset.export(io.BytesIO(), format=name)
        assert whole.rows == sum(one["rows"] for one in counted.values())
        assert whole.examples == manifest["examples"]


@pytest.mark.parametrize("duplicates", ["exclude", "keep"])
@pytest.mark.parametrize("recipe", ["chosen", "both", "either"])
def test_every_export_accounts_for_every_example_of_the_manifest(workshop, built, recipe, duplicates):
    """Whatever the recipe, in each format and split: rows + without + repeated make the manifest's count."""
    wanted = {**built[recipe].recipe.to_json(), "duplicates": duplicates}
    dataset = workshop.datasets.build(f"{recipe}-{duplicates}", Recipe.from_json(wanted))
    check_accounts(dataset)


def test_the_history_has_every_case(built):
    """Pairs, single sides and repeats in part and whole: no account above is true for want of examples."""
    assert built["either"].excluded["duplicate"]
    assert all(count > 5 for count in built["both"].splits.values())
    chosen, either = (sum(account(built["either"], needs).values(), Counter()) for needs in ("chosen", "either"))
    assert chosen["without"]
    assert chosen["repeated"]
    assert either["partly"] > either["repeated"] > 0
    assert {bool(example.rejected) for example in built["either"].read() if example.chosen} == {True, False}


texts = st.sampled_from(["Да", "Yes 🚲", "Нет\n", '"no"'])
judgements = st.none() | st.booleans() | texts
talks = st.lists(st.tuples(texts, texts, judgements), min_size=1, max_size=3)


@EXAMPLES
@given(history=st.lists(talks, max_size=8), duplicates=st.sampled_from(["exclude", "keep"]))
def test_whatever_is_said_twice_the_accounts_are_right(tmp_path_factory, history, duplicates):
    """Few words, so that contexts and sides repeat in every way; each reply is corrected, rated or left alone."""
    with trainerlib.open(tmp_path_factory.mktemp("log") / "log") as ws:
        for number, talk in enumerate(history):
            chat = ws.conversation(f"telegram:{number}")
            for question, answer, judgement in talk:
                chat.record("user", question)
                reply = chat.record("assistant", answer)
                if isinstance(judgement, bool):
                    ws.give_feedback(reply.id, rating=1 if judgement else -1, by="anna")
                elif judgement is not None:
                    ws.correct(reply.id, judgement, by="anna")
        halves = Split(train=0.5, validation=0.5, seed=1)
        check_accounts(ws.datasets.build("all", Recipe(rated_down="reject", duplicates=duplicates, split=halves)))
