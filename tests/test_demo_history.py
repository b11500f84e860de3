"""What a newcomer sees first: the history that `trainerlib demo` imports."""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from trainerlib.demo import ASSISTANT, HISTORY, TEACHING

TWELVE_HOURS = 12 * 3600
INVENTED_PHONE = re.compile(r"\+7 900 000-00-\d\d|\+44 7700 900\d\d\d")


def words(message):
    return "".join(entity["text"] for entity in message["text_entities"])


def by_bot(message):
    return message.get("from") == ASSISTANT


@pytest.fixture(scope="module")
def chats():
    return json.loads(HISTORY.read_text(encoding="utf-8"))["chats"]["list"]


@pytest.fixture(scope="module")
def teaching():
    return [json.loads(line) for line in TEACHING.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def replies(chats):
    return {(str(chat["id"]), m["id"]): m for chat in chats for m in chat["messages"] if by_bot(m)}


@pytest.fixture(scope="module")
def conversations(chats):
    found = []
    for chat in chats:
        last = None
        for message in chat["messages"]:
            sent = int(message["date_unixtime"])
            if last is None or sent - last > TWELVE_HOURS:
                found.append([])
            found[-1].append(message)
            last = sent
    return found


def test_every_chat_is_in_order(chats):
    """Chats have ids of their own; message ids grow in each chat and so do the times."""
    assert len({chat["id"] for chat in chats}) == len(chats)
    for chat in chats:
        for before, after in pairwise(chat["messages"]):
            assert before["id"] < after["id"]
            assert int(before["date_unixtime"]) <= int(after["date_unixtime"])


def test_both_clocks_agree(chats):
    """The written time is the Unix time in UTC, for messages and for edits, within 2026-03 to 2026-10."""
    for message in (m for chat in chats for m in chat["messages"]):
        for name in {"date", "edited"} & message.keys():
            written = datetime.fromisoformat(message[name]).replace(tzinfo=UTC)
            assert written.timestamp() == int(message[f"{name}_unixtime"])
            assert (2026, 3) <= (written.year, written.month) <= (2026, 10)


def test_text_and_entities_say_the_same(chats):
    """`text`, plain or mixed, reads as its entities do."""
    for message in (m for chat in chats for m in chat["messages"]):
        parts = message["text"] if isinstance(message["text"], list) else [message["text"]]
        assert "".join(p if isinstance(p, str) else p["text"] for p in parts) == words(message)


def test_an_answer_points_at_an_earlier_message(chats):
    """A reply or a pin names an earlier message of the same chat."""
    for chat in chats:
        seen = set()
        for message in chat["messages"]:
            assert {message[k] for k in ("reply_to_message_id", "message_id") if k in message} <= seen
            seen.add(message["id"])


def test_about_sixty_conversations_in_two_languages(conversations):
    """A silence of over 12 hours starts a conversation; Russian and English each have at least 40 % of them."""
    assert 55 <= len(conversations) <= 70
    said = ["".join(words(m) for m in c if not by_bot(m)) for c in conversations]
    russian = sum(
        len(re.findall("[а-яё]", s, re.IGNORECASE)) > len(re.findall("[a-z]", s, re.IGNORECASE)) for s in said
    )
    assert 0.4 <= russian / len(conversations) <= 0.6


def test_some_conversations_open_alike(conversations):
    """At least five conversations begin with a question and an answer that another one began with before."""
    openings = Counter((words(c[0]), words(c[1])) for c in conversations if len(c) > 1 and by_bot(c[1]))
    assert sum(count - 1 for (question, _), count in openings.items() if question != "/start") >= 5


def test_teaching_points_at_replies_of_the_bot(teaching, replies):
    """Each line corrects or rates a reply that is in the history, never both, and nobody says the same thing twice."""
    for line in teaching:
        assert (line["chat"], line["message"]) in replies
        assert ("correction" in line) != ("rating" in line)
        assert line.get("rating") in {None, 1, -1}
    said = Counter((line["chat"], line["message"], line["by"], "rating" in line) for line in teaching)
    assert set(said.values()) == {1}


def test_a_correction_says_something_else(teaching, replies):
    """A correction differs from its original and from every other correction of it."""
    corrections = [(line["chat"], line["message"], line["correction"]) for line in teaching if "correction" in line]
    assert len(set(corrections)) == len(corrections) >= 40
    for chat, message, text in corrections:
        assert text.strip() == text != words(replies[chat, message])


def test_nobody_rates_twice(teaching, replies):
    """Who reacted to a reply in the chat does not rate it again in the teaching."""
    for line in teaching:
        if "rating" in line:
            reactions = replies[line["chat"], line["message"]].get("reactions", [])
            assert line["by"] not in {f"telegram:{who['from_id']}" for r in reactions for who in r["recent"]}


def test_nobody_is_real(chats, teaching):
    """Phones are of the ranges nobody has; every address on the net is below example.org."""
    texts = [words(m) for chat in chats for m in chat["messages"]] + [line.get("correction", "") for line in teaching]
    for text in texts:
        for digits in re.findall(r"\+?\d[\d\s()-]{7,}\d", INVENTED_PHONE.sub("", text)):
            assert sum(c.isdigit() for c in digits) < 9, text
        for host in re.findall(r"(?:https?://|@)([\w.-]+\w)", text):
            assert host.endswith(".example.org"), text
