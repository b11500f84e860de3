"""`chat`: talking, teaching and exporting from one terminal, here a piped one."""

from __future__ import annotations

import json

import trainerlib
from trainerlib import settings
from trainerlib.cli.chat_words import WORDS

TALK = """\
когда вы открыты?
В 10.
/correct С 9 до 18, без выходных.
/feedback -1 wrong hours
How much is a rose?

/quit
"""


def test_a_sitting(cli):
    """A question, the teacher's answer, a correction and a rating are recorded; a skipped answer is not."""
    told = cli("chat", "terminal:1", stdin=TALK).out
    assert "#4 corrected: В 10. -> С 9 до 18, без выходных." in told
    assert "left without an answer" in told
    question, answer, open_question = cli("show", "terminal:1", "--json").json["messages"]
    assert (question["role"], question["text"], question["author"]) == ("user", "когда вы открыты?", "terminal:anna")
    assert (answer["role"], answer["text"], answer["author"]) == ("assistant", "В 10.", "terminal:anna")
    assert answer["in_reply_to"] == 2
    assert [item["text"] for item in answer["corrections"]] == ["С 9 до 18, без выходных."]
    assert [(item["rating"], item["text"]) for item in answer["feedback"]] == [(-1, "wrong hours")]
    assert open_question["text"] == "How much is a rose?"


def test_an_answer_is_approved_by_its_teacher(cli):
    """What the teacher answers is rated +1 by them, so that it is a target at once."""
    cli("chat", "terminal:1", "--teacher", "telegram:1", stdin="Hi\nHello!\n")
    answer = cli("show", "terminal:1", "--json").json["messages"][1]
    assert [(item["rating"], item["by"]) for item in answer["feedback"]] == [(1, "telegram:1")]
    assert cli("dataset", "build", "x", "--targets", "approved", "--json").json["examples"] == 1


