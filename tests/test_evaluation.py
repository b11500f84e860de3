"""What is measured of an answer, how sure a difference is, and how cases of one's own are read."""

from __future__ import annotations

import json
import random
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainerlib.cases import Case, failures, normalise, parse_cases
from trainerlib.errors import EvaluationError
from trainerlib.evaluation import (
    METRICS,
    Answer,
    Scored,
    Scorer,
    _Words,
    bootstrap,
    compared,
    figure,
    headline,
    means,
    report,
    verdict,
    worse,
)
from trainerlib.events import Interval
from trainerlib.examples import Turn
from trainerlib.judging import ask_for_choice, ask_for_grade, parse_choice, parse_grade, preference


@pytest.fixture(scope="module")
def scorer():
    return Scorer()


def case(expected="9 to 18.", *, question="When are you open?", name="1", **more):
    given = (expected,) if isinstance(expected, str) else expected
    return Case(name, (Turn("user", question),), given, **{"kind": "held-out", **more})


def scored(name, chrf, *, error="", conversation=""):
    scores = {} if error else {"chrf": chrf}
    return Scored(case(name=name, conversation=conversation), Answer(name, "", f"{chrf}", error=error), scores)


def draw(seed=0):
    return lambda: random.Random(seed).random


# --- metrics ---------------------------------------------------------------------------------------------------------


def test_a_russian_word_is_all_of_itself_by_every_metric(scorer):
    scores = scorer.scored(case("Привет"), Answer("1", "", "Привет")).scores
    assert (scores["exact"], scores["chrf"], scores["rouge_l"], scores["length"]) == (100.0, 100.0, 100.0, 1.0)


def test_rouge_l_is_the_f1_of_the_longest_common_subsequence_of_words(scorer):
    # police kill the gunman: against "police killed the gunman" 3 of 4 words stay in order; against the other 2 of 4.
    assert scorer.rouge_l("police kill the gunman", ["police killed the gunman"]) == pytest.approx(75.0)
    assert scorer.rouge_l("the gunman kill police", ["police killed the gunman"]) == pytest.approx(50.0)
    # 2 of 3 words are right (precision), 2 of 4 are there (recall): F1 is 2 * (2/3 * 1/2) / (2/3 + 1/2) = 4/7.
    assert scorer.rouge_l("мы открыты всегда", ["мы открыты с девяти"]) == pytest.approx(400 / 7, abs=1e-5)


def test_chrf_is_the_mean_of_recall_weighted_f_scores_of_character_ngrams(scorer):
    # abc against abd: 1-grams 2 of 3, 2-grams 1 of 2, 3-grams 0 of 1, the same both ways, so F2 = mean(2/3, 1/2, 0).
    assert scorer.chrf("abc", ["abd"]) == pytest.approx(100 * (2 / 3 + 1 / 2 + 0) / 3, abs=1e-5)


TEXTS = ["9 to 18, every day.", "С 9 до 18, без выходных.", "Нет", "We deliver in Moscow only, from 10 to 20."]


@pytest.mark.parametrize("answer", TEXTS)
@pytest.mark.parametrize("expected", TEXTS)
def test_chrf_and_rouge_l_are_what_sacrebleu_and_rouge_score_say(scorer, answer, expected):
    from rouge_score.rouge_scorer import RougeScorer
    from sacrebleu import sentence_chrf

    assert scorer.chrf(answer, [expected]) == pytest.approx(sentence_chrf(answer, [expected]).score, abs=1e-5)
    if (answer + expected).isascii():
        own = RougeScorer(["rougeL"]).score(expected, answer)["rougeL"].fmeasure
        assert scorer.rouge_l(answer, [expected]) == pytest.approx(100 * own, abs=1e-5)


def test_words_of_latin_letters_are_what_rouge_scores_own_tokenizer_gives():
    from rouge_score.tokenizers import DefaultTokenizer

    for text in ("We're open: 9-18, every day!", "GPT-4.1 costs $3", ""):
        assert _Words().tokenize(text) == DefaultTokenizer().tokenize(text)


def test_the_nearest_of_several_accepted_answers_counts(scorer):
    asked = case(("Да, с девяти до шести.", "Yes, 9 to 18."))
    scores = scorer.scored(asked, Answer("1", "", "Yes, 9 to 18.")).scores
    assert (scores["exact"], scores["chrf"], scores["rouge_l"], scores["length"]) == (100.0, 100.0, 100.0, 1.0)


def test_an_answer_is_measured_against_the_rejected_reply_too(scorer):
    asked = case("9 to 18.", rejected="At 10.")
    assert scorer.scored(asked, Answer("1", "", "At 10.")).scores["rejected"] == 100.0
    assert "rejected" not in scorer.scored(case("9 to 18."), Answer("1", "", "At 10.")).scores


