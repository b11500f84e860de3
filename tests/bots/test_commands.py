"""The commands of the bots: who may give which, what is said to mistakes, in English and Russian."""

from __future__ import annotations

import pytest
from commanding import OWNER, PERSON, TRAINER, asked, buttons, commands, owned, run, said, tap
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import trainerlib
from bots.commands import COMMANDS
from bots.job_following import STATES
from bots.roles import PERSON as EVERYBODY
from bots.texts import speaker

FOR_OTHERS = sorted(set(COMMANDS) - EVERYBODY)


@pytest.fixture
def ws(tmp_path):
    (tmp_path / "shop").mkdir()
    owned(tmp_path / "shop")
    with trainerlib.open(tmp_path / "shop") as workspace:
        yield workspace


def test_all_commands_of_the_original_bots_and_the_new_ones_are_there():
    original = {"start", "help", "hi", "instruction", "train", "test", "archive", "select_dataset", "getfile"}
    new = {"datasets", "jobs", "model", "stats", "role", "privacy", "consent", "forget", "export"}
    talk = {"new", "cancel", "correct", "feedback"}
    assert set(COMMANDS) == original | new | talk


@pytest.mark.parametrize("name", FOR_OTHERS)
def test_a_person_without_the_role_is_refused_and_nothing_is_recorded(ws, name):
    before = ws.store.position
    [say] = run(ws, f"/{name} anything", by=PERSON)
    assert say.text.startswith(f"/{name} is for ")
    assert (say.buttons, say.file, ws.store.position) == ((), None, before)


@pytest.mark.parametrize("name", FOR_OTHERS)
def test_a_button_of_a_command_is_refused_to_a_person_without_the_role(ws, name):
    [say] = tap(ws, f"cmd:{name}:go", by=PERSON)
    expected = f"/{name} is for " if COMMANDS[name].tap is not None else "That button is not known any more."
    assert say.text.startswith(expected)


@pytest.mark.parametrize("name", ["train", "archive", "getfile", "select_dataset", "role"])
def test_what_spends_reads_files_or_gives_roles_is_refused_to_trainers(ws, name):
    assert said(run(ws, f"/{name} anything", by=TRAINER)).startswith(f"/{name} is for the owner")


def test_the_owner_may_leave_commands_to_trainers(ws, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    owned(other, 'trainers_may = ["getfile"]')
    with trainerlib.open(other) as workspace:
        assert "is for the owner" not in said(run(workspace, "/getfile nothing.txt", by=TRAINER))
    assert "is for the owner" in said(run(ws, "/getfile nothing.txt", by=TRAINER))


@pytest.mark.parametrize("language", ["en", "ru"])
def test_help_lists_what_somebody_may_do_and_nothing_else(ws, language):
    for person in (PERSON, TRAINER, OWNER):
        text = said(run(ws, "/help", by=person, language=language))
        mine = [name for name in COMMANDS if f"/{name}" in {line.split(":")[0].split()[0] for line in text.split("\n")}]
        listed = [name for name, _ in commands(ws).listed(asked(by=person).caller.role, language)]
        assert mine == listed
        assert ("train" in mine) == (person == OWNER)
        assert ("datasets" in mine) == (person != PERSON)


def test_help_on_one_command_shows_an_example(ws):
    assert said(run(ws, "/help test")).endswith('For example: /test [{"input": "When are you open?", "contains": "9"}]')


def test_every_line_of_the_menu_is_short_enough_for_the_platforms_in_every_language(ws):
    for language in ("en", "ru"):
        for name, line in commands(ws).listed("owner", language):
            assert name.isidentifier()
            assert name == name.lower()
            assert 3 <= len(line) <= 100


def test_an_unknown_command_is_answered_with_the_nearest_name_that_one_may_give(ws):
    assert said(run(ws, "/trian")) == "I do not know /trian. Did you mean /train?"
    assert said(run(ws, "/trian", by=PERSON)) == "I do not know /trian. What I can do: /help"
    assert said(run(ws, "/конь")) == "I do not know /конь. What I can do: /help"


def test_a_button_that_is_none_is_said_to_be_so(ws):
    for action in ("cmd:", "cmd:nothing:1", "cmd:stats:1", "cmd:train:go:zz:1", "cmd:train:", "cmd:model:go", "up:1"):
        assert said(tap(ws, action)) == "That button is not known any more."


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(["train", "model", "jobs", "datasets"]), rest=st.text(max_size=40))
def test_any_action_that_a_client_makes_up_gets_a_sentence(ws, name, rest):
    before = ws.store.position
    says = tap(ws, f"cmd:{name}:{rest}")
    assert says
    assert all(say.text for say in says)
    assert ws.jobs.list() == []
    assert ws.store.position == before or name == "datasets"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(FOR_OTHERS), text=st.text(max_size=60))
