"""Models: which there are, which one answers, how another one takes its place, and what a candidate is worth."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import threading
from operator import attrgetter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import trainerlib
from trainerlib.chat.port import Completion, Prompt, complete
from trainerlib.errors import (
    InvalidEventError,
    ModelError,
    NotFoundError,
    PromotionError,
    SupersededError,
    TrainingError,
)
from trainerlib.events import (
    Corrected,
    CorrectionWithdrawn,
    FeedbackGiven,
    FeedbackWithdrawn,
    Interval,
    MessageRecorded,
    ModelAdded,
    ModelEvaluated,
    ModelPromoted,
    ModelRolledBack,
    RecordedEvent,
    ReplyGenerated,
    TrainingCancelled,
    TrainingRequested,
)
from trainerlib.examples import Turn
from trainerlib.models import Models
from trainerlib.promotion import STREAM, Known, decide, fold, point, rate

A, B, C = "openai:роза", "openai:тюльпан", "openai:lily"


@pytest.fixture
def ws(tmp_path):
    with trainerlib.open(tmp_path / "shop") as workspace:
        for name in (A, B, C):
            workspace.models.add(name)
        yield workspace


def evaluation(against="memory", *, low=5.0, high=15.0, metric="chrf", **more):
    """What an evaluation recorded; the interval decides."""
    mean = (low + high) / 2
    facts = {
        "evaluation": "e1",
        "dataset": "support",
        "cases": 97,
        "scores": {metric: 50.0 + mean},
        "against_scores": {metric: 50.0},
        "differences": {metric: Interval(mean, low, high)},
    }
    return ModelEvaluated(**{**facts, "against": against, **more})


def evaluated(ws, model, against="memory", **more):
    ws.store.append(f"model/{model}", [evaluation(against, **more)])


def write_model(directory, *, weights=b"weights", **files):
    """A directory that looks like a model; nothing here could answer with it."""
    contents = {"config.json": b"{}", "tokenizer.json": b"{}", "model.safetensors": weights, **files}
    for name, content in contents.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)
    return directory


# --- which there are, and which one answers ---------------------------------------------------------------------------


def test_the_model_of_the_settings_answers_until_one_is_promoted(tmp_path, monkeypatch):
    with trainerlib.open(tmp_path / "plain") as ws:
        assert (ws.models.current, ws.models.answering("telegram:42")) == ("memory", "memory")
        assert [(model.name, model.current, model.added_at) for model in ws.models.list()] == [("memory", True, None)]
    monkeypatch.setenv("TRAINERLIB_CHAT_MODEL", "openai:gpt-x")
    with trainerlib.open(tmp_path / "set") as ws:
        assert [model.name for model in ws.models.list()] == ["memory", "openai:gpt-x"]
        assert ws.models.current == "openai:gpt-x"
        ws.models.promote("memory", force=True)
        assert ws.models.current == "memory"
        assert ws.models.rollback().model.name == "openai:gpt-x"


def test_a_model_tells_where_it_comes_from(ws):
    ws.models.add(A, base="openai:gpt-x", note="обучена на отзывах", by="telegram:1")
    model = ws.models.get(A)
    assert (model.base, model.note, model.by, model.directory, model.present) == (
        "openai:gpt-x", "обучена на отзывах", "telegram:1", None, True,
    )  # fmt: skip
    assert str(model) == f"{A} · from openai:gpt-x"
    evaluated(ws, A)
    ws.models.promote(A)
    model = ws.models.get("current")
    assert (model.name, model.current, model.evaluation.evaluation) == (A, True, "e1")
    assert model.added_at <= model.evaluated_at <= model.promoted_at


def test_a_name_that_nobody_knows_is_refused_with_names_like_it(ws):
    for wrong in (A[:-1], A.removeprefix("openai:")):
        with pytest.raises(NotFoundError, match=f"did you mean {A}"):
            ws.models.promote(wrong)
    with pytest.raises(NotFoundError, match="there is memory, openai:роза"):
        ws.models.get("xyz")


def test_a_model_that_was_only_evaluated_is_known(ws):
    evaluated(ws, "openai:gpt-y")
    ws.models.add("openai:gpt-y", note="added later")
    assert ws.models.promote("openai:gpt-y").model.name == "openai:gpt-y"


# --- taking over ------------------------------------------------------------------------------------------------------


def test_a_model_takes_over_when_it_is_shown_to_be_better(ws):
    evaluated(ws, A, worse=6)
    done = ws.models.promote(A, note="chrF", by="telegram:1")
    assert (done.before, done.new, done.forced, done.decision.worse) == ("memory", True, False, ("worse on 6 of 97",))
    [recorded] = ws.store.read(STREAM)
    assert (recorded.event.model, recorded.event.evaluation, recorded.event.by) == (A, "e1", "telegram:1")
    assert ws.models.answering("telegram:42") == A


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (
            evaluation(low=-9.0, high=-1.0, worse=40),
            "is worse than memory: chrF 50.0 -> 45.0 .-5.0, 95 % interval -9.0",
        ),
        (evaluation(low=-9.0, high=3.0), "is not shown to be better than memory: chrF 50.0 -> 47.0"),
        (evaluation(low=0.0, high=3.0), "is not shown to be better"),
        (evaluation(errors=3), r"does not always answer: no answer to 3 of 97 \(before 0\)"),
        (evaluation(metric="length"), "measured nothing by which it could be compared"),
        (evaluation(""), "evaluated only by itself, and memory answers now"),
        (evaluation(B), f"evaluated only against {B}, and memory answers now"),
    ],
)
def test_a_model_that_is_not_shown_to_be_better_is_refused_with_figures(ws, event, words):
    ws.store.append(f"model/{A}", [event])
    before = ws.store.position
    with pytest.raises(PromotionError, match=words):
        ws.models.promote(A)
    assert (ws.store.position, ws.models.current) == (before, "memory")


def test_what_got_worse_is_said_by_every_metric_that_shows_it(ws):
    figures = {"chrf": Interval(-5.0, -9.0, -1.0), "latency": Interval(2.0, 1.5, 2.5), "exact": Interval(0, -1, 1)}
    scores = {"chrf": 45.0, "latency": 3.0, "exact": 10.0}
    ws.store.append(f"model/{A}", [evaluation(scores=scores, differences=figures, worse=40)])
    with pytest.raises(PromotionError) as refused:
        ws.models.promote(A)
    assert "seconds - -> 3.00 (+2.00, 95 % interval +1.50 to +2.50)" in str(refused.value)
    assert "worse on 40 of 97" in str(refused.value)
    assert "exact" not in str(refused.value)


def test_an_evaluation_against_a_model_that_answers_no_more_is_too_old(ws):
    evaluated(ws, A)
    evaluated(ws, B)
    ws.models.promote(A)
    with pytest.raises(PromotionError, match=f"{B} was evaluated only against memory, and {A} answers now"):
        ws.models.promote(B)
    evaluated(ws, B, A)
    assert ws.models.promote(B).before == A


def test_an_evaluation_does_not_count_for_files_that_came_after_it(ws):
    directory = write_model(ws.path / "models" / "v1")
    ws.models.add(directory)
    evaluated(ws, "local:v1")
    (directory / "model.safetensors").write_bytes(b"other weights")
    ws.models.add(directory)
    with pytest.raises(PromotionError, match="against memory before local:v1 got other files; again: trainerlib evalu"):
        ws.models.promote("local:v1")
    evaluated(ws, "local:v1")
    ws.models.add(directory, note="a note changes no file")
    assert ws.models.promote("local:v1").model.name == "local:v1"


def test_an_evaluation_on_held_out_replies_goes_before_one_on_cases_of_ones_own():
    own = evaluation(low=1.0, high=2.0, metric="passed", evaluation="own")
    held_out = evaluation(low=-5.0, high=-1.0, evaluation="held-out")
    known = Known(A, evaluations=((5, held_out), (6, own)))
    assert decide(known, Known("memory")).evaluation.evaluation == "held-out"
    assert decide(Known(A, evaluations=((6, own),)), Known("memory")).refusal == ""


def test_a_model_is_shown_with_its_evaluation_on_held_out_replies(ws):
    """Three cases of somebody's own say less, also when they were tried later."""
    evaluated(ws, A, dataset="", scores={"passed": 100.0, "chrf": 100.0})
    assert ws.models.get(A).evaluation.scores == {"passed": 100.0, "chrf": 100.0}
    evaluated(ws, A, evaluation="e2", scores={"chrf": 58.9})
    evaluated(ws, A, dataset="", evaluation="e3", scores={"passed": 100.0, "chrf": 100.0})
    assert ws.models.get(A).evaluation.scores == {"chrf": 58.9}


