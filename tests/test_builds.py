"""Datasets on the disk: (recipe, position) is the dataset, its bytes follow from the log, and nobody's changes pass."""

from __future__ import annotations

import gzip
import io
import json
import random
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from histories import begun, kill, log, row, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import trainerlib
from trainerlib import Recipe, Split
from trainerlib.checks import check
from trainerlib.diffs import Change
from trainerlib.errors import DatasetError, LogMismatchError, NotFoundError
from trainerlib.formats import FORMATS
from trainerlib.tokens import estimate_tokens

HALVES = Split(train=0.5, validation=0.25, test=0.25, seed=7)

ODD = ["🌷", '"без" выходных', "a\nb", "line\u2028separator", "\ttab  ", "\\ {} []", "ё", "привет\r\n", "<b>&amp;</b>"]


def talk(ws, name, *texts, system=""):
    """A conversation told from its question on; the replies, so that they can be judged."""
    ws.person("telegram:7").give_consent(wording="2026-11")
    chat = ws.conversation(name)
    if system:
        chat.record("system", system)
    replies = []
    for index, text in enumerate(texts):
        role = "assistant" if index % 2 else "user"
        message = chat.record(role, text, author="telegram:7" if role == "user" else "")
        replies += [message] * (role == "assistant")
    return replies


@pytest.fixture
def ws(tmp_path):
    with trainerlib.open(tmp_path / "shop") as workspace:
        yield workspace


@pytest.fixture
def shop(tmp_path, prepared):
    """A workspace with whatever people write: two languages, instructions that change, groups, greetings, judgements."""
    shutil.copytree(prepared, tmp_path / "shop")
    with trainerlib.open(tmp_path / "shop") as workspace:
        yield workspace


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """The directory of that workspace, closed."""
    directory = tmp_path_factory.mktemp("prepared") / "shop"
    with trainerlib.open(directory) as workspace:
        tell(workspace)
    return directory


def tell(ws):
    dice = random.Random(7)
    for number in range(24):
        odd = ODD[number % len(ODD)]
        instruction = ["", "Отвечай кратко.", 'Be "brief".\nAlways.'][number % 3]
        texts = []
        for turn in range(1 + number % 4):
            texts += [f"Вопрос {number}.{turn} {odd}", f"Reply {number}.{turn} {odd}"]
        replies = talk(ws, f"telegram:{number}", *texts, system=instruction)
        for reply in replies:
            judgement = dice.randrange(5)
            if judgement == 0:
                ws.correct(reply.id, f"{odd} Лучше так: {reply.text}", by="anna")
                ws.correct(reply.id, f"{odd} Better: {reply.text}", by="ben")
            elif judgement == 1:
                ws.give_feedback(reply.id, rating=1, by="ben")
            elif judgement == 2:
                ws.give_feedback(reply.id, rating=-1, by="ben")
    ws.person("telegram:8").give_consent(wording="2026-11")
    group = ws.conversation("telegram:-100")
    group.record("assistant", "Добро пожаловать!")
    peonies = group.record("user", "Есть пионы?", author="telegram:7")
    delivery = group.record("user", "Do you deliver?", author="telegram:8")
    group.record("assistant", "В мае.", in_reply_to=peonies)
    ws.correct(group.record("assistant", "Yes.", in_reply_to=delivery).id, "Every day.", by="anna")
    group.record("user", "Спасибо")
    group.record("assistant", "Пожалуйста!")


def content(dataset):
    """The bytes of every file of a dataset, but for the manifest."""
    return {name: (dataset.directory / name).read_bytes() for name in dataset.sha256}


def exported(dataset, form, split=None):
    """The bytes of an export."""
    stream = io.BytesIO()
    dataset.export(stream, format=form, split=split)
    return stream.getvalue()


# --- what a build is --------------------------------------------------------------------------------------------------


