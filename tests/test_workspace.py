"""The workspace: what is said, corrected and rated is recorded once, and misuse is a typed error that changes nothing."""

from __future__ import annotations

import asyncio
import shutil
import threading
from datetime import UTC, datetime, timedelta, timezone

import pytest
from histories import log, readme_block, telegram, types, write

import trainerlib
from trainerlib import Recipe
from trainerlib.errors import (
    InvalidEventError,
    KeyConflictError,
    NotFoundError,
    SettingsError,
    StoreError,
    WorkspaceNotFoundError,
)
from trainerlib.events import Attachment
from trainerlib.store.eventstore import EventStore


@pytest.fixture
def ws(tmp_path):
    with trainerlib.open(tmp_path / "shop") as workspace:
        yield workspace


@pytest.fixture
def answer(ws):
    """A reply that somebody got."""
    chat = ws.conversation("telegram:42")
    question = chat.record("user", "когда вы открыты?", author="telegram:7")
    return chat.record("assistant", "В 10.", in_reply_to=question)


def test_the_example_of_the_issue_runs_as_it_stands(tmp_path, monkeypatch):
    """Record, correct, rate, build, export: the loop in nine lines."""
    monkeypatch.chdir(tmp_path)
    ws = trainerlib.open("workspace")
    chat = ws.conversation("telegram:42")
    question = chat.record("user", "когда вы открыты?", author="telegram:7", key="telegram:1:42:1001")
    answer = chat.record("assistant", "В 10.", in_reply_to=question.id, model="gpt-x")
    ws.correct(answer.id, "С 9 до 18, без выходных.", by="telegram:1")
    ws.give_feedback(answer.id, rating=-1, text="wrong hours", by="telegram:7")
    ws.person("telegram:7").give_consent(wording="2026-11")
    dataset = ws.datasets.build("support", Recipe(split=trainerlib.Split(train=1.0)))
    dataset.export("train.jsonl", format="openai-chat", split="train")
    ws.close()
    assert (tmp_path / "train.jsonl").read_text(encoding="utf-8") == (
        '{"messages":[{"role":"user","content":"когда вы открыты?"},'
        '{"role":"assistant","content":"С 9 до 18, без выходных.","weight":1}]}\n'
    )
    assert {path.name for path in (tmp_path / "workspace").iterdir()} >= {
        "trainer.db",
        "files",
        "datasets",
        "archive",
        "models",
    }


def test_the_example_of_the_readme_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    """It prints the dialogue with its correction and the account of the dataset."""
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(readme_block("python"), "README.md", "exec"), names)
    names["ws"].close()
    shown = capsys.readouterr().out
    assert "should be (telegram:1): С 9 до 18, без выходных." in shown
    assert "1 candidates -> 1 examples" in shown
    assert len(list(tmp_path.glob("*.jsonl"))) == 1


def test_the_row_of_the_readme_is_imported_with_its_correction_and_rating(ws, tmp_path):
    """The interchange form as it is shown to a newcomer."""
    ws.import_file(write(tmp_path / "rows.jsonl", readme_block("json")), strict=True)
    stats = ws.stats()
    assert (stats.conversations, stats.messages, stats.corrections, stats.down) == (1, 2, 1, 1)


# --- opening ----------------------------------------------------------------------------------------------------------


def test_nothing_is_made_where_nothing_may_be_made(tmp_path):
    """`create=False` on nothing is an error and leaves nothing."""
    with pytest.raises(WorkspaceNotFoundError, match="trainerlib init"):
        trainerlib.open(tmp_path / "shop", create=False)
    assert not (tmp_path / "shop").exists()


def test_a_workspace_is_not_made_below_a_directory_that_is_missing(tmp_path):
    """A mistyped path does not grow a tree."""
    with pytest.raises(WorkspaceNotFoundError, match="no such directory"):
        trainerlib.open(tmp_path / "nowhere" / "shop")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("create", [True, False])
def test_a_directory_with_other_things_in_it_is_refused_and_untouched(tmp_path, create):
    """Nobody's photographs become a workspace."""
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8")
    with pytest.raises(WorkspaceNotFoundError):
        trainerlib.open(tmp_path, create=create)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("photo.jpg", b"\xff\xd8")]


