"""Erasing a person: nothing of them is left anywhere, nothing of anybody else is lost, and nothing brings them back."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from histories import BOT, begun, finish, kill, log, reaction, replied, row, said, telegram, write

import trainerlib
from trainerlib import Recipe, Split
from trainerlib.blanking import pseudonym
from trainerlib.erasure import LEDGER, erase_person, erased_datasets, export_person, reapply, unfinished
from trainerlib.errors import BusyError, DatasetError, InvalidEventError, NotFoundError
from trainerlib.events import (
    Attachment,
    DatasetArchived,
    MessageRecorded,
    ReplyGenerated,
    RoleGiven,
    TrainingRequested,
    TrainingSucceeded,
    TranscriptRecorded,
)
from trainerlib.store.answers import AnswerIndex
from trainerlib.store.eventstore import Append, EventStore

OLGA, BEN, ANNA = "telegram:user7", "telegram:user8", "telegram:user1"
ALL = Recipe(split=Split(train=1.0))


@pytest.fixture
def ws(tmp_path):
    with trainerlib.open(tmp_path / "shop") as workspace:
        for person in (OLGA, BEN):
            workspace.person(person).give_consent(wording="2026-11")
        yield workspace


def erase(ws, person=OLGA, **more):
    return erase_person(ws.store, ws.path, person, **more)


def talk(ws, name, *turns, author=OLGA, called="Ольга"):
    """A dialogue of one person with the bot; its messages."""
    chat = ws.conversation(name, title=called)
    return [
        chat.record("assistant" if index % 2 else "user", text, author="" if index % 2 else author,
                    name="" if index % 2 else called, key=f"telegram:1:{name}:{index}")
        for index, text in enumerate(turns)
    ]  # fmt: skip


def texts(ws, name):
    return [message.text for message in ws.conversation(name).messages]


def raw(ws):
    """Every row of the log as it lies in the file."""
    with closing(sqlite3.connect(ws.path / "trainer.db")) as connection:
        return connection.execute("SELECT * FROM events ORDER BY position").fetchall()


def containing(directory, *words):
    """Files that hold one of the words in any encoding a disk may have it in: `(name, word)` of each."""
    found = []
    for path in sorted(directory.rglob("*")):
        content = path.read_bytes() if path.is_file() else b""
        found += [
            (path.name, word)
            for word in words
            if any(word.encode(encoding) in content for encoding in ("utf-8", "utf-16-le", "utf-16-be"))
            or json.dumps(word)[1:-1].encode() in content
        ]
    return found


# --- nothing is left --------------------------------------------------------------------------------------------------

MARKERS = {
    "message": ("qzvmessage", "щжсообщение"),
    "short": ("Xqz", "Ъщж"),
    "long": (" ".join(f"wqzlong{number}" for number in range(2_000)), "Щжъдлинное " * 3_000),
    "edit": ("qzvedit", "щжправка"),
    "name": ("Qzvname", "Щжимя"),
    "title": ("Qzvtitle", "Щжназвание"),
    "file": ("qzvfile", "щжфайл"),
    "transcript": ("qzvtranscript", "щжрасшифровка"),
    "correction": ("qzvcorrection", "щжисправление"),
    "note": ("qzvnote", "щжпримечание"),
    "feedback": ("qzvfeedback", "щжотзыв"),
    "consent": ("qzvconsent", "щжсогласие"),
}
WORDS = [word.split()[0] for pair in MARKERS.values() for word in pair]
ID = "telegram:qz771177"


def leave_traces(ws):
    """A person with a word of their own in every place that holds words, in both languages."""
    ws.person(ID).give_consent(wording="1", text=MARKERS["consent"][0])
    ws.person(ID).withdraw_consent(note=MARKERS["consent"][1])
    ws.person(BEN).give_consent()
    group = ws.conversation("telegram:group", title="Всех цветов")
    replies = []
    for language in (0, 1):
        word = {what: pair[language] for what, pair in MARKERS.items()}
        chat = ws.conversation(f"telegram:4{language}", title=word["title"])
        chat.record("system", f"the customer said {word['title']}")
        for text in (word["message"], word["short"], word["long"]):
            (ws.path / "files" / f"{word['file']}.ogg").write_bytes(word["file"].encode())
            voice = Attachment("voice", f"{word['file']}.ogg", word["file"])
            message = chat.record("user", text, author=ID, name=word["name"], attachments=[voice])
            replies.append(chat.record("assistant", f"You said {text}", in_reply_to=message))
        ws.edit(message.id, word["edit"])
        ws.transcribe(message.id, word["transcript"])
        group.record("user", "Розы есть?", author=BEN, name="Ben")
        other = group.record("assistant", "Есть.")
        group.record("user", word["message"], author=ID, name=word["name"])
        replies.append(group.record("assistant", f"{word['name']}, {word['message']}!"))
        for reply in (other, replies[0]):
            ws.correct(reply.id, word["correction"], by=ID, note=word["note"])
            ws.give_feedback(reply.id, by=ID, rating=-1, text=word["feedback"], reason=word["feedback"])
            ws.correct(replies[-1].id, f"{word['message']}?", by=ANNA, note=word["note"])
    for reply in replies:
        # Corrections and what they answer are in the index of answers, and so are approved replies.
        ws.give_feedback(reply.id, by=BEN, rating=1)
    AnswerIndex(ws.store).catch_up()
    ws.search("розы")


def test_of_a_hundred_thousand_events_no_byte_of_a_person_is_left(tmp_path):
    """Every word of theirs is gone from every file, while every other event has the same bytes in the same place."""
    with trainerlib.open(tmp_path / "shop") as ws:
        ws.store.database._writer.execute("PRAGMA secure_delete = OFF")
        leave_traces(ws)
        one = MessageRecorded("user", "Сколько стоят розы?", BEN)
        many = [Append(f"conversation/telegram:{number}", [one] * 20, [f"k:{number}:{step}" for step in range(20)])
                for number in range(100, 5_100)]  # fmt: skip
        for start in range(0, len(many), 1_000):
            ws.store.append_batch(many[start : start + 1_000])
        before, length = raw(ws), ws.store.position
        assert {word for _, word in containing(ws.path, *WORDS, ID)} == {*WORDS, ID}

        report = erase(ws, ID)
        after = raw(ws)
        assert containing(tmp_path, *WORDS, ID) == []
        assert len(after) == length + 1 == report.position
        assert [line[:-1] for line in after[:length]] == [line[:-1] for line in before]
        touched = {position for position, *_, data in before if any(word in data for word in (*WORDS, ID))}
        changed = {old[0] for old, new in zip(before, after, strict=False) if old != new}
        assert changed <= touched | {position for position, *_, data in before if "system" in data or "started" in data}
        assert length > 100_000
        assert ws.store.verify() == []


def test_nothing_is_left_of_a_person_and_everything_else_goes_on(tmp_path):
    """Everything verifies, the search index forgets, a build has none of their words and anybody else's; twice over."""
    with trainerlib.open(tmp_path / "shop") as ws:
        leave_traces(ws)
        assert ws.search(MARKERS["message"][1]) != []
        before = ws.datasets.build("before", ALL)
        report = erase(ws, ID, by="telegram:user1", note="asked by mail")
        assert ws.verify() == []
        assert ws.search("розы") != [] == ws.search(MARKERS["message"][1])
        assert (report.messages, report.corrections, report.feedback, report.conversations) == (18, 8, 4, 3)
        assert (report.files, report.datasets, report.new) == (2, (), True)
        assert before.examples == 0

        ws.person(ANNA).give_consent()
        dataset = ws.datasets.build("after", ALL)
        dataset.export(tmp_path / "after.jsonl", format="openai-chat")
        assert containing(tmp_path, *WORDS, ID) == []
        assert ws.verify() == []
        ws.rebuild()
        assert ws.verify() == []


