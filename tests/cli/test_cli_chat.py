"""`chat`: talking, teaching and exporting from one terminal, here a piped one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import trainerlib
from trainerlib import settings
from trainerlib.cli.chat_words import WORDS

TEACHER = ("--teacher", "terminal:anna")
PROGRAMS = Path(__file__).parents[1] / "answering.py"

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
    told = cli("chat", "terminal:1", *TEACHER, stdin=TALK).out
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
    told = cli(
        "chat", "terminal:1", *TEACHER, stdin=TALK.replace("/quit", "/export\n/export trl-preference\n/export csv")
    ).out
    assert "= every candidate accounted for" in told
    [row] = (tmp_path / "workspace" / "exports" / "chat.openai-chat.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(row)["messages"][-1]["content"] == "С 9 до 18, без выходных."
    [pair] = (tmp_path / "workspace" / "exports" / "chat.trl-preference.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(pair)["rejected"][0]["content"] == "В 10."


def test_an_earlier_reply_by_its_id(cli):
    """`#ID`, and the bare id of a reply, name an earlier reply; any other number is part of the words."""
    talk = "one\nfirst\ntwo\nsecond\n/correct #4 First.\n/correct 4 First!\n/correct 9 to 18.\n/feedback #4 -1 no\n"
    cli("chat", "terminal:1", *TEACHER, stdin=talk)
    messages = cli("show", "terminal:1", "--json").json["messages"]
    assert [item["text"] for item in messages[1]["corrections"]] == ["First!"]
    assert [item["rating"] for item in messages[1]["feedback"]] == [-1]
    assert [item["text"] for item in messages[3]["corrections"]] == ["9 to 18."]


def test_a_command_where_the_answer_is_expected(cli):
    """A command at the teacher's prompt is obeyed, and the question still gets its answer."""
    cli("chat", "terminal:1", *TEACHER, stdin="Hi\n/show\nHello!\n")
    assert [item["text"] for item in cli("show", "terminal:1", "--json").json["messages"]] == ["Hi", "Hello!"]


def test_what_a_person_would_mistype(cli):
    """An unknown command, a correction of nothing, a rating out of range: a word each, and the talk goes on."""
    talk = "/nonsense\n/correct x\n/feedback +1\nHi\nHello!\n/correct\n/feedback\n/feedback 9\n/correct #99 x\nAnd?\nYes.\n"
    told = cli("chat", "terminal:1", *TEACHER, stdin=talk)
    assert "/nonsense is not known here" in told.out
    assert told.out.count("there is no such reply here yet") == 3
    assert "/correct TEXT: " in told.out
    assert "/feedback +1 or -1" in told.out
    assert "a rating is from -5 to 5, not 9" in told.err
    assert len(cli("show", "terminal:1", "--json").json["messages"]) == 4


def test_a_line_that_is_not_utf_8_is_not_recorded(cli):
    """Bad bytes are named; their neighbours are recorded."""
    told = cli("chat", "terminal:1", *TEACHER, stdin=b"\xff\xfe\nHi\nHello!\n")
    assert "that line is not UTF-8" in told.err
    assert [item["text"] for item in cli("show", "terminal:1", "--json").json["messages"]] == ["Hi", "Hello!"]


def test_the_instruction_is_recorded_as_it_was_then(cli, tmp_path):
    """The instruction of the workspace begins the conversation, and again once it has changed."""
    cli("init")
    cli("chat", "terminal:1", *TEACHER, stdin="Hi\nHello!\nBye\nBye!\n")
    (tmp_path / settings.INSTRUCTION).write_text("Be brief.", encoding="utf-8")
    cli("chat", "terminal:1", *TEACHER, stdin="Hi\nHi.\n")
    roles = [item["role"] for item in cli("show", "terminal:1", "--json").json["messages"]]
    assert roles == ["system", "user", "assistant", "user", "assistant", "system", "user", "assistant"]


def test_a_talk_goes_on_where_it_was(cli):
    """An earlier conversation is shown again; a new sitting without a name is a new conversation."""
    cli("chat", "terminal:1", *TEACHER, stdin="Hi\nHello!\n")
    assert "      Hello!" in cli("chat", "terminal:1", *TEACHER).out
    cli("chat", *TEACHER, stdin="Hi again\nHello again!\n")
    assert len(cli("conversations", "--json").json) == 2