def test_a_file_is_no_workspace(tmp_path):
    """A path that names a file is refused, and the file stays as it is."""
    path = write(tmp_path / "notes.txt", "hello")
    with pytest.raises(WorkspaceNotFoundError, match="is a file"):
        trainerlib.open(path)
    assert path.read_text() == "hello"


def test_an_empty_directory_becomes_a_workspace(tmp_path):
    """It is what `mkdir shop` leaves."""
    with trainerlib.open(tmp_path) as workspace:
        assert workspace.stats().events == 0


def test_a_prepared_directory_without_a_log_is_no_workspace_to_read(tmp_path):
    """After `init` and before the first word there is nothing to show; recording makes the log."""
    write(tmp_path / "workspace.toml", "[workspace]\n")
    with pytest.raises(WorkspaceNotFoundError, match=r"trainer\.db"):
        trainerlib.open(tmp_path, create=False)
    trainerlib.open(tmp_path).close()
    trainerlib.open(tmp_path, create=False).close()


def test_wrong_settings_are_refused_before_a_log_is_made(tmp_path):
    """The error has the line; no database appears."""
    write(tmp_path / "workspace.toml", "[import]\nsilence = 3\n")
    with pytest.raises(SettingsError, match=r"line 2: .*silence_hours"):
        trainerlib.open(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["workspace.toml"]


def test_what_was_recorded_is_there_when_it_is_opened_again(tmp_path):
    """A closed workspace has everything in its directory, which may be moved."""
    with trainerlib.open(tmp_path / "shop") as workspace:
        workspace.conversation("telegram:42").record("user", "Привет 🌷")
        recorded = log(workspace)
    shutil.move(tmp_path / "shop", tmp_path / "moved")
    with trainerlib.open(tmp_path / "moved", create=False) as workspace:
        assert log(workspace) == recorded
        assert workspace.verify() == []


def test_a_closed_workspace_records_nothing(tmp_path):
    """Using it after `close` is an error of ours."""
    workspace = trainerlib.open(tmp_path / "shop")
    workspace.close()
    with pytest.raises(StoreError, match="closed"):
        workspace.conversation("telegram:42").record("user", "Hi")


# --- recording --------------------------------------------------------------------------------------------------------


def test_a_conversation_is_nothing_until_somebody_speaks(ws):
    """A handle alone records nothing and reads as an empty dialogue."""
    chat = ws.conversation("telegram:42")
    assert (chat.messages, str(chat.state), ws.store.position) == ((), "telegram:42", 0)


def test_a_message_comes_back_as_it_was_recorded(ws):
    """Every field of it, and its text to the last character."""
    at = datetime(2026, 3, 2, 9, 30, tzinfo=timezone(timedelta(hours=3)))
    chat = ws.conversation("telegram:42", title="Flower shop", tags=["vip"])
    voice = Attachment("voice", file="files/1.ogg", duration=2.5)
    text = ' "Привет"\r\n\t🌷\u2028 '
    first = chat.record("user", text, author="telegram:7", name="Olga", sent_at=at, attachments=[voice], key="k:1")
    assert chat.messages == (first,) == (ws.message(first.id),) == (ws.find("k:1"),)
    assert (first.text, first.sent_at, first.attachments, first.name) == (text, at, (voice,), "Olga")
    assert (chat.state.platform, chat.state.title, chat.state.tags) == ("telegram", "Flower shop", ("vip",))
    assert ws.conversation_of(first.id) == "telegram:42"


def test_a_redelivered_message_is_recorded_once(ws):
    """The same key with the same content gives the first message, also in a new process that begins the conversation."""
    sent = {"author": "telegram:7", "key": "telegram:1:42:1001"}
    first = ws.conversation("telegram:42").record("user", "когда вы открыты?", **sent)
    with trainerlib.open(ws.path) as restarted:
        assert restarted.conversation("telegram:42").record("user", "когда вы открыты?", **sent) == first
    assert types(ws) == ["conversation.started", "message.recorded"]


def test_a_key_of_other_content_is_refused(ws):
    """Another text, or another conversation, under a key that is taken."""
    ws.conversation("telegram:42").record("user", "Hi", key="k:1")
    before = log(ws)
    for chat, text in (("telegram:42", "Bye"), ("telegram:43", "Hi")):
        with pytest.raises(KeyConflictError, match="k:1"):
            ws.conversation(chat).record("user", text, key="k:1")
    assert log(ws) == before


def test_a_coroutine_records_what_any_other_caller_would(ws):
    at = datetime(2026, 3, 1, 12, tzinfo=UTC)
    words = {"author": "telegram:7", "name": "Olga", "sent_at": at, "model": "gpt-x"}

    async def talk():
        chat = ws.conversation("telegram:43")
        question = await chat.record_async("user", "Когда вы открыты?", key="k:1", **words)
        again = await chat.record_async("user", "Когда вы открыты?", key="k:1", **words)
        reply = await chat.record_async("assistant", "В 10.", in_reply_to=question)
        return question, again, reply

    question, again, reply = asyncio.run(talk())
    chat = ws.conversation("telegram:42")
    same = chat.record("user", "Когда вы открыты?", key="k:2", **words)
    assert again == question == ws.conversation("telegram:43").messages[0]
    assert reply.in_reply_to == question.number
    assert [(one.role, one.text, one.author, one.name, one.at, one.model) for one in (question,)] == [
        (same.role, same.text, same.author, same.name, same.at, same.model)
    ]
    assert types(ws)[-5:] == [
        "conversation.started", "message.recorded", "message.recorded", "conversation.started", "message.recorded",
    ]  # fmt: skip


def test_a_coroutine_is_refused_what_any_other_caller_would_be(ws):
    chat = ws.conversation("telegram:43")
    with pytest.raises(InvalidEventError):
        asyncio.run(chat.record_async("nobody", "hello"))
    with pytest.raises(InvalidEventError):
        asyncio.run(chat.record_async("user", ""))
    assert ws.store.position == 0


def test_a_misspelt_argument_is_no_message(ws):
    """Nothing of what was meant is left out without a word."""
    chat = ws.conversation("telegram:42")
    with pytest.raises(TypeError, match="auhtor"):
        asyncio.run(chat.record_async("user", "hello", auhtor="telegram:7"))
    assert ws.store.position == 0


def test_redelivered_corrections_and_feedback_are_recorded_once(ws, answer):
    """A tap on a button that arrives twice counts once."""
    for _ in range(2):
        correction = ws.correct(answer.id, "С 9 до 18.", by="telegram:1", key="k:2")
        feedback = ws.give_feedback(answer.id, rating=-1, by="telegram:7", key="k:3")
    message = ws.message(answer.id)
    assert message.corrections == (correction,)
    assert message.feedback == (feedback,)
    assert types(ws, after=answer.id) == ["reply.corrected", "feedback.given"]


def test_two_threads_that_begin_a_conversation_begin_it_once(ws):
    """Everything both say is in it, and it has one beginning."""
    barrier = threading.Barrier(4)

    def speak(name):
        barrier.wait()
        for number in range(25):
            ws.conversation("telegram:42").record("user", f"{name}: {number}")

    threads = [threading.Thread(target=speak, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert types(ws) == ["conversation.started"] + ["message.recorded"] * 100
    texts = [message.text for message in ws.conversation("telegram:42").messages]
    for name in "abcd":
        assert [text for text in texts if text.startswith(name)] == [f"{name}: {number}" for number in range(25)]


MISUSE = {
    "an unknown role": lambda ws, _: ws.conversation("c").record("bot", "Hi"),
    "a time without a zone": lambda ws, _: ws.conversation("c").record("user", "Hi", sent_at=datetime(2026, 3, 2)),  # noqa: DTZ001 - on purpose
    "no words": lambda ws, _: ws.conversation("c").record("user", ""),
    "half a character": lambda ws, _: ws.conversation("c").record("user", "\ud83c"),
    "no id": lambda ws, _: ws.conversation("  ").record("user", "Hi"),
    "an id with a newline": lambda ws, _: ws.conversation("a\nb").record("user", "Hi"),
    "a corrected question": lambda ws, answer: ws.correct(answer.id - 1, "Hi", by="anna"),
    "a rated question": lambda ws, answer: ws.give_feedback(answer.id - 1, rating=1, by="anna"),
    "an empty correction": lambda ws, answer: ws.correct(answer.id, " \n", by="anna"),
    "a correction by nobody": lambda ws, answer: ws.correct(answer.id, "Hi", by=" "),
    "feedback by nobody": lambda ws, answer: ws.give_feedback(answer.id, rating=1, by=""),
    "feedback that says nothing": lambda ws, answer: ws.give_feedback(answer.id, text=" ", by="anna"),
    "a rating too high": lambda ws, answer: ws.give_feedback(answer.id, rating=6, by="anna"),
    "a rating too low": lambda ws, answer: ws.give_feedback(answer.id, rating=-6, by="anna"),
}


@pytest.mark.parametrize("case", MISUSE)
def test_misuse_is_refused_and_records_nothing(ws, answer, case):
    """What breaks a rule is an `InvalidEventError`, raised before anything is written."""
    before = log(ws)
    with pytest.raises(InvalidEventError):
        MISUSE[case](ws, answer)
    assert log(ws) == before


MISSING = {
    "a message": lambda ws, _: ws.message(999),
    "a message at another event": lambda ws, _: ws.message(1),
    "its conversation": lambda ws, _: ws.conversation_of(999),
    "a reply to correct": lambda ws, _: ws.correct(999, "Hi", by="anna"),
    "a reply to rate": lambda ws, _: ws.give_feedback(999, rating=1, by="anna"),
    "a message to edit": lambda ws, _: ws.edit(999, "Hi"),
    "a message to delete": lambda ws, _: ws.delete(999),
    "a correction to withdraw": lambda ws, answer: ws.withdraw_correction(answer.id),
    "feedback to withdraw": lambda ws, answer: ws.withdraw_feedback(answer.id),
    "a question to answer": lambda ws, _: ws.conversation("telegram:42").record("assistant", "Hi", in_reply_to=999),
    "a question in another chat": lambda ws, a: ws.conversation("c").record("assistant", "Hi", in_reply_to=a.id),
    "a message in another chat": lambda ws, a: ws.conversation("c").record("assistant", "Hi", in_reply_to=a),
    "an event that is no message": lambda ws, _: ws.conversation("telegram:42").record("user", "Hi", in_reply_to=1),
    "a dataset": lambda ws, _: ws.datasets.get("support"),
    "a file to import": lambda ws, _: ws.import_file(ws.path / "missing.json"),
}


@pytest.mark.parametrize("case", MISSING)
def test_what_is_not_there_is_a_not_found_error_and_records_nothing(ws, answer, case):
    """An id that names nothing, or something else, changes nothing."""
    before = log(ws)
    with pytest.raises(NotFoundError):
        MISSING[case](ws, answer)
    assert log(ws) == before


def test_no_message_has_an_unknown_key(ws):
    """Looking for a key is a question, not an error."""
    assert ws.find("telegram:1:42:1") is None


def test_a_conversation_begins_once_without_a_message(ws):
    """What is said later comes after it, and nothing is begun twice."""
    chat = ws.conversation("telegram:42", title="Flower shop")
    assert not chat.begun
    for _ in range(2):
        chat.begin()
        ws.conversation("telegram:42", title="Another").begin()
    assert chat.begun
    assert types(ws) == ["conversation.started"]
    assert (chat.state.platform, chat.state.title, chat.messages) == ("telegram", "Flower shop", ())
    chat.record("user", "Hi")
    assert types(ws) == ["conversation.started", "message.recorded"]


def test_a_conversation_that_somebody_spoke_in_has_begun(ws):
    """Also after a restart, when nobody remembers."""
    ws.conversation("telegram:42").record("user", "Hi")
    with trainerlib.open(ws.path) as again:
        chat = again.conversation("telegram:42")
        assert chat.begun
        chat.begin()
    assert types(ws) == ["conversation.started", "message.recorded"]


def test_threads_that_begin_a_conversation_together_begin_it_once(ws):
    """Each with a handle of its own, as two processes have."""
    with trainerlib.open(ws.path) as other:
        threads = [
            threading.Thread(target=one.conversation("telegram:42").begin) for one in (ws, other) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert types(ws) == ["conversation.started"]


def test_an_empty_conversation_is_listed_and_offers_no_dataset_anything(ws):
    """Nothing is said in it yet."""
    ws.conversation("telegram:42").begin()
    assert [summary.id for summary in ws.conversations()] == ["telegram:42"]
    assert ws.datasets.build("support").candidates == 0
    assert ws.verify() == []


# --- teaching ---------------------------------------------------------------------------------------------------------


def test_every_corrector_is_kept_and_a_persons_later_word_replaces_their_earlier_one(ws, answer):
    """Two people correct the same reply; one of them thinks again."""
    ws.correct(answer.id, "С 9.", by="anna")
    ws.correct(answer.id, "С 8.", by="boris", note="wrong hours")
    ws.correct(answer.id, "С 9 до 18.", by="anna")
    corrections = ws.message(answer.id).corrections
    assert [(one.by, one.text, one.note) for one in corrections] == [
        ("boris", "С 8.", "wrong hours"),
        ("anna", "С 9 до 18.", ""),
    ]


def test_a_withdrawn_correction_no_longer_stands_and_cannot_be_withdrawn_twice(ws, answer):
    """The other person's correction stays."""
    first = ws.correct(answer.id, "С 9.", by="anna")
    second = ws.correct(answer.id, "С 8.", by="boris")
    ws.withdraw_correction(first.id, by="anna")
    assert ws.message(answer.id).corrections == (second,)
    before = log(ws)
    with pytest.raises(NotFoundError, match="does not stand"):
        ws.withdraw_correction(first.id, by="anna")
    assert log(ws) == before


def test_withdrawn_feedback_no_longer_stands_and_cannot_be_withdrawn_twice(ws, answer):
    """The words of the same person stand beside the rating until they are withdrawn themselves."""
    rating = ws.give_feedback(answer.id, rating=-1, by="anna")
    words = ws.give_feedback(answer.id, text="wrong hours", by="anna")
    ws.withdraw_feedback(rating.id)
    assert ws.message(answer.id).feedback == (words,)
    with pytest.raises(NotFoundError):
        ws.withdraw_feedback(rating.id)
    with pytest.raises(NotFoundError):
        ws.withdraw_correction(words.id)


def test_an_edit_is_recorded_once_and_keeps_what_was_said_first(ws, answer):
    """The same text again is no edit."""
    for _ in range(2):
        edited = ws.edit(answer.id, "В 9.")
    assert (edited.text, edited.original) == ("В 9.", "В 10.")
    assert types(ws, after=answer.id) == ["message.edited"]


def test_a_deletion_is_recorded_once_and_the_words_stay_in_the_log(ws, answer):
    """The message is marked, not removed."""
    for _ in range(2):
        deleted = ws.delete(answer.id)
    assert (deleted.deleted, deleted.text) == (True, "В 10.")
    assert types(ws, after=answer.id) == ["message.deleted"]
    assert ws.stats().replies == 0


def test_labels_can_be_put_on_and_taken_off(ws):
    """They select conversations."""
    chat = ws.conversation("telegram:42")
    chat.tag("vip", "new")
    chat.tag(remove=["new"])
    assert chat.state.tags == ("vip",)
    assert [summary.id for summary in ws.conversations(tag="vip")] == ["telegram:42"]
    assert ws.conversations(tag="new") == []


# --- finding ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def three(ws):
    """Three conversations on two platforms in two languages; one corrected, one rated."""
    for number, (name, question, said) in enumerate(
        [
            ("telegram:1", "Когда вы открыты?", "В 10."),
            ("telegram:2", "Do you sell peonies?", "Only in May."),
            ("discord:1", "Do you deliver to the islands?", "No."),
        ]
    ):
        chat = ws.conversation(name)
        at = datetime(2026, 3, 2 + number, tzinfo=UTC)
        asked = chat.record("user", question, sent_at=at)
        reply = chat.record("assistant", said, sent_at=at + timedelta(minutes=1), in_reply_to=asked)
        if name == "telegram:1":
            ws.correct(reply.id, "Открываемся в девять.", by="anna")
        elif name == "telegram:2":
            ws.give_feedback(reply.id, rating=1, by="anna")
    return ws


@pytest.mark.parametrize(
    ("conditions", "found"),
    [
        ({}, ["discord:1", "telegram:2", "telegram:1"]),
        ({"limit": 1}, ["discord:1"]),
        ({"platform": "telegram"}, ["telegram:2", "telegram:1"]),
        ({"language": "ru"}, ["telegram:1"]),
        ({"language": "en", "platform": "discord"}, ["discord:1"]),
        ({"rated": "up"}, ["telegram:2"]),
        ({"rated": "down"}, []),
        ({"corrected": True}, ["telegram:1"]),
        ({"corrected": False}, ["discord:1", "telegram:2"]),
    ],
)
def test_conversations_are_found_by_every_condition_the_latest_first(three, conditions, found):
    """Conditions narrow, and the most recent message decides the order."""
    assert [summary.id for summary in three.conversations(**conditions)] == found


@pytest.mark.parametrize(
    ("query", "conversations"),
    [
        ("открывались", ["telegram:1"]),
        ("peony", ["telegram:2"]),
        ("DELIVERS", ["discord:1"]),
        ("девять", ["telegram:1"]),
        ("тюльпаны", []),
        ("?!", []),
    ],
)
def test_search_finds_words_in_any_form_and_in_corrections(three, query, conversations):
    """In English and in Russian; each hit says which conversation it is in."""
    hits = three.search(query)
    assert list(dict.fromkeys(hit.conversation for hit in hits)) == conversations
    assert all(three.message(hit.message.id) == hit.message for hit in hits)


def test_search_follows_what_happens_to_a_message(three):
    """An edited text is found by its new words only, a deleted one not at all."""
    [hit] = three.search("peonies")
    three.edit(hit.message.id, "Do you sell tulips?")
    assert three.search("peonies") == []
    assert [one.message.id for one in three.search("tulip")] == [hit.message.id]
    three.delete(hit.message.id)
    assert three.search("tulip") == []


def test_stats_count_what_there_is(three, tmp_path):
    """Messages, replies, corrections, ratings, datasets and imports."""
    three.datasets.build("support")
    exported = telegram([{"id": 1, "type": "message", "from": "Olga", "text": "Hi", "date_unixtime": "1772445923"}])
    three.import_file(write(tmp_path / "result.json", exported), assistant="Olga")
    stats = three.stats()
    assert (stats.conversations, stats.messages, stats.replies) == (4, 7, 4)
    assert (stats.corrections, stats.up, stats.down) == (1, 1, 0)
    assert (stats.datasets, stats.imports) == (1, 1)
    assert stats.events == stats.position == three.store.position == len(log(three))
    assert stats.database_bytes == (three.path / "trainer.db").stat().st_size


# --- the whole --------------------------------------------------------------------------------------------------------


def test_rebuilding_changes_nothing_that_is_shown(three):
    """Summaries, search and stats come out of the log the same again."""
    three.search("open")

    def shown():
        return three.conversations(), three.search("открыты"), three.stats()

    before = shown()
    assert three.rebuild() == three.store.position
    assert shown() == before
    assert three.verify() == []


def test_a_backup_is_a_complete_log_while_another_thread_writes(ws):
    """Copied in the middle of it all: gapless, verified, a beginning of the log that goes on."""
    done = threading.Event()

    def write_on():
        number = 0
        while not done.is_set():
            ws.conversation(f"telegram:{number % 7}").record("user", f"message {number}")
            number += 1

    writer = threading.Thread(target=write_on)
    writer.start()
    try:
        while ws.store.position < 50:
            pass
        seen = ws.store.position
        target = ws.backup(ws.path / "archive" / "backup.db")
        while ws.store.position < seen + 100:
            pass
    finally:
        done.set()
        writer.join()
    with EventStore(target) as copy:
        events = list(copy.read_all())
        assert len(events) >= seen
        assert events == list(ws.store.read_all(until=len(events)))
        assert copy.verify() == []
        assert copy.log_id == ws.store.log_id
    assert ws.store.position > len(events)


def test_a_backup_never_replaces_a_file(ws):
    """A name that is taken is refused."""
    target = write(ws.path / "archive" / "backup.db", "mine")
    with pytest.raises(StoreError, match="exists already"):
        ws.backup(target)
    assert target.read_text() == "mine"


def test_a_workspace_and_a_conversation_print_as_tables_that_escape_what_people_wrote(ws):
    """A notebook shows the dialogue, never runs it."""
    chat = ws.conversation("telegram:42", title="<b>shop</b>")
    chat.record("user", "<script>alert('привет')</script> & co", name="<i>Olga</i>")
    html = chat._repr_html_() + ws._repr_html_()
    assert "<script>" not in html
    assert "<b>" not in html
    assert "<i>" not in html
    assert "&lt;script&gt;alert(&#x27;привет&#x27;)&lt;/script&gt; &amp; co" in html
    assert "<script>alert('привет')</script> & co" in repr(chat)
    assert "conversations            1" in repr(ws)
    assert "<th>conversations</th><td>1</td>" in html
