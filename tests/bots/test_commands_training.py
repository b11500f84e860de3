"""`/train`, `/jobs`, `/datasets`, `/select_dataset`: examples, plans, one job a button, and who is told of its end."""

from __future__ import annotations

import asyncio
import re
import shutil
from contextlib import aclosing
from pathlib import Path
from typing import ClassVar

import pytest
from commanding import (
    OWNER,
    PERSON,
    TRAINER,
    asked,
    built_shop,
    buttons,
    collected,
    commands,
    happened,
    owned,
    run,
    said,
    tap,
    training_shop,
    uploaded,
)
from histories import row, types, write
from training_server import Fault, TrainingServer
from training_shop import hurried, without_environment

import trainerlib
from bots.marking import short
from bots.port import Upload
from trainerlib.events import TrainingSucceeded

pytest.importorskip("openai", reason="needs the extra: pip install 'trainerlib[openai]'")

LINES = [row("shop:1", "Are you open on Sunday?", "Yes, 9 to 18."), row("shop:2", "Вы открыты в субботу?", "Да, с 9.")]
TALK = "Q: When are you open?\nA: 9 to 18.\n\nQ: Есть розы?\nA: Да, по 150.\n"


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    without_environment(monkeypatch)


@pytest.fixture
def server():
    with TrainingServer() as running:
        yield running


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return built_shop(tmp_path_factory.mktemp("template") / "shop")


@pytest.fixture
def place(template, tmp_path):
    return Path(shutil.copytree(template, tmp_path / "shop"))


@pytest.fixture
def ws(place, server):
    with training_shop(place, server) as workspace:
        yield workspace


@pytest.fixture
def empty(tmp_path):
    (tmp_path / "empty").mkdir()
    owned(tmp_path / "empty")
    with trainerlib.open(tmp_path / "empty") as workspace:
        yield workspace


def begun(ws, **who):
    """Ask for a training and confirm it; the button, and what was said to the tap."""
    [action] = [one for one in buttons(run(ws, "/train support openai:gpt-x", **who)).values() if ":go:" in one]
    return action, tap(ws, action, **who)


# --- a plan and a button ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("language", "costs"), [("en", "It costs about $"), ("ru", "$")])
def test_a_plan_says_rows_tokens_and_cost_and_spends_nothing(ws, server, language, costs):
    says = run(ws, "/train support openai:gpt-x", language=language)
    text = said(says)
    assert "`support@1`" in text
    assert "`openai:gpt-x`" in text
    assert costs in text
    rows = ws.jobs.plan("support", model="gpt-x").request.rows["train"]
    assert f"{rows} " in text
    assert server.requests == []
    assert ws.jobs.list() == []
    actions = buttons(says).values()
    assert all(len(action.encode()) <= 64 and action.isascii() for action in actions)


def test_a_tap_begins_the_job_for_whoever_tapped(ws):
    _, says = begun(ws)
    [job] = ws.jobs.list()
    assert said(says).startswith(f"Job `{job.id}` has begun.")
    assert (job.state.request.by, job.state.request.model) == (OWNER, "gpt-x")


def test_one_button_begins_one_job_however_often_and_whenever_it_is_tapped(ws):
    action, _ = begun(ws)
    [job] = ws.jobs.list()
    assert said(tap(ws, action)) == f"This was begun already: job `{job.id}`. `/jobs` shows how far it is."
    ws.jobs.get(job.id).follow(timeout=20)
    assert "begun already" in said(tap(ws, action))
    assert len(ws.jobs.list()) == 1
    other, says = begun(ws)
    assert other != action
    assert "has begun" in said(says)
    assert len(ws.jobs.list()) == 2


def test_two_taps_at_once_begin_one_job(ws):
    [action] = [one for one in buttons(run(ws, "/train support openai:gpt-x")).values() if ":go:" in one]

    async def both():
        mine = commands(ws)
        taps = [collected(mine.tap(asked(key=f"tap:{number}"), action)) for number in range(2)]
        done = await asyncio.gather(*taps)
        await mine.close()
        return [said(says) for says in done]

    words = asyncio.run(both())
    assert len(ws.jobs.list()) == 1
    assert len([text for text in words if "has begun" in text]) == 1