def test_nothing_of_a_person_is_recalled(ws):
    """Not their question, not its answer, not their correction; what others taught is as it was."""
    chat = ws.conversation("telegram:group")
    ask = [("Где щжзаказ Ольги?", OLGA), ("Сколько стоят розы?", BEN), ("Есть щжтюльпаны?", BEN)]
    replies = []
    for question, author in ask:
        asked = chat.record("user", question, author=author)
        replies.append(chat.record("assistant", "Не знаю.", in_reply_to=asked))
    for reply, text, by in zip(replies, ["щжедет", "Пять.", "щжесть"], [ANNA, ANNA, OLGA], strict=True):
        ws.correct(reply.id, text, by=by)
    index = AnswerIndex(ws.store)
    for (question, _), text in zip(ask, ["щжедет", "Пять.", "щжесть"], strict=True):
        assert [one.answer for one in index.find(question, limit=1, threshold=0.9)] == [text]
    ws.edit(replies[2].id - 1, "Есть пионы?")
    erase(ws)
    assert [len(index.find(question, limit=1, threshold=0.9)) for question, _ in ask] == [0, 1, 0]
    for table in ("answers", "answer_entries", "answer_terms"):
        assert "щж" not in str(ws.store.database.query(f"SELECT * FROM {table}"))
    assert containing(ws.path, "щжзаказ", "щжедет", "щжесть") == []
    assert index.verify() == []


