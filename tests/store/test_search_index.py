"""Search: words in any form, in English and Russian, in what is said now."""

from __future__ import annotations

import sys
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import trainerlib
from trainerlib.events import Attachment, CorrectionWithdrawn, TranscriptRecorded
from trainerlib.store import search
from trainerlib.store.search import SearchIndex


@pytest.fixture
def ws(tmp_path):
    with trainerlib.open(tmp_path / "workspace") as ws:
        yield ws


def found(ws, query):
    return [hit.message.text for hit in ws.search(query)]


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("открыты", "Мы открыто всем рады"),
        ("доставка", "Есть ли у вас доставки?"),
        ("розой", "Сколько стоят розы"),
        ("opening", "When do you open?"),
        ("delivery", "Two deliveries arrived"),
        ("ёлка", "Продаёте елку?"),
        ("елка", "Продаёте ёлку?"),
        ("РОЗЫ", "сколько стоит роза"),
        ("order 4117", "Где заказ? Order №4117"),
    ],
)
def test_words_are_found_in_any_form(ws, query, text):
    """A word finds its other forms, in either language, whatever the case, and with ё as е."""
    chat = ws.conversation("telegram:42")
    chat.record("user", "совсем другое, something else")
    chat.record("user", text)

    assert found(ws, query) == [text]


def test_all_words_come_before_any_word(ws):
    """A message with every word is found alone; when there is none, those with any of the words are."""
    chat = ws.conversation("telegram:42")
    chat.record("user", "red roses")
    chat.record("user", "white roses")
    chat.record("user", "red tulips")

    assert found(ws, "red rose") == ["red roses"]
    assert sorted(found(ws, "white tulip")) == ["red tulips", "white roses"]
    assert found(ws, "orchids") == []


def test_a_hit_names_its_conversation(ws):
    """A hit is the message as it stands, with the conversation it is in."""
    ws.conversation("telegram:1").record("user", "тюльпаны")
    message = ws.conversation("telegram:2").record("user", "розы")
    [hit] = ws.search("роза")

    assert (hit.conversation, hit.message) == ("telegram:2", message)


def test_no_more_than_the_limit(ws):
    """A search gives at most as many messages as asked for."""
    for number in range(30):
        ws.conversation("telegram:42").record("user", f"roses {number}")

    assert len(ws.search("rose")) == 20
    assert len(ws.search("rose", limit=3)) == 3


def test_a_correction_is_found(ws):
    """A reply is found by what it should have said, until that correction is withdrawn."""
    answer = ws.conversation("telegram:42").record("assistant", "В 10.")
    assert found(ws, "выходных") == []
    correction = ws.correct(answer.id, "С 9 до 18, без выходных.", by="anna")
    assert found(ws, "выходной") == ["В 10."]
    ws.withdraw_correction(correction.id)
    assert found(ws, "выходной") == []


def test_an_edited_message_is_found_by_what_it_says_now(ws):
    """After an edit the new words are found and the old are not."""
    message = ws.conversation("telegram:42").record("user", "roses")
    assert found(ws, "roses") == ["roses"]
    ws.edit(message.id, "tulips")

    assert found(ws, "roses") == []
    assert found(ws, "tulip") == ["tulips"]


def test_a_deleted_message_is_not_found(ws):
    """A deleted message is not found, whether the index knew it already or not."""
    first, second = (ws.conversation("telegram:42").record("user", f"roses {number}") for number in "12")
    ws.delete(first.id)
    assert found(ws, "rose") == ["roses 2"]
    ws.delete(second.id)
    assert found(ws, "rose") == []


def test_a_transcript_is_found(ws):
    """A voice message is found by its transcript once that is known."""
    chat = ws.conversation("telegram:42")
    voice = chat.record("user", "", attachments=[Attachment("voice", file="files/1.ogg")])
    assert ws.search("тюльпанов") == []
    ws.store.append("conversation/telegram:42", [TranscriptRecorded(voice.number, 0, "Есть тюльпаны?")])

    assert [hit.message.id for hit in ws.search("тюльпан")] == [voice.id]


def test_the_index_catches_up_with_other_processes(ws):
    """What somebody else recorded since the last search is found by the next one."""
    assert ws.search("роза") == []
    with trainerlib.open(ws.path) as other:
        other.conversation("telegram:42").record("user", "розы")

    assert found(ws, "роза") == ["розы"]


def test_a_withdrawal_of_nothing_is_harmless(ws):
    """A withdrawal that names no correction does not stop the index."""
    chat = ws.conversation("telegram:42")
    chat.record("user", "roses")
    ws.store.append("conversation/telegram:42", [CorrectionWithdrawn(99), CorrectionWithdrawn(2)])

    assert found(ws, "rose") == ["roses"]
    assert ws.verify() == []


@pytest.mark.parametrize(
    "query", ['"', "*", "AND (", "NEAR", "roses NOT tulips", "words:roses", "^roses", "", "  ", "'--"]
)
def test_query_syntax_is_only_characters(ws, query):
    """What means something to the search engine means nothing to a person's query."""
    ws.conversation("telegram:42").record("user", "and near not roses tulips words")

    assert found(ws, query) in ([], ["and near not roses tulips words"])


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    with trainerlib.open(tmp_path_factory.mktemp("search") / "workspace") as ws:
        ws.conversation("telegram:42").record("user", "Розы and roses ²½ x\u0301")
        yield SearchIndex(ws.store)


@settings(deadline=None, max_examples=300)
@given(query=st.text(st.characters(), max_size=30))
def test_any_query_is_harmless(index, query):
    """Whatever somebody types, a search answers."""
    assert set(index.search(query)) <= {2}


def test_a_rebuilt_index_is_the_live_one(ws):
    """Rebuilding the index gives what catching up step by step gave, and a lost entry is reported until then."""
    chat = ws.conversation("telegram:42")
    answers = [chat.record("assistant", text) for text in ("В 10.", "Roses, please", "ещё розы")]
    ws.search("розы")
    ws.correct(answers[0].id, "С 9 до 18", by="anna")
    ws.edit(answers[1].id, "Tulips")
    ws.search("розы")
    ws.delete(answers[2].id)
    ws.search("розы")
    entries = "SELECT rowid, words FROM search_index ORDER BY rowid"
    live = ws.store.database.query(entries)
    assert ws.verify() == []
    with ws.store.database.transaction() as connection:
        connection.execute("DELETE FROM search_index WHERE rowid = ?", (answers[0].id,))
        connection.execute("INSERT INTO search_index(rowid, words) VALUES (999, 'x')")
    assert ws.verify() == ["search index: 2 messages are not as the log says; run `trainerlib rebuild`"]
    ws.rebuild()

    assert ws.store.database.query(entries) == live
    assert ws.verify() == []


def test_threads_stem_the_same_word_alike():
    """A stemmer is shared by threads, and none of them gets another one's word."""
    words = ["открыты", "расписание", "доставкой", "букетами", "opening", "deliveries"]
    expected = [search.stems(word)[0] for word in words]
    wrong = []

    def stem():
        for _ in range(150):
            # Past the cache, which would hide a stemmer that two threads use at once.
            got = [search._stem.__wrapped__(word) for word in words]
            wrong.extend(got if got != expected else [])

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=stem) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)

    assert wrong == []