def test_not_now_begins_nothing(ws, server):
    actions = buttons(run(ws, "/train support openai:gpt-x"))
    assert said(tap(ws, actions["Not now"])) == "Nothing was sent."
    assert (ws.jobs.list(), server.requests) == ([], [])


def test_the_model_of_the_last_training_is_the_next_ones_too(ws):
    begun(ws)
    assert "`openai:gpt-x`" in said(run(ws, "/train support"))


def test_without_a_model_one_is_asked_for_with_an_example(ws):
    assert "`/train support openai:gpt-4.1-mini`" in said(run(ws, "/train support"))


def test_a_model_of_this_machine_is_taken_only_when_it_is_known_here(ws):
    for model in ("local:/etc", "local:../secrets"):
        assert "is not known here" in said(run(ws, f"/train support {model}"))
        assert "is not known here" in said(tap(ws, f"cmd:train:go:a1860308:1:0:sft:{model}"))
    assert ws.jobs.list() == []


def test_a_model_with_a_long_name_is_named_by_its_digest(ws):
    name = "gpt-x-" + "a" * 40
    ws.jobs.start("support", model=name).cancel()
    [action] = [one for one in buttons(run(ws, f"/train support openai:{name}")).values() if ":go:" in one]
    assert len(action) <= 64
    tap(ws, action)
    assert ws.jobs.list()[-1].state.request.model == name


def test_the_selected_dataset_is_the_one_meant_when_none_is_named(ws):
    assert "Which dataset?" in said(run(ws, "/train"))
    assert said(run(ws, "/select_dataset datasets/support/v1")).startswith("The next training learns from `support@1`.")
    assert said(run(ws, "/select_dataset support")) == "`support@1` was chosen already."
    [chosen] = ws.datasets.selected()
    assert chosen.name == "support"
    begun(ws)
    assert "`support@1`" in said(run(ws, "/train"))


def test_what_is_to_be_avoided_is_chosen_apart(ws):
    assert "what to avoid" in said(run(ws, "/select_dataset support отрицательные", language="en"))
    assert [one.name for one in ws.datasets.selected("negative")] == ["support"]
    assert "/select_dataset support negative" in said(run(ws, "/train support negative"))


@pytest.mark.parametrize("name", ["suport", "support@7", "datasets/none", "files/../.."])
def test_a_dataset_that_is_not_there_gets_a_sentence(ws, name):
    for line in (f"/train {name}", f"/select_dataset {name}"):
        [say] = run(ws, line)
        assert "\n" not in say.text
        assert say.buttons == ()


def test_files_that_cannot_be_trained_on_are_refused_before_anything_begins(ws):
    ws.datasets.build("tiny", trainerlib.Recipe(targets="corrected", platforms=("discord",)))
    says = run(ws, "/train tiny openai:gpt-x")
    assert said(says).startswith("This cannot be trained:")
    assert buttons(says) == {}


# --- examples --------------------------------------------------------------------------------------------------------


def test_an_attached_file_becomes_good_examples_once(empty):
    upload = uploaded(empty, "hours.jsonl", LINES)
    says = run(empty, "/train", files=[upload])
    assert [say.replaces for say in says] == [False, *[True] * (len(says) - 1)]
    assert said(says) == "`hours.jsonl`: 2 conversations; 2 replies are good examples."
    assert "cmd:datasets:build" in buttons(says).values()
    before = empty.store.position
    again = uploaded(empty, "hours.jsonl", LINES)
    assert said(run(empty, "/train", files=[again])).endswith("All of it was known before.")
    assert empty.store.position == before
    assert not list((empty.path / "files").glob(".adding-*"))
    assert [summary.up for summary in empty.conversations()] == [1, 1]


