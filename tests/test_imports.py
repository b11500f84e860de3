"""Imports: each message once, however often, however interrupted, and from whatever newer edition of a file."""

from __future__ import annotations

import gzip
import json
import random
from collections import Counter

import pytest
from histories import BEGIN, BOT, BOT_ID, begun, finish, kill, log, reaction, replied, row, said, telegram, types, write

import trainerlib
from trainerlib.errors import AssistantUnknownError, BadLineError, NotFoundError, UnrecognisedFormatError


@pytest.fixture
def ws(tmp_path):
    with trainerlib.open(tmp_path / "shop") as workspace:
        yield workspace


@pytest.fixture
def shop(tmp_path):
    """A Telegram export: a question in Russian, the bot's reply with reactions, and English the next day."""
    return write(
        tmp_path / "result.json",
        telegram(
            [
                said(1, "Когда вы открыты?"),
                replied(2, "В 10.", reactions=[reaction("👍", "user7"), reaction("🤔", "user8")]),
                said(3, "Спасибо! 🌷", reactions=[reaction("❤", BOT_ID)]),
                said(10, "Do you deliver?", by="Ben", person="user8", minutes=24 * 60),
                replied(11, "Yes.", minutes=24 * 60 + 1, reactions=[reaction("👎", "user8")]),
            ]
        ),
    )


def dialogues(ws):
    """What was said in each conversation, oldest conversation first."""
    return {
        summary.id: [message.text for message in ws.conversation(summary.id).messages]
        for summary in reversed(ws.conversations())
    }


def recorded_imports(ws):
    """Every event that says a file was imported."""
    return [recorded.event for recorded in ws.store.read_all() if recorded.event.wire_name == "file.imported"]


# --- twice ------------------------------------------------------------------------------------------------------------

MIXED = [
    row("a", "Когда вы открыты?", "В 10.", corrections=[{"message": 1, "text": "С 9 до 18.", "by": "anna"}]),
    row(
        "b", "Do you deliver?", "No.", feedback=[{"message": 1, "rating": -1, "by": "ben"}], title="Islands", tags=["x"]
    ),
    row("c", "Hi", "Hello!", "Есть пионы?", "В мае 🌷"),
]


@pytest.mark.parametrize("kind", ["telegram", "interchange", "openai-chat"])
def test_a_second_import_adds_nothing_and_says_so(ws, shop, tmp_path, kind):
    """The log stays as it is; the report has the file's counts, no events, and `already`."""
    rows = [{"messages": one["messages"]} for one in MIXED]
    path = {"telegram": shop, "interchange": write(tmp_path / "a", MIXED), "openai-chat": write(tmp_path / "b", rows)}
    assistant = BOT if kind == "telegram" else None
    first = ws.import_file(path[kind], assistant=assistant)
    before = log(ws)
    for again in (assistant, None):
        second = ws.import_file(path[kind], assistant=again)
        assert (second.already, second.events) == (True, 0)
        for count in ("format", "assistant", "sha256", "conversations", "messages", "corrections", "feedback"):
            assert getattr(second, count) == getattr(first, count)
    assert first.format == kind
    assert (first.already, first.events) == (False, len(before))
    assert log(ws) == before
    assert ws.verify() == []


def test_the_same_content_in_another_file_adds_only_that_it_was_imported(ws, shop, tmp_path):
    """Compressed, the same export is another file with the same messages."""
    ws.import_file(shop, assistant=BOT)
    before = log(ws)
    path = tmp_path / "result.json.gz"
    path.write_bytes(gzip.compress(shop.read_bytes()))
    report = ws.import_file(path, assistant=BOT)
    assert (report.events, report.already) == (1, False)
    assert log(ws)[:-1] == before
    assert [event.file for event in recorded_imports(ws)] == ["result.json", "result.json.gz"]


def test_the_report_counts_what_is_in_the_file(ws, shop, tmp_path):
    """Conversations, messages, corrections and ratings of replies, for a chat and for rows."""
    report = ws.import_file(shop, assistant=BOT)
    assert (report.conversations, report.messages, report.corrections, report.feedback) == (2, 5, 0, 2)
    report = ws.import_file(write(tmp_path / "rows.jsonl", MIXED))
    assert (report.conversations, report.messages, report.corrections, report.feedback) == (3, 8, 1, 1)