def test_past_corrections_are_no_cases_of_ones_own_where_no_dataset_was_built(ws):
    evaluated(ws, A, dataset="", scores={"chrf": 58.9})
    evaluated(ws, A, dataset="", evaluation="e2", scores={"passed": 100.0, "chrf": 100.0})
    assert ws.models.get(A).evaluation.scores == {"chrf": 58.9}
    evaluated(ws, A, dataset="", evaluation="e3", scores={"chrf": 60.0})
    assert ws.models.get(A).evaluation.scores == {"chrf": 60.0}


def test_the_latest_evaluation_counts(ws):
    evaluated(ws, A)
    evaluated(ws, A, low=-9.0, high=-5.0)
    with pytest.raises(PromotionError, match="is worse"):
        ws.models.promote(A)


def test_a_forced_promotion_says_so_in_the_log(ws):
    done = ws.models.promote(A, force=True, note="проба")
    assert (done.forced, done.decision.refusal[: len(A)]) == (True, A)
    [recorded] = ws.store.read(STREAM)
    assert (recorded.event.forced, recorded.event.evaluation, recorded.event.note) == (True, "", "проба")


def test_a_model_takes_over_from_the_one_that_was_meant_alone(ws):
    """Two people who look at the same list decide at the same moment."""
    ws.models.promote(A, force=True, instead_of="memory")
    position = ws.store.position
    with pytest.raises(SupersededError, match=f"{A} answers by now, not memory: look again"):
        ws.models.promote(B, force=True, instead_of="memory")
    with pytest.raises(SupersededError, match=f"{A} answers by now, not memory: look again"):
        ws.models.rollback(instead_of="memory")
    assert (ws.models.current, ws.store.position) == (A, position)
    assert ws.models.rollback(instead_of=A).model.name == "memory"