def test_an_attached_file_becomes_bad_examples_when_that_is_said(empty):
    upload = uploaded(empty, "грубо.txt", TALK)
    assert said(run(empty, "/train отрицательные", files=[upload])).endswith("2 replies are bad examples.")
    assert {summary.down for summary in empty.conversations()} <= {1, 2}


def test_what_a_kill_left_of_adding_a_file_is_gone_when_it_is_added_again(empty):
    upload = uploaded(empty, "hours.jsonl", LINES)
    left = empty.path / "files" / f".adding-{short(str(upload.path))}"
    left.mkdir()
    (left / "half.jsonl").write_text("{", encoding="utf-8")
    assert said(run(empty, "/train", files=[upload])) == "`hours.jsonl`: 2 conversations; 2 replies are good examples."
    assert not left.exists()


def test_a_directory_of_the_workspace_becomes_examples(empty):
    place = empty.path / "files" / "хорошие ответы"
    place.mkdir()
    write(place / "talk.txt", TALK)
    write(place / "photo.png", "no example")
    text = said(run(empty, "/train files/хорошие ответы/ positive"))
    assert "2 replies are good examples." in text
    assert "`photo.png` was left out" in text


def test_a_directory_outside_the_workspace_is_refused(empty, tmp_path):
    (tmp_path / "good").mkdir()
    write(tmp_path / "good" / "talk.txt", TALK)
    before = empty.store.position
    for given in ("../good", str(tmp_path / "good"), "files/../../good"):
        assert said(run(empty, f"/train {given} positive"))
    assert empty.store.position == before


def test_a_file_that_holds_no_examples_gets_a_sentence(empty):
    upload = uploaded(empty, "photo.png", "no picture")
    assert said(run(empty, "/train", files=[upload])).startswith("Nothing in `photo.png` could be read as examples.")
    too_large = Upload("document", None, "large.jsonl")
    assert said(run(empty, "/train", files=[too_large])) == "The file could not be taken in: 20 MB are the most."


def test_the_whole_way_from_a_file_to_a_plan_goes_by_buttons(empty):
    says = run(empty, "/train", files=[uploaded(empty, "hours.jsonl", LINES)])
    built = tap(empty, buttons(says)["Build a dataset"])
    assert said(built).startswith("`chat@1`: 2 examples")
    assert "cmd:train:plan:" in next(iter(buttons(built).values()))
    assert "Nothing was taught since" in said(run(empty, "/datasets build"))
    assert "`chat@1`: 2 examples" in said(run(empty, "/datasets", by=TRAINER))
    assert run(empty, "/datasets", by=TRAINER)[-1].buttons == ()
    assert "is for the owner" in said(run(empty, "/datasets build", by=TRAINER))


def test_where_there_is_no_dataset_it_is_said_how_to_get_one(empty):
    assert "`/datasets build support`" in said(run(empty, "/datasets"))
    assert "caption `/train`" in said(run(empty, "/train"))
    assert "no training jobs" in said(run(empty, "/jobs"))


# --- jobs ------------------------------------------------------------------------------------------------------------


def test_jobs_are_followed_in_one_message_that_changes_until_they_end(ws, server):
    server.stages = ("validating_files", "queued", "running", "running", "succeeded")
    ws.jobs.start("support", model="gpt-x", by=OWNER)
    says = run(ws, "/jobs")
    assert [say.replaces for say in says] == [False, *[True] * (len(says) - 1)]
    assert "not begun yet" in says[0].text or "sending" in says[0].text
    assert "done" in said(says)
    assert "`openai:ft:gpt-x:shop::a1`" in said(says)
    assert says[-1].buttons == ()
    assert len({say.text for say in says}) == len(says), "only what changed is said"