def test_progress_runs_from_nothing_to_the_whole_file(ws, shop):
    """Bytes read never go back, and end at the size of the file."""
    seen = []
    ws.import_file(shop, assistant=BOT, progress=lambda done, size: seen.append((done, size)))
    size = shop.stat().st_size
    assert {total for _, total in seen} == {size}
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1][0] == size


# --- killed -----------------------------------------------------------------------------------------------------------

IMPORT = """
import sys
import trainerlib
from trainerlib.importers import recorder

# More commits to be killed between than a file of this size would have.
recorder.BATCH = 1_000
workspace, path, assistant = sys.argv[1:]
with trainerlib.open(workspace) as ws:
    print("begin", flush=True)
    ws.import_file(path, assistant=assistant or None)
"""


def long_interchange(tmp_path):
    """About 20,000 messages in 4,000 conversations, some judged, some without an id, some twice."""
    dice = random.Random(7)
    rows = []
    for number in range(4_000):
        texts = [dice.choice(["Привет", "Hello", "Есть пионы? 🌷", "Do you deliver?", "Да", "No"]) for _ in range(5)]
        one = row("" if number % 10 == 0 else f"c{number - number % 50 // 49}", *texts)
        if number % 3 == 0:
            one["corrections"] = [{"message": 1, "text": f"Лучше так {number}", "by": f"p{number % 5}"}]
            one["feedback"] = [{"message": 3, "rating": dice.choice([-1, 1]), "by": "ben"}]
        rows.append(one)
    return write(tmp_path / "long.jsonl", rows)


def long_telegram(tmp_path, *, newer=False):
    """20,000 messages of a group with silences, replies far back and reactions; the newer one with edits, gaps, more."""
    dice = random.Random(8)
    messages = []
    minutes = 0.0
    for number in range(1, 20_001 + 500 * newer):
        minutes += 24 * 60 if dice.random() < 0.01 else dice.random() * 5
        more = {"minutes": minutes}
        if dice.random() < 0.2 and number > 50:
            more["reply_to_message_id"] = number - dice.randrange(1, 50)
        if dice.random() < 0.3:
            messages.append(replied(number, f"Ответ {number}", reactions=[reaction("👍", "user7")], **more))
        else:
            messages.append(said(number, f"Вопрос {number}", by="Ben", person=f"user{number % 5}", **more))
    if newer:
        for index in range(0, 20_000, 40):
            messages[index] |= {"text": f"edited {index}", "edited_unixtime": str(int(BEGIN.timestamp()) + index)}
        messages = [message for message in messages if message["id"] % 41]
    return write(tmp_path / f"result-{newer}.json", telegram(messages))


@pytest.mark.parametrize("kind", ["interchange", "telegram", "a newer telegram export"])
def test_an_import_killed_ten_times_gives_the_same_events_as_one(tmp_path, kind):
    """SIGKILL at random moments, run again each time: every event is there once, in the same order."""
    assistant = "" if kind == "interchange" else BOT
    path = long_interchange(tmp_path) if kind == "interchange" else long_telegram(tmp_path)
    prepared = tmp_path / "prepared"
    if kind == "a newer telegram export":
        finish(begun(IMPORT, prepared, path, assistant))
        path = long_telegram(tmp_path, newer=True)

    def fresh(name):
        directory = tmp_path / name
        if prepared.exists():
            directory.mkdir()
            for file in prepared.glob("trainer.db*"):
                (directory / file.name).write_bytes(file.read_bytes())
        return directory

    whole_run = finish(begun(IMPORT, fresh("whole"), path, assistant))
    with trainerlib.open(tmp_path / "whole") as ws:
        expected = log(ws)
        assert ws.verify() == []
    with trainerlib.open(fresh("before")) as ws:
        before = ws.store.position
    kills = rounds = half_way = 0
    while kills < 10:
        rounds += 1
        directory = fresh(f"killed-{rounds}")
        killed = True
        while killed and kills < 10:
            killed = kill(begun(IMPORT, directory, path, assistant), whole_run / 2)
            kills += killed
            with trainerlib.open(directory) as ws:
                half_way += before < ws.store.position < len(expected)
        finish(begun(IMPORT, directory, path, assistant))
        with trainerlib.open(directory) as ws:
            assert log(ws) == expected
            assert ws.verify() == []
    assert half_way