# --- what is left of others -------------------------------------------------------------------------------------------


def test_in_a_group_everybody_else_is_still_heard(ws):
    """Others' questions, their answers, what others taught, and the dataset made of them."""
    chat = ws.conversation("telegram:group", title="Клиенты")
    chat.record("user", "Я Ольга, 5550101", author=OLGA, name="Ольга")
    hers = chat.record("assistant", "Здравствуйте, Ольга!")
    chat.record("user", "When are you open?", author=BEN, name="Ben")
    his = chat.record("assistant", "At 10.")
    ws.correct(his.id, "9 to 18.", by=ANNA)
    ws.correct(hers.id, "Добрый день, Ольга.", by=ANNA)
    erase(ws)
    assert texts(ws, "telegram:group") == ["", "", "When are you open?", "At 10."]
    assert ws.message(his.id).corrected_text == "9 to 18."
    assert ws.conversation("telegram:group").state.title == "Клиенты"
    [example] = ws.datasets.build("support", Recipe(targets="corrected", split=Split(train=1.0))).read()
    assert [turn.content for turn in example.context] == ["When are you open?"]
    assert (example.chosen, example.rejected) == ("9 to 18.", "At 10.")
    assert ws.verify() == []


def test_a_trainer_is_erased_and_the_talk_stays(ws):
    """The replies they corrected are there; what they said they should be is not, and nobody learns the wrong ones."""
    _, reply, _, other = talk(ws, "telegram:42", "Когда вы открыты?", "В 10.", "А в субботу?", "Да.")
    ws.correct(reply.id, "С 9 до 18.", by=ANNA)
    ws.give_feedback(other.id, by=ANNA, rating=1, text="верно")
    report = erase(ws, ANNA)
    assert texts(ws, "telegram:42") == ["Когда вы открыты?", "В 10.", "А в субботу?", "Да."]
    assert (report.messages, report.corrections, report.feedback, report.conversations) == (0, 1, 1, 0)
    assert [(item.rating, item.text) for item in ws.message(other.id).feedback] == [(1, "")]
    dataset = ws.datasets.build("support", ALL)
    assert [example.chosen for example in dataset.read()] == ["Да."]
    assert [(one.message, one.reason) for one in dataset.exclusions()] == [(reply.id, "erased")]
    assert ws.verify() == []


# --- attachments ------------------------------------------------------------------------------------------------------


def test_their_files_are_deleted_and_nobody_elses(ws, tmp_path):
    """Named from the workspace or from `files/`; not outside it, not what another message names."""
    files = ws.path / "files"
    outside = write(tmp_path / "secret.txt", "not theirs to delete")
    (files / "voice").mkdir()
    for name in ("1.ogg", "2.ogg", "voice/3.ogg", "shared.jpg"):
        (files / name).write_bytes(b"x")
    (files / "link").symlink_to(outside)
    named = ["1.ogg", "files/2.ogg", "voice/3.ogg", "files/shared.jpg", "link", "../../secret.txt", str(outside)]
    named += ["gone.ogg", "https://example.org/1.png", "a\0b", ".", "..", "x" * 5_000]
    chat = ws.conversation("telegram:42")
    chat.record("user", "", author=OLGA, attachments=[Attachment("document", name) for name in named])
    ws.conversation("telegram:43").record("user", "", author=BEN, attachments=[Attachment("photo", "shared.jpg")])
    assert erase(ws).files == 4
    assert sorted(path.name for path in files.rglob("*")) == ["shared.jpg", "voice"]
    assert outside.read_text(encoding="utf-8") == "not theirs to delete"