def test_a_trainer_sees_jobs_and_cannot_stop_them(ws, server):
    server.stages = ("running",)
    job = ws.jobs.start("support", model="gpt-x", by=OWNER)

    async def first(by):
        mine = commands(ws)
        async with aclosing(mine.run("jobs", asked(by=by))) as says:
            say = await anext(says)
        await mine.close()
        return say

    assert asyncio.run(first(TRAINER)).buttons == ()
    [[stop]] = asyncio.run(first(OWNER)).buttons
    assert "is for the owner" in said(tap(ws, stop.action, by=TRAINER))
    [[sure]] = tap(ws, stop.action)[-1].buttons
    assert not ws.jobs.get(job.id).state.ended
    assert "stopped" in said(tap(ws, sure.action))
    assert ws.jobs.get(job.id).state.state == "cancelled"
    assert "stopped" in said(tap(ws, sure.action))


def test_other_commands_go_on_while_jobs_are_shown(ws, server):
    server.stages = ("running",)
    ws.jobs.start("support", model="gpt-x")

    async def both():
        mine = commands(ws)
        async with aclosing(mine.run("jobs", asked())) as jobs:
            await anext(jobs)
            stats = await asyncio.wait_for(collected(mine.run("stats", asked())), 20)
        await mine.close()
        return stats

    assert "Trainings that go on: 1" in said(asyncio.run(both()))
    assert [name for name in ("jobs", "train", "nothing") if commands(ws).is_live(name)] == ["jobs"]


def told(ws, *, until=1):
    """What people are told by a bot that goes on with the jobs, until so many were told something."""
    heard = []

    async def notify(person, say):
        heard.append((person, say))
        return person.startswith("telegram:")

    async def resumed():
        mine = commands(ws)
        going = asyncio.create_task(mine.resume(notify))
        await happened(lambda: len(heard) >= until)
        # It is noted in a thread that they were told.
        await happened(lambda: not until or list((ws.path / "models" / "jobs").glob("*.told")))
        going.cancel()
        await asyncio.gather(going, return_exceptions=True)
        await mine.close()

    asyncio.run(resumed())
    return heard


def test_a_job_of_a_dead_process_goes_on_and_whoever_began_it_is_told_once(place, server):
    with training_shop(place, server) as ws:
        begun(ws)
    with trainerlib.open(place) as ws:
        [(person, say)] = told(hurried(ws))
        assert person == OWNER
        assert "The training on `support@1` is done." in say.text
        assert "`/model promote openai:ft:gpt-x:shop::a1`" in say.text
        assert next(iter(say.buttons[0])).action.startswith("cmd:model:evaluate:")
    with trainerlib.open(place) as ws:
        assert told(hurried(ws), until=0) == []


def test_a_job_that_failed_is_told_with_the_reason_and_in_the_language_of_the_workspace(place, server):
    server.stages = ("validating_files", "failed")
    with training_shop(place, server) as ws:
        begun(ws)
    settings = place / "workspace.toml"
    settings.write_text(f'[workspace]\nlanguage = "ru"\n{settings.read_text(encoding="utf-8")}', encoding="utf-8")
    with trainerlib.open(place) as ws:
        [(_, say)] = told(hurried(ws))
        assert "support@1" in say.text
        assert "The file has a bad line" in say.text


def test_a_job_that_does_not_go_on_is_shown_with_the_reason_and_tried_again(place, server):
    server.stages = ("running", "succeeded")
    with training_shop(place, server) as ws:
        job = ws.jobs.start("support", model="gpt-x", by=OWNER)
        while not job.state.remote:
            job.advance()
    settings = place / "workspace.toml"
    right = settings.read_text(encoding="utf-8")
    settings.write_text(right.replace(server.url, "http://127.0.0.1:9/v1"), encoding="utf-8")

    async def watched(ws):
        mine = commands(ws)
        async with asyncio.timeout(30), aclosing(mine.run("jobs", asked())) as says:
            async for say in says:
                if say.text.count("\n") > 1:
                    break
        await mine.close()
        return say

    with trainerlib.open(place) as ws:
        say = asyncio.run(watched(hurried(ws)))
        assert "another server" in say.text or "127.0.0.1" in say.text
    settings.write_text(right, encoding="utf-8")
    with trainerlib.open(place) as ws:
        assert "done" in said(run(hurried(ws), "/jobs"))