@pytest.mark.parametrize("kind", ["interchange", "telegram"])
def test_two_processes_that_import_the_same_file_give_the_same_events_as_one(tmp_path, kind):
    """Neither doubles what the other recorded, and the file was imported once."""
    assistant = "" if kind == "interchange" else BOT
    path = long_interchange(tmp_path) if kind == "interchange" else long_telegram(tmp_path)
    finish(begun(IMPORT, tmp_path / "one", path, assistant))
    trainerlib.open(tmp_path / "both").close()
    processes = [begun(IMPORT, tmp_path / "both", path, assistant) for _ in range(2)]
    for process in processes:
        finish(process)
    with trainerlib.open(tmp_path / "one") as one, trainerlib.open(tmp_path / "both") as both:
        assert log(both) == log(one)
        assert both.verify() == []


# --- a newer export ---------------------------------------------------------------------------------------------------


@pytest.fixture
def newer(tmp_path):
    """The shop's chat a week later: one message edited, one taken down, two more."""
    return write(
        tmp_path / "newer.json",
        telegram(
            [
                said(1, "Когда вы открыты?"),
                replied(
                    2,
                    "С 9 до 18.",
                    edited_unixtime=str(int(BEGIN.timestamp()) + 9_000),
                    reactions=[reaction("👍", "user7", "user9")],
                ),
                said(10, "Do you deliver?", by="Ben", person="user8", minutes=24 * 60),
                replied(11, "Yes.", minutes=24 * 60 + 1, reactions=[reaction("👎", "user8")]),
                said(12, "Great", by="Ben", person="user8", minutes=24 * 60 + 2),
                said(30, "Привет!", minutes=7 * 24 * 60),
            ]
        ),
    )


def test_a_newer_export_adds_what_is_new_and_records_edits_and_deletions(ws, shop, newer):
    """What was there stays; each change is an event of its own."""
    ws.import_file(shop, assistant=BOT)
    before = log(ws)
    report = ws.import_file(newer, assistant=BOT)
    assert log(ws)[: len(before)] == before
    assert Counter(types(ws, after=len(before))) == {
        "conversation.continued": 2,
        "message.edited": 1,
        "feedback.given": 1,
        "message.recorded": 2,
        "message.deleted": 1,
        "conversation.started": 1,
        "file.imported": 1,
    }
    assert (report.edited, report.deleted, report.events) == (1, 1, 9)
    assert dialogues(ws) == {
        "telegram:42/1": ["Когда вы открыты?", "С 9 до 18.", "Спасибо! 🌷"],
        "telegram:42/10": ["Do you deliver?", "Yes.", "Great"],
        "telegram:42/30": ["Привет!"],
    }
    first, edited, deleted = ws.conversation("telegram:42/1").messages
    assert (first.original, first.deleted) == (None, False)
    assert (edited.original, [one.by for one in edited.feedback]) == ("В 10.", ["telegram:user7", "telegram:user9"])
    assert deleted.deleted
    assert ws.verify() == []


def test_a_newer_export_twice_is_as_once(ws, shop, newer, tmp_path):
    """Also when it comes compressed, as another file."""
    for path in (shop, newer):
        ws.import_file(path, assistant=BOT)
    before = log(ws)
    again = tmp_path / "newer.json.gz"
    again.write_bytes(gzip.compress(newer.read_bytes()))
    assert ws.import_file(newer, assistant=BOT).already
    assert ws.import_file(again, assistant=BOT).events == 1
    assert log(ws)[:-1] == before


def test_an_older_export_afterwards_takes_nothing_back(ws, shop, newer, tmp_path):
    """Edits stay, deletions stay, later messages stay: an old file is no news."""
    for path in (shop, newer):
        ws.import_file(path, assistant=BOT)
    shown = dialogues(ws)
    before = log(ws)
    older = tmp_path / "older.json.gz"
    older.write_bytes(gzip.compress(shop.read_bytes()))
    assert ws.import_file(shop, assistant=BOT).already
    assert ws.import_file(older, assistant=BOT).events == 1
    assert log(ws)[:-1] == before
    assert dialogues(ws) == shown
    assert ws.conversation("telegram:42/1").messages[2].deleted