def test_a_build_accounts_for_every_reply_and_records_itself(shop):
    """The event has the recipe, the position, the counts, the reasons and the sha256; the files agree with them."""
    recipe = Recipe(targets="corrected-or-approved", split=HALVES)
    dataset = shop.datasets.build("support", recipe)
    assert dataset.new
    assert dataset.candidates == shop.stats().replies == dataset.examples + sum(dataset.excluded.values())
    assert dataset.examples == sum(dataset.splits.values()) == len(list(dataset.read()))
    assert Counter(one.reason for one in dataset.exclusions()) == dataset.excluded
    assert {name: len(list(dataset.read(name))) for name in dataset.splits} == dataset.splits
    *_, recorded = shop.store.read_all()
    event = recorded.event
    assert (recorded.stream, recorded.version, event.name, event.dataset_version) == (
        "dataset/support",
        1,
        "support",
        1,
    )
    assert event.recipe == json.loads(json.dumps(recipe.to_json()))
    assert event.position == recorded.position - 1
    for count in ("position", "candidates", "examples", "excluded", "splits", "sha256"):
        assert getattr(event, count) == getattr(dataset, count)
    assert dataset.verify() == []


def test_examples_come_in_log_order_over_all_splits(shop):
    """The order in which conversations began, whichever split each is in."""
    dataset = shop.datasets.build("support", Recipe(split=HALVES))
    conversations = list(dict.fromkeys(example.conversation for example in dataset.read()))
    began = {recorded.stream[13:]: recorded.position for recorded in reversed(list(shop.store.read_all()))}
    assert conversations == sorted(conversations, key=began.__getitem__)
    assert len({example.split for example in dataset.read()}) == 3