# --- datasets ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def built(ws):
    """Datasets from before, with, and without a person."""
    talk(ws, "telegram:8", "When are you open?", "At 10.", author=BEN, called="Ben")
    ws.datasets.build("early", ALL)
    talk(ws, "telegram:42", "Где мой заказ 4117?", "Едет, Ольга.")
    ws.datasets.build("both", ALL)
    ws.datasets.build("hers", Recipe(authors=(OLGA,), split=Split(train=1.0)))
    his = Recipe(
        authors=(BEN,), raters=(OLGA, ANNA), names=("Ольга", "Shop"), redact=("email",), split=Split(train=1.0)
    )
    ws.datasets.build("his", his)
    return ws


def test_datasets_that_held_them_are_deleted_and_named(built):
    """With every file; the others keep theirs, but for their id in the recipe."""
    ws = built
    ws.store.append("dataset/both", [DatasetArchived(1, "both-v1.zip", "9f2c"), DatasetArchived(2, "x.zip", "9f2c")])
    report = erase(ws)
    assert report.datasets == ("both v1", "hers v1")
    assert report.archives == ("archive/both-v1.zip",)
    assert erased_datasets(ws.store) == {("both", 1), ("hers", 1)}
    left = sorted(path.parent.parent.name for path in (ws.path / "datasets").glob("*/v1/train.jsonl"))
    assert left == ["early", "his"]
    assert containing(ws.path, OLGA, "4117", "Ольга") == []
    manifest = json.loads((ws.path / "datasets" / "his" / "v1" / "manifest.json").read_bytes())
    assert manifest["recipe"]["raters"] == [report.person, ANNA]
    assert ws.datasets.get("his").recipe.raters == (report.person, ANNA)
    assert [example.chosen for example in ws.datasets.get("his").read()] == ["At 10."]
    assert ws.verify() == []
    assert ws.datasets.build("both", ALL).version == 2


def test_what_was_trained_on_them_is_named_and_its_files_are_deleted(built):
    """The rows that a job was given, its bundle, and what models were asked; the other job keeps its own."""
    ws = built
    for job, dataset in (("a1", "hers"), ("b2", "his")):
        request = TrainingRequested("local", "base", dataset, 1, "sft", "trl-sft", {"train": "9f2c"}, {"train": 1})
        ws.store.append(f"training/{job}", [request, TrainingSucceeded(f"local:{dataset}-v1")])
        for place in ("", "bundle"):
            directory = ws.path / "models" / "jobs" / job / place
            directory.mkdir(parents=True, exist_ok=True)
            (directory / "train.jsonl").write_text("4117" if dataset == "hers" else "At 10.", encoding="utf-8")
    asked = ws.path / "models" / "evaluations" / "e1"
    asked.mkdir(parents=True)
    (asked / "memory.jsonl").write_text("4117", encoding="utf-8")
    report = erase(ws)
    assert (report.jobs, report.models) == (("a1",), ("local:hers-v1",))
    left = (ws.path / "models").rglob("*.jsonl")
    assert sorted(path.relative_to(ws.path / "models").as_posix() for path in left) == [
        "jobs/b2/bundle/train.jsonl",
        "jobs/b2/train.jsonl",
    ]
    assert containing(ws.path, "4117") == []


def test_a_dataset_whose_files_are_missing_counts_as_holding_them(built):
    """Nobody can say any more, so it is named."""
    ws = built
    for file in (ws.path / "datasets" / "his" / "v1").iterdir():
        file.unlink()
    assert erase(ws).datasets == ("both v1", "hers v1", "his v1")


def test_what_a_killed_build_left_is_deleted(built):
    """A directory in which somebody was building holds the words of everybody."""
    ws = built
    stale = ws.path / "datasets" / "both" / ".building-1-9f2c"
    stale.mkdir()
    write(stale / "train.jsonl", "Где мой заказ 4117?")
    erase(ws)
    assert containing(ws.path, "4117") == []


def test_a_build_that_somebody_was_erased_under_is_thrown_away(ws):
    """What it read before may be in it; built again it is sound."""
    talk(ws, "telegram:42", "Где мой заказ 4117?", "Едет, Ольга.")
    with EventStore(ws.path / "trainer.db") as other, pytest.raises(DatasetError, match="build it again"):
        ws.datasets.build("support", ALL, progress=lambda *_: erase_person(other, ws.path, OLGA))
    assert containing(ws.path, "4117", OLGA) == []
    assert ws.datasets.build("support", ALL).examples == 0
    assert ws.verify() == []