def test_an_export_of_a_part_of_the_chat_deletes_nothing_outside_it(ws, shop, tmp_path):
    """Messages before its first and after its last are not in it because they were not asked for."""
    ws.import_file(shop, assistant=BOT)
    part = telegram([replied(2, "В 10."), said(3, "Спасибо! 🌷")])
    report = ws.import_file(write(tmp_path / "part.json", part), assistant=BOT)
    assert (report.deleted, report.edited, report.events) == (0, 0, 1)


def test_a_message_that_cannot_be_read_was_not_deleted(ws, shop, newer, tmp_path):
    """A bad line of the newer export is reported; the message it stands for stays, others go as ever."""
    ws.import_file(shop, assistant=BOT)
    broken = newer.read_text(encoding="utf-8").replace('"id": 10,', '"id": [],')
    report = ws.import_file(write(tmp_path / "broken.json", broken), assistant=BOT)
    assert report.bad_line_count == 1
    assert report.deleted == 0
    later = telegram([said(1, "Когда вы открыты?"), replied(11, "Yes.", minutes=24 * 60 + 1)])
    report = ws.import_file(write(tmp_path / "later.json", later), assistant=BOT)
    assert report.deleted == 3


def test_a_newer_edition_of_a_row_edits_extends_and_cuts_its_conversation(ws, tmp_path):
    """A row with an id is the whole conversation as it is now."""
    ws.import_file(write(tmp_path / "old.jsonl", [row("a", "Hi", "Hello!", "Есть пионы?", "Нет."), row("b", "x", "y")]))
    report = ws.import_file(write(tmp_path / "new.jsonl", [row("a", "Hi", "Здравствуйте!", "Есть пионы?")]))
    assert (report.edited, report.deleted) == (1, 1)
    messages = ws.conversation("interchange:a").messages
    assert [(message.text, message.deleted) for message in messages] == [
        ("Hi", False),
        ("Здравствуйте!", False),
        ("Есть пионы?", False),
        ("Нет.", True),
    ]
    assert not any(message.deleted for message in ws.conversation("interchange:b").messages)


# --- conversations of a chat ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("minutes", "conversations"), [(12 * 60, 1), (12 * 60 + 1, 2)])
def test_a_longer_silence_begins_a_new_conversation(ws, tmp_path, minutes, conversations):
    """Twelve hours are still the same conversation, a minute more is not."""
    chat = telegram([said(1, "Hi", minutes=1), said(2, "Привет", minutes=1 + minutes), replied(3, "Yes?", minutes=800)])
    assert ws.import_file(write(tmp_path / "result.json", chat), assistant=BOT).conversations == conversations
    assert len(ws.conversations()) == conversations


def test_how_long_a_silence_is_can_be_set(tmp_path):
    """`silence_hours` of the workspace decides."""
    (tmp_path / "shop").mkdir()
    write(tmp_path / "shop" / "workspace.toml", "[import]\nsilence_hours = 0.5\n")
    chat = telegram([said(1, "Hi", minutes=1), said(2, "Привет", minutes=32), replied(3, "Yes?", minutes=33)])
    with trainerlib.open(tmp_path / "shop") as ws:
        ws.import_file(write(tmp_path / "result.json", chat), assistant=BOT)
        assert dialogues(ws) == {"telegram:42/1": ["Hi"], "telegram:42/2": ["Привет", "Yes?"]}


def test_a_reply_joins_the_conversation_of_what_it_answers(ws, tmp_path):
    """The next morning the bot answers last night's question; what is said after that goes on there."""
    chat = telegram(
        [
            said(1, "Есть пионы?", minutes=1),
            said(2, "Do you deliver?", by="Ben", person="user8", minutes=24 * 60),
            replied(3, "В мае.", minutes=24 * 60 + 1, reply_to_message_id=1),
            said(4, "Спасибо", minutes=24 * 60 + 2),
            replied(5, "Yes.", minutes=24 * 60 + 3, reply_to_message_id=2),
            replied(6, "?", minutes=24 * 60 + 4, reply_to_message_id=999),
        ]
    )
    ws.import_file(write(tmp_path / "result.json", chat), assistant=BOT)
    assert dialogues(ws) == {
        "telegram:42/1": ["Есть пионы?", "В мае.", "Спасибо"],
        "telegram:42/2": ["Do you deliver?", "Yes.", "?"],
    }
    question, answer, _ = ws.conversation("telegram:42/1").messages
    assert answer.in_reply_to == question.number
    assert ws.conversation("telegram:42/2").messages[2].in_reply_to is None