def test_force_is_not_recorded_where_it_was_not_needed(ws):
    evaluated(ws, A)
    assert ws.models.promote(A, force=True).forced is False


def test_promoting_what_answers_already_records_nothing(ws):
    assert ws.models.promote("memory").new is False
    ws.models.promote(A, force=True)
    before = ws.store.position
    assert ws.models.promote(A).new is False
    assert ws.store.position == before


def test_rolling_back_goes_through_history_to_the_settings_and_then_stops(ws):
    for name in (A, B, C):
        ws.models.promote(name, force=True)
    told = [(done.before, done.model.name) for done in (ws.models.rollback(note="хуже") for _ in range(3))]
    assert told == [(C, B), (B, A), (A, "memory")]
    with pytest.raises(PromotionError, match="nothing to go back to: no model was promoted, and memory answers"):
        ws.models.rollback()
    ws.models.promote(B, force=True)
    assert ws.models.rollback().model.name == "memory"


@given(st.lists(st.sampled_from([A, B, C, ""]), max_size=20), st.integers(0, 20))
def test_whatever_was_promoted_and_taken_back_the_stack_says_who_answers(steps, cut):
    """An empty step takes back the one before; folding the rest into a folded beginning gives the same."""
    stack, events = [], []
    for step in steps:
        if step:
            stack.append(step)
        elif stack:
            stack.pop()
        else:
            continue
        event = ModelPromoted(step) if step else ModelRolledBack(stack[-1] if stack else "memory")
        events.append(RecordedEvent(9 + len(events), STREAM, 1 + len(events), event, 0))
    standing = fold(events)
    assert standing.current("memory") == (stack[-1] if stack else "memory")
    assert fold(events[cut:], into=fold(events[:cut])) == standing


# --- several processes ------------------------------------------------------------------------------------------------

PROMOTE = """
import sys
import trainerlib

with trainerlib.open(sys.argv[1]) as ws:
    print(ws.models.promote(sys.argv[2], force=True).before)
"""


