"""The index of answers: what somebody taught is found at once, by other words, for as long as it stands."""

from __future__ import annotations

import random

import pytest
from event_histories import events
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import trainerlib
from trainerlib.blanking import pseudonym
from trainerlib.events import Attachment, Corrected, CorrectionWithdrawn, MessageRecorded, TranscriptRecorded
from trainerlib.store import answers
from trainerlib.store.answers import AnswerIndex
from trainerlib.store.eventstore import Append, EventStore

TABLES = {
    "answers": "message",
    "answer_entries": "corrected, term, length, asked",
    "answer_terms": "term, corrected",
}


@pytest.fixture
def ws(tmp_path):
    with trainerlib.open(tmp_path / "shop") as ws:
        yield ws


@pytest.fixture
def index(ws):
    return AnswerIndex(ws.store)


def teach(ws, question, answer=None, *, name="telegram:42", by="anna", said="Не знаю."):
    """A question that was answered and, where an answer is given, corrected; the reply."""
    chat = ws.conversation(name)
    chat.record("user", question, author="telegram:7")
    reply = chat.record("assistant", said)
    if answer is not None:
        ws.correct(reply.id, answer, by=by)
    return reply


def found(index, question, **more):
    return [one.answer for one in index.find(question, **({"limit": 3, "threshold": 0.5} | more))]


def rows(store):
    """The index as it lies in the file."""
    return {name: store.database.query(f"SELECT * FROM {name} ORDER BY {order}") for name, order in TABLES.items()}


# --- finding ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("taught", "question"),
    [
        ("when are you open?", "When do you open?"),
        ("when are you open?", "what time are you open"),
        ("Когда вы открыты?", "во сколько вы открываетесь?"),
        ("Когда вы открыты?", "Подскажите, до скольки вы работаете"),
        ("Есть ли у вас тюльпаны?", "тюльпны есть?"),
        ("Do you have tulips?", "any tulpis today?"),
        ("Можно поменять размер?", "могу я менять размер"),
    ],
)
def test_one_correction_is_enough(ws, index, taught, question):
    """The next question in other words finds it, with all that is known about it."""
    reply = teach(ws, taught, "С 9 до 18.")
    [recalled] = index.find(question, limit=3, threshold=0.5)
    assert (recalled.question, recalled.answer, recalled.by) == (taught, "С 9 до 18.", "anna")
    assert (recalled.message, recalled.correction) == (reply.id, reply.id + 1)
    assert 0.5 <= recalled.similarity <= 1


def test_another_question_finds_nothing(ws, index):
    """Words in common are not enough, nor is a question about nothing."""
    teach(ws, "When do you open?", "At 9.")
    for question in ("Do you open parcels?", "Where are you?", "hello", "", "👍", "why?"):
        assert found(index, question) == []


def test_the_most_similar_comes_first_and_no_more_than_the_limit(ws, index):
    """And nothing below the threshold."""
    teach(ws, "How much are red roses?", "5 each.")
    teach(ws, "How much are roses?", "From 3.")
    teach(ws, "How much is delivery?", "Free.")
    assert found(index, "price of red roses") == ["5 each.", "From 3."]
    assert found(index, "price of red roses", limit=1) == ["5 each."]
    assert found(index, "price of red roses", threshold=0.95) == ["5 each."]
    assert found(index, "price of red roses", limit=0) == []


def test_of_the_same_question_the_latest_answer_counts(ws, index):
    """Whoever asked it and wherever; opening hours change."""
    first = teach(ws, "When are you open?", "9 to 18.")
    teach(ws, "When do you open?", "10 to 20.", name="telegram:43")
    assert found(index, "when are you open") == ["10 to 20."]
    ws.correct(first.id, "Round the clock.", by="ben")
    assert found(index, "when are you open") == ["Round the clock."]


def test_a_correction_counts_before_an_older_answer_to_the_very_words(ws, index):
    """Somebody who corrects an answer is heard, also by those who ask as somebody asked before."""
    teach(ws, "До скольки вы работаете?", "По будням до 17.")
    assert found(index, "до скольки вы работаете") == ["По будням до 17."]
    teach(ws, "Когда вы открыты?", "С 9 до 18, без выходных.", name="telegram:43")
    assert found(index, "до скольки вы работаете") == ["С 9 до 18, без выходных."]


def test_a_later_correction_of_another_question_does_not_count_before_the_very_words(ws, index):
    """Saturday is not every day."""
    teach(ws, "Когда вы открыты?", "С 9 до 18.")
    teach(ws, "Вы открыты в субботу?", "В субботу с 10 до 16.", name="telegram:43")
    assert found(index, "когда вы открыты") == ["С 9 до 18.", "В субботу с 10 до 16."]


def test_no_answer_comes_twice(ws, index):
    """Other questions with the same answer leave room for others."""
    for number, question in enumerate(["red roses price?", "pink roses price?", "roses price?"]):
        teach(ws, question, "5 each.", name=f"telegram:{number}")
    assert found(index, "roses price") == ["5 each."]