def test_scripts_get_a_line_for_each_thing_done(cli):
    """`--json` prints nothing but JSON."""
    done = cli("chat", "terminal:1", *TEACHER, "--json", stdin=TALK).lines
    assert [item["did"] for item in done] == ["message", "message", "correction", "feedback", "message"]
    assert [item["id"] for item in done[:2]] == [3, 4]


def test_whoever_teaches_is_told_once_that_it_may_be_trained_on(cli):
    """The consent is theirs to take back, and is not asked for again."""
    told = "trainerlib person withdraw terminal:anna"
    assert told in cli("chat", "terminal:1", *TEACHER, stdin="Hi\nHello!\n").out
    assert told not in cli("chat", "terminal:1", *TEACHER, stdin="And?\nYes.\n").out
    cli("person", "withdraw", "terminal:anna")
    cli("chat", "terminal:1", *TEACHER, stdin="Still?\nYes.\n")
    assert cli("dataset", "build", "x", "--json").json["excluded"] == {"consent-withdrawn": 3}


def test_the_interface_speaks_russian(cli, monkeypatch):
    """The workspace's language chooses the words."""
    monkeypatch.setenv("TRAINERLIB_WORKSPACE_LANGUAGE", "ru")
    told = cli("chat", "terminal:1", *TEACHER, stdin="Привет\n\n/help\n/correct\n").out
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
    cli("chat", "terminal:1", *TEACHER, stdin="Hi\nHello!\n")
    with trainerlib.open("workspace") as workspace:
        assert [message.text for message in workspace.conversation("terminal:1").messages] == ["Hi", "Hello!"]
        assert workspace.conversation("terminal:1").state.platform == "terminal"


# --- a model answers -------------------------------------------------------------------------------------------------


def test_a_correction_is_the_very_next_answer(cli):
    """The memory does not know, is told once, and knows in other words and another conversation."""
    told = cli("chat", "terminal:1", stdin="Когда вы открыты?\n/correct С 9 до 18.\n/quit\n").out
    assert "Я этого пока не знаю" in told
    assert "/correct TEXT says what it should have answered" in told
    assert "it counts from the next similar question on" in told
    assert "assistant: С 9 до 18." in cli("chat", "terminal:2", stdin="а когда вы открыты\n").out


def test_scripts_get_the_model_and_whether_it_knows(cli):
    """`--json` prints one object a line; lines after a "does not know" are questions, not answers."""
    talk = "How much is a rose?\n/correct 5 €.\nHow much is a rose?\n/model\n"
    asked, reply, corrected, again, answered, model = cli("chat", "terminal:1", "--json", stdin=talk).lines
    assert (asked["role"], reply["role"], corrected["did"], again["text"]) == (
        "user",
        "assistant",
        "correction",
        "How much is a rose?",
    )
    assert (reply["model"], reply["known"]) == ("memory", False)
    assert (answered["text"], answered["model"], answered["known"]) == ("5 €.", "memory", True)
    assert model == {"did": "model", "model": "memory"}
    assert cli("show", "terminal:1", "--json").json["messages"][1]["corrections"][0]["by"] == "terminal:anna"


def test_a_reply_counts_as_delivered_once_it_was_shown(cli):
    cli("chat", "terminal:1", stdin="Hi\nHi\n")
    with trainerlib.open("workspace") as workspace:
        assert not workspace.undelivered()
        assert not workspace.unanswered()


