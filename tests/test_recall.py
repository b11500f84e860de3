"""How alike questions are: measured on pairs written for it, and what a conversation teaches."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainerlib import recall
from trainerlib.conversations import fold
from trainerlib.events import (
    Attachment,
    Corrected,
    CorrectionWithdrawn,
    FeedbackGiven,
    FeedbackWithdrawn,
    MessageDeleted,
    MessageEdited,
    MessageRecorded,
    RecordedEvent,
    ReplyGenerated,
    TranscriptRecorded,
)
from trainerlib.recall import asked, gist, keys, nearness, rarity, similarity, taught, weighed
from trainerlib.store.search import stems

PAIRS = Path(__file__).parent / "fixtures" / "recall" / "questions.jsonl"


class Pair(msgspec.Struct, frozen=True):
    """Two questions of a shop's customers, and whether the answer to one answers the other.

    `development` is what the formula was chosen by; `held-out` was written before and measured once it stood.
    """

    part: str
    language: str
    same: bool
    a: str
    b: str


def alike(one, other):
    return similarity(weighed(asked(one, stems)), weighed(asked(other, stems)))


@pytest.fixture(scope="module")
def scored():
    pairs = [msgspec.json.decode(line, type=Pair) for line in PAIRS.read_bytes().splitlines()]
    return [(alike(pair.a, pair.b), pair) for pair in pairs]


# --- precision and recall ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "threshold", "precision", "coverage"),
    [
        ("development", 0.4, 0.86, 0.88),
        ("development", 0.5, 0.94, 0.86),
        ("development", 0.6, 0.96, 0.83),
        ("held-out", 0.4, 0.88, 0.84),
        ("held-out", 0.5, 0.97, 0.76),
        ("held-out", 0.6, 0.98, 0.66),
    ],
)
def test_a_threshold_separates_other_words_from_other_questions(scored, part, threshold, precision, coverage):
    """Precision and recall of "the same question" are at least these, and at the default threshold few are wrong."""
    chosen = [(value >= threshold, pair.same) for value, pair in scored if pair.part == part]
    right = sum(found and same for found, same in chosen)
    assert right / sum(found for found, _ in chosen) >= precision
    assert right / sum(same for _, same in chosen) >= coverage


@pytest.mark.parametrize("language", ["en", "ru"])
def test_both_languages_are_told_apart_as_well(scored, language):
    """At the default threshold neither language is much worse than the other."""
    chosen = [(value >= 0.5, pair.same) for value, pair in scored if pair.language == language]
    right = sum(found and same for found, same in chosen)
    assert right / sum(found for found, _ in chosen) >= 0.95
    assert right / sum(same for _, same in chosen) >= 0.8


def test_the_pairs_are_many_and_each_once(scored):
    """As many in each language, half of them different questions that share words."""
    pairs = [pair for _, pair in scored]
    assert len({(pair.a, pair.b) for pair in pairs}) == len(pairs) >= 200
    for language in ("en", "ru"):
        own = [pair for pair in pairs if pair.language == language]
        assert len(own) >= 100
        assert 0.4 <= sum(pair.same for pair in own) / len(own) <= 0.6


# --- the formula ------------------------------------------------------------------------------------------------------

TEXTS = st.text(st.sampled_from("abcdвгде ?!.\n'4ёЁ🙂"), max_size=40) | st.lists(
    st.sampled_from(
        ["when", "are", "you", "open", "closed", "сколько", "стоят", "розы", "доставка", "в", "субботу", "не", "12"]
    )
).map(" ".join)


@given(one=TEXTS, other=TEXTS)
def test_similarity_is_symmetric_and_between_nothing_and_one(one, other):
    """Whatever two people wrote."""
    assert 0 <= alike(one, other) <= 1
    assert alike(one, other) == pytest.approx(alike(other, one), abs=0.002)


@given(text=TEXTS)
def test_a_question_is_like_itself_or_about_nothing(text):
    """Anything that can be found by its terms is wholly like itself; what cannot is like nothing."""
    assert alike(text, text) == (1.0 if keys(asked(text, stems)) else 0.0)


@pytest.mark.parametrize(
    "text", ["", "👍", "?", "Hello!", "Спасибо!", "why?", "How much?", "А сколько?", "Yes", "4117", "а когда"]
)
def test_what_is_about_nothing_is_like_nothing(text):
    """Greetings, and questions of which only the dialogue tells what they are about."""
    assert keys(asked(text, stems)) == []
    assert alike(text, text) == 0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("WHEN ARE YOU OPEN", "when are you open?"),
        ("Ещё есть ёлки?", "еще есть елки"),
        ("What’s the price of roses", "what's the price of roses"),
        ("Hello! Please, when are you open? Thanks!", "When are you open?"),
        ("Здравствуйте! Подскажите, пожалуйста, когда вы открыты? Спасибо!", "Когда вы открыты?"),
        ("How much is delivery?", "how expensive is delivery"),
    ],
)
def test_case_politeness_and_punctuation_do_not_count(one, other):
    """These are the same question."""
    assert alike(one, other) == 1


def test_questions_that_want_different_kinds_of_answer_are_less_alike():
    """A price, a time and a duration of the same thing are three questions."""
    questions = ["How much is delivery?", "When is delivery?", "How long is delivery?"]
    assert all(alike(one, other) < 0.5 for one in questions for other in questions if one != other)


def test_adding_a_word_costs_less_than_replacing_one():
    """Roses in general answer for red ones sooner than white ones do."""
    assert alike("Have you red roses?", "Have you roses?") > alike("Have you red roses?", "Have you white roses?")


def test_numbers_are_exact():
    """Another size is another question, and a number alone is none."""
    assert alike("Is the vase 12 in stock?", "Is the vase 12 in stock?") == 1
    assert alike("Сколько стоит ваза 12?", "Сколько стоит ваза 13?") < 0.8
    assert alike("+7 900 000-00-31", "+7 900 000-00-32") == 0


def test_a_question_among_other_sentences_is_found():
    """What somebody tells before and after it hardly counts."""
    told = "I bought a huge ficus for my mother, she loves it. When are you open on Saturday? Another one for my aunt."
    assert alike(told, "When are you open?") > 0.5
    assert alike(told, "Does my aunt's insurance pay?") < 0.2


@pytest.mark.parametrize(
    ("one", "other", "near"),
    [
        ("тюльпан", "тюльпн", True),
        ("tulip", "tulpi", True),
        ("открыт", "аткрыт", True),
        ("открыт", "открыва", True),
        ("меня", "поменя", True),
        ("light", "night", False),
        ("rose", "nose", False),
        ("роз", "рос", False),
        ("12345", "12346", False),
        ("контроль", "контакт", False),
    ],
)
def test_near_stems(one, other, near):
    """One slip of the fingers, or another form; not a shorter word, another beginning or a number."""
    assert (nearness(one, other) > 0.5) == near
    assert nearness(one, other) == nearness(other, one)


def test_rarity_falls_with_use_and_a_small_index_hardly_matters():
    """A word in the only question counts nearly as much as one in none."""
    values = [rarity(1_000, having) for having in range(1_001)]
    assert values == sorted(values, reverse=True)
    assert values[0] == 1 > values[-1] >= 0.5
    assert rarity(1, 1) > 0.9


def test_the_gist_is_the_same_for_questions_that_differ_in_function_words():
    """And another one for everything else, a negation among it."""
    assert gist(asked("Do you have roses?", stems)) == gist(asked("have you any roses", stems))
    assert gist(asked("Можно с чеком?", stems)) != gist(asked("Можно без чека?", stems))


# --- what a conversation teaches --------------------------------------------------------------------------------------

QUESTION = MessageRecorded("user", "Когда вы открыты?", "telegram:7")
REPLY = MessageRecorded("assistant", "В 10.")
SHOULD = Corrected(2, "С 9 до 18.", by="anna")


def lessons(*events):
    log = [RecordedEvent(100 + number, "conversation/a", number, event, 0) for number, event in enumerate(events, 1)]
    return list(taught(fold(log)))


def qa(*events):
    return [(lesson.question, lesson.answer) for lesson in lessons(*events)]


def test_a_correction_teaches_what_a_question_should_be_answered_with():
    """With the ids of the reply and the correction, and who gave it."""
    [lesson] = lessons(QUESTION, REPLY, SHOULD)
    assert (lesson.question, lesson.answer) == ("Когда вы открыты?", "С 9 до 18.")
    assert (lesson.message, lesson.correction, lesson.by) == (102, 103, "anna")


def test_of_several_corrections_the_latest_that_stands_teaches():
    """Whoever gave it; a withdrawn one gives way to the one before."""
    ben = Corrected(2, "С 10 до 20.", by="ben")
    assert qa(QUESTION, REPLY, SHOULD, ben) == [("Когда вы открыты?", "С 10 до 20.")]
    assert qa(QUESTION, REPLY, SHOULD, ben, CorrectionWithdrawn(4)) == [("Когда вы открыты?", "С 9 до 18.")]
    assert qa(QUESTION, REPLY, SHOULD, CorrectionWithdrawn(3)) == []


def test_an_approved_reply_teaches_itself():
    """By the latest rating; a correction, even one whose words were erased, says that it was not right."""
    up, down = FeedbackGiven(2, "ben", 1), FeedbackGiven(2, "anna", -1)
    assert [(one.answer, one.correction) for one in lessons(QUESTION, REPLY, up)] == [("В 10.", None)]
    assert qa(QUESTION, REPLY) == qa(QUESTION, REPLY, down) == qa(QUESTION, REPLY, up, down) == []
    assert qa(QUESTION, REPLY, up, FeedbackWithdrawn(3)) == []
    assert qa(QUESTION, REPLY, up, SHOULD) == [("Когда вы открыты?", "С 9 до 18.")]
    assert qa(QUESTION, REPLY, up, Corrected(2, "", by="erased:9f")) == []
    assert qa(QUESTION, REPLY, FeedbackGiven(2, "ben", None, "nice")) == []


def test_a_reply_that_is_not_to_be_learned_teaches_only_by_its_correction():
    """Weight 0 is about the reply, not about what somebody says it should have been."""
    reply = MessageRecorded("assistant", "В 10.", weight=0)
    assert qa(QUESTION, reply, FeedbackGiven(2, "ben", 1)) == []
    assert qa(QUESTION, reply, SHOULD) == [("Когда вы открыты?", "С 9 до 18.")]


def test_what_was_taken_down_teaches_nothing():
    """A deleted reply, and a reply to a deleted question."""
    named = MessageRecorded("assistant", "В 10.", in_reply_to=1)
    assert qa(QUESTION, REPLY, SHOULD, MessageDeleted(2)) == []
    assert qa(QUESTION, REPLY, SHOULD, MessageDeleted(1)) == []
    assert qa(QUESTION, named, SHOULD, MessageDeleted(1)) == []


def test_a_question_is_what_it_says_now():
    """Edits and transcripts count."""
    voice = MessageRecorded("user", "", attachments=(Attachment("voice"),))
    assert qa(QUESTION, REPLY, SHOULD, MessageEdited(1, "А в субботу?")) == [("А в субботу?", "С 9 до 18.")]
    assert qa(voice, REPLY, SHOULD) == []
    assert qa(voice, REPLY, SHOULD, TranscriptRecorded(1, 0, "Вы открыты?")) == [("Вы открыты?", "С 9 до 18.")]


def test_a_reply_answers_the_message_it_names():
    """Not the one right before it, which another person wrote."""
    other = MessageRecorded("user", "Сколько стоят розы?", "telegram:8")
    reply = ReplyGenerated("В 10.", in_reply_to=1)
    assert qa(QUESTION, other, reply, Corrected(3, "С 9.", by="anna")) == [("Когда вы открыты?", "С 9.")]


def test_messages_in_a_row_are_one_question():
    """Of one person, up to five; what others or the assistant said before is none of it."""
    said = [MessageRecorded("user", text, "telegram:7") for text in ("Привет", "вопрос", "Когда вы открыты?")]
    other = MessageRecorded("user", "Сколько стоят розы?", "telegram:8")
    assert qa(*said, REPLY, Corrected(4, "С 9.", by="anna")) == [("Привет\nвопрос\nКогда вы открыты?", "С 9.")]
    assert qa(other, *said[1:], REPLY, Corrected(4, "С 9.", by="anna")) == [("вопрос\nКогда вы открыты?", "С 9.")]
    [(question, _)] = qa(*said[:1] * 9, REPLY, Corrected(10, "С 9.", by="anna"))
    assert question.count("Привет") == 5


def test_what_answers_nobody_teaches_nothing():
    """A reply that opens the conversation, or follows another one."""
    assert qa(REPLY, Corrected(1, "С 9.", by="anna")) == []
    assert qa(QUESTION, REPLY, REPLY, Corrected(3, "С 9.", by="anna")) == []
    assert qa(MessageRecorded("system", "Be kind."), REPLY, SHOULD) == []


def test_every_word_has_one_meaning():
    """The lists do not overlap, so what a word counts depends on no order."""
    lists = [recall._FUNCTIONS, recall._CHATTER, recall._KINDS.keys(), recall._SAME.keys()]
    for number, one in enumerate(lists):
        for other in lists[number + 1 :]:
            assert not one & other
    assert not recall._COMMONS & (recall._FUNCTIONS | recall._CHATTER)