def test_a_conversation_longer_than_a_transaction_begins_once(ws, tmp_path):
    """It has one source, and all that was said is in it."""
    chat = telegram([said(number, f"Вопрос {number}", minutes=number / 10) for number in range(1, 15_102)])
    chat["messages"][-1] = replied(15_101, "Yes.", minutes=1_510)
    digest = ws.import_file(write(tmp_path / "result.json", chat), assistant=BOT).sha256
    assert Counter(types(ws)) == {"conversation.started": 1, "message.recorded": 15_101, "file.imported": 1}
    assert ws.conversation("telegram:42/1").state.sources == (digest,)


def test_messages_without_a_date_stay_in_the_conversation(ws, tmp_path):
    """No time says nothing about a silence; it is reported."""
    nameless = {"id": 2, "type": "message", "from": "Olga", "from_id": "user7", "text": "ау"}
    chat = telegram([said(1, "Hi"), nameless, replied(3, "Yes?")])
    report = ws.import_file(write(tmp_path / "result.json", chat), assistant=BOT)
    assert (report.conversations, report.bad_line_count) == (1, 1)


def test_chats_of_an_account_stay_apart(ws, tmp_path):
    """Two chats with the same message ids are two conversations, named after their chats."""
    account = {"about": "", "chats": {"about": "", "list": [telegram([said(1, "Hi")], chat=1, name="Olga"),
                                                             telegram([replied(1, "Ау")], chat=2, name="Бен")]}}  # fmt: skip
    ws.import_file(write(tmp_path / "result.json", account), assistant=BOT)
    assert dialogues(ws) == {"telegram:1/1": ["Hi"], "telegram:2/1": ["Ау"]}
    assert {summary.title for summary in ws.conversations()} == {"Olga", "Бен"}


def test_an_imported_message_is_found_by_its_key(ws, shop):
    """The key has the chat and the message of the platform, so that others can point at it."""
    ws.import_file(shop, assistant=BOT)
    message = ws.find("telegram-export:42:11")
    assert (message.text, message.role, message.author, message.name) == (
        "Yes.",
        "assistant",
        f"telegram:{BOT_ID}",
        BOT,
    )


# --- who is the assistant ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("assistant", [BOT, BOT_ID, f"telegram:{BOT_ID}"])
def test_the_assistant_is_named_by_name_or_by_id(ws, shop, assistant):
    """The display name, the platform's id, or the person id."""
    report = ws.import_file(shop, assistant=assistant)
    assert report.assistant == assistant
    roles = [message.role for summary in ws.conversations() for message in ws.conversation(summary.id).messages]
    assert Counter(roles) == {"user": 3, "assistant": 2}


@pytest.mark.parametrize("assistant", [None, "", "Somebody else"])
def test_who_the_assistant_is_is_asked_when_the_file_does_not_tell(ws, shop, assistant):
    """The error counts what everybody wrote, most first, and nothing is recorded."""
    with pytest.raises(AssistantUnknownError, match=r"Olga \(2\), Shop bot \(2\), Ben \(1\)") as error:
        ws.import_file(shop, assistant=assistant)
    assert error.value.authors == {"Olga": 2, BOT: 2, "Ben": 1}
    assert ws.store.position == 0


def test_an_account_that_was_deleted_is_not_taken_for_the_assistant(ws, tmp_path):
    """A message without a name is nobody's, whatever is not said about the assistant."""
    chat = telegram([said(1, "Hi", by=None, person=None), replied(2, "Hello!")])
    path = write(tmp_path / "result.json", chat)
    with pytest.raises(AssistantUnknownError):
        ws.import_file(path, assistant="")
    ws.import_file(path, assistant=BOT)
    assert [message.role for message in ws.conversation("telegram:42/1").messages] == ["user", "assistant"]