def test_the_model_can_be_named(cli, monkeypatch):
    """One that cannot be reached fails in a line for each question, and the talk goes on."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    told = cli("chat", "terminal:1", "--model", "openai:gpt-x", stdin="/model\nHi\nHello?\n")
    assert "openai:gpt-x answers here" in told.out
    assert told.err.count("there is no key") == 2
    failed = cli("chat", "terminal:2", "--model", "openai:gpt-x", "--json", stdin="Hi\n").lines[-1]
    assert failed["did"] == "failure"
    assert "there is no key" in failed["error"]
    with trainerlib.open("workspace") as workspace:
        assert len(workspace.conversation("terminal:1").state.failures) == 2


@pytest.mark.parametrize("name", ["gpt-x", "openai:", "local:x"])
def test_a_model_that_there_is_not_is_refused_before_anybody_types(cli, name):
    assert name in cli("chat", "terminal:1", "--model", name, stdin="Hi\n", status=1).err
    with trainerlib.open("workspace") as workspace:
        assert workspace.store.position == 0


def test_a_model_has_a_name(cli):
    assert "--model needs a name" in cli.refuse("chat", "--model", " ", stdin="Hi\n")


def test_a_model_and_a_teacher_are_one_too_many(cli):
    assert "give one of --model and --teacher" in cli.refuse("chat", "--model", "memory", *TEACHER)


def test_the_teacher_is_who_answers(cli):
    assert "terminal:anna answers here" in cli("chat", *TEACHER, stdin="/model\n").out


def test_a_question_that_was_left_open_is_answered_by_the_next_sitting(cli):
    """A sitting was killed before it was answered; elsewhere than in the terminal that is somebody else's work."""
    for conversation in ("terminal:1", "telegram:1"):
        cli("record", conversation, "user", "Когда вы открыты?")
    assert "Я этого пока не знаю" in cli("chat", "terminal:1").out
    assert "Я этого пока не знаю" not in cli("chat", "telegram:1").out
    assert "Я этого пока не знаю" not in cli("chat", "terminal:1", "--json").out


def test_the_model_s_answers_in_russian_words(cli, monkeypatch):
    monkeypatch.setenv("TRAINERLIB_WORKSPACE_LANGUAGE", "ru")
    told = cli("chat", "terminal:1", stdin="42?\n/correct Да.\n/model\n").out
    assert "в следующий раз так и будет" in told
    assert "это учтут уже в следующем похожем вопросе" in told
    assert "здесь отвечает memory" in told


def test_an_instruction_goes_with_each_reply(cli):
    cli("init", "workspace")
    cli("chat", "terminal:1", stdin="Hi\n")
    with trainerlib.open("workspace") as workspace:
        assert workspace.conversation("terminal:1").messages[-1].instruction.startswith("Answer politely")


def sit(path, lines):
    """A sitting in a process of its own, with a model that is interrupted after its first word."""
    words = [sys.executable, PROGRAMS, "sit", path]
    return subprocess.run(words, input=lines, capture_output=True, text=True, timeout=60, check=False)


def test_ctrl_c_stops_the_answer_and_not_the_talk(tmp_path):
    done = sit(tmp_path / "shop", "one two\nраз два\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert "assistant: one\n" in done.stdout
    assert "assistant: раз\n" in done.stdout
    assert done.stdout.endswith("everything is recorded\n")
    with trainerlib.open(tmp_path / "shop") as workspace:
        assert [message.text for message in workspace.conversation("terminal:1").messages] == [
            "one two",
            "one",
            "раз два",
            "раз",
        ]


# --- somebody sits at it ---------------------------------------------------------------------------------------------


def type_in(workspace, *lines):
    """What a terminal shows of a sitting in which somebody types lines and presses Ctrl-D."""
    pty = pytest.importorskip("pty", reason="no pseudo-terminals here", exc_type=ImportError)
    keyboard, terminal = pty.openpty()
    try:
        os.write(keyboard, "".join(f"{line}\n" for line in lines).encode() + b"\x04")
        words = [sys.executable, "-m", "trainerlib", "-w", workspace, "chat", "terminal:1"]
        done = subprocess.run(words, stdin=terminal, capture_output=True, timeout=60, check=True)
    finally:
        os.close(keyboard)
        os.close(terminal)
    assert done.stderr == b""
    return done.stdout.decode()


def test_what_the_model_does_not_know_is_asked_from_the_teacher(cli, tmp_path):
    """As they talk; Enter skips it."""
    place = tmp_path / "workspace"
    told = type_in(place, "Сколько стоит роза?", "300 рублей.", "сколько стоит роза", "Hello there", "", "/quit")
    assert "assistant> 300 рублей.\nyou> " in told
    assert told.count("what should the assistant answer?") == 2
    first, _, last = [item for item in cli("show", "terminal:1", "--json").json["messages"] if item["model"]]
    assert [item["text"] for item in first["corrections"]] == ["300 рублей."]
    assert last["corrections"] == []


def test_a_correction_at_the_teacher_s_prompt_is_the_answer(tmp_path):
    """And any other command is obeyed before the answer."""
    told = type_in(tmp_path / "workspace", "Do you deliver?", "/model", "/correct We do.", "Do you deliver?")
    assert "memory answers here" in told
    assert "assistant> We do." in told
    assert told.endswith("everything is recorded\n")
