"""`record`, `correct`, `feedback`: one thing at a time, once."""

from __future__ import annotations

import pytest


@pytest.fixture
def reply(cli):
    """Id of an answer in a conversation of two messages."""
    question = cli("record", "telegram:42", "user", "когда вы открыты?", "--author", "telegram:7", "--json").json
    answer = cli("record", "telegram:42", "assistant", "В 10.", "--reply-to", question["id"], "--json").json
    assert answer == {"id": question["id"] + 1, "conversation": "telegram:42", "role": "assistant", "new": True}
    return answer["id"]


def test_a_message_is_recorded_once_for_a_key(cli):
    """The same key again changes nothing and says so; the same key with other words is refused."""
    assert (
        "#2 recorded in telegram:42: user says 'Привет'"
        in cli("record", "telegram:42", "user", "Привет", "--key", "k").out
    )
    assert "nothing changed" in cli("record", "telegram:42", "user", "Привет", "--key", "k").out
    assert "key k already belongs" in cli("record", "telegram:42", "user", "Пока", "--key", "k", status=1).err


def test_words_from_standard_input(cli):
    """`-` reads the text, several lines of it, without the last line end."""
    cli("record", "telegram:42", "user", "-", stdin="Первая\nsecond\n")
    assert cli("show", "telegram:42", "--json").json["messages"][0]["text"] == "Первая\nsecond"
    assert "not UTF-8" in cli.refuse("record", "telegram:42", "user", "-", stdin=b"\xff\xfe")


def test_a_correction_shows_both_sides(cli, reply):
    """What was and what should have been are printed; the same again changes nothing."""
    told = cli("correct", reply, "С 9 до 18.").out
    assert "was        В 10." in told
    assert "should be  С 9 до 18." in told
    assert "nothing changed" in cli("correct", f"#{reply}", "С 9 до 18.").out
    shown = cli("show", "telegram:42", "--json").json["messages"][1]
    assert [(item["text"], item["by"]) for item in shown["corrections"]] == [("С 9 до 18.", "terminal:anna")]


def test_two_people_may_correct_the_same_reply(cli, reply):
    """`--by` names who says it; neither replaces the other."""
    cli("correct", reply, "С 9 до 18.", "--by", "telegram:1")
    cli("correct", reply, "С 9 до 19.", "--by", "telegram:2", "--note", "new hours")
    shown = cli("show", "telegram:42", "--json").json["messages"][1]
    assert [item["by"] for item in shown["corrections"]] == ["telegram:1", "telegram:2"]


def test_feedback_is_a_rating_or_words_or_both(cli, reply):
    """A rating, then words; the same rating again changes nothing."""
    assert "rated -1 by terminal:anna" in cli("feedback", reply, "--rating", "-1").out
    assert "nothing changed" in cli("feedback", reply, "--rating", "-1").out
    assert "commented on" in cli("feedback", reply, "--text", "wrong hours", "--by", "telegram:7").out
    shown = cli("show", "telegram:42", "--json").json["messages"][1]
    assert [(item["rating"], item["text"]) for item in shown["feedback"]] == [(-1, ""), (None, "wrong hours")]


def test_what_a_person_would_mistype(cli, reply):
    """A wrong id, role, rating or author is one line and exit status 2."""
    assert "no message 99" in cli.refuse("correct", "99", "x")
    assert "'abc' is no message id" in cli.refuse("correct", "abc", "x")
    assert "'-3' is no message id" in cli.refuse("correct", "--", "-3", "x")
    assert "is not a reply but a user message" in cli.refuse("correct", reply - 1, "x")
    assert "cannot be empty" in cli.refuse("correct", reply, " ")
    assert "cannot be empty" in cli.refuse("correct", reply, "x", "--by", "")
    assert "from -5 to 5, not 9" in cli.refuse("feedback", reply, "--rating", "9")
    assert "--rating" in cli.refuse("feedback", reply, "--rating", "good")
    assert "say something" in cli.refuse("feedback", reply)
    assert "unknown role 'bot'; one of" in cli.refuse("record", "telegram:42", "bot", "x")
    assert "message 99" in cli.refuse("record", "telegram:42", "user", "x", "--reply-to", "99")
    assert "words or attachments" in cli.refuse("record", "telegram:42", "user", "")


def test_a_wrong_role_makes_no_workspace(cli, tmp_path):
    """A command that was typed wrongly leaves nothing behind."""
    cli.refuse("record", "telegram:42", "bot", "x")
    assert list(tmp_path.iterdir()) == []