def test_white_space_and_unicode_forms_do_not_count_but_case_does(scorer):
    decomposed = unicodedata.normalize("NFD", "Мой ёж")
    assert scorer.scored(case("Мой ёж"), Answer("1", "", f"  {decomposed}\n")).scores["exact"] == 100.0
    assert scorer.scored(case("Мой ёж"), Answer("1", "", decomposed)).scores["rouge_l"] == 100.0
    assert scorer.scored(case("Мой ёж"), Answer("1", "", "мой ёж")).scores["exact"] == 0.0


def test_what_the_model_took_is_measured_where_it_is_known(scorer):
    answer = Answer("1", "", "9", usage={"input_tokens": 5, "output_tokens": 2}, latency=0.5, cost=0.001, known=False)
    scores = scorer.scored(case(), answer).scores
    assert (scores["input_tokens"], scores["output_tokens"], scores["latency"]) == (5.0, 2.0, 0.5)
    assert (scores["cost"], scores["known"]) == (0.001, 0.0)
    assert not {"latency", "cost", "input_tokens"} & scorer.scored(case(), Answer("1", "", "9")).scores.keys()


def test_a_case_without_an_answer_has_no_scores_and_counts_in_no_mean(scorer):
    lost = scorer.scored(case(), Answer("2", "", error="busy"))
    assert (lost.scores, lost.failed) == ({}, ("no answer",))
    assert means([scored("1", 40.0), lost]) == {"chrf": 40.0}


@given(st.text(), st.text(min_size=1).filter(lambda text: text.strip()))
def test_every_score_is_within_its_bounds(said, expected):
    scores = Scorer().scored(case(expected), Answer("1", "", said)).scores
    assert all(0 <= scores[name] <= 100 for name in ("exact", "chrf", "rouge_l"))
    if normalise(said) == normalise(expected):
        assert (scores["exact"], scores["length"]) == (100.0, 1.0)


def test_without_the_packages_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "rouge_score.rouge_scorer", None)
    with pytest.raises(EvaluationError, match=r"pip install 'trainerlib\[evaluate\]'"):
        Scorer()


# --- intervals -------------------------------------------------------------------------------------------------------

differences = st.lists(st.floats(-100, 100), min_size=1, max_size=30)