def test_the_manifest_names_the_log_and_repeats_the_event(shop):
    """A directory that was copied somewhere else still says what it is."""
    dataset = shop.datasets.build("support")
    manifest = json.loads((dataset.directory / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["log"] == shop.store.log_id
    assert (manifest["name"], manifest["dataset_version"], manifest["position"]) == ("support", 1, dataset.position)
    assert manifest["sha256"] == dataset.sha256


def test_the_same_recipe_at_the_same_position_is_the_same_dataset(shop):
    """Built once, however often it is asked for, from Python or from a file, by name of the latest or by its version."""
    recipe = Recipe(platforms=["telegram"], targets="corrected")
    first = shop.datasets.build("support", recipe)
    before = log(shop)
    for again in (recipe, Recipe.from_toml('[select]\nplatforms=["telegram"]\n[targets]\nreplies="corrected"')):
        second = shop.datasets.build("support", again)
        assert (second, second.version, second.new) == (first, 1, False)
    assert log(shop) == before
    assert shop.datasets.get("support") == shop.datasets.get("support", 1) == first
    assert shop.datasets.get("support").recipe == first.recipe == recipe


def test_datasets_do_not_count_as_news(shop):
    """A build after a build finds nothing new in the log: what was built is not what is learned from."""
    first = shop.datasets.build("support")
    other = shop.datasets.build("other", Recipe(targets="corrected"))
    assert not shop.datasets.build("support").new
    assert other.position == first.position


def test_another_recipe_or_position_is_another_version(shop):
    """Versions count up within the name."""
    shop.datasets.build("support")
    shop.datasets.build("support", Recipe(targets="corrected"))
    talk(shop, "telegram:new", "Hi", "Привет")
    shop.datasets.build("support")
    shop.datasets.build("other")
    assert [(one.name, one.version) for one in shop.datasets.list()] == [
        ("support", 1),
        ("support", 2),
        ("support", 3),
        ("other", 1),
    ]
    assert [one.examples for one in shop.datasets.list()] == [
        dataset.examples for dataset in map(shop.datasets.get, ["support"] * 3 + ["other"], [1, 2, 3, 1])
    ]


@pytest.mark.parametrize("name", ["", ".hidden", "../up", "a/b", "a\\b", "x" * 101, "with space", "новый\n"])
def test_a_name_that_is_no_file_name_is_refused(ws, name):
    """Nothing is built outside of the directory for datasets."""
    with pytest.raises(DatasetError, match="is no name"):
        ws.datasets.build(name)
    assert ws.store.position == 0
    assert list((ws.path / "datasets").iterdir()) == []


def test_a_name_may_be_russian(shop):
    """Letters are letters."""
    assert shop.datasets.build("поддержка-2026.1").directory.is_dir()
    assert shop.datasets.get("поддержка-2026.1").version == 1


def test_what_is_not_there_is_named(shop):
    """An unknown dataset, version, split, format, position or directory is an error that says what there is."""
    with pytest.raises(NotFoundError, match="none yet"):
        shop.datasets.get("support")
    dataset = shop.datasets.build("support", Recipe(split=Split(train=0.5, test=0.5)))
    with pytest.raises(NotFoundError, match="there are: support"):
        shop.datasets.get("suport")
    with pytest.raises(NotFoundError, match="versions 1 to 1, not 2"):
        shop.datasets.get("support", 2)
    with pytest.raises(DatasetError, match="'validation'; it has train, test"):
        next(dataset.read("validation"))
    with pytest.raises(DatasetError, match="openai-chat"):
        exported(dataset, "openai")
    for position in (-1, shop.store.position + 1):
        with pytest.raises(DatasetError, match=f"no position {position} in this log"):
            shop.datasets.build("support", position=position)
    with pytest.raises(NotFoundError, match="no such directory"):
        dataset.export(shop.path / "nowhere" / "train.jsonl", format="trl-sft")


def test_a_dataset_of_an_empty_log_is_empty(ws):
    """Nothing said, nothing learned, nothing broken."""
    dataset = ws.datasets.build("support")
    assert (dataset.candidates, dataset.examples, dataset.position) == (0, 0, 0)
    assert {name: exported(dataset, name) for name in FORMATS} == dict.fromkeys(FORMATS, b"")
    assert dataset.verify() == []


def test_progress_ends_with_the_events_of_the_log(shop):
    """It never goes back."""
    seen = []
    dataset = shop.datasets.build("support", progress=lambda done, whole: seen.append((done, whole)))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (dataset.position, dataset.position)


def test_tokens_are_estimated_over_contexts_and_replies(shop):
    """What one pass over all examples takes."""
    dataset = shop.datasets.build("support", Recipe(targets="corrected"))
    assert dataset.estimate_tokens() == sum(
        sum(estimate_tokens(turn.content) for turn in example.context) + estimate_tokens(example.chosen)
        for example in dataset.read()
    )


# --- the same bytes for ever ------------------------------------------------------------------------------------------


def shake(ws):
    """Everything that can still happen to conversations that were learned from."""
    messages = ws.conversation("telegram:3").messages
    replies = [message for message in messages if message.role == "assistant"]
    ws.correct(replies[0].id, "Совсем иначе.", by="clara")
    ws.edit(replies[1].id, "edited")
    ws.delete(replies[2].id)
    ws.give_feedback(replies[3].id, rating=-5, by="clara")
    ws.conversation("telegram:3").tag("vip")
    ws.conversation("telegram:3").record("user", "Ещё вопрос")
    talk(ws, "telegram:new", "Hi", "Привет", "Вопрос 1.0", "Reply")


def test_building_again_at_an_old_position_gives_the_same_bytes_after_anything_happened(shop):
    """Corrections, edits, deletions, ratings, labels and more talk later: the files and sha256 are those of then."""
    recipe = Recipe(split=HALVES, rated_down="reject")
    first = shop.datasets.build("support", recipe)
    before = content(first)
    shake(shop)
    later = shop.datasets.build("support", recipe)
    assert later.sha256 != first.sha256
    again = shop.datasets.build("again", recipe, position=first.position)
    assert again.new
    assert again.sha256 == first.sha256
    assert content(again) == before
    assert shop.verify() == []


@pytest.mark.parametrize("form", FORMATS)
def test_another_machine_builds_the_same_bytes(shop, tmp_path, form):
    """A copy of the log alone, elsewhere: same files, same exports, also at an old position."""
    first = shop.datasets.build("support", Recipe(split=HALVES))
    shake(shop)
    (tmp_path / "elsewhere").mkdir()
    shop.backup(tmp_path / "elsewhere" / "trainer.db")
    with trainerlib.open(tmp_path / "elsewhere") as copy:
        again = copy.datasets.build("again", Recipe(split=HALVES), position=first.position)
        assert again.sha256 == first.sha256
        assert exported(again, form) == exported(copy.datasets.get("support"), form) == exported(first, form)


def test_another_process_with_another_hash_seed_exports_the_same_bytes(shop):
    """Nothing depends on the order of sets or on when it runs."""
    shop.datasets.build("support", Recipe(tags=("vip", "x"), split=HALVES))
    expected = exported(shop.datasets.build("support", Recipe(split=HALVES)), "trl-kto")
    script = (
        "import sys, trainerlib\n"
        "with trainerlib.open(sys.argv[1]) as ws:\n"
        "    ws.datasets.build('other', trainerlib.load_recipe(sys.argv[2])).export(sys.stdout.buffer, format='trl-kto')"
    )
    recipe = write(shop.path / "r.toml", "[split]\ntrain = 0.5\nvalidation = 0.25\ntest = 0.25\nseed = 7\n")
    for seed in ("1", "2"):
        output = subprocess.check_output(
            [sys.executable, "-c", script, str(shop.path), str(recipe)], env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)}
        )  # fmt: skip
        assert output == expected