def discord(*messages):
    """A Discord export; a name that ends in "bot" is one."""
    return {
        "guild": {"id": "9", "name": "Flowers"},
        "channel": {"id": "77", "type": "GuildTextChat", "name": "help"},
        "messages": [
            {
                "id": str(1_000 + number),
                "type": "Default",
                "timestamp": f"2026-03-02T09:0{number}:00+00:00",
                "content": text,
                "author": {"id": name, "name": name, "isBot": name.endswith("bot")},
                "attachments": [],
                "reactions": [],
            }
            for number, (name, text) in enumerate(messages)
        ],
    }


def test_discord_says_itself_who_is_a_bot(ws, tmp_path):
    """Every bot is the assistant, unless somebody is named."""
    path = write(tmp_path / "help.json", discord(("olga", "Есть пионы?"), ("shopbot", "В мае."), ("ben", "Hi")))
    assert ws.import_file(path).assistant == ""
    assert [message.role for message in ws.conversation("discord:77/1000").messages] == ["user", "assistant", "user"]


def test_a_person_can_be_the_assistant_where_bots_are_only_noise(ws, tmp_path):
    """A name that was given goes before what the source says."""
    path = write(tmp_path / "help.json", discord(("olga", "Есть пионы?"), ("rolebot", "Welcome!"), ("anna", "В мае.")))
    ws.import_file(path, assistant="anna")
    assert [message.role for message in ws.conversation("discord:77/1000").messages] == ["user", "user", "assistant"]


def test_discord_without_a_bot_asks(ws, tmp_path):
    """Two people talk; neither is the assistant until somebody says so."""
    with pytest.raises(AssistantUnknownError):
        ws.import_file(write(tmp_path / "help.json", discord(("olga", "Hi"), ("ben", "Привет"))))
    assert ws.store.position == 0


# --- reactions and corrections ----------------------------------------------------------------------------------------


def test_reactions_become_feedback_on_replies_only(ws, shop):
    """Praise and blame of a reply are ratings; a heart on a question and a thinking face are not."""
    ws.import_file(shop, assistant=BOT)
    given = {
        message.text: [(one.by, one.rating) for one in message.feedback]
        for summary in ws.conversations()
        for message in ws.conversation(summary.id).messages
        if message.feedback
    }
    assert given == {"В 10.": [("telegram:user7", 1)], "Yes.": [("telegram:user8", -1)]}


def test_people_who_are_not_named_are_each_counted_once(ws, tmp_path):
    """Three thumbs, one of them known: three ratings, and not three more the next time."""
    thumbs = reaction("👍", "user7") | {"count": 3}
    path = write(tmp_path / "result.json", telegram([said(1, "Hi"), replied(2, "Hello!", reactions=[thumbs])]))
    ws.import_file(path, assistant=BOT)
    more = write(
        tmp_path / "more.json", telegram([said(1, "Hi"), replied(2, "Hello!", reactions=[thumbs]), said(3, "?")])
    )
    ws.import_file(more, assistant=BOT)
    feedback = ws.conversation("telegram:42/1").messages[1].feedback
    assert [one.by for one in feedback] == ["telegram:user7", "anonymous", "anonymous/2"]
    assert ws.stats().up == 3


def test_one_person_who_praises_twice_is_counted_once(ws, tmp_path):
    """A thumb and a heart of the same person are one rating."""
    both = [reaction("👍", "user7"), reaction("❤", "user7")]
    ws.import_file(
        write(tmp_path / "r", telegram([said(1, "Hi"), replied(2, "Hello!", reactions=both)])), assistant=BOT
    )
    assert types(ws).count("feedback.given") == 1
    assert ws.stats().up == 1


def test_everybody_who_corrected_a_reply_is_kept(ws, tmp_path):
    """Two people correct the same reply, one of them says the same as the file does twice."""
    given = [
        {"message": 1, "text": "С 9 до 18.", "by": "anna"},
        {"message": 1, "text": "9 to 18.", "by": "ben"},
        {"message": 1, "text": "9 to 18.", "by": "ben"},
    ]
    ws.import_file(write(tmp_path / "rows.jsonl", [row("a", "Когда?", "В 10.", corrections=given)]))
    corrections = ws.conversation("interchange:a").messages[1].corrections
    assert [(one.by, one.text) for one in corrections] == [("anna", "С 9 до 18."), ("ben", "9 to 18.")]
    assert types(ws).count("reply.corrected") == 2