def test_export_in_the_talk(cli, tmp_path):
    """`/export` writes every row of this platform's conversations, in the format asked for."""
    cli("record", "telegram:42", "user", "elsewhere")
    cli("record", "telegram:42", "assistant", "not for this dataset")
    told = cli("chat", "terminal:1", stdin=TALK.replace("/quit", "/export\n/export trl-preference\n/export csv")).out
    assert "= every candidate accounted for" in told
    [row] = (tmp_path / "workspace" / "exports" / "chat.openai-chat.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(row)["messages"][-1]["content"] == "С 9 до 18, без выходных."
    [pair] = (tmp_path / "workspace" / "exports" / "chat.trl-preference.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(pair)["rejected"][0]["content"] == "В 10."


def test_an_earlier_reply_by_its_id(cli):
    """`#ID`, and the bare id of a reply, name an earlier reply; any other number is part of the words."""
    talk = "one\nfirst\ntwo\nsecond\n/correct #4 First.\n/correct 4 First!\n/correct 9 to 18.\n/feedback #4 -1 no\n"
    cli("chat", "terminal:1", stdin=talk)
    messages = cli("show", "terminal:1", "--json").json["messages"]
    assert [item["text"] for item in messages[1]["corrections"]] == ["First!"]
    assert [item["rating"] for item in messages[1]["feedback"]] == [-1]
    assert [item["text"] for item in messages[3]["corrections"]] == ["9 to 18."]


def test_a_command_where_the_answer_is_expected(cli):
    """A command at the teacher's prompt is obeyed, and the question still gets its answer."""
    cli("chat", "terminal:1", stdin="Hi\n/show\nHello!\n")
    assert [item["text"] for item in cli("show", "terminal:1", "--json").json["messages"]] == ["Hi", "Hello!"]


def test_what_a_person_would_mistype(cli):
    """An unknown command, a correction of nothing, a rating out of range: a word each, and the talk goes on."""
    talk = "/nonsense\n/correct x\n/feedback +1\nHi\nHello!\n/correct\n/feedback\n/feedback 9\n/correct #99 x\nAnd?\nYes.\n"
    told = cli("chat", "terminal:1", stdin=talk)
    assert "/nonsense is not known here" in told.out
    assert told.out.count("there is no such reply here yet") == 3
    assert "/correct TEXT: " in told.out
    assert "/feedback +1 or -1" in told.out
    assert "a rating is from -5 to 5, not 9" in told.err
    assert len(cli("show", "terminal:1", "--json").json["messages"]) == 4


def test_a_line_that_is_not_utf_8_is_not_recorded(cli):
    """Bad bytes are named; their neighbours are recorded."""
    told = cli("chat", "terminal:1", stdin=b"\xff\xfe\nHi\nHello!\n")
    assert "that line is not UTF-8" in told.err
    assert [item["text"] for item in cli("show", "terminal:1", "--json").json["messages"]] == ["Hi", "Hello!"]


def test_the_instruction_is_recorded_as_it_was_then(cli, tmp_path):
    """The instruction of the workspace begins the conversation, and again once it has changed."""
    cli("init")
    cli("chat", "terminal:1", stdin="Hi\nHello!\nBye\nBye!\n")
    (tmp_path / settings.INSTRUCTION).write_text("Be brief.", encoding="utf-8")
    cli("chat", "terminal:1", stdin="Hi\nHi.\n")
    roles = [item["role"] for item in cli("show", "terminal:1", "--json").json["messages"]]
    assert roles == ["system", "user", "assistant", "user", "assistant", "system", "user", "assistant"]


def test_a_talk_goes_on_where_it_was(cli):
    """An earlier conversation is shown again; a new sitting without a name is a new conversation."""
    cli("chat", "terminal:1", stdin="Hi\nHello!\n")
    assert "      Hello!" in cli("chat", "terminal:1").out
    cli("chat", stdin="Hi again\nHello again!\n")
    assert len(cli("conversations", "--json").json) == 2


def test_scripts_get_a_line_for_each_thing_done(cli):
    """`--json` prints nothing but JSON."""
    done = cli("chat", "terminal:1", "--json", stdin=TALK).lines
    assert [item["did"] for item in done] == ["message", "message", "correction", "feedback", "message"]
    assert [item["id"] for item in done[:2]] == [3, 4]


def test_whoever_teaches_is_told_once_that_it_may_be_trained_on(cli):
    """The consent is theirs to take back, and is not asked for again."""
    told = "trainerlib person withdraw terminal:anna"
    assert told in cli("chat", "terminal:1", stdin="Hi\nHello!\n").out
    assert told not in cli("chat", "terminal:1", stdin="And?\nYes.\n").out
    cli("person", "withdraw", "terminal:anna")
    cli("chat", "terminal:1", stdin="Still?\nYes.\n")
    assert cli("dataset", "build", "x", "--json").json["excluded"] == {"consent-withdrawn": 3}


def test_the_interface_speaks_russian(cli, monkeypatch):
    """The workspace's language chooses the words."""
    monkeypatch.setenv("TRAINERLIB_WORKSPACE_LANGUAGE", "ru")
    told = cli("chat", "terminal:1", stdin="Привет\n\n/help\n/correct\n").out
    assert "осталось без ответа" in told
    assert "собрать набор" in told
    assert "всё записано" in told


def test_both_languages_say_the_same_things():
    """English and Russian have the same messages with the same facts in them."""
    import string

    def fields(text):
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    assert {name: fields(text) for name, text in WORDS["en"].items()} == {
        name: fields(text) for name, text in WORDS["ru"].items()
    }


def test_what_was_said_is_in_the_log_of_the_library(cli):
    """The same conversation reads from Python."""
    cli("chat", "terminal:1", stdin="Hi\nHello!\n")
    with trainerlib.open("workspace") as workspace:
        assert [message.text for message in workspace.conversation("terminal:1").messages] == ["Hi", "Hello!"]
        assert workspace.conversation("terminal:1").state.platform == "terminal"
