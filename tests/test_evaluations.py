"""Models are asked what they have not seen, each question once, and what they answer is kept and recorded."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

import trainerlib
from trainerlib import Recipe
from trainerlib.asking import CONCURRENT, kept
from trainerlib.chat.memory import MemoryModel
from trainerlib.chat.port import Completion
from trainerlib.erasure import erase_person
from trainerlib.errors import DatasetError, EvaluationError, ModelError, ModelUnavailableError, NotFoundError
from trainerlib.evaluation import Answer
from trainerlib.evaluations import Evaluations, read_cases
from trainerlib.events import ModelAdded, ModelEvaluated, TrainingRequested, TrainingSucceeded
from trainerlib.held_out import choose, trained_on
from trainerlib.recipes import Split
from trainerlib.store.answers import AnswerIndex

MONTHS = ["January", "February", "March", "April", "May", "June"]
SPLIT = Split(train=0.5, test=0.5)


class Model:
    """Answers as a function of the question says; remembers what it was shown, and how many it answered at once."""

    def __init__(self, name, answer, *, usage=None):
        self.name = name
        self.prompts = []
        self.closed = 0
        self.most = self._now = 0
        self._answer = answer
        self._usage = usage or {}

    async def stream(self, prompt):
        self.prompts.append(prompt)
        self._now += 1
        self.most = max(self.most, self._now)
        await asyncio.sleep(0)
        self._now -= 1
        text = self._answer(prompt.turns[-1].content)
        yield text
        yield Completion(text, usage=self._usage)

    async def close(self):
        self.closed += 1


def unavailable(words="busy"):
    def fail(_):
        raise ModelUnavailableError(words)

    return fail


def teach(ws, name, question, wrong, right, *, system=""):
    chat = ws.conversation(name)
    if system:
        chat.record("system", system)
    chat.record("user", question)
    reply = chat.record("assistant", wrong)
    return reply.id, ws.correct(reply.id, right, by="anna").id


QUESTIONS = [
    ("When are you open on day {}?", "At 10.", "From 9 to 18 on day {}."),
    ("Сколько стоит букет номер {}?", "Не знаю.", "Букет номер {} стоит тысячу."),
]


@pytest.fixture
def ws(tmp_path):
    """A workspace with twenty corrected conversations, half of them Russian, and a dataset that trains on some."""
    with trainerlib.open(tmp_path / "shop") as workspace:
        for number in range(20):
            question, wrong, right = (text.format(number) for text in QUESTIONS[number % 2])
            teach(workspace, f"telegram:{number}", question, wrong, right, system="Be brief.")
        workspace.datasets.build("support", Recipe(targets="corrected", split=SPLIT))
        yield workspace


def evaluations(ws, *models):
    known = {model.name: model for model in (MemoryModel(), *models)}

    def opened(name):
        if name not in known:
            raise ModelError(f"there is no model {name!r}")
        return known[name]

    return Evaluations(
        ws.store,
        ws.datasets,
        ws.path,
        ws.settings,
        index=AnswerIndex(ws.store),
        current=lambda: ws.models.current,
        opened=opened,
    )


def trained(ws, model, dataset="support", version=1, *, base="tiny", job="j1"):
    """Record that a model came out of a training on a dataset."""
    wanted = TrainingRequested("local", base, dataset, version, "sft", "trl-sft", {"train": ""}, {"train": 1})
    ws.store.append(f"training/{job}", [wanted, TrainingSucceeded(model)])


def conversations(ws, split, version=1):
    return {line.conversation for _, line in ws.datasets.get("support", version).lines(split)}


def echo(name="a"):
    return Model(name, lambda question: f"{name}: {question}")


def right(name="good"):
    def answer(question):
        digits = "".join(filter(str.isdigit, question))
        return QUESTIONS[int(digits) % 2][2].format(digits)

    return Model(name, answer)


# --- what is asked ---------------------------------------------------------------------------------------------------


def test_held_out_replies_are_asked_as_the_dataset_shows_them(ws):
    model = echo()
    found = evaluations(ws, model).evaluate("a", corrections=False, recall=False)
    examples = list(ws.datasets.get("support").read("test"))
    assert [prompt.turns for prompt in model.prompts] == [example.context for example in examples]
    assert [scored.case.expected for scored in found.answers] == [(example.chosen,) for example in examples]
    assert all(scored.case.rejected for scored in found.answers)
    assert model.prompts[0].turns[0].content == "Be brief."
    assert (found.event.dataset, found.event.dataset_version, found.event.split) == ("support", 1, "test")


def test_no_case_comes_from_what_a_model_was_trained_on(ws):
    trained(ws, "local:x")
    seen = conversations(ws, "train")
    teach(ws, "telegram:new", "Do you deliver?", "No.", "Yes, in town.")
    chosen = choose(ws.store, ws.datasets, ["local:x"])
    assert not seen & {case.conversation for case in chosen.cases}
    assert {case.conversation for case in chosen.cases if case.kind == "held-out"} == conversations(ws, "test")
    assert [case.conversation for case in chosen.cases if case.kind == "correction"] == ["telegram:new"]
    assert chosen.left_out == {"trained-on": len(seen)}


def test_a_model_that_was_trained_on_nothing_is_asked_for_every_correction(ws):
    chosen = choose(ws.store, ws.datasets, ["memory"])
    assert {case.conversation for case in chosen.cases} == {f"telegram:{number}" for number in range(20)}
    assert [case.kind for case in chosen.cases].count("held-out") == len(conversations(ws, "test"))


def test_what_either_model_was_trained_on_is_left_out(ws):
    trained(ws, "local:x")
    ws.datasets.build("other", Recipe(targets="corrected", split=Split(train=0.5, test=0.5, seed=5)))
    trained(ws, "local:y", "other", job="j2")
    chosen = choose(ws.store, ws.datasets, ["local:x", "local:y"])
    seen = conversations(ws, "train") | {line.conversation for _, line in ws.datasets.get("other").lines("train")}
    assert chosen.dataset.name == "support"
    assert not seen & {case.conversation for case in chosen.cases}
    assert sum(chosen.left_out.values()) + len(chosen.cases) == 20


def test_what_a_base_model_was_trained_on_counts_as_well(ws):
    trained(ws, "local:x")
    ws.datasets.build("more", Recipe(targets="corrected", split=Split(train=0.3, test=0.7, seed=5)))
    trained(ws, "local:y", "more", base="x", job="j2")
    ws.store.append("model/openai:z", [ModelAdded(base="local:y")])
    assert {one.name for one in trained_on(ws.store, ws.datasets, "openai:z")} == {"support", "more"}
    assert trained_on(ws.store, ws.datasets, "tiny") == []


def test_what_says_the_same_as_a_line_it_was_trained_on_is_left_out(ws):
    trained(ws, "local:x")
    _, line = next(iter(ws.datasets.get("support").lines("train")))
    question, answer = line.turns[0].content, line.examples[0].chosen
    teach(ws, "telegram:again", question.upper(), "Hm.", answer.lower())
    left_out = choose(ws.store, ws.datasets, ["local:x"]).left_out
    assert left_out["said-in-training"] == 1


def test_near_duplicates_of_what_it_was_trained_on_are_left_out_where_the_recipe_had_them(ws):
    recipe = Recipe(targets="corrected", split=Split(train=0.5, test=0.5, seed=3), near_duplicates=0.6)
    words = "please tell me when the small flower shop on the old market square opens on saturday mornings"
    for number in range(6):
        words_of = f"{words} in {MONTHS[number]} exactly this long week"
        teach(ws, f"market:{number}", words_of, "No.", f"At nine, number {number}.")
    ws.datasets.build("near", recipe)
    trained(ws, "local:n", "near")
    train = {line.conversation for _, line in ws.datasets.get("near").lines("train")}
    teach(ws, "market:late", f"{words} in july exactly this long week", "No.", "At nine, at last.")
    chosen = choose(ws.store, ws.datasets, ["local:n"])
    assert any(name.startswith("market:") for name in train)
    assert chosen.left_out["near-training"] == 1
    assert "market:late" not in {case.conversation for case in chosen.cases}


def test_nobody_is_asked_about_who_does_not_consent(ws):
    chat = ws.conversation("telegram:private")
    chat.record("user", "What do you know of me?", author="telegram:7")
    reply = chat.record("assistant", "Nothing.")
    ws.correct(reply.id, "I do not tell.", by="anna")
    chosen = choose(ws.store, ws.datasets, ["memory"])
    assert "telegram:private" not in {case.conversation for case in chosen.cases}
    assert chosen.left_out == {"no-consent": 1}


def test_a_limit_draws_the_same_cases_each_time(ws):
    first, again, other = (choose(ws.store, ws.datasets, ["memory"], limit=5, seed=seed).cases for seed in (1, 1, 2))
    assert first == again != other
    assert len(first) == 5
    assert choose(ws.store, ws.datasets, ["memory"], limit=5).left_out == {"limit": 15}


def test_nothing_to_ask_is_said_with_its_reasons(tmp_path):
    with trainerlib.open(tmp_path / "empty") as ws, pytest.raises(EvaluationError, match="nothing to ask: no dataset"):
        evaluations(ws).evaluate("memory")


def test_the_train_split_and_an_unknown_one_are_refused(ws):
    with pytest.raises(EvaluationError, match="choose test or validation"):
        evaluations(ws).evaluate("memory", split="train")
    with pytest.raises(DatasetError, match="no split 'all'"):
        evaluations(ws).evaluate("memory", split="all")


# --- nothing gives the answer away -----------------------------------------------------------------------------------


def taught(ws, scored):
    """The conversations whose corrections an answer is made of."""
    return {ws.store.at(shown).stream.partition("/")[2] for shown in scored.answer.shown}


def test_memory_is_never_shown_what_it_is_asked_for(ws):
    held_out = conversations(ws, "test")
    found = evaluations(ws).evaluate("memory")
    assert {scored.case.conversation for scored in found.answers} == {f"telegram:{number}" for number in range(20)}
    for scored in found.answers:
        hidden = held_out if scored.case.kind == "held-out" else {scored.case.conversation}
        assert not taught(ws, scored) & hidden
    assert found.event.scores["exact"] == 0.0
    # It is not that it knows nothing: other conversations are about nearly the same.
    assert found.event.scores["known"] > 50.0


def test_what_was_said_last_to_the_same_words_does_not_hide_what_was_said_elsewhere(tmp_path):
    with trainerlib.open(tmp_path / "shop") as ws:
        for number, answer in enumerate(("9 to 18.", "At nine.")):
            teach(ws, f"telegram:{number}", "When are you open?", "At 10.", answer)
        found = evaluations(ws).evaluate("memory")
    assert [scored.answer.text for scored in found.answers] == ["At nine.", "9 to 18."]


def test_with_a_single_conversation_there_is_nothing_memory_could_know(tmp_path):
    with trainerlib.open(tmp_path / "shop") as ws:
        teach(ws, "telegram:1", "When are you open?", "At 10.", "9 to 18.")
        assert AnswerIndex(ws.store).find("When are you open?", limit=1, threshold=0.5)[0].answer == "9 to 18."
        [scored] = evaluations(ws).evaluate("memory").answers
    assert (scored.answer.known, scored.answer.shown) == (False, ())


def test_a_copy_of_the_case_in_another_conversation_gives_nothing_away(ws):
    case = choose(ws.store, ws.datasets, ["memory"], corrections=False).cases[0]
    copy, _ = teach(ws, "telegram:copy", case.question.upper() + "!", "Hm.", case.expected[0].lower())
    found = AnswerIndex(ws.store).find(case.question, limit=1, threshold=0.5)
    assert [one.message for one in found] == [copy]
    answer = evaluations(ws).evaluate("memory", corrections=False).answers[0].answer
    assert answer.case == case.id
    assert copy not in answer.shown


def test_a_near_duplicate_gives_nothing_away_where_the_recipe_looks_for_them(ws):
    words = "yes we deliver to every street of the old town and to both banks of the river until nine in the evening"
    teach(ws, "telegram:a", "Do you deliver here?", "No.", words)
    near, _ = teach(ws, "telegram:b", "Do you deliver here, please?", "No.", f"{words} or so")
    shown = {}
    for name, threshold in (("near", 0.7), ("far", 0.0)):
        ws.datasets.build(name, Recipe(targets="corrected", near_duplicates=threshold))
        found = evaluations(ws).evaluate("memory", dataset=ws.datasets.get(name))
        [shown[name]] = [one.answer.shown for one in found.answers if one.case.conversation == "telegram:a"]
    assert near not in shown["near"]
    assert near in shown["far"]


def test_other_models_are_shown_corrections_in_their_instruction_unless_it_is_switched_off(ws):
    trained(ws, "local:x")
    shown, bare = echo("local:x"), echo("local:x")
    evaluations(ws, shown).evaluate("local:x")
    evaluations(ws, bare).evaluate("local:x", recall=False)
    assert any(
        "Question:" in prompt.turns[0].content or "Вопрос:" in prompt.turns[0].content for prompt in shown.prompts
    )
    assert all(prompt.turns[0].content == "Be brief." and not prompt.recalled for prompt in bare.prompts)


# --- asking ----------------------------------------------------------------------------------------------------------


def test_answers_keep_the_order_of_the_cases_and_few_are_asked_at_once(ws):
    model = right()
    found = evaluations(ws, model).evaluate("good", recall=False)
    assert 1 < model.most <= CONCURRENT
    assert all(scored.scores["exact"] == 100.0 for scored in found.answers)
    assert model.closed == 1


def test_an_error_of_a_model_is_counted_and_not_fatal(ws):
    def sometimes(question):
        if "3" in question:
            raise ModelUnavailableError("the server is busy\nand says so")
        return question

    found = evaluations(ws, Model("a", sometimes)).evaluate("a", recall=False)
    failed = [scored for scored in found.answers if scored.answer.error]
    assert {scored.case.conversation for scored in failed} == {"telegram:3", "telegram:13"}
    assert failed[0].answer.error == "the server is busy and says so"
    assert (found.event.errors, found.event.cases, found.passed) == (2, 20, False)


def test_an_empty_answer_is_an_error(ws):
    answers = iter([" ", *["9"] * 19])
    found = evaluations(ws, Model("a", lambda _: next(answers))).evaluate("a")
    assert [scored.answer.error for scored in found.answers if scored.answer.error] == ["the answer is empty"]


def test_a_model_that_answers_nothing_is_asked_no_more_and_nothing_is_recorded(ws):
    for number in range(20, 60):
        teach(ws, f"telegram:{number}", f"What about {number}?", "No.", f"Yes, {number}.")
    model = Model("a", unavailable("wrong key"))
    position = ws.store.position
    with pytest.raises(EvaluationError, match=r"a: not one of .* cases was answered; the first said: wrong key"):
        evaluations(ws, model).evaluate("a", recall=False)
    assert 20 <= len(model.prompts) < 20 + CONCURRENT
    assert ws.store.position == position


def test_half_a_character_in_an_answer_is_replaced(ws):
    found = evaluations(ws, Model("a", lambda _: "a\ud800b")).evaluate("a", recall=False)
    assert {scored.answer.text for scored in found.answers} == {"a\ufffdb"}


def test_it_works_where_an_event_loop_runs_already(ws):
    async def notebook():
        return evaluations(ws, echo()).evaluate("a")

    assert asyncio.run(notebook()).event.cases == 20


def test_a_model_that_there_is_none_of_is_named(ws):
    with pytest.raises(ModelError, match="there is no model 'b'"):
        evaluations(ws).evaluate("b")


def test_progress_reaches_what_it_promised(ws):
    told = []
    judge = Model("j", lambda _: "[[1]]")
    evaluations(ws, echo("a"), echo("b"), judge).evaluate(
        "a", against="b", judge="j", progress=lambda done, total: told.append((done, total))
    )
    assert told[-1] == (80, 80)
    assert told == sorted(told)


# --- not paid for twice ----------------------------------------------------------------------------------------------


def test_an_evaluation_that_is_run_again_asks_nothing_and_records_nothing(ws):
    model = echo()
    tried = evaluations(ws, model)
    first, position = tried.evaluate("a"), ws.store.position
    again = tried.evaluate("a")
    assert (first.asked, first.reused, first.new) == (20, 0, True)
    assert (again.asked, again.reused, again.new) == (0, 20, False)
    assert (again.event, again.answers) == (first.event, first.answers)
    assert (ws.store.position, len(model.prompts)) == (position, 20)
    assert tried.list() == tried.list("a") == [("a", first.event)]


def test_fresh_asks_again_and_records_what_is_new(ws):
    words = iter(f"answer {number}" for number in range(40))
    tried = evaluations(ws, Model("a", lambda _: next(words)))
    first = tried.evaluate("a")
    again = tried.evaluate("a", fresh=True)
    assert (again.asked, again.new, again.event.evaluation) == (20, True, first.event.evaluation)
    later = tried.evaluate("a")
    assert later.answers == again.answers != first.answers


def test_an_answer_serves_every_evaluation_that_asks_the_same(ws):
    one, two = echo("a"), echo("b")
    tried = evaluations(ws, one, two)
    tried.evaluate("a")
    both = tried.evaluate("a", against="b")
    assert (len(one.prompts), len(two.prompts), both.asked, both.reused) == (20, 20, 20, 20)
    assert len(list(ws.path.glob("models/evaluations/*"))) == 2


def test_other_parameters_another_seed_and_new_files_of_a_model_are_other_evaluations(ws):
    model = echo()
    tried = evaluations(ws, model)
    first = tried.evaluate("a", recall=False)
    assert tried.evaluate("a", recall=False, parameters={"temperature": 0}).asked == 20
    assert tried.evaluate("a", recall=False, seed=1).event.evaluation != first.event.evaluation
    ws.store.append("model/a", [ModelAdded(sha256={"model.safetensors": "9f2c"})])
    assert tried.evaluate("a", recall=False).asked == 20


def test_what_was_not_answered_is_asked_again(ws):
    broken = True

    def answer(question):
        if broken and "3" in question:
            raise ModelUnavailableError("busy")
        return question

    tried = evaluations(ws, Model("a", answer))
    assert tried.evaluate("a").event.errors == 2
    broken = False
    again = tried.evaluate("a")
    assert (again.asked, again.reused, again.event.errors) == (2, 18, 0)


CHILD = """
import asyncio, sys, time
import trainerlib
from trainerlib.chat.port import Completion
from trainerlib.evaluations import Evaluations
from trainerlib.store.answers import AnswerIndex