def test_a_withdrawn_correction_does_not_come_back_with_the_old_file(ws, tmp_path):
    """Nor does a withdrawn rating, when the file comes as another one with the same rows."""
    path = write(tmp_path / "rows.jsonl", MIXED)
    ws.import_file(path)
    reply = ws.conversation("interchange:a").messages[1]
    rated = ws.conversation("interchange:b").messages[1]
    ws.withdraw_correction(reply.corrections[0].id)
    ws.withdraw_feedback(rated.feedback[0].id)
    again = tmp_path / "rows.jsonl.gz"
    again.write_bytes(gzip.compress(path.read_bytes()))
    ws.import_file(again)
    assert ws.message(reply.id).corrections == ()
    assert ws.message(rated.id).feedback == ()


def test_teaching_in_the_workspace_survives_a_newer_import(ws, shop, newer):
    """A correction given here stays on the reply that the newer export edits."""
    ws.import_file(shop, assistant=BOT)
    reply = ws.find("telegram-export:42:2")
    correction = ws.correct(reply.id, "С 9 до 18, без выходных.", by="anna")
    ws.import_file(newer, assistant=BOT)
    assert ws.message(reply.id).corrections == (correction,)
    assert ws.message(reply.id).text == "С 9 до 18."


# --- rows -------------------------------------------------------------------------------------------------------------


def test_the_same_row_twice_without_ids_is_two_conversations(ws, tmp_path):
    """Nothing is lost by looking alike, and a file that has them again adds nothing."""
    same = {"messages": row("", "Hi", "Привет 🌷")["messages"]}
    assert ws.import_file(write(tmp_path / "rows.jsonl", [same, same])).bad_line_count == 0
    before = log(ws)
    assert len(ws.conversations()) == 2
    report = ws.import_file(write(tmp_path / "again.jsonl", [same, same, {"messages": row("", "x", "y")["messages"]}]))
    assert len(ws.conversations()) == 3
    assert report.conversations == 3
    assert log(ws)[: len(before)] == before


def test_an_id_that_comes_again_is_reported_and_both_rows_are_kept(ws, tmp_path):
    """The second is another conversation, also where its new name is taken by a third."""
    path = write(tmp_path / "rows.jsonl", [row("a", "1", "one"), row("a", "2", "two"), row("a-2", "3", "три")])
    report = ws.import_file(path)
    assert [(bad.line, bad.reason) for bad in report.bad_lines] == [
        (2, "id a again, kept as another conversation"),
        (3, "id a-2 again, kept as another conversation"),
    ]
    assert sorted(dialogues(ws).values()) == [["1", "one"], ["2", "two"], ["3", "три"]]
    assert types(ws).count("message.edited") == 0


def test_a_row_keeps_its_texts_to_the_character(ws, tmp_path):
    """Quotes, newlines, emoji, odd spaces."""
    texts = [' "Привет"\r\n\t', "🌷\u2028\u00a0{}\\", "  ", "ё"]
    ws.import_file(write(tmp_path / "rows.jsonl", [row("x:1", *texts)]))
    assert [message.text for message in ws.conversation("x:1").messages] == texts


# --- bad lines --------------------------------------------------------------------------------------------------------

BAD = [
    json.dumps(row("a", "Hi", "Hello!")),
    '{"id": "b", "messages": [',
    json.dumps(row("c", "Есть пионы?", "В мае.", corrections=[{"message": 0, "text": "x", "by": "anna"}])),
    json.dumps(row("d", "Hi", "Yo", corrections=[{"message": 1, "text": " ", "by": "anna"}])),
    json.dumps({"id": "e", "messages": [{"role": "robot", "content": "Hi"}]}),
]


def test_bad_lines_are_counted_located_and_recorded(ws, tmp_path):
    """Everything else is imported; the event that says so has the lines too."""
    path = write(tmp_path / "rows.jsonl", "\n".join(BAD) + "\n")
    report = ws.import_file(path)
    assert [bad.line for bad in report.bad_lines] == [2, 3, 4, 5]
    assert report.bad_line_count == 4
    assert all(bad.reason for bad in report.bad_lines)
    assert dialogues(ws).keys() == {"interchange:a", "interchange:c", "interchange:d"}
    assert ws.stats().corrections == 0
    [event] = recorded_imports(ws)
    assert event.bad_lines == 4
    assert event.first_bad_lines == tuple((bad.line, bad.reason) for bad in report.bad_lines)
    assert ws.import_file(path).bad_lines == report.bad_lines