@given(differences, st.integers(0, 9), st.integers(1, 50))
def test_an_interval_holds_the_mean_and_is_the_same_each_time(values, seed, resamples):
    groups = [number // 2 for number in range(len(values))]
    one, again = (bootstrap(values, random.Random(seed).random, groups=groups, resamples=resamples) for _ in range(2))
    assert one.low <= one.mean <= one.high
    assert one == again


@given(st.integers(1, 40), st.floats(-100, 100))
def test_differences_that_are_all_the_same_are_certain(count, value):
    interval = bootstrap([value] * count, random.Random(1).random, resamples=20)
    assert interval.low == interval.mean == interval.high == pytest.approx(value, abs=1e-6)


def test_an_interval_is_the_same_on_every_python():
    values = [0.1 * (number % 7) - 0.2 for number in range(50)]
    assert bootstrap(values, random.Random(7).random) == Interval(0.094, 0.036, 0.15)


def test_an_interval_covers_what_it_should():
    """Of 200 samples of a known distribution the interval holds its mean about 95 times in 100."""
    source = random.Random(3)
    held = 0
    for _ in range(200):
        interval = bootstrap([source.gauss(5, 10) for _ in range(60)], source.random, resamples=300)
        held += interval.low <= 5 <= interval.high
    assert 0.89 <= held / 200 <= 0.99


def test_replies_of_one_conversation_are_drawn_together():
    values = [-1.0] * 10 + [2.0] * 10
    alone = bootstrap(values, random.Random(1).random)
    together = bootstrap(values, random.Random(1).random, groups=["a"] * 10 + ["b"] * 10)
    assert alone.low > 0 - 0.5
    assert (together.low, together.high) == (-1.0, 2.0)


def test_nothing_to_draw_from_is_refused():
    with pytest.raises(EvaluationError, match="nothing to compare"):
        bootstrap([], random.Random(1).random)


def test_a_model_is_no_better_than_itself():
    answers = [scored(str(number), 10.0 * number) for number in range(5)]
    found = compared("", answers, answers, draw())
    assert found.differences == {"chrf": Interval(0.0, 0.0, 0.0)}
    assert (found.worse, verdict(found)) == ((), "no difference")


def test_a_comparison_is_over_the_cases_that_both_answered():
    ours = [scored("1", 50.0), scored("2", 0.0, error="busy"), scored("3", 30.0)]
    theirs = [scored("1", 40.0), scored("2", 90.0), scored("3", 0.0, error="busy")]
    found = compared("held-out", ours, theirs, draw())
    assert (found.cases, found.errors, found.against_errors) == (3, 1, 1)
    assert found.differences["chrf"].mean == 10.0
    assert (found.scores["chrf"], found.against_scores["chrf"]) == (40.0, 65.0)
    assert found.worse == ("2",)


def test_models_that_answered_no_case_together_have_no_differences():
    found = compared("", [scored("1", 0.0, error="busy")], [scored("1", 9.0)], draw())
    assert (found.differences, found.worse, verdict(found)) == ({}, ("1",), "")


def test_the_worst_comes_first_and_what_only_the_other_answered_before_all():
    ours = [scored("1", 50.0), scored("2", 10.0), scored("3", 0.0, error="busy"), scored("4", 60.0)]
    theirs = [scored("1", 60.0), scored("2", 60.0), scored("3", 1.0), scored("4", 60.0)]
    assert [one.case.id for one, _ in worse(zip(ours, theirs, strict=True))] == ["3", "2", "1"]


@pytest.mark.parametrize(
    ("interval", "words"),
    [
        (Interval(3.0, 1.0, 5.0), "better"),
        (Interval(-3.0, -5.0, -1.0), "worse"),
        (Interval(1.0, -1.0, 3.0), "no difference that these cases can show"),
    ],
)
def test_a_verdict_says_what_the_interval_does(interval, words):
    ours, theirs = [scored("1", 5.0)], [scored("1", 2.0)]
    found = compared("", ours, theirs, draw())
    assert verdict(type(found)("", 1, 0, {"chrf": 5.0}, 0, {"chrf": 2.0}, {"chrf": interval})) == words


def test_a_report_shows_figures_and_the_answers_that_got_worse_and_no_markup_of_strangers():
    ours, theirs = [scored("a|b", 10.0)], [scored("a|b", 60.0)]
    found = compared("held-out", ours, theirs, draw())
    text = report("openai:x", "memory", [found], [(ours[0], theirs[0])], {"cases": 1, "note": "<b>\n# hi"})
    assert "| chrF | 60.0 | 10.0 | -50.0 | -50.0 to -50.0 |" in text
    assert "### a\\|b" in text
    assert "- note: \\<b\\> \\# hi" in text
    assert "- **memory** (chrF 60.0): 60.0" in text
    assert headline(found).startswith("held-out replies   chrF 60.0 -> 10.0  (-50.0, 95 % interval -50.0 to -50.0)")


def test_every_metric_has_a_name_and_a_figure():
    assert all(metric.label and figure(name, 1.0) for name, metric in METRICS.items())


# --- cases of one's own ----------------------------------------------------------------------------------------------


def test_cases_are_an_array_or_a_line_each():
    rows = [{"input": "Когда?", "expected": "В 9."}, {"input": "When?", "contains": ["9", "18"], "name": "hours"}]
    array = parse_cases(json.dumps(rows))
    lines = parse_cases(("\ufeff" + "\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows)).encode())
    assert array == lines
    assert [(one.id, one.question) for one in array] == [("1", "Когда?"), ("hours", "When?")]


def test_a_dialogue_and_an_instruction_can_be_given():
    [one] = parse_cases(
        json.dumps(
            {
                "system": "Be brief.",
                "input": [
                    {"role": "user", "content": "Hi"},
                    {"role": "assistant", "content": "Hello"},
                    {"role": "user", "content": "When are you open?"},
                ],
                "expected": "9 to 18.",
            }
        )
    )
    assert [turn.role for turn in one.turns] == ["system", "user", "assistant", "user"]


MISTAKES = [
    ("", "there are no cases"),
    ("[]", "there are no cases"),
    ("[1]", "case 1: this is 1, not an object"),
    ("[{]", "this is not JSON: .*column 3"),
    ('{"input": "a", "expected": "b"}\n{"input": ', "line 2: this is not JSON"),
    ('[{"expected": "b"}]', "case 1: `input`, the question, is missing"),
    ('[{"input": "a"}]', "case 1: nothing tells a right answer"),
    ('[{"input": "a", "expected": "b"}, {"input": "a", "expectd": "b"}]', "case 2: there is no key 'expectd'; did you mean 'expected'"),
    ('[{"input": " ", "expected": "b"}]', "case 1: `input` is empty"),
    ('[{"input": 7, "expected": "b"}]', "`input` is a text or a list of messages, not 7"),
    ('[{"input": [], "expected": "b"}]', "not an empty list"),
    ('[{"input": [{"role": "user"}], "expected": "b"}]', "message 1 of `input` has `role` and `content`"),
    ('[{"input": [{"role": "bot", "content": "a"}], "expected": "b"}]', "the role of message 1 .* not 'bot'"),
    ('[{"input": [{"role": "assistant", "content": "a"}], "expected": "b"}]', "ends with a message of the assistant"),
    ('[{"input": [{"role": "user", "content": "a"}, {"role": "system", "content": "s"}, {"role": "user", "content": "a"}], "expected": "b"}]', "stands first"),
    ('[{"system": "s", "input": [{"role": "system", "content": "s"}, {"role": "user", "content": "a"}], "expected": "b"}]', "contradict"),
    ('[{"input": "a", "expected": []}]', "`expected` is a text, not an empty list"),
    ('[{"input": "a", "expected": ["b", null]}]', "`expected`, number 2 is a text, not nothing"),
    ('[{"input": "a", "regex": "("}]', "`regex` '\\(' is no regular expression"),
    ('[{"input": "a", "expected": "b", "chrf": 101}]', "`chrf` is a number from 0 to 100, not 101"),
    ('[{"input": "a", "contains": "b", "chrf": 50}]', "`chrf` needs `expected`"),
    ('[{"input": "a", "expected": "b", "name": "x"}, {"input": "a", "expected": "b", "name": "x"}]', "case 2: the name 'x' is taken by case 1"),
    ('[{"input": "a", "expected": "\\ud800"}]', "half a character"),
    (b"\xff", "byte 1 is not UTF-8"),
    ("[" * 200_000, "nested too deeply"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "words"), MISTAKES)
def test_a_mistake_in_a_case_is_named_with_its_place(data, words):
    with pytest.raises(EvaluationError, match=words):
        parse_cases(data)


def test_every_mistake_is_counted():
    with pytest.raises(EvaluationError, match=r"case 1: .*; case 2: .*; case 3: .* \(and 2 more mistakes\)"):
        parse_cases(json.dumps([{"input": ""}] * 5))


@pytest.mark.parametrize(
    ("checks", "answer", "wrong"),
    [
        ({"contains": ("ДЕВЯТИ",)}, "С девяти.", 0),
        ({"contains": ("девяти", "до")}, "С десяти.", 2),
        ({"not_contains": ("sorry",)}, "Sorry, no.", 1),
        ({"regex": (r"\d+ to \d+",)}, "From 9 to 18.", 0),
        ({"regex": (r"^\d",)}, "From 9 to 18.", 1),
    ],
)
def test_what_an_answer_must_and_must_not_contain_is_checked(checks, answer, wrong):
    assert len(failures(case((), **checks), answer)) == wrong


def test_an_answer_near_enough_passes_where_the_case_says_how_near(scorer):
    near, far = (scorer.scored(case("9 to 18, every day.", kind="test", chrf=limit), Answer("1", "", "9 to 18 every day"))
                 for limit in (60.0, 99.0))  # fmt: skip
    assert (near.failed, near.scores["passed"], near.scores["exact"]) == ((), 100.0, 0.0)
    assert far.failed == ("not as expected",)


# --- judging ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "choice"),
    [("[[1]]", "1"), ("Второй лучше.\n[[2]]", "2"), ("[[=]]", "="), ("[[1]] ... [[1]]", "1"), ("1", None), ("", None),
     ("[[1]] [[2]]", None), ("[[3]]", None), ("[[ 1 ]]", None)],
)  # fmt: skip
def test_a_verdict_is_read_strictly(text, choice):
    assert parse_choice(text) == choice


def test_a_grade_is_read_strictly():
    assert [parse_grade(text) for text in ("[[5]]", "5", "[[0]]", "[[4]], [[5]]")] == [5, None, None, None]


def test_an_answer_is_preferred_only_when_it_is_in_both_orders():
    assert preference("1", "2") == 100.0
    assert preference("2", "1") == 0.0
    assert {preference("1", "1"), preference("2", "2"), preference("=", "1")} == {50.0}
    assert preference("1", None) is None


def test_a_judge_is_asked_in_the_language_of_the_question_and_shown_a_right_answer():
    russian = case("С 9 до 18.", question="Когда вы открыты?")
    system, asked = ask_for_choice(russian, "В 10.", "С девяти.")
    assert "Вы сравниваете" in system.content
    assert asked.content.index("С 9 до 18.") < asked.content.index("В 10.") < asked.content.index("С девяти.")
    system, asked = ask_for_grade(case((), question="Hi"), "Hello")
    assert "You grade" in system.content
    assert "right answer" not in asked.content