class Slow:
    name = "slow"
    async def stream(self, prompt):
        print(prompt.turns[-1].content, flush=True)
        await asyncio.sleep(0.02 if len(prompt.turns[-1].content) % 2 else 0.05)
        yield Completion("answer to " + prompt.turns[-1].content)
    async def close(self):
        pass

with trainerlib.open(sys.argv[1]) as ws:
    Evaluations(
        ws.store,
        ws.datasets,
        ws.path,
        ws.settings,
        index=AnswerIndex(ws.store),
        current=lambda: "memory",
        opened=lambda name: Slow(),
    ).evaluate("slow", recall=False)
"""


def test_an_evaluation_that_was_killed_goes_on_where_it_was(ws):
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(ws.path)], stdout=subprocess.PIPE, text=True)
    for _ in range(12):
        assert child.stdout.readline()
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    [file] = ws.path.glob("models/evaluations/*/slow.jsonl")
    answered = {answer.case: answer for answer in kept(file)}
    assert 0 < len(answered) < 20
    model = Model("slow", lambda question: f"answer to {question}")
    found = evaluations(ws, model).evaluate("slow", recall=False)
    assert (found.reused, found.asked, len(model.prompts)) == (len(answered), 20 - len(answered), 20 - len(answered))
    assert all(scored.answer.text == f"answer to {scored.case.question}" for scored in found.answers)
    assert {one.case.id: one.answer for one in found.answers if one.case.id in answered} == answered


def test_a_line_that_was_cut_is_asked_for_again(ws):
    model = echo()
    tried = evaluations(ws, model)
    tried.evaluate("a")
    [file] = ws.path.glob("models/evaluations/*/a.jsonl")
    file.write_bytes(file.read_bytes()[:-10])
    again = tried.evaluate("a")
    assert (again.asked, again.reused) == (1, 19)
    assert len(list(kept(file))) == 20


# --- what is recorded ------------------------------------------------------------------------------------------------


def test_the_event_has_what_the_files_say_and_their_sha256(ws):
    found = evaluations(ws, right(), echo()).evaluate("good", against="a", by="anna")
    [recorded] = [one for one in ws.store.read("model/good") if isinstance(one.event, ModelEvaluated)]
    event = recorded.event
    assert event == found.event
    assert (event.against, event.cases, event.by, event.worse) == ("a", 20, "anna", 0)
    assert event.scores["chrf"] == 100.0
    assert event.differences["chrf"].low > 0
    assert set(event.sha256) == {"cases.jsonl", "results.jsonl", "worse.jsonl", "report.md"}
    for name, digest in event.sha256.items():
        assert sha256((found.directory / name).read_bytes()).hexdigest() == digest
    assert found.directory.name == event.evaluation


def test_what_got_worse_is_listed_worst_first_in_every_form(ws):
    found = evaluations(ws, right(), echo()).evaluate("a", against="good")
    lost = [two.scores["chrf"] - one.scores["chrf"] for one, two in found.worse]
    assert lost == sorted(lost, reverse=True)
    assert len(lost) == found.event.worse == 20
    rows = [json.loads(line) for line in (found.directory / "worse.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["id"] for row in rows] == [one.case.id for one, _ in found.worse]
    assert rows[0]["against_answer"]["text"] == rows[0]["expected"][0]
    report = (found.directory / "report.md").read_text(encoding="utf-8")
    assert "## Held-out replies" in report
    assert "## Past corrections" in report
    assert "worse on" in str(found)
    assert len(str(found).splitlines()) == 2
    assert repr(found).startswith("Evaluation of a against good\n  held-out replies   chrF 100.0 -> ")


def test_costs_are_added_up_where_the_price_is_known(ws):
    (ws.path / "workspace.toml").write_text('[prices]\n"own" = { input = 1.0, output = 2.0 }\n')
    with trainerlib.open(ws.path) as priced:
        model = Model("openai:own", str.upper, usage={"input_tokens": 100, "output_tokens": 50})
        event = evaluations(priced, model).evaluate("openai:own").event
    assert event.cost == pytest.approx(20 * 200 / 1_000_000)
    assert event.scores["output_tokens"] == 50.0


def test_the_current_model_is_named_by_what_it_is(ws):
    found = evaluations(ws, echo()).evaluate("a", against="current")
    assert found.event.against == "memory"
    with pytest.raises(EvaluationError, match="memory against itself"):
        evaluations(ws).evaluate("memory", against="current")


# --- the judge -------------------------------------------------------------------------------------------------------


def prefers(words):
    """A judge that likes answers with certain words."""

    def judge(asked):
        first, second = (
            asked.index(mark) for mark in (("First", "Second") if "First" in asked else ("Первый", "Второй"))
        )
        has = words in asked[first:second], words in asked[second:]
        return "[[=]]" if has[0] == has[1] else "[[1]]" if has[0] else "[[2]]"

    return Model("judge", judge)


def test_a_judge_sees_both_orders_and_its_choice_is_a_metric(ws):
    judge = prefers("a: ")
    found = evaluations(ws, echo("a"), echo("b"), judge).evaluate("a", against="b", judge="judge")
    assert len(judge.prompts) == 40
    assert (found.event.scores["judge"], found.event.against_scores["judge"]) == (100.0, 0.0)
    assert found.event.differences["judge"].mean == 100.0
    assert (found.event.judge, found.unjudged) == ("judge", 0)


def test_a_judge_that_always_likes_the_first_one_says_nothing(ws):
    found = evaluations(ws, echo("a"), echo("b"), Model("j", lambda _: "[[1]]")).evaluate("a", against="b", judge="j")
    assert found.event.differences["judge"].mean == 0.0


def test_verdicts_that_do_not_read_are_counted(ws):
    answers = iter(["[[3]]", "It is good.", "[[5]]", *["[[4]]"] * 17])
    found = evaluations(ws, echo("a"), Model("j", lambda _: next(answers))).evaluate("a", judge="j")
    assert found.unjudged == 1
    assert found.event.scores["grade"] == pytest.approx((3 + 5 + 4 * 17) / 19, abs=1e-6)


# --- erasure ---------------------------------------------------------------------------------------------------------


def erase(ws):
    ws.conversation("telegram:olga").record("user", "I am Olga", author="telegram:7")
    erase_person(ws.store, ws.path, "telegram:7")


def test_what_was_kept_before_somebody_was_erased_is_deleted(ws, tmp_path):
    tried = evaluations(ws, echo())
    first = tried.evaluate("a", recall=False).directory
    shutil.copytree(first, tmp_path / "copy")
    erase(ws)
    assert not first.exists()
    # As a backup of the files brings it back.
    shutil.copytree(tmp_path / "copy", first)
    again = tried.evaluate("a", recall=False, parameters={"temperature": 0})
    assert again.reused == 0
    assert not first.exists()
    assert tried.evaluate("a", recall=False, parameters={"temperature": 0}).reused == again.asked


def test_an_evaluation_during_which_somebody_was_erased_keeps_nothing(ws):
    once = iter([erase])

    def answer(question):
        for act in once:
            act(ws)
        return question

    with pytest.raises(EvaluationError, match="erased meanwhile"):
        evaluations(ws, Model("a", answer)).evaluate("a")
    assert not list(ws.path.glob("models/evaluations/*"))
    assert not evaluations(ws).list()


def test_an_evaluation_whose_files_an_erasure_deleted_says_so(ws):
    def answer(question):
        for directory in ws.path.glob("models/evaluations/*"):
            shutil.rmtree(directory)
            erase(ws)
        return question

    with pytest.raises(EvaluationError, match="erased meanwhile"):
        evaluations(ws, Model("a", answer)).evaluate("a")


# --- cases of one's own ----------------------------------------------------------------------------------------------


def test_cases_of_ones_own_are_asked_as_a_person_would_ask_the_bot(ws):
    (ws.path / "instruction.md").write_text("Be kind.", encoding="utf-8")
    cases = [
        {"input": "When are you open on day 4?", "expected": "From 9 to 18 on day 4."},
        {"input": "Сколько стоит букет номер 7?", "contains": "ТЫСЯЧУ", "name": "цена"},
        {"input": "Hi", "system": "Be brief.", "regex": "^9"},
    ]
    found = evaluations(ws).test(json.dumps(cases))
    assert [scored.failed for scored in found.answers[:2]] == [(), ()]
    assert (found.passed, found.event.cases, found.event.dataset) == (False, 3, "")
    assert found.event.scores["passed"] == pytest.approx(200 / 3, abs=1e-5)
    assert [scored.case.turns[0].content for scored in found.answers] == ["Be kind.", "Be kind.", "Be brief."]
    assert ws.store.at(ws.store.position).stream == "model/memory"


def test_cases_of_ones_own_compare_models_by_how_many_pass(ws):
    cases = '[{"input": "Day 4?", "expected": "9 to 18."}, {"input": "Hi", "contains": "b: "}]'
    found = evaluations(ws, echo(), Model("b", lambda question: f"b: {question}")).test(cases, model="a", against="b")
    assert (found.event.scores["passed"], found.event.against_scores["passed"]) == (0.0, 50.0)
    assert str(found).startswith("cases   passed, % 50.0 -> 0.0  (-50.0, 95 % interval -100.0 to 0.0)   worse on ")


def test_cases_come_from_a_file_bytes_or_json(tmp_path):
    text = '[{"input": "Hi", "expected": "Hello"}]'
    (tmp_path / "cases.json").write_text(text, encoding="utf-8")
    assert read_cases(tmp_path / "cases.json") == read_cases(str(tmp_path / "cases.json")) == read_cases(text.encode())
    assert read_cases(f"\n {text}") == read_cases(text)
    (tmp_path / "bad.jsonl").write_text('{"input": "Hi"}\n', encoding="utf-8")
    with pytest.raises(EvaluationError, match=r"^bad\.jsonl: case 1: nothing tells"):
        read_cases(tmp_path / "bad.jsonl")
    with pytest.raises(NotFoundError, match="No such file"):
        read_cases(tmp_path / "none.json")


def test_the_files_of_answers_hold_one_answer_a_line(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_bytes(b'{"case":"1","prompt":"9f","text":"a"}\nnot json\n{"case":"2","prompt":"9e","text":"b')
    assert list(kept(file)) == [Answer("1", "9f", "a")]
    assert list(kept(Path(tmp_path / "none"))) == []