def test_a_strict_import_stops_at_the_first_bad_line_and_records_nothing(ws, tmp_path):
    """The error has the line; the line may be the last of many."""
    rows = [json.dumps(row(f"c{number}", "Hi", "Привет")) for number in range(20_000)]
    path = write(tmp_path / "rows.jsonl", "\n".join([*rows, "oops"]))
    with pytest.raises(BadLineError, match="line 20,001"):
        ws.import_file(path, strict=True)
    assert ws.store.position == 0


def test_a_strict_import_refuses_an_id_that_comes_again(ws, tmp_path):
    """What a lenient import would report, a strict one does not swallow."""
    path = write(tmp_path / "rows.jsonl", [row("a", "1", "one"), row("a", "2", "два")])
    with pytest.raises(BadLineError, match="line 2: id a again"):
        ws.import_file(path, strict=True)
    assert ws.store.position == 0


def test_a_strict_import_of_a_good_file_is_like_any_other(tmp_path, shop):
    """The same events."""
    logs = []
    for strict in (False, True):
        with trainerlib.open(tmp_path / f"strict-{strict}") as ws:
            ws.import_file(shop, assistant=BOT, strict=strict)
            logs.append(log(ws))
    assert logs[0] == logs[1]


def test_a_report_shows_a_thousand_bad_lines_and_counts_them_all(ws, tmp_path):
    """The event keeps the first hundred."""
    path = write(tmp_path / "rows.jsonl", [row("a", "Hi", "Привет")] + [{"messages": []}] * 1_500)
    report = ws.import_file(path, format="openai-chat")
    assert (len(report.bad_lines), report.bad_line_count) == (1_000, 1_500)
    [event] = recorded_imports(ws)
    assert (len(event.first_bad_lines), event.bad_lines) == (100, 1_500)


@pytest.mark.parametrize(
    ("content", "options", "error"),
    [
        ("once upon a time", {}, UnrecognisedFormatError),
        ("", {}, UnrecognisedFormatError),
        ("{}", {"format": "telegrams"}, UnrecognisedFormatError),
        (None, {}, NotFoundError),
    ],
)
def test_a_file_that_is_none_of_ours_records_nothing(ws, tmp_path, content, options, error):
    """Unknown content, an empty file, an unknown format, no file."""
    path = tmp_path / "file"
    if content is not None:
        write(path, content)
    with pytest.raises(error):
        ws.import_file(path, **options)
    assert ws.store.position == 0


# --- the basis --------------------------------------------------------------------------------------------------------


def test_the_basis_of_an_import_is_recorded_and_can_be_changed(ws, shop):
    """On what grounds it may be trained on; another word is another event, the same word is none."""
    ws.import_file(shop, assistant=BOT, basis="operator: our own support chat")
    before = ws.store.position
    report = ws.import_file(shop, basis="licence: CC BY 4.0")
    assert (report.events, report.messages) == (1, 5)
    assert [event.basis for event in recorded_imports(ws)] == ["operator: our own support chat", "licence: CC BY 4.0"]
    assert ws.import_file(shop, basis="licence: CC BY 4.0").already
    assert ws.import_file(shop).already
    assert types(ws, after=before) == ["file.imported"]
    assert [event.basis for event in ws.imports()] == ["licence: CC BY 4.0"]


def test_an_import_says_what_it_was(ws, shop):
    """File, format, assistant and counts are in the log; its directory is not."""
    report = ws.import_file(shop, assistant=BOT, basis="operator: ours")
    [event] = recorded_imports(ws)
    assert (event.file, event.format, event.assistant, event.sha256) == ("result.json", "telegram", BOT, report.sha256)
    assert (event.conversations, event.messages, event.feedback, event.bad_lines) == (2, 5, 2, 0)


def test_the_source_of_a_conversation_is_known(ws, shop, newer):
    """Every file that contributed is named by its sha256."""
    digests = [ws.import_file(path, assistant=BOT).sha256 for path in (shop, newer)]
    assert ws.conversation("telegram:42/1").state.sources == tuple(digests)
    assert ws.conversation("telegram:42/30").state.sources == (digests[1],)