def test_any_words_after_a_command_get_a_sentence_without_a_path_of_the_machine(ws, name, text):
    says = run(ws, f"/{name} {text}")
    assert says
    assert all(say.text for say in says)
    assert not [say for say in says if str(ws.path) in say.text]


def test_hello_is_said_by_name_and_in_russian(ws):
    assert said(run(ws, "/hi", by=PERSON)).startswith("Hello, Anna!")
    assert said(run(ws, "/start", by=PERSON)).startswith("Hello, Anna!")
    assert said(run(ws, "/START", by=PERSON)).startswith("Hello, Anna!")


def test_stats_say_how_much_there_is(ws):
    chat = ws.conversation("telegram:42")
    answer = chat.record("assistant", "В 10.", in_reply_to=chat.record("user", "Когда вы открыты?", author=PERSON))
    ws.correct(answer.id, "С 9 до 18.", by=TRAINER)
    text = said(run(ws, "/stats", by=TRAINER))
    assert "Messages: 2\n" in text
    assert "Corrections: 1\n" in text
    assert text.endswith("`memory` answers.")


def test_an_owner_gives_roles_by_full_and_by_short_id(ws):
    assert said(run(ws, "/role 7 trainer")) == "`telegram:7`: trainer."
    assert said(run(ws, "/role telegram:7 учитель")) == "`telegram:7`: trainer."
    assert ws.person("telegram:7").role == "trainer"
    assert said(run(ws, "/role discord:8")) == "`discord:8`: person."
    assert "`telegram:1`" in said(run(ws, "/role"))


@pytest.mark.parametrize("text", ["7 king", "7 trainer please", ": trainer", "telegram:1 person"])
def test_a_role_that_cannot_be_given_is_refused_with_a_sentence(ws, text):
    before = ws.store.position
    assert said(run(ws, f"/role {text}")).count("\n") == 0
    assert ws.store.position == before


def test_the_commands_of_the_talk_are_the_dialogues(ws):
    assert "keep" in said(run(ws, "/privacy", by=PERSON))
    assert buttons(run(ws, "/consent", by=PERSON)).keys() == {"I allow it", "I do not"}
    assert "fresh conversation" in said(run(ws, "/new", by=PERSON))
    assert said(run(ws, "/cancel", by=PERSON)) == "There is nothing to stop."
    assert "have nothing about you" in said(run(ws, "/export", by=PERSON))
    assert "cannot be undone" in said(run(ws, "/forget", by=PERSON))
    assert "/feedback" in said(run(ws, "/feedback", by=PERSON))
    assert "/correct" in said(run(ws, "/correct", by=TRAINER))


def test_every_sentence_of_the_tables_is_there_in_russian():
    _ = speaker("ru")
    table = [*STATES.values(), *(command.help for command in COMMANDS.values())]
    table += [command.arguments for command in COMMANDS.values() if command.arguments not in ("", "JSON")]
    assert [sentence for sentence in table if _(sentence) == sentence] == []