def test_a_server_that_refuses_is_no_leak_of_its_key(ws, server):
    server.fail("POST /files", Fault(status=401, message="Incorrect API key provided: sk-the-key-of-the-shop", times=9))
    begun(ws)
    texts = [say.text for say in run(ws, "/jobs")]
    assert "sk-the-key" not in "".join(texts)
    assert ws.jobs.list()[0].state.state == "refused"


def test_nothing_of_training_is_for_people_without_the_role(ws):
    action, _ = begun(ws)
    before = types(ws)
    for line in ("/train support", "/datasets", "/jobs", "/select_dataset support"):
        assert " is for " in said(run(ws, line, by=PERSON))
    assert " is for " in said(tap(ws, action, by=PERSON))
    assert " is for the owner" in said(tap(ws, action, by=TRAINER))
    assert types(ws) == before


def test_a_file_that_cannot_be_added_says_so_in_the_place_of_the_progress(empty):
    upload = uploaded(empty, "hours.jsonl", LINES)
    upload.path.unlink()
    says = run(empty, "/train", files=[upload])
    assert [say.replaces for say in says] == [False, True]
    assert str(empty.path) not in said(says)


LINES_OF_ALL = [
    "/start",
    "/help",
    "/hi",
    "/new",
    "/cancel",
    "/privacy",
    "/consent",
    "/forget",
    "/feedback",
    "/correct",
    "/train support openai:gpt-x",
    "/train nothing",
    "/datasets",
    "/datasets build support",
    "/select_dataset support",
    "/jobs",
    "/model",
    "/model promote openai:ft:gpt-x:shop::a1",
    "/model rollback",
    '/test [{"input": "Есть розы?", "contains": "150"}]',
    "/instruction",
    "/archive datasets",
    "/getfile nothing.txt",
    "/stats",
    "/role 7 trainer",
    "/nothing",
]


@pytest.mark.parametrize("line", LINES_OF_ALL)
def test_every_command_speaks_russian_and_does_nothing_twice(ws, line):
    ws.jobs.start("support", model="gpt-x").follow(timeout=20)
    says = run(ws, line, language="ru")
    words = re.sub(r"`[^`]*`", "", " ".join(say.text for say in says if say.file is None))
    assert re.search("[а-яё]", words), "it is in Russian"
    before = types(ws)
    assert len(run(ws, line, language="ru")) >= 1
    # A conversation is begun anew whenever that is asked for.
    assert types(ws) == before or line == "/new"


def test_a_model_that_is_named_with_its_trainer_twice_is_the_same_model(ws):
    [action] = [one for one in buttons(run(ws, "/train support openai:openai:openai:gpt-x")).values() if ":go:" in one]
    assert action.endswith(":sft:openai:gpt-x")
    for _ in range(2):
        tap(ws, action.replace("openai:gpt-x", "openai:openai:gpt-x"))
    assert len(ws.jobs.list()) == 1


class Workbench:
    """Trains on this machine, and is done at once."""

    name = "local"
    formats: ClassVar = {"sft": "openai-chat"}

    def check(self, _):
        """Nothing can be seen to fail."""

    def advance(self, work):
        work.record([TrainingSucceeded("local:shop")])


@pytest.mark.parametrize("language", ["en", "ru"])
def test_where_a_model_of_this_machine_lies_is_not_shown(ws, language):
    ws.jobs.use(Workbench())
    ws.jobs.start("support", model="/srv/private/base", trainer="local").follow(timeout=20)
    says = run(ws, "/train support", language=language)
    assert "`local:base`" in said(says)
    [action] = [one for one in buttons(says).values() if ":go:" in one]
    begun_says = tap(ws, action, language=language)
    assert ws.jobs.list()[-1].state.request.model == "/srv/private/base"
    shown = [*says, *begun_says, *run(ws, "/jobs", language=language), *run(ws, "/model", language=language)]
    assert "/srv" not in "".join(f"{say.text} {say.buttons}" for say in shown)