def test_approved_replies_are_found_when_they_are_asked_for(ws, index):
    """After corrections that are as similar."""
    reply = teach(ws, "When are you open?", said="9 to 18.")
    ws.give_feedback(reply.id, by="ben", rating=1)
    assert found(index, "When do you open?") == []
    [recalled] = index.find("When do you open?", limit=3, threshold=0.5, approved=True)
    assert (recalled.answer, recalled.correction, recalled.by) == ("9 to 18.", None, "")
    teach(ws, "When do you open?", "10 to 20.", name="telegram:43")
    assert found(index, "When are you open?", approved=True) == ["10 to 20."]


def test_of_many_questions_the_right_one_is_found(ws, index):
    """Among thousands that share its words, with room for few of them."""
    words = [f"{first}{second}" for first in ("ka", "lo", "mi", "ru", "te") for second in ("bor", "dan", "fel", "gus")]
    chance = random.Random(5)
    many = [
        Append(
            f"conversation/{number}",
            [
                MessageRecorded("user", " ".join(["when", "open", *chance.sample(words, 3)])),
                MessageRecorded("assistant", "No."),
                Corrected(2, f"answer {number}", by="anna"),
            ],
        )
        for number in range(3_000)
    ]
    ws.store.append_batch(many)
    teach(ws, "When do you open the zoo?", "At dawn.")
    assert found(index, "what time does the zoo open", limit=1) == ["At dawn."]
    assert found(index, many[1234].events[0].text, limit=1, threshold=0.99) != []
    assert index.verify() == []


@settings(deadline=None, max_examples=100)
@given(question=st.text(max_size=60) | st.text("'\"*%_()?!.-+#@ оa1", max_size=30))
def test_any_question_is_harmless(one_answer, question):
    """Whatever somebody types is only words."""
    assert found(one_answer, question, limit=1) in ([], ["At 9."])


@pytest.fixture(scope="module")
def one_answer(tmp_path_factory):
    with trainerlib.open(tmp_path_factory.mktemp("answers") / "shop") as ws:
        teach(ws, "When do you open? 🌷 Ёлки #1", "At 9.")
        yield AnswerIndex(ws.store)


# --- what changes -----------------------------------------------------------------------------------------------------


def test_a_correction_counts_as_long_as_it_stands(ws, index):
    """Withdrawn, the one before is found again, then none."""
    reply = teach(ws, "When do you open?", "At 9.")
    second = ws.correct(reply.id, "At 10.", by="ben")
    assert found(index, "when are you open") == ["At 10."]
    ws.withdraw_correction(second.id)
    assert found(index, "when are you open") == ["At 9."]
    ws.withdraw_correction(reply.id + 1)
    assert found(index, "when are you open") == []


def test_a_rating_counts_as_long_as_it_stands(ws, index):
    """Withdrawn or turned, the reply is found no more."""
    reply = teach(ws, "When do you open?", said="At 9.")
    up = ws.give_feedback(reply.id, by="ben", rating=1)
    assert found(index, "when are you open", approved=True) == ["At 9."]
    ws.withdraw_feedback(up.id)
    assert found(index, "when are you open", approved=True) == []
    ws.give_feedback(reply.id, by="ben", rating=1)
    assert found(index, "when are you open", approved=True) == ["At 9."]
    ws.give_feedback(reply.id, by="anna", rating=-1)
    assert found(index, "when are you open", approved=True) == []


def test_an_edited_question_is_found_by_what_it_says_now(ws, index):
    """Also when it was edited long after its answer was indexed."""
    reply = teach(ws, "When do you open?", "At 9.")
    assert found(index, "when are you open") == ["At 9."]
    ws.edit(reply.id - 1, "Do you sell tulips?")
    assert found(index, "when are you open") == []
    assert found(index, "are you selling tulips") == ["At 9."]


def test_what_is_taken_down_is_not_found(ws, index):
    """The reply, or the question."""
    first = teach(ws, "When do you open?", "At 9.")
    second = teach(ws, "Do you sell tulips?", "Yes.", name="telegram:43")
    assert found(index, "when are you open") == ["At 9."]
    ws.delete(first.id)
    ws.delete(second.id - 1)
    assert found(index, "when are you open") == found(index, "do you sell tulips") == []
    assert not any(rows(ws.store).values())


def test_a_voice_question_is_found_once_its_words_are_known(ws, index):
    """Its transcript may come after the correction."""
    chat = ws.conversation("telegram:42")
    voice = chat.record("user", "", attachments=[Attachment("voice", file="files/1.ogg")])
    reply = chat.record("assistant", "Не знаю.")
    ws.correct(reply.id, "С 9.", by="anna")
    assert found(index, "когда вы открыты") == []
    ws.store.append("conversation/telegram:42", [TranscriptRecorded(voice.number, 0, "Когда вы открыты?")])
    assert found(index, "когда вы открыты") == ["С 9."]