# --- again, and for nothing -------------------------------------------------------------------------------------------


def test_a_second_time_changes_nothing_and_says_so(ws):
    """The same report, but for `new` and the files."""
    talk(ws, "telegram:42", "Я Ольга", "Здравствуйте!")
    first = erase(ws)
    before = log(ws), (ws.path / LEDGER).read_bytes()
    assert erase(ws) == msgspec.structs.replace(first, new=False)
    assert (log(ws), (ws.path / LEDGER).read_bytes()) == before


@pytest.mark.parametrize("person", ["telegram:70", "telegram:user", "никто", "x" * 10_000])
def test_somebody_unknown_is_not_found(ws, person):
    """The error says what an id looks like; nothing is written."""
    talk(ws, "telegram:42", "Я Ольга", "Здравствуйте!")
    before = log(ws)
    for act in (erase_person, lambda store, _, person: next(export_person(store, person))):
        with pytest.raises(NotFoundError, match="such as telegram:7"):
            act(ws.store, ws.path, person)
    assert log(ws) == before
    assert not (ws.path / LEDGER).exists()


@pytest.mark.parametrize("person", ["", "  ", "erased:0123456789abcdef", "telegram:\udcff"])
def test_what_is_no_id_is_refused(ws, person):
    """Nothing, a name that stands for somebody erased, or bytes that are no text."""
    with pytest.raises(InvalidEventError, match="no person id"):
        erase(ws, person)


def test_somebody_who_comes_back_is_erased_again(ws):
    """What they said since goes as well; the first erasure stays in the log."""
    talk(ws, "telegram:42", "Я Ольга", "Здравствуйте!")
    first = erase(ws)
    ws.person(OLGA).give_consent()
    talk(ws, "telegram:43", "Снова Ольга", "Рады вам!")
    second = erase(ws)
    assert (first.messages, second.messages, second.new) == (2, 2, True)
    assert second.person == first.person
    assert containing(ws.path, "Ольга", OLGA) == []
    assert ws.verify() == []


