"""The `memory` model: the nearest lesson, word for word, and a plain word where there is none."""

from __future__ import annotations

import pytest
from chat_asking import ask, asking
from hypothesis import given
from hypothesis import strategies as st

from trainerlib.chat.memory import UNKNOWN, MemoryModel
from trainerlib.chat.port import Completion, Prompt
from trainerlib.examples import Turn
from trainerlib.recall import Recalled


def taught(answer, *, message=3, correction=4, similarity=0.9):
    return Recalled("Когда вы открыты?", answer, message=message, correction=correction, similarity=similarity)


def prompt(question, *recalled):
    return Prompt((Turn("user", question),), tuple(recalled))


def test_the_nearest_lesson_answers_and_says_where_it_comes_from():
    near, far = taught("С 9 до 18."), taught("Закрыто.", message=7, correction=8, similarity=0.6)
    assert ask(MemoryModel(), prompt("До скольки вы работаете?", near, far))[1] == Completion(
        "С 9 до 18.", "memory", {}, "stop", known=True, shown=(3, 4)
    )


def test_an_approved_reply_answers_too():
    approved = taught("We open at 9.", message=12, correction=None)
    assert ask(MemoryModel(), prompt("When do you open?", approved))[1].shown == (12,)


def test_a_lesson_without_words_is_passed_over():
    """The words of somebody who was erased, say."""
    lessons = [taught(" "), taught("С 9 до 18.", message=7, correction=8)]
    assert ask(MemoryModel(), prompt("Когда?", *lessons))[1].shown == (7, 8)


@pytest.mark.parametrize(
    ("question", "default", "language"),
    [
        ("Do you deliver?", "ru", "en"),
        ("Вы доставляете?", "en", "ru"),
        ("42 👍", "en", "en"),
        ("42 👍", "ru", "ru"),
        ("Wann öffnet ihr die Tür für Gäste?", "ru", "ru"),
    ],
)
def test_what_nobody_taught_is_not_known_in_the_language_of_the_question(question, default, language):
    assert ask(MemoryModel(default), prompt(question))[1] == Completion(
        UNKNOWN[language], "memory", {}, "stop", known=False
    )


def test_the_language_is_that_of_the_last_thing_a_person_said():
    turns = (Turn("system", "Answer briefly."), Turn("user", "Hi"), Turn("assistant", "Hello"), Turn("user", "Привет"))
    assert ask(MemoryModel(), Prompt(turns))[1].text == UNKNOWN["ru"]


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip))
def test_an_answer_comes_word_for_word_in_a_few_pieces(answer):
    pieces, whole = ask(MemoryModel(), prompt("Когда?", taught(answer)))
    assert whole.text == answer
    assert len(pieces) <= 8


def test_the_same_prompt_gives_the_same_answer():
    asked = prompt("Когда?", taught("С 9 до 18, без выходных, и в праздники тоже."))
    assert ask(MemoryModel(), asked) == ask(MemoryModel(), asked)
    assert ask(MemoryModel(), asking("Когда?")) == ask(MemoryModel(), asking("Когда?"))