actions = st.lists(
    st.tuples(
        st.sampled_from(["ask", "reply", "correct", "rate", "edit", "delete"]), st.integers(0, 3), st.integers(0, 9)
    ),
    min_size=2,
    max_size=14,
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=actions, after=actions)
def test_what_happens_later_never_changes_an_earlier_dataset(tmp_path_factory, before, after):
    """Any history, any continuation: built at the old position it is the same dataset, and every example in its split."""
    with trainerlib.open(tmp_path_factory.mktemp("log") / "w") as ws:

        def play(action, chat, number):
            conversation = ws.conversation(f"telegram:{chat}")
            replies = [message for message in conversation.messages if message.role == "assistant"]
            if action in ("ask", "reply"):
                conversation.record("user" if action == "ask" else "assistant", f"{action} {number}")
            elif replies:
                reply = replies[number % len(replies)]
                if action == "correct":
                    ws.correct(reply.id, f"лучше {number}", by="anna")
                elif action == "rate":
                    ws.give_feedback(reply.id, rating=number % 3 - 1, by="anna")
                elif action == "edit":
                    ws.edit(reply.id, f"edited {number}")
                else:
                    ws.delete(reply.id)

        for action in before:
            play(*action)
        recipe = Recipe(split=HALVES, rated_down="reject")
        first = ws.datasets.build("support", recipe)
        for action in after:
            play(*action)
        again = ws.datasets.build("again", recipe, position=first.position)
        assert again.sha256 == first.sha256
        splits = {example.conversation: example.split for example in first.read()}
        for example in ws.datasets.build("support", recipe).read():
            assert splits.get(example.conversation, example.split) == example.split


# --- files that are gone, or not ours any more ------------------------------------------------------------------------


def test_files_that_were_deleted_are_made_again(shop):
    """From the log, at the old position, byte for byte; one file or the whole directory."""
    dataset = shop.datasets.build("support", Recipe(split=HALVES))
    before = content(dataset)
    expected = exported(dataset, "openai-chat")
    shake(shop)
    (dataset.directory / "test.jsonl").unlink()
    assert exported(shop.datasets.get("support"), "openai-chat") == expected
    shutil.rmtree(shop.path / "datasets")
    assert exported(shop.datasets.get("support"), "openai-chat") == expected
    assert content(dataset) == before
    assert list(dataset.directory.parent.glob(".*")) == []


def change_a_letter(data):
    return data.replace(b"Reply", b"REPLY", 1)