def test_what_another_process_promotes_answers_here_without_a_restart(ws):
    assert ws.models.answering("telegram:42") == "memory"
    done = subprocess.run(
        [sys.executable, "-c", PROMOTE, ws.path, B], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "memory\n"
    assert ws.models.answering("telegram:42") == B
    assert ws.replies.answering("telegram:42") == B


def test_of_two_who_promote_at_once_one_is_asked_to_look_again(ws):
    """Both models were evaluated against memory; whoever comes second would replace the other."""
    outcomes = []
    barrier = threading.Barrier(2)

    def promote(name):
        with trainerlib.open(ws.path) as mine:
            barrier.wait()
            try:
                outcomes.append(mine.models.promote(name).model.name)
            except PromotionError as error:
                outcomes.append(error)

    for name in (A, B):
        evaluated(ws, name)
    threads = [threading.Thread(target=promote, args=(name,)) for name in (A, B)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [winner] = [one for one in outcomes if isinstance(one, str)]
    [refusal] = [one for one in outcomes if isinstance(one, PromotionError)]
    assert f"and {winner} answers now" in str(refusal)
    assert ws.models.current == winner


class Interrupted(Models):
    """Models of a process in which another one is quicker."""

    meanwhile = None

    def _refuse_changed(self, name, error):
        if self.meanwhile is not None:
            act, self.meanwhile = self.meanwhile, None
            act()
        super()._refuse_changed(name, error)


def test_two_who_roll_back_at_once_do_not_go_back_twice(ws):
    for name in (A, B):
        ws.models.promote(name, force=True)
    slow = Interrupted(ws.store, ws.path, ws.settings, jobs=ws.jobs, opened=ws.models.open)
    slow.meanwhile = ws.models.rollback
    with pytest.raises(PromotionError, match=f"just now, and {A} answers: look again"):
        slow.rollback()
    assert ws.models.current == A


# --- a candidate ------------------------------------------------------------------------------------------------------


@given(st.text(max_size=20), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_adds_conversations_and_takes_none_away(conversation, one, other):
    small, large = sorted((one, other))
    assert 0 <= point(A, conversation) < 1
    assert (point(A, conversation) < small) <= (point(A, conversation) < large)


def test_a_candidate_is_given_its_share_and_always_the_same_conversations(ws):
    names = [f"telegram:{number}" for number in range(2_000)]
    ws.models.offer(A, 0.2)
    fifth = {name for name in names if ws.models.answering(name) == A}
    assert 0.15 < len(fifth) / len(names) < 0.25
    assert {name for name in names if ws.models.answering(name) == A} == fifth
    ws.models.offer(A, 0.5)
    half = {name for name in names if ws.models.answering(name) == A}
    assert fifth < half
    ws.models.offer(A, 1)
    assert {ws.models.answering(name) for name in names} == {A}
    ws.models.offer(A, 0)
    assert {ws.models.answering(name) for name in names} == {"memory"}


def test_the_same_offer_again_records_nothing(ws):
    ws.models.offer(A, 0.5)
    before = ws.store.position
    assert ws.models.offer(A, 0.5).share == 0.5
    assert ws.store.position == before
    ws.models.offer(A, 0)
    before = ws.store.position
    ws.models.offer(A, 0)
    ws.models.offer(B, 0)
    assert (ws.store.position, ws.models.candidate) == (before, None)


def test_an_offer_that_cannot_be_is_refused(ws):
    with pytest.raises(InvalidEventError, match="from 0 to 1, not 25"):
        ws.models.offer(A, 25)
    with pytest.raises(InvalidEventError, match="not nan"):
        ws.models.offer(A, float("nan"))
    with pytest.raises(PromotionError, match="memory answers already"):
        ws.models.offer("memory", 0.5)
    ws.models.offer(A, 0.5)
    with pytest.raises(PromotionError, match=f"{A} is the candidate already"):
        ws.models.offer(B, 0.5)
    with pytest.raises(NotFoundError):
        ws.models.offer("openai:nobody", 0.5)


def test_a_candidate_that_is_promoted_is_none_any_more(ws):
    ws.models.offer(A, 0.1)
    ws.models.promote(A, force=True)
    assert ws.models.candidate is None
    assert ws.models.rollback().model.name == "memory"
    assert ws.models.answering("telegram:42") == "memory"


def test_a_candidate_stays_one_when_another_model_is_promoted(ws):
    ws.models.offer(A, 0.5)
    ws.models.promote(B, force=True)
    answering = {ws.models.answering(f"telegram:{number}") for number in range(50)}
    assert answering == {A, B}


def answered(ws, conversation, model, *events):
    """A question, a model's reply to it, and what people said about that reply, number 2."""
    reply = ReplyGenerated("С 9 до 18.", 1, model)
    ws.store.append(f"conversation/{conversation}", [MessageRecorded("user", "Вы открыты?"), reply, *events])


def test_what_people_said_about_both_models_is_compared(ws):
    answered(ws, "before", A, FeedbackGiven(2, "anna", -1))
    ws.models.offer(A, 0.5)
    answered(ws, "one", A, FeedbackGiven(2, "anna", 1), FeedbackGiven(2, "иван", -1))
    answered(ws, "two", A, Corrected(2, "С 10.", by="anna"), CorrectionWithdrawn(3))
    answered(ws, "three", "memory", FeedbackGiven(2, "anna", -1), Corrected(2, "С 10.", by="anna"))
    answered(ws, "four", "memory", FeedbackGiven(2, "anna", -1), FeedbackGiven(2, "anna", 2))
    answered(ws, "five", "memory", FeedbackGiven(2, "anna", -1), FeedbackWithdrawn(3))
    answered(ws, "six", B, FeedbackGiven(2, "anna", 1))
    ws.models.offer(A, 0.9)
    answered(ws, "seven", A)
    found = ws.models.comparison()
    candidate, current = found.candidate, found.current
    assert (found.share, candidate.model, current.model) == (0.9, A, "memory")
    assert (candidate.conversations, candidate.replies, current.conversations, current.replies) == (3, 3, 3, 3)
    assert [side.count for side in (candidate.up, candidate.down, candidate.corrected)] == [1, 1, 0]
    assert [side.count for side in (current.up, current.down, current.corrected)] == [1, 1, 1]
    assert candidate.up == rate(1, 3)


def test_without_a_candidate_there_is_nothing_to_compare(ws):
    with pytest.raises(PromotionError, match="no candidate is on offer"):
        ws.models.comparison()


@pytest.mark.parametrize(
    ("count", "of", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_intervals_of_shares_are_wilsons(count, of, low, high):
    """The examples of Newcombe, "Two-sided confidence intervals for the single proportion" (1998), table I, method 3."""
    found = rate(count, of)
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_an_interval_holds_the_share_that_was_seen(count, more):
    found = rate(count, count + more)
    assert 0 <= found.low <= found.share <= found.high <= 1


# --- adding -----------------------------------------------------------------------------------------------------------


def test_a_directory_is_copied_with_the_digest_of_each_file(ws, tmp_path):
    source = write_model(tmp_path / "обученная", **{"adapter/adapter_config.json": b"{}"})
    (source / "checkpoint-40").mkdir()
    (source / "checkpoint-40" / "optimizer.pt").write_bytes(b"large")
    (source / ".cache").mkdir()
    (source / ".cache" / "lock").write_bytes(b"")
    model = ws.models.add(source, note="из облака")
    assert (model.name, model.directory, model.present) == ("local:обученная", ws.path / "models" / "обученная", True)
    [added] = [recorded.event for recorded in ws.store.read("model/local:обученная")]
    assert sorted(added.sha256) == ["adapter/adapter_config.json", "config.json", "model.safetensors", "tokenizer.json"]
    assert sorted(path.name for path in model.directory.iterdir()) == [
        "adapter", "config.json", "model.safetensors", "tokenizer.json",
    ]  # fmt: skip
    assert ws.models.problems(model.name) == []


def test_links_are_copied_as_the_files_they_lead_to(ws, tmp_path):
    """The Hugging Face cache is made of links."""
    write_model(tmp_path / "blobs")
    (tmp_path / "snapshot").mkdir()
    for path in (tmp_path / "blobs").iterdir():
        (tmp_path / "snapshot" / path.name).symlink_to(path)
    model = ws.models.add(tmp_path / "snapshot", name="local:rose")
    assert (model.name, (model.directory / "config.json").is_symlink()) == ("local:rose", False)


def test_the_same_directory_again_records_nothing_and_another_one_takes_no_name(ws, tmp_path):
    source = write_model(tmp_path / "rose")
    ws.models.add(source)
    before = ws.store.position
    assert ws.models.add(source).name == "local:rose"
    assert ws.models.add(ws.path / "models" / "rose").name == "local:rose"
    assert ws.models.add("local:models/rose").name == "local:rose"
    assert ws.store.position == before
    other = write_model(tmp_path / "other", weights=b"others")
    with pytest.raises(ModelError, match="models/rose is another model; give this one another name"):
        ws.models.add(other, name="rose")
    assert ws.store.position == before


def test_a_copy_that_was_killed_before_it_was_recorded_is_used(ws, tmp_path):
    source = write_model(tmp_path / "rose")
    write_model(ws.path / "models" / "rose")
    assert ws.models.add(source).name == "local:rose"
    assert ws.store.version("model/local:rose") == 1


def test_a_directory_of_the_workspace_is_taken_where_it_is(ws):
    directory = write_model(ws.path / "models" / "rose")
    assert ws.models.add(directory).directory == directory
    copy = ws.models.add(directory, name="tulip")
    assert (copy.name, copy.directory) == ("local:tulip", ws.path / "models" / "tulip")


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Directories of which one is a model."""
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "whole")
    (tmp_path / "empty").mkdir()
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_bytes(b"{}")


@pytest.mark.usefixtures("places")
@pytest.mark.parametrize(
    ("model", "name", "words"),
    [
        ("memory", "", "always there"),
        ("openai:", "", "is called openai:NAME"),
        ("openai:gpt-x", "rose", "is called openai:NAME"),
        ("./nowhere", "", "no such directory"),
        ("local:nowhere", "", "there is no directory models/nowhere"),
        ("whole", "../rose", "cannot be the name of a model"),
        ("whole", "jobs", "cannot be the name of a model"),
        ("empty", "", r"no config\.json"),
        ("adapter", "", "holds an adapter alone; merge it into its model first"),
    ],
)
def test_what_is_no_model_is_not_added(ws, model, name, words):
    before = ws.store.position
    with pytest.raises(ModelError, match=words):
        ws.models.add(model, name=name)
    assert ws.store.position == before


def request(trainer="bundle", **more):
    facts = {"dataset": "отзывы", "dataset_version": 3, "method": "sft", "format": "trl-sft", "sha256": {}, "rows": {}}
    return TrainingRequested(trainer, "org/base", **{**facts, **more})


def test_a_bundle_has_its_model_once_that_is_brought_back(ws, tmp_path):
    ws.store.append("training/abc123", [request()])
    model = ws.models.add(write_model(tmp_path / "out"), job="abc", by="telegram:1")
    assert (model.name, model.job, model.base, model.by) == ("local:отзывы-v3", "abc123", "org/base", "telegram:1")
    job = ws.jobs.get("abc").state
    assert (job.state, job.model) == ("succeeded", "local:отзывы-v3")
    succeeded = list(ws.store.read("training/abc123"))[-1]
    [added] = ws.store.read("model/local:отзывы-v3")
    assert added.position == succeeded.position + 1
    assert added.recorded_us == succeeded.recorded_us
    before = ws.store.position
    assert ws.models.add(tmp_path / "out", job="abc") == model
    assert ws.store.position == before


def test_a_second_model_of_a_job_gets_a_number_and_keeps_its_origin(ws, tmp_path):
    ws.store.append("training/abc", [request(suffix="роза")])
    ws.models.add(write_model(tmp_path / "one"), job="abc")
    second = ws.models.add(write_model(tmp_path / "two", weights=b"others"), job="abc")
    assert (second.name, second.job, ws.jobs.get("abc").state.model) == ("local:роза-2", "abc", "local:роза")


def test_a_bundle_may_also_come_back_as_a_model_of_a_server(ws):
    ws.store.append("training/abc", [request()])
    ws.models.add("openai:my-tuned", job="abc")
    assert ws.jobs.get("abc").state.model == "openai:my-tuned"


def test_a_model_of_a_job_that_ended_otherwise_keeps_its_origin(ws, tmp_path):
    ws.store.append("training/abc", [request(), TrainingCancelled()])
    assert ws.models.add(write_model(tmp_path / "out"), job="abc").job == "abc"
    assert ws.jobs.get("abc").state.state == "cancelled"


def test_a_job_that_adds_its_model_itself_is_left_to_do_so(ws, tmp_path):
    ws.store.append("training/abc", [request("local")])
    with pytest.raises(TrainingError, match="its model is added by itself"):
        ws.models.add(write_model(tmp_path / "out"), job="abc")
    with pytest.raises(NotFoundError, match="no job 'xyz'"):
        ws.models.add(tmp_path / "out", job="xyz")


# --- files that are gone or changed ----------------------------------------------------------------------------------


class Echo:
    """A model that repeats the question."""

    name = "local:rose"

    async def stream(self, prompt):
        yield Completion(prompt.turns[-1].content)

    async def close(self):
        pass


def test_a_model_whose_files_changed_neither_answers_nor_takes_over(ws, tmp_path):
    ws.models.add(write_model(tmp_path / "rose"))
    models = Models(ws.store, ws.path, ws.settings, jobs=ws.jobs, opened=lambda _: Echo())
    prompt = Prompt((Turn("user", "Привет"),))
    assert asyncio.run(complete(models.open("local:rose"), prompt)).text == "Привет"
    (ws.path / "models" / "rose" / "config.json").write_bytes(b"{ }")
    words = r"models/rose/config\.json is not the file that was added"
    with pytest.raises(ModelError, match=words):
        asyncio.run(complete(models.open("local:rose"), prompt))
    with pytest.raises(PromotionError, match=words):
        ws.models.promote("local:rose", force=True)
    with pytest.raises(PromotionError, match="not the file"):
        ws.models.offer("local:rose", 0.5)


def test_nobody_goes_back_to_a_model_that_is_gone(ws, tmp_path):
    ws.models.add(write_model(tmp_path / "rose"))
    ws.models.promote("local:rose", force=True)
    ws.models.promote(A, force=True)
    directory = ws.path / "models" / "rose"
    directory.rename(tmp_path / "elsewhere")
    assert ws.models.get("local:rose").present is False
    assert ws.models.verify() == ["model local:rose: its directory models/rose is gone"]
    with pytest.raises(PromotionError, match="models/rose is gone; bring it back"):
        ws.models.rollback()
    assert ws.models.current == A
    (tmp_path / "elsewhere").rename(directory)
    assert ws.models.rollback().model.name == "local:rose"


def test_verify_tells_of_files_that_changed_but_not_of_old_models_that_were_deleted(ws, tmp_path):
    for name in ("rose", "tulip"):
        ws.models.add(write_model(tmp_path / name))
    assert ws.verify() == []
    for path in (ws.path / "models" / "rose").iterdir():
        path.unlink()
    (ws.path / "models" / "rose").rmdir()
    (ws.path / "models" / "tulip" / "tokenizer.json").unlink()
    assert ws.verify() == ["model local:tulip: models/tulip/tokenizer.json is gone"]


def test_a_model_that_was_recorded_with_its_job_is_known_by_its_files(ws):
    """As the local trainer records it."""
    directory = write_model(ws.path / "models" / "v1")
    ws.store.append("model/local:v1", [ModelAdded("base", "abc", {"config.json": "0" * 64})])
    assert ws.models.get("local:v1").present
    assert "not the file that was added" in ws.models.problems("local:v1")[0]
    ws.models.add(directory)
    assert ws.models.get("local:v1").job == "abc"
    assert ws.models.problems("local:v1") == []


# --- what the original bots did ---------------------------------------------------------------------------------------

DOCS = Path(__file__).resolve().parent.parent / "docs" / "from-the-old-bots.md"


def test_every_call_that_stands_in_the_place_of_an_old_one_is_there(ws):
    text = DOCS.read_text(encoding="utf-8")
    calls = set(re.findall(r"\bws\.([a-z_.]+)\(", text))
    assert {"reply", "correct", "add_directory", "jobs.start", "evaluations.test", "models.add"} <= calls
    for call in calls:
        assert callable(attrgetter(call)(ws)), call
    for method in re.findall(r"\bdataset\.([a-z_]+)\(", text):
        assert callable(getattr(trainerlib.Dataset, method)), method
    assert callable(attrgetter("archive_directory")(trainerlib.archives))