# --- catching up ------------------------------------------------------------------------------------------------------


def test_the_index_catches_up_with_other_processes(ws, index):
    """What somebody else corrected since the last time is found by the next question."""
    assert found(index, "when are you open") == []
    with trainerlib.open(ws.path) as other:
        teach(other, "When do you open?", "At 9.")
        assert found(AnswerIndex(other.store), "when are you open") == ["At 9."]
    assert found(index, "when are you open") == ["At 9."]


def test_what_teaches_nothing_costs_no_write(ws, index):
    """Messages and replies are looked through once; the file stays as it is until something is taught."""
    teach(ws, "When do you open?", "At 9.")
    index.catch_up()
    teach(ws, "And on Sunday?")
    before = ws.store.checkpoint(answers.NAME), ws.store.data_version
    assert found(index, "when are you open") == ["At 9."]
    assert (ws.store.checkpoint(answers.NAME), ws.store.data_version) == before
    assert before[0] < ws.store.position
    teach(ws, "Do you sell tulips?", "Yes.")
    assert found(index, "do you sell tulips") == ["Yes."]
    assert ws.store.checkpoint(answers.NAME) == ws.store.position


def test_a_long_silence_is_written_down(ws, index, monkeypatch):
    """So that another process need not look through it again."""
    monkeypatch.setattr(answers, "_IDLE", 5)
    index.catch_up()
    for number in range(3):
        teach(ws, f"question {number}?")
    index.catch_up()
    assert ws.store.checkpoint(answers.NAME) == ws.store.position


def test_a_withdrawal_of_nothing_is_harmless(ws, index):
    """A correction of no message, a withdrawal of no correction."""
    teach(ws, "When do you open?", "At 9.")
    ws.store.append("conversation/telegram:42", [CorrectionWithdrawn(99), Corrected(77, "x", by="anna")])
    assert found(index, "when are you open") == ["At 9."]
    assert index.verify() == []


def test_a_rebuilt_index_is_the_live_one_to_the_byte(ws, index):
    """Whatever was lost or added is reported until then."""
    replies = [
        teach(ws, f"Do you sell {what}?", "Yes.", name=f"telegram:{what}") for what in ("roses", "tulips", "vases")
    ]
    index.catch_up()
    ws.edit(replies[0].id - 1, "Do you sell ficuses?")
    ws.give_feedback(teach(ws, "Сколько стоит ваза?").id, by="ben", rating=1)
    index.catch_up()
    live = rows(ws.store)
    assert index.verify() == []
    for damage in (
        f"DELETE FROM answers WHERE message = {replies[0].id}",
        f"UPDATE answers SET answer = 'No.' WHERE message = {replies[1].id}",
        "DELETE FROM answer_entries WHERE term = 'tulip'",
        "INSERT INTO answer_entries VALUES (1, 'x', 1, 7)",
        "UPDATE answer_terms SET questions = 9 WHERE term = 'vase'",
        "INSERT INTO answers VALUES (9999, 1, 7, 1, 'rose', 'roses?', 'Yes.', 'anna')",
    ):
        with ws.store.database.transaction() as connection:
            connection.execute(damage)
        assert "run `trainerlib rebuild`" in index.verify()[0]
        index.rebuild()
        assert rows(ws.store) == live
        assert index.verify() == []


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    history=st.lists(st.tuples(st.sampled_from("ab"), events), max_size=25),
    asked_at=st.sets(st.integers(0, 25)),
    erased_at=st.integers(0, 25),
)
def test_whatever_happens_catching_up_is_as_good_as_deriving_anew(tmp_path_factory, history, asked_at, erased_at):
    """Step by step, all at once, and with a person erased in between."""
    from trainerlib.store.erasing import erasing

    with EventStore(tmp_path_factory.mktemp("log") / "log.db", synchronous="OFF") as store:
        index = AnswerIndex(store)
        for number, (chat, event) in enumerate(history):
            store.append(f"conversation/{chat}", [event])
            if number in asked_at:
                index.catch_up()
            if number == erased_at:
                with erasing(store, "telegram:7"):
                    pass
        assert index.verify() == []
        live = rows(store)
        index.rebuild()
        assert rows(store) == live
        assert pseudonym(store.log_id, "telegram:7") not in str([row[5:7] for row in live["answers"]])


def test_many_conversations_are_taken_in_a_few_at_a_time(ws, index, monkeypatch):
    """However many changed since the last time."""
    monkeypatch.setattr(answers, "_TOUCHED", 2)
    teach(ws, "When do you open?", "At 9.")
    index.catch_up()
    for number in range(9):
        teach(ws, f"Do you sell {'abcdefghi'[number] * 5}?", f"Yes {number}.", name=f"telegram:{number}")
    assert found(index, "do you sell eeeee", limit=1) == ["Yes 4."]
    assert index.verify() == []