TAMPERED = {
    "a letter": change_a_letter,
    "a line less": lambda data: data[data.index(b"\n") + 1 :],
    "a line twice": lambda data: data[: data.index(b"\n") + 1] + data,
    "half a line": lambda data: data[:-20],
    "a word too many": lambda data: data + b"oops\n",
    "other bytes": lambda data: b"\xff\xfe" + data,
    "nothing left": lambda data: b"" * len(data),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_a_file_that_was_changed_is_refused(shop, how):
    """Reading and exporting end in an error that names the file, no export is left, and `verify` reports it."""
    dataset = shop.datasets.build("support", Recipe(split=Split(train=1.0)))
    path = dataset.directory / "train.jsonl"
    path.write_bytes(TAMPERED[how](path.read_bytes()))
    target = shop.path / "train-out.jsonl"
    for use in (
        lambda: list(dataset.read()),
        lambda: list(dataset.read("train")),
        lambda: dataset.export(target, format="openai-chat"),
        lambda: exported(dataset, "trl-kto"),
        dataset.estimate_tokens,
    ):
        with pytest.raises(DatasetError, match=r"train\.jsonl: changed since it was built; delete it"):
            use()
    assert not target.exists()
    assert [one for one in shop.path.iterdir() if "train-out" in one.name] == []
    assert len(shop.verify()) == 1
    assert "train.jsonl: changed" in shop.verify()[0]
    path.unlink()
    assert len(list(dataset.read())) == dataset.examples
    assert shop.verify() == []


def test_a_list_of_exclusions_that_was_changed_is_refused(shop):
    """The account of what was left out is guarded like the examples."""
    dataset = shop.datasets.build("support", Recipe(targets="corrected"))
    path = dataset.directory / "excluded.jsonl"
    path.write_bytes(path.read_bytes().replace(b"not-corrected", b"duplicate", 1))
    with pytest.raises(DatasetError, match=r"excluded\.jsonl: changed"):
        list(dataset.exclusions())


def test_files_of_a_log_that_was_lost_are_not_overwritten(shop, tmp_path):
    """An older copy of the log was restored; version 2, which it does not know, stays as it is."""
    first = shop.datasets.build("support")
    shop.backup(tmp_path / "older.db")
    shake(shop)
    lost = shop.datasets.build("support")
    before = content(lost)
    shop.close()
    for file in shop.path.glob("trainer.db*"):
        file.unlink()
    shutil.copy(tmp_path / "older.db", shop.path / "trainer.db")
    with trainerlib.open(shop.path) as restored:
        assert not restored.datasets.build("support").new
        assert exported(restored.datasets.get("support"), "trl-sft") == exported(restored.datasets.get("support", 1), "trl-sft")  # fmt: skip
        recorded = log(restored)
        talk(restored, "telegram:other", "Hi", "Hello")
        with pytest.raises(LogMismatchError, match="v2 is there, but not in this log"):
            restored.datasets.build("support")
        assert content(lost) == before
        assert len(log(restored)) == len(recorded) + 3
        assert [dataset.sha256 for dataset in restored.datasets.list()] == [first.sha256]


BUILD = """
import sys
import trainerlib

with trainerlib.open(sys.argv[1]) as ws:
    print("begin", flush=True)
    ws.datasets.build("support")
"""


def test_a_killed_build_leaves_nothing_half(tmp_path):
    """SIGKILL at random moments: either the dataset is recorded and whole, or it is not there; the next build works."""
    rows = [row(f"c{number}", *[f"{number} {turn} Привет" for turn in range(8)]) for number in range(4_000)]
    path = write(tmp_path / "rows.jsonl", rows)
    with trainerlib.open(tmp_path / "log") as ws:
        ws.import_file(path)
    shutil.copytree(tmp_path / "log", tmp_path / "whole")
    with trainerlib.open(tmp_path / "whole") as ws:
        began = time.monotonic()
        expected = ws.datasets.build("support")
        build_time = time.monotonic() - began
    half_way = 0
    for number in range(6):
        directory = tmp_path / f"killed-{number}"
        shutil.copytree(tmp_path / "log", directory)
        half_way += kill(begun(BUILD, directory), build_time)
        with trainerlib.open(directory) as ws:
            dataset = ws.datasets.build("support")
            assert dataset.sha256 == expected.sha256
            assert len(list(dataset.read())) == dataset.examples
            assert len(ws.datasets.list()) == 1
            assert ws.verify() == []
    assert half_way


def test_a_directory_left_by_a_killed_build_is_in_nobodys_way(shop):
    """It is not a dataset, and no build trips over it."""
    left = shop.path / "datasets" / "support" / ".building-1-abcdef01"
    left.mkdir(parents=True)
    (left / "train.jsonl").write_bytes(b"half a li")
    dataset = shop.datasets.build("support")
    assert dataset.new
    assert [one.name for one in shop.datasets.list()] == ["support"]
    assert shop.verify() == []


def test_a_build_that_fails_leaves_nothing(shop):
    """An interruption in the middle: no event, no files, and the next build is version 1."""

    class StopError(Exception):
        pass

    def stop(done, _):
        if done > 50:
            raise StopError

    with pytest.raises(StopError):
        shop.datasets.build("support", progress=stop)
    assert shop.datasets.list() == []
    assert list((shop.path / "datasets" / "support").iterdir()) == []
    assert shop.datasets.build("support").version == 1


# --- what changed -----------------------------------------------------------------------------------------------------


def test_a_diff_names_what_was_added_removed_and_changed(ws):
    """By conversation and message, in the order of the log; the other way round it is the reverse."""
    [kept] = talk(ws, "telegram:1", "Hi", "Привет")
    [edited] = talk(ws, "telegram:2", "Есть пионы?", "Нет.")
    [gone] = talk(ws, "telegram:3", "?", "!")
    before = ws.datasets.build("support")
    ws.correct(edited.id, "В мае.", by="anna")
    ws.delete(gone.id)
    [new] = talk(ws, "telegram:4", "Do you deliver?", "Yes.")
    after = ws.datasets.build("support")
    diff = before.diff(after)
    assert diff.added == (Change("telegram:4", new.id, "new"),)
    assert diff.removed == (Change("telegram:3", gone.id, "excluded: deleted"),)
    assert diff.changed == (Change("telegram:2", edited.id, "chosen, rejected"),)
    back = after.diff(before)
    assert back.removed == (Change("telegram:4", new.id, "new"),)
    assert back.added == (Change("telegram:3", gone.id, "excluded: deleted"),)
    assert back.changed == diff.changed
    assert not any([after.diff(after).added, after.diff(after).removed, after.diff(after).changed])
    assert kept.id in [example.message for example in after.read()]


# --- exports ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMATS)
def test_an_export_is_the_same_every_time_and_says_what_it_wrote(shop, form):
    """File or stream, one split or all of them: rows, examples, those without a side, and the sha256."""
    dataset = shop.datasets.build("support", Recipe(split=HALVES, rated_down="reject"))
    target = shop.path / "out.jsonl"
    report = dataset.export(str(target), format=form)
    data = target.read_bytes()
    assert data == exported(dataset, form)
    assert report.rows == data.count(b"\n")
    assert (report.path, report.examples, report.format) == (target, dataset.examples, form)
    assert report.without + report.repeated + report.rows >= report.examples
    again = dataset.export(io.BytesIO(), format=form)
    assert (again.sha256, again.rows, again.without, again.path) == (report.sha256, report.rows, report.without, None)
    by_split = [set(exported(dataset, form, split).splitlines()) for split in dataset.splits]
    assert set().union(*by_split) == set(data.splitlines())
    assert sum(map(len, by_split)) == report.rows


def test_an_export_leaves_its_stream_open(shop):
    """Whoever opened it goes on writing."""
    stream = io.BytesIO()
    dataset = shop.datasets.build("support")
    dataset.export(stream, format="trl-sft")
    stream.write(b"end")
    assert stream.getvalue().endswith(b"\nend")


def test_an_export_that_fails_leaves_the_file_that_was_there(shop):
    """Atomic: the old content stays until the new is complete, and nothing else is left beside it."""
    dataset = shop.datasets.build("support", Recipe(split=Split(train=1.0)))
    target = write(shop.path / "train.jsonl", "the old content")
    path = dataset.directory / "train.jsonl"
    path.write_bytes(path.read_bytes()[:-5])
    names = sorted(one.name for one in shop.path.iterdir())
    with pytest.raises(DatasetError):
        dataset.export(target, format="openai-chat")
    assert target.read_text() == "the old content"
    assert sorted(one.name for one in shop.path.iterdir()) == names
    path.unlink()
    assert dataset.export(target, format="openai-chat").rows == target.read_bytes().count(b"\n") > 0


@pytest.mark.parametrize("recipe", [Recipe(), Recipe(system="none", context_turns=3), Recipe(rated_down="reject")])
@pytest.mark.parametrize("form", FORMATS)
def test_what_we_export_passes_our_own_check(shop, form, recipe):
    """Greetings, groups, instructions, odd characters: no problem of any kind in ten rows or more."""
    data = exported(shop.datasets.build("support", recipe), form)
    report = check(io.BytesIO(data), form)
    assert report.rows >= 10
    assert report.problems == ()
    assert check(io.BytesIO(data)).format == form


@pytest.mark.parametrize("form", FORMATS)
def test_no_row_is_lost_or_changed_by_importing_an_export_and_exporting_again(shop, tmp_path, form):
    """Instructions, contexts of many turns, Russian, emoji, quotes and newlines: the same bytes come back."""
    first = exported(shop.datasets.build("support", Recipe(rated_down="reject")), form)
    path = tmp_path / "export.jsonl"
    path.write_bytes(first)
    with trainerlib.open(tmp_path / "fresh") as fresh:
        report = fresh.import_file(path, strict=True)
        assert report.format == form
        dataset = fresh.datasets.build("again", Recipe(rated_down="reject", merge_seconds=0))
        assert exported(dataset, form) == first
        assert first.count(b"\n") >= 10


@pytest.mark.parametrize("form", ["openai-chat", "trl-preference", "trl-kto"])
def test_a_compressed_export_comes_back_as_well(shop, tmp_path, form):
    """`.gz` is read as what it holds."""
    first = exported(shop.datasets.build("support", Recipe(rated_down="reject")), form)
    path = tmp_path / "export.jsonl.gz"
    path.write_bytes(gzip.compress(first))
    with trainerlib.open(tmp_path / "fresh") as fresh:
        fresh.import_file(path)
        assert exported(fresh.datasets.build("again", Recipe(rated_down="reject")), form) == first


def test_pairs_with_one_chosen_side_are_all_exported_as_preference_and_once_as_sft(ws):
    """Two bad replies to the same question with the same correction."""
    for name, bad in (("telegram:1", "At 10."), ("telegram:2", "At 11.")):
        [reply] = talk(ws, name, "When are you open?", bad)
        ws.correct(reply.id, "9 to 18.", by="anna")
    dataset = ws.datasets.build("support")
    rows = {form: exported(dataset, form).count(b"\n") for form in FORMATS}
    assert rows == {
        "openai-chat": 1,
        "openai-preference": 2,
        "trl-sft": 1,
        "trl-preference": 2,
        "trl-kto": 3,
        "sharegpt": 1,
        "alpaca": 1,
    }


def test_a_dataset_prints_as_what_it_is(shop):
    """Counts, splits and reasons, on a line each; equal when name, version and content are."""
    dataset = shop.datasets.build("support", Recipe(targets="corrected"))
    first, *reasons = repr(dataset).splitlines()
    assert first.startswith(f"Dataset support v1 at position {dataset.position}: {dataset.candidates} candidates -> ")
    assert [line.split()[-1] for line in reasons] == list(dataset.excluded)
    assert dataset == shop.datasets.get("support") != shop.datasets.build("support")
    assert len({dataset, shop.datasets.get("support", 1)}) == 1


def test_an_export_tells_what_lacks_a_side_from_what_repeats(ws):
    """Two bad replies with one correction are two pairs; as supervised rows they say the same, and the second is named."""
    for number, bad in enumerate(("At 10.", "В 10.")):
        chat = ws.conversation(f"telegram:{number}")
        question = chat.record("user", "When are you open?")
        answer = chat.record("assistant", bad, in_reply_to=question)
        ws.correct(answer.id, "9 to 18.", by="anna")
    lone = ws.conversation("telegram:9")
    lone.record("assistant", "Till 18.", in_reply_to=lone.record("user", "Till when?"))
    dataset = ws.datasets.build("pairs")

    chat_rows = dataset.export(io.BytesIO(), format="openai-chat")
    pairs = dataset.export(io.BytesIO(), format="openai-preference")
    assert (chat_rows.rows, chat_rows.without, chat_rows.repeated) == (2, 0, 1)
    assert (pairs.rows, pairs.without, pairs.repeated) == (2, 1, 0)


def test_two_who_build_the_same_at_once_get_the_same_dataset(ws):
    """Whoever comes second finds the version of the first: one event, one version, files that verify."""
    tell(ws)
    together = threading.Barrier(2)

    def build(_number):
        with trainerlib.open(ws.path) as other:
            together.wait()
            return other.datasets.build("support").version

    with ThreadPoolExecutor(2) as pool:
        for _ in range(5):
            ws.conversation("telegram:more").record("user", "And on Sunday?")
            assert len({*pool.map(build, range(2))}) == 1
    assert [dataset.version for dataset in ws.datasets.list()] == [1, 2, 3, 4, 5]
    assert ws.verify() == []


def test_others_who_build_another_recipe_at_once_get_a_version_each(ws):
    """Two recipes of one name at one moment are two versions; neither is refused."""
    tell(ws)
    together = threading.Barrier(2)

    def build(targets):
        with trainerlib.open(ws.path) as other:
            together.wait()
            return other.datasets.build("support", Recipe(targets=targets)).version

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(build, ("all", "corrected"))) == [1, 2]
    assert ws.verify() == []
