"""Lineage: from a line of an exported file to what was said, and from what was said to every dataset."""

from __future__ import annotations

import io
import json

import pytest

import trainerlib
from trainerlib import Recipe, Split
from trainerlib.errors import DatasetError, NotFoundError
from trainerlib.formats import FORMATS

EVERY = Recipe(split=Split(train=0.5, test=0.5), rated_down="reject")


@pytest.fixture
def ws(tmp_path):
    with trainerlib.open(tmp_path / "shop") as workspace:
        workspace.conversation("rows:0").record("system", "Отвечай кратко.")
        for number in range(12):
            chat = workspace.conversation(f"rows:{number}")
            for turn in range(1 + number % 3):
                question = chat.record("user", f"Вопрос {number}.{turn} 🌷")
                reply = chat.record("assistant", f'Reply {number}.{turn} "да"', in_reply_to=question)
                if number % 2:
                    workspace.correct(reply.id, f"Лучше {number}.{turn}", by="anna", note="коротко")
                    workspace.give_feedback(reply.id, rating=-1, by="ben", text="длинно")
        yield workspace


def exported(dataset, form, split=None):
    stream = io.BytesIO()
    dataset.export(stream, format=form, split=split)
    return stream.getvalue().splitlines()


@pytest.mark.parametrize("form", FORMATS)
def test_every_line_of_every_format_is_traced_to_its_reply(ws, form):
    dataset = ws.datasets.build("support", EVERY)
    for split in dataset.splits:
        for number, line in enumerate(exported(dataset, form, split), 1):
            found = ws.datasets.explain(line)
            assert (found.dataset, found.version, found.split, found.row) == ("support", 1, split, number)
            assert ws.conversation_of(found.message) == found.conversation
            reply = ws.message(found.message)
            assert json.dumps(reply.corrected_text, ensure_ascii=False)[1:-1].encode() in line or form == "trl-kto"


def test_a_line_that_was_written_again_by_another_program_is_found(ws):
    """Escaped, spaced and sorted: it means the same."""
    dataset = ws.datasets.build("support", EVERY)
    line = exported(dataset, "trl-preference")[0]
    again = json.dumps(json.loads(line), indent=1, sort_keys=True).encode()
    assert ws.datasets.explain(again) == ws.datasets.explain(line)


def test_an_explanation_names_context_judgements_and_events(ws):
    dataset = ws.datasets.build("support", Recipe(targets="corrected", split=Split(train=1.0)))
    found = ws.datasets.explain(exported(dataset, "openai-preference")[0])
    chat = ws.conversation("rows:1").state
    first, second = chat.messages[0], chat.messages[1]
    assert (found.conversation, found.messages, found.message) == ("rows:1", (first.id,), second.id)
    assert [(one.what, one.by, one.rating, one.text) for one in found.judgements] == [
        ("correction", "anna", None, "Лучше 1.0"),
        ("feedback", "ben", -1, "длинно"),
    ]
    recorded = [ws.store.at(position).event for position in found.events]
    assert [event.wire_name for event in recorded] == [
        "message.recorded", "message.recorded", "reply.corrected", "feedback.given",
    ]  # fmt: skip
    assert "conversation rows:1" in str(found)


def test_the_instruction_in_force_is_part_of_the_lineage(ws):
    dataset = ws.datasets.build("support", Recipe(split=Split(train=1.0)))
    found = dataset.explain(1)
    assert [ws.store.at(position).event.wire_name for position in found.events] == ["message.recorded"] * 3
    assert found.example.context[0].role == "system"


def test_the_newest_dataset_that_gives_the_line_is_named(ws):
    first = ws.datasets.build("support", EVERY)
    line = exported(first, "openai-chat")[0]
    ws.conversation("rows:99").record("user", "Ещё?")
    ws.datasets.build("support", EVERY)
    assert ws.datasets.explain(line).version == 2
    assert ws.datasets.explain(line, name="support").dataset == "support"


def test_what_came_after_a_dataset_is_no_part_of_its_explanation(ws):
    dataset = ws.datasets.build("support", EVERY)
    before = dataset.explain(1)
    ws.correct(before.message, "Ещё лучше", by="carl")
    assert dataset.explain(1) == before


@pytest.mark.parametrize(
    ("line", "error", "words"),
    [
        (b'{"messages":[{"role":"user","content":"other"}]}', NotFoundError, "edited, or comes from elsewhere"),
        (b'{"text":"x"}', DatasetError, "the keys of no format"),
        (b"[1]", DatasetError, "not a JSON object"),
        (b'{"a":', DatasetError, "not JSON"),
        (b"\xff\xfe", DatasetError, "not JSON"),
    ],
)
def test_a_line_from_elsewhere_is_refused_in_one_sentence(ws, line, error, words):
    ws.datasets.build("support", EVERY)
    with pytest.raises(error, match=words):
        ws.datasets.explain(line)


def test_a_number_that_is_too_high_says_how_many_there_are(ws):
    dataset = ws.datasets.build("support", EVERY)
    with pytest.raises(NotFoundError, match=f"examples 1 to {dataset.examples}, not 999"):
        dataset.explain(999)


def test_a_message_knows_the_datasets_it_went_into(ws):
    ws.datasets.build("support", EVERY)
    ws.datasets.build("taught", Recipe(targets="corrected"))
    question, reply = ws.conversation("rows:2").messages[:2]
    [held] = ws.lineage(question.id)
    assert (held.dataset, held.conversation) == ("support", "rows:2")
    assert reply.id in held.examples
    assert len(held.examples) == 3
    last = ws.conversation("rows:2").messages[-1]
    assert ws.lineage(last.id)[0].examples == (last.id,)
    [one, other] = ws.lineage(ws.conversation("rows:1").messages[1].id)
    assert {one.dataset, other.dataset} == {"support", "taught"}


def test_a_message_outside_the_context_limit_did_not_go_in(ws):
    ws.datasets.build("short", Recipe(context_turns=1, split=Split(train=1.0)))
    first = ws.conversation("rows:2").messages[0]
    assert ws.lineage(first.id)[0].examples == (ws.conversation("rows:2").messages[1].id,)
