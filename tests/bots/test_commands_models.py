"""`/model` and `/test`: who answers is changed once a button, and cases are told line by line."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest
from chat_server import ChatServer, Reply
from commanding import OWNER, PERSON, TRAINER, asked, buttons, collected, commands, owned, run, said, tap, uploaded

import trainerlib
from bots.port import Upload
from trainerlib.events import ModelEvaluated, ModelPromoted, ModelRolledBack

CASES = [
    {"name": "hours", "input": "When are you open?", "contains": "9"},
    {"name": "розы", "input": "Есть розы?", "expected": "Нет."},
]


@pytest.fixture
def ws(tmp_path):
    (tmp_path / "shop").mkdir()
    owned(tmp_path / "shop")
    with trainerlib.open(tmp_path / "shop") as workspace:
        chat = workspace.conversation("telegram:42")
        for question, answer in (("When are you open?", "9 to 18."), ("Есть розы?", "Да, по 150.")):
            reply = chat.record("assistant", "?", in_reply_to=chat.record("user", question, author=PERSON))
            workspace.correct(reply.id, answer, by=TRAINER)
        workspace.models.add("openai:ft:gpt-x:shop", note="trained elsewhere")
        yield workspace


def decided(ws):
    """What was decided about who answers."""
    kinds = (ModelPromoted, ModelRolledBack)
    return [recorded.event.wire_name for recorded in ws.store.read_all() if isinstance(recorded.event, kinds)]


# --- /model ----------------------------------------------------------------------------------------------------------


def test_models_are_listed_with_the_one_that_answers(ws):
    text = said(run(ws, "/model", by=TRAINER))
    assert text.splitlines()[0] == "`memory`: answers"
    assert "`openai:ft:gpt-x:shop`" in text
    assert "/model promote" not in text
    assert "`/model promote openai:ft:gpt-x:shop`" in said(run(ws, "/model"))


def test_a_model_that_is_not_shown_to_be_better_is_refused_with_the_reason(ws):
    says = run(ws, "/model promote openai:ft:gpt-x:shop")
    assert "was not evaluated" in said(says)
    assert set(buttons(says)) == {"Compare them", "Let it answer all the same"}
    assert (ws.models.current, decided(ws)) == ("memory", [])


def test_an_owner_lets_it_answer_all_the_same_once(ws):
    says = run(ws, "/model promote openai:ft:gpt-x:shop")
    force = buttons(says)["Let it answer all the same"]
    assert said(tap(ws, force)).startswith("`openai:ft:gpt-x:shop` answers from now on; before it was `memory`.")
    assert said(tap(ws, force)) == "`openai:ft:gpt-x:shop` answers already."
    [promoted] = [one.event for one in ws.store.read_all() if isinstance(one.event, ModelPromoted)]
    assert (promoted.forced, promoted.by) == (True, OWNER)


def test_a_button_that_was_shown_when_another_model_answered_does_nothing(ws):
    force = buttons(run(ws, "/model promote openai:ft:gpt-x:shop"))["Let it answer all the same"]
    ws.models.add("openai:other")
    ws.models.promote("openai:other", force=True)
    assert said(tap(ws, force)) == "Another model answers since: `openai:other`. Look again with `/model`."
    assert ws.models.current == "openai:other"


def test_going_back_is_confirmed_and_done_once_however_often_it_is_tapped(ws):
    ws.models.add("openai:other")
    ws.models.promote("openai:other", force=True)
    ws.models.promote("openai:ft:gpt-x:shop", force=True)
    back = buttons(run(ws, "/model rollback"))["Go back"]
    assert len(back) <= 64
    assert ws.models.current == "openai:ft:gpt-x:shop"
    assert said(tap(ws, back)) == "`openai:other` answers again, in the place of `openai:ft:gpt-x:shop`."
    assert said(tap(ws, back)) == "`openai:other` answers now."
    assert ws.models.current == "openai:other"
    assert decided(ws).count("model.rolled-back") == 1


def test_where_nothing_was_promoted_there_is_nothing_to_go_back_to(ws):
    assert said(run(ws, "/model rollback")) == "There is nothing to go back to: no model was promoted."


def test_two_models_are_compared_in_the_chat_and_the_better_one_takes_over(ws):
    pytest.importorskip("openai", reason="needs the extra: pip install 'trainerlib[openai]'")
    ws.person(PERSON).give_consent(wording="2026-11")
    right = {"Розы?": "По 150, вместе с доставкой.", "Пионы в мае?": "Да, с десятого числа.", "Адрес?": "Садовая, 5.",
             "Принимаете карты?": "Любые, и наличные тоже.", "Где припарковаться?": "Во дворе, въезд с улицы."}  # fmt: skip
    for question, answer in right.items():
        chat = ws.conversation(f"telegram:{len(question)}")
        reply = chat.record("assistant", "?", in_reply_to=chat.record("user", question, author=PERSON))
        ws.correct(reply.id, answer, by=TRAINER)
    right |= {"When are you open?": "9 to 18.", "Есть розы?": "Да, по 150."}
    with ChatServer() as server:
        server.answer = lambda request: Reply(right[request.question])
        settings = f'[openai]\nbase_url = "{server.url}"\n'
        with (ws.path / "workspace.toml").open("a", encoding="utf-8") as file:
            file.write(settings)
        with trainerlib.open(ws.path) as other:
            says = run(other, "/model evaluate openai:ft:gpt-x:shop")
            assert [say.replaces for say in says] == [False, *[True] * (len(says) - 1)]
            assert said(says).startswith("`openai:ft:gpt-x:shop` against `memory`:\n`past corrections")
            assert "chrF" in said(says)
            choose = buttons(says)["Let it answer"]
            assert said(tap(other, choose)).startswith("`openai:ft:gpt-x:shop` answers from now on")
            assert said(tap(other, choose)) == "`openai:ft:gpt-x:shop` answers already."
            assert decided(other) == ["model.promoted"]


def test_models_that_cannot_be_compared_get_the_reason_in_the_place_of_the_progress(ws):
    says = run(ws, "/model evaluate memory")
    assert [say.replaces for say in says] == [False, True]
    assert said(says).startswith("They cannot be compared: `memory against itself")


@pytest.mark.parametrize("line", ["/model promote openai:ft:gpt-x:shop", "/model rollback", "/model evaluate memory"])
def test_a_trainer_does_not_decide_who_answers(ws, line):
    assert said(run(ws, line, by=TRAINER)) == "Which model answers is for the owner of this bot to decide."
    for action in ("cmd:model:force:1:2", "cmd:model:back:1:2", "cmd:model:promote:1", "cmd:model:evaluate:1"):
        assert said(tap(ws, action, by=TRAINER)) == "Which model answers is for the owner of this bot to decide."
    assert decided(ws) == []


def test_a_trainer_who_may_promote_may_not_force(tmp_path):
    place = tmp_path / "other"
    place.mkdir()
    owned(place, 'trainers_may = ["promote"]')
    with trainerlib.open(place) as ws:
        ws.models.add("openai:ft:gpt-x:shop")
        says = run(ws, "/model promote openai:ft:gpt-x:shop", by=TRAINER)
        assert set(buttons(says)) == {"Compare them"}
        force = buttons(run(ws, "/model promote openai:ft:gpt-x:shop"))["Let it answer all the same"]
        assert "for the owner" in said(tap(ws, force, by=TRAINER))
        assert ws.models.current == "memory"


def test_a_model_that_nobody_knows_gets_the_names_like_it(ws):
    assert "openai:ft:gpt-x:shop" in said(run(ws, "/model promote openai:ft:gpt-x:shob"))
    assert "/model promote NAME" in said(run(ws, "/model promoted"))


# --- /test -----------------------------------------------------------------------------------------------------------


def test_cases_are_told_line_by_line(ws):
    says = run(ws, f"/test {json.dumps(CASES, ensure_ascii=False)}", by=TRAINER)
    assert [say.replaces for say in says] == [False, *[True] * (len(says) - 1)]
    assert said(says).splitlines() == [
        "right: `hours`",
        "wrong: `розы`, not as expected",
        "- asked: `Есть розы?`",
        "- expected: `Нет.`",
        "- answered: `Да, по 150.`",
        "`memory`: 1 of 2 are right.",
    ]


def test_an_attached_file_of_cases_is_asked(ws):
    upload = uploaded(ws, "cases.jsonl", CASES)
    assert said(run(ws, "/test", files=[upload], by=TRAINER)).endswith("`memory`: 1 of 2 are right.")


def test_the_same_cases_again_record_nothing_and_ask_nothing(ws):
    line = f"/test {json.dumps(CASES)}"
    first = said(run(ws, line))
    before = ws.store.position
    assert said(run(ws, line)) == first
    assert ws.store.position == before
    assert len([one for one in ws.store.read_all() if isinstance(one.event, ModelEvaluated)]) == 1


@pytest.mark.parametrize("text", ["", "trainer.db", "workspace.toml", "/etc/hosts", "cases.jsonl", "розы"])
def test_words_that_are_no_cases_are_never_taken_for_a_file(ws, text):
    (ws.path / "cases.jsonl").write_text(json.dumps(CASES[0]), encoding="utf-8")
    assert said(run(ws, f"/test {text}")).startswith("Say what to ask and what would be right")


@pytest.mark.parametrize("text", ["[", "[]", '[{"input": 1}]', '{"input": "Hi"}', '[{"imput": "Hi", "contains": "x"}]'])
def test_cases_that_do_not_read_get_the_reason_and_an_example(ws, text):
    says = run(ws, f"/test {text}")
    assert said(says).startswith("The test cannot be run:")
    assert 'For example: `/test [{"input"' in said(says)


def test_a_file_that_was_too_large_or_is_gone_gets_a_sentence(ws):
    assert "20 MB are the most" in said(run(ws, "/test", files=[Upload("document", None, "large.jsonl")]))
    gone = Upload("document", ws.path / "files" / "gone.jsonl", "gone.jsonl")
    assert str(ws.path) not in said(run(ws, "/test", files=[gone]))


@pytest.mark.parametrize("check", ["contains", "not_contains", "regex", "expected"])
def test_what_an_answer_lacks_is_said_in_the_language_of_whoever_asked(ws, check):
    words = {"contains": "луна", "not_contains": "150", "regex": "^луна$", "expected": "луна"}
    line = "/test " + json.dumps([{"input": "Есть розы?", check: words[check]}])
    assert said(run(ws, line, language="ru")) != said(run(ws, line))


def test_a_bot_that_stops_does_not_wait_for_the_end_of_a_test(ws):
    going = threading.Event()

    async def stopped():
        mine = commands(ws)

        def work(tell):
            going.set()
            while True:
                tell(1, 2)

        held = mine._bot.work(work)
        await asyncio.to_thread(going.wait, 20)
        await asyncio.wait_for(mine.close(), 20)
        with pytest.raises(asyncio.CancelledError):
            await held.result()

    asyncio.run(stopped())


def test_two_tests_at_once_both_end_right(ws):
    async def both():
        mine = commands(ws)
        text = json.dumps(CASES)
        tests = [collected(mine.run("test", asked(text, key=str(number)))) for number in range(2)]
        done = await asyncio.gather(*tests)
        await mine.close()
        return done

    one, two = asyncio.run(both())
    assert said(one) == said(two)