def test_a_reader_is_named_and_a_second_call_finishes(ws):
    """Who holds old pages back leaves the person erased and the rest for later; `unfinished` says so until then."""
    talk(ws, "telegram:42", "щжслово", "Здравствуйте!")
    with EventStore(ws.path / "trainer.db", busy_timeout=0.05) as store:
        with closing(sqlite3.connect(ws.path / "trainer.db", isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM events").fetchone()
            with pytest.raises(BusyError, match="is erased"):
                erase_person(store, ws.path, OLGA)
            assert texts(ws, "telegram:42") == ["", ""]
            assert "erase the same person again" in unfinished(store)[0]
        assert erase_person(store, ws.path, OLGA).new is False
        assert unfinished(store) == []
    assert containing(ws.path, "щжслово") == []


# --- killed -----------------------------------------------------------------------------------------------------------

ERASE = """
import sys
from pathlib import Path
from trainerlib.erasure import erase_person
from trainerlib.store.eventstore import EventStore

directory = Path(sys.argv[1])
with EventStore(directory / "trainer.db") as store:
    print("begin", flush=True)
    erase_person(store, directory, sys.argv[2])
    print("end", flush=True)
"""


def test_killed_at_any_moment_it_finishes_when_it_is_called_again(tmp_path):
    """After each kill the log is sound and has either all of them or nothing; a second call leaves nothing anywhere."""
    took = 0.0
    for run in range(6):
        path = tmp_path / str(run)
        with trainerlib.open(path) as ws:
            leave_traces(ws)
            ws.person(ANNA).give_consent()
            ws.datasets.build("support", Recipe(split=Split(train=1.0)))
            before = ws.store.position
        process = begun(ERASE, path, ID)
        if run == 0:
            took = finish(process)
        else:
            kill(process, took)
        with trainerlib.open(path) as ws:
            assert ws.store.verify() == []
            assert ws.store.position in (before, before + 1)
            erase(ws, ID)
            assert ws.store.position == before + 1
            assert ws.verify() == unfinished(ws.store) == []
            assert len(list((path / "files").iterdir())) == 0
        assert containing(path, *WORDS, ID) == []


# --- what would bring them back ---------------------------------------------------------------------------------------


def test_a_redelivered_message_stays_erased(ws):
    """Whatever a platform sends again under its key is what is in the log now."""
    first, reply = talk(ws, "telegram:42", "Я Ольга", "Здравствуйте, Ольга!")
    erase(ws)
    position = ws.store.position
    again = talk(ws, "telegram:42", "Я Ольга", "Здравствуйте, Ольга!")
    assert [(message.id, message.text) for message in again] == [(first.id, ""), (reply.id, "")]
    assert ws.store.position == position


def test_an_edit_that_a_platform_sends_again_stays_erased(ws):
    """A blanked message is not edited back."""
    first, _ = talk(ws, "telegram:42", "Я Ольга", "Здравствуйте, Ольга!")
    erase(ws)
    position = ws.store.position
    assert ws.edit(first.id, "Я Ольга Петрова").text == ""
    assert ws.store.position == position


@pytest.fixture
def chat_export(tmp_path):
    """A chat of two customers, one of whom rates the replies to the other."""
    return write(
        tmp_path / "result.json",
        telegram(
            [
                said(1, "Я Ольга"),
                replied(2, "Здравствуйте, Ольга!", reactions=[reaction("👍", "user8")]),
                said(3, "Do you deliver?", by="Ben", person="user8"),
                replied(4, "Yes.", reactions=[reaction("👎", "user7")]),
                said(5, "Спасибо", edited_unixtime=str(int(datetime(2026, 3, 3, tzinfo=UTC).timestamp()))),
            ]
        ),
    )


def test_an_old_export_brings_nobody_back(ws, chat_export, tmp_path):
    """The same file, its copy, and one with an older text add nothing but that they were imported."""
    ws.import_file(chat_export, assistant=BOT)
    erase(ws)
    before = log(ws)
    assert ws.import_file(chat_export).events == 0
    other = json.loads(chat_export.read_text(encoding="utf-8"))
    other["messages"][0]["text"] = "Я Ольга Петрова"
    report = ws.import_file(write(tmp_path / "older.json", other), assistant=BOT)
    assert (report.events, report.edited, report.messages, report.feedback) == (1, 0, 5, 2)
    assert log(ws)[:-1] == before
    assert containing(ws.path, "Ольга", OLGA) == []
    assert ws.verify() == []


def test_an_old_export_that_was_not_imported_to_its_end_brings_nobody_back(ws, chat_export, tmp_path):
    """What is new in it comes in blank where it is theirs or answers them, and as it is where it is not."""
    full = json.loads(chat_export.read_text(encoding="utf-8"))
    half = [full["messages"][0], replied(9, "Later.", minutes=3_000)]
    ws.import_file(write(tmp_path / "half.json", full | {"messages": half}), assistant=BOT)
    erase(ws)
    ws.import_file(chat_export, assistant=BOT)
    assert texts(ws, "telegram:42/1") == ["", "", "Do you deliver?", "Yes.", ""]
    assert containing(ws.path, "Ольга", OLGA, "Спасибо") == []
    before = log(ws)
    ws.import_file(write(tmp_path / "again.json", full | {"name": "Again"}), assistant=BOT)
    assert log(ws)[:-1] == before
    assert ws.verify() == []


def test_what_they_said_since_is_imported(ws, chat_export, tmp_path):
    """Somebody who came back is a customer like any other."""
    ws.import_file(chat_export, assistant=BOT)
    erase(ws)
    later = (datetime.now(UTC) + timedelta(days=1) - datetime(2026, 3, 2, 9, tzinfo=UTC)).total_seconds() // 60
    full = json.loads(chat_export.read_text(encoding="utf-8"))
    full["messages"] += [
        said(6, "Снова здравствуйте", minutes=later),
        replied(7, "Рады вам", minutes=later + 1, reactions=[reaction("👍", "user7")]),
    ]
    ws.import_file(write(tmp_path / "newer.json", full), assistant=BOT)
    shown = [message for one in ws.conversations() for message in ws.conversation(one.id).messages if message.text]
    assert [message.text for message in shown] == ["Снова здравствуйте", "Рады вам", "Do you deliver?", "Yes."]
    assert shown[0].author == OLGA == shown[1].feedback[0].by


def test_rows_of_an_erased_trainer_bring_no_correction_back(ws, tmp_path):
    """Corrections and ratings of theirs, and of others on what was blanked, stay out; new ones of others come in."""
    rows = [
        row("a", "Когда?", "В 10.", corrections=[{"message": 1, "text": "С 9 до 18.", "by": ANNA}]),
        row("b", "Я Ольга", "Ольга!", feedback=[{"message": 1, "rating": 1, "by": ANNA, "text": "ура"}]),
    ]
    rows[1]["messages"][0]["author"] = OLGA
    ws.import_file(write(tmp_path / "rows.jsonl", rows))
    erase(ws)
    erase(ws, ANNA)
    before = log(ws)
    assert ws.import_file(write(tmp_path / "copy.jsonl", [*rows, {}])).events == 1
    assert log(ws)[:-1] == before
    rows[0]["corrections"].append({"message": 1, "text": "С 9.", "by": BEN})
    assert ws.import_file(write(tmp_path / "newer.jsonl", rows)).events == 3
    assert containing(ws.path, "Ольга", "С 9 до 18", "ура", OLGA, ANNA) == []


# --- the ledger -------------------------------------------------------------------------------------------------------


def test_the_ledger_has_no_id_and_fits_every_log(ws, tmp_path):
    """A line an erasure: a hash that is the same in another workspace, the time and the position."""
    talk(ws, "telegram:42", "Я Ольга", "Здравствуйте!")
    report = erase(ws)
    with trainerlib.open(tmp_path / "other") as other:
        talk(other, "telegram:42", "Я Ольга", "Здравствуйте!")
        erase(other)
        lines = [json.loads((one.path / LEDGER).read_bytes()) for one in (ws, other)]
    assert lines[0]["person"] == lines[1]["person"]
    assert lines[0]["position"] == report.position
    assert set(lines[0]) == {"person", "at", "position"}
    assert OLGA not in (ws.path / LEDGER).read_text(encoding="utf-8")


def test_an_older_log_is_erased_by_the_ledger(ws):
    """Everybody whom it names goes again, nobody else, and once is enough; a torn line is passed over."""
    talk(ws, "telegram:42", "Я Ольга", "Здравствуйте!")
    talk(ws, "telegram:8", "Ben here", "Hello!", author=BEN, called="Ben")
    older = ws.path / "older.db"
    ws.backup(older)
    erase(ws)
    with (ws.path / LEDGER).open("ab") as ledger:
        ledger.write(b'{"person":"9f')
    with EventStore(older) as store:
        [report] = reapply(store, ws.path)
        assert report.messages == 2
        assert reapply(store, ws.path) == []
        assert "Ольга" not in "".join(getattr(one.event, "text", "") for one in store.read_all())
        assert [one.event.text for one in store.read("conversation/telegram:8", after=1)] == ["Ben here", "Hello!"]
    assert len((ws.path / LEDGER).read_bytes().splitlines()) == 3
    assert erase(ws).new is False


def test_whoever_came_back_is_left_alone_by_the_ledger(ws):
    """What they said after their erasure is not older than it."""
    talk(ws, "telegram:42", "Я Ольга", "Здравствуйте!")
    erase(ws)
    talk(ws, "telegram:43", "Снова Ольга", "Рады вам!")
    assert reapply(ws.store, ws.path) == []
    assert texts(ws, "telegram:43") == ["Снова Ольга", "Рады вам!"]


# --- handed out -------------------------------------------------------------------------------------------------------


def test_everything_about_a_person_is_handed_out(ws):
    """Their names, consent, messages with attachments and edits, the replies to them, corrections and ratings; no more."""
    chat = ws.conversation("telegram:42", title="Клиенты")
    at = datetime(2026, 3, 2, 9, tzinfo=UTC)
    voice = Attachment("voice", "1.ogg", duration=2.5)
    first = chat.record("user", "Я Ольга", author=OLGA, name="Ольга", sent_at=at, attachments=[voice])
    answer = chat.record("assistant", "Здравствуйте!", in_reply_to=first, model="gpt-x")
    chat.record("user", "Ben here", author=BEN, name="Ben")
    other = chat.record("assistant", "Hello, Ben!")
    ws.edit(first.id, "Я Ольга П.")
    ws.store.append("conversation/telegram:42", [TranscriptRecorded(first.number, 0, "алло", "whisper")])
    correction = ws.correct(other.id, "Hi, Ben!", by=OLGA, note="короче")
    feedback = ws.give_feedback(other.id, by=OLGA, rating=-1, text="длинно")
    ws.withdraw_feedback(feedback.id, by=OLGA)
    ws.give_feedback(answer.id, by=BEN, rating=1)
    records = list(export_person(ws.store, OLGA))
    kinds = [record["kind"] for record in records]
    assert kinds == ["person", "consent given", "conversation", "message", "reply", "edit", "transcript", "correction",
                     "feedback", "feedback withdrawn"]  # fmt: skip
    head, consent, conversation, message, reply, edit, transcript, corrected, rated, withdrawn = records
    assert (head["person"], head["names"], head["conversations"], head["first_at"]) == (OLGA, ["Ольга"], 1, at)
    assert consent["wording"] == "2026-11"
    assert (conversation["conversation"], conversation["title"]) == ("telegram:42", "Клиенты")
    assert (message["id"], message["text"], message["at"]) == (first.id, "Я Ольга", at)
    assert message["attachments"] == ({"kind": "voice", "file": "1.ogg", "duration": 2.5},)
    assert (reply["in_reply_to"], reply["text"], reply["model"]) == (first.id, "Здравствуйте!", "gpt-x")
    assert (edit["message"], edit["text"]) == (first.id, "Я Ольга П.")
    assert (transcript["message"], transcript["text"]) == (first.id, "алло")
    assert (corrected["id"], corrected["message"], corrected["note"]) == (correction.id, other.id, "короче")
    assert (rated["rating"], rated["text"], withdrawn["feedback"]) == (-1, "длинно", feedback.id)
    assert "Ben" not in str(records).replace("Hi, Ben!", "")
    assert msgspec.json.decode(msgspec.json.encode(records[3]))["at"] == "2026-03-02T09:00:00Z"


def test_a_role_is_handed_out_and_erased(ws):
    """Theirs goes with them; those they gave stay, without saying that it was they."""
    ws.person(OLGA).give_role("owner", by="telegram:1")
    ws.person(BEN).give_role("trainer", by=OLGA)
    role = next(record for record in export_person(ws.store, OLGA) if record["kind"] == "role given")
    assert (role["role"], role["by"]) == ("owner", "telegram:1")
    erase(ws)
    assert (ws.person(OLGA).role, ws.person(BEN).role) == (None, "trainer")
    log = [recorded.event for recorded in ws.store.read_all()]
    assert [event.by for event in log if isinstance(event, RoleGiven)] == [
        "telegram:1",
        pseudonym(ws.store.log_id, OLGA),
    ]
    assert ws.verify() == []


def test_somebody_erased_has_nothing_to_be_handed_out(ws):
    """And the error says that they were."""
    talk(ws, "telegram:42", "Я Ольга", "Здравствуйте!")
    erase(ws)
    with pytest.raises(NotFoundError, match="was erased"):
        export_person(ws.store, OLGA)


def test_somebody_who_only_consented_is_known(ws):
    """Their consent is all there is, and can be erased."""
    assert [record["kind"] for record in export_person(ws.store, BEN)] == ["person", "consent given"]
    report = erase(ws, BEN)
    assert (report.messages, report.new) == (0, True)
    assert report.person == pseudonym(ws.store.log_id, BEN)
    assert [person.id for person in ws.people()] == [OLGA]


def test_the_workspace_needs_no_directories(tmp_path):
    """A log by itself is enough: no files, no datasets, no archive."""
    with EventStore(tmp_path / "trainer.db") as store:
        store.append("conversation/a", [MessageRecorded("user", "Я Ольга", OLGA)])
        assert erase_person(store, Path(tmp_path), OLGA).messages == 1


def test_a_reply_that_was_recalled_for_others_is_erased_with_whom_it_was_for(ws):
    """However often it was approved and repeated since."""
    shown, ids = (), []
    for name, person in (("telegram:1", OLGA), ("telegram:2", BEN), ("telegram:3", "telegram:user9")):
        asked = ws.conversation(name).record("user", "Когда привезут букет?", author=person)
        reply = ReplyGenerated("Ольга, ваш букет привезут в среду к семи.", asked.number, "memory", context=shown)
        [recorded] = ws.store.append(f"conversation/{name}", [reply])
        ws.give_feedback(recorded.position, by=BEN, rating=1)
        shown = (recorded.position,)
        ids.append(recorded.position)
    erase(ws)
    assert [ws.message(one).text for one in ids] == ["", "", ""]
    assert containing(ws.path, "Ольга") == []
    assert ws.verify() == []
