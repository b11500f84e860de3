"""The bot on Telegram when something goes wrong: nothing is lost, nothing is said twice, and people are told once."""

from __future__ import annotations

import asyncio
import math
from contextlib import contextmanager

import pytest

pytest.importorskip("aiogram", reason="needs the extra: pip install 'trainerlib[telegram]'")

import telegram_bot
from answering import Echo, Failing, Saying
from telegram_server import ANN, GROUP, Fault
from telegram_talk import OWNED, OWNER, Shop

import trainerlib
from bots.telegram import starting
from bots.telegram.sending import Tempo
from trainerlib.chat.port import Completion
from trainerlib.errors import ModelRefusedError, ModelUnavailableError, SettingsError

AT_ONCE = Tempo(after=0.0, draft=0.0, edit=0.0)
LATER = "I cannot answer right now. I will try again, so you need not ask twice."
CANNOT_WORK = "I cannot work right now. What you wrote is not lost, and I will answer as soon as I can."
NOTHING = f'{OWNED}unconsented = "nothing"\n'


# --- Telegram --------------------------------------------------------------------------------------------------------


def test_a_chat_that_is_told_to_wait_waits_and_the_others_do_not(shop, server):
    shop.asks("Hello")
    server.fail("sendMessage", Fault(429, retry_after=1, chat=ANN))
    server.say("When are you open?")
    server.wait_for(lambda: [call for call in server.calls("sendMessage") if call.status == 429])
    assert shop.asks("And you?", user=7) == ["And you?"]
    assert shop.answered(2) == ["Hello", "When are you open?"]
    refused, sent = [call for call in server.calls("sendMessage") if call.chat == ANN][-2:]
    assert sent.at - refused.at >= 1


@pytest.mark.parametrize(
    "fault",
    [
        Fault(502, times=2),
        Fault(500, after_acceptance=True),
        Fault(drop=True),
        Fault(drop=True, after_acceptance=True),
    ],
    ids=["refused twice", "taken and refused", "dropped", "taken and dropped"],
)
@pytest.mark.parametrize("chat", [ANN, GROUP], ids=["in private", "in a group"])
def test_an_answer_that_telegram_had_trouble_with_arrives_once(shop, server, fault, chat):
    shop.asks("@trainer_test_bot Hello", chat=chat)
    server.fail("sendMessage", Fault(**vars(fault)))
    shop.asks("@trainer_test_bot When are you open?", chat=chat)
    assert shop.asks("@trainer_test_bot Thanks", chat=chat) == ["Thanks"]
    assert shop.told(chat) == ["Hello", "When are you open?", "Thanks"]


def test_what_is_written_while_telegram_is_down_is_answered_when_it_is_up(shop, server):
    server.down()
    for number in range(3):
        server.say(f"Question {number}")
    server.up()
    assert shop.answered(3) == ["Question 0", "Question 1", "Question 2"]


def test_an_answer_that_was_written_while_telegram_is_down_arrives_once_when_it_is_up(tmp_path, server):
    with Shop(tmp_path / "shop", server, model=Echo(gate=asyncio.Event()), tempo=AT_ONCE) as shop:
        server.say("one two three")
        server.wait_for(server.drafts)
        server.down()
        shop.soon(shop.model._gate.set)
        server.up()
        shop.answered()
        shop.settled()
        assert shop.told() == ["one two three"]
        assert shop.reply().delivered


def test_a_poll_that_fails_is_repeated(shop, server):
    server.fail("getUpdates", Fault(502, times=2))
    assert shop.asks("When are you open?") == ["When are you open?"]


def test_somebody_who_blocked_the_bot_does_not_keep_the_others_waiting(shop, server):
    server.fail("send.*", Fault(403, times=math.inf, chat=7))
    server.say("Hello", user=7)
    shop.settled()
    assert shop.asks("When are you open?") == ["When are you open?"]
    assert [one.text for one in shop.messages(7)] == ["Hello"]
    server.mend()
    assert shop.asks("Are you there?", user=7) == ["Hello Are you there?"]


def test_a_file_whose_download_breaks_is_taken_in_the_end(shop, server):
    server.fail("download", Fault(drop=True, after_acceptance=True))
    content = b"Roses: 150\n" * 2_000
    server.send_document("prices.txt", content, caption="How much?")
    shop.answered()
    shop.settled()
    assert shop.told()[0].startswith("How much?")
    [document] = shop.messages()[0].attachments
    assert (shop.path / "files" / document.file).read_bytes() == content
    assert len([path for path in (shop.path / "files").rglob("*") if path.is_file()]) == 1


def test_a_file_that_is_gone_is_asked_for_again(shop, server):
    server.fail("download", Fault(404))
    server.send_document("prices.txt", b"Roses: 150", caption="How much?")
    assert shop.answered(2) == ["prices.txt did not arrive. Please send it again.", "How much?"]


def test_a_button_that_was_tapped_too_long_ago_works(shop, server):
    shop.asks("When are you open?")
    server.tap("👍", expired=True)
    assert shop.answered(2)[1:] == ["Thank you, noted."]


# --- updates that come again -----------------------------------------------------------------------------------------


def test_an_update_that_comes_twice_is_answered_once(shop, server):
    server.say("When are you open?")
    [update] = server.pending or [None]
    update = update or {"update_id": 500_001, "message": server.messages()[0]}
    shop.answered()
    server.raw(update)
    assert shop.asks("Thanks") == ["Thanks"]
    assert shop.told() == ["When are you open?", "Thanks"]


def test_updates_that_come_again_after_a_restart_are_answered_once(tmp_path, server):
    with Shop(tmp_path / "shop", server) as shop:
        shop.asks("When are you open?")
        shop.settled()
    server.raw({"update_id": 500_001, "message": server.messages()[0]})
    with Shop(tmp_path / "shop", server) as shop:
        assert shop.asks("Thanks") == ["Thanks"]
        assert shop.told() == ["When are you open?", "Thanks"]
        assert [one.text for one in shop.messages() if one.role == "user"] == ["When are you open?", "Thanks"]


def test_an_update_that_nobody_thought_of_is_passed_over(shop, server):
    server.raw({"message": {"message_id": "one"}, "update_id": 400_000})
    server.raw({"something_new": {}, "update_id": 400_001})
    server.raw({"message": {"message_id": 1, "date": 1, "chat": {"id": -5, "type": "channel", "title": "News"}}})
    assert shop.asks("When are you open?") == ["When are you open?"]
    shop.settled()
    [line] = [line for line in shop.logged() if line["level"] == "error"]
    assert (line["event"], line["update"]) == ("cannot be read", 400_000)


# --- the model -------------------------------------------------------------------------------------------------------


def test_while_the_model_is_down_people_are_told_once_and_answered_when_it_is_up(tmp_path, server):
    model = Failing(*[ModelUnavailableError("no connection")] * 2)
    with Shop(tmp_path / "shop", server, model=model) as shop:
        server.say("When are you open?")
        shop.answered()
        assert [one.message.text for one in shop.ws.unanswered()] == ["When are you open?"]
        assert shop.answered(2) == [LATER, "yes"]
        shop.settled()
        assert shop.told() == [LATER, "yes"]
        assert shop.ws.unanswered() == []


def test_what_a_bot_could_not_answer_the_next_one_answers(tmp_path, server):
    with Shop(tmp_path / "shop", server, model=Failing(*[ModelUnavailableError("no connection")] * 9)) as shop:
        assert shop.asks("When are you open?") == [LATER]
    with Shop(tmp_path / "shop", server) as shop:
        shop.answered(2)
        shop.settled()
        assert shop.told() == [LATER, "When are you open?"]


class Breaking:
    """Breaks off after its first words, then answers."""

    name = "breaking"

    def __init__(self, error):
        self._error = error

    async def stream(self, _):
        yield "We are open from"
        await asyncio.sleep(0)
        error, self._error = self._error, None
        if error is not None:
            raise error
        yield " 9 to 18."
        yield Completion("We are open from 9 to 18.")

    async def close(self):
        pass


@pytest.mark.parametrize("chat", [ANN, GROUP], ids=["in private", "in a group"])
@pytest.mark.parametrize("settings", [OWNED, NOTHING], ids=["recorded", "not recorded"])
def test_an_answer_that_the_model_broke_off_is_shown_when_it_is_whole(tmp_path, server, chat, settings):
    model = Breaking(ModelUnavailableError("the connection broke"))
    with Shop(tmp_path / "shop", server, model=model, settings=settings, tempo=AT_ONCE) as shop:
        server.say("@trainer_test_bot When are you open?", chat=chat)
        server.wait_for(lambda: "We are open from 9 to 18." in shop.told(chat))
        shop.settled()
        assert sorted(shop.told(chat)) == [LATER, "We are open from 9 to 18."]


@pytest.mark.parametrize("chat", [ANN, GROUP], ids=["in private", "in a group"])
def test_an_answer_that_could_not_be_shown_while_it_was_written_is_shown_whole(tmp_path, server, chat):
    with Shop(tmp_path / "shop", server, model=Echo(gate=asyncio.Event()), tempo=AT_ONCE) as shop:
        server.fail("sendMessageDraft|editMessageText", Fault(502, times=math.inf))
        server.say("@trainer_test_bot one two three", chat=chat)
        server.wait_for(lambda: [one for one in server.calls() if one.text == "one" and one.status])
        shop.soon(shop.model._gate.set)
        if chat == GROUP:
            server.wait_for(lambda: [one for one in server.calls("editMessageText") if one.status])
        server.mend()
        server.wait_for(lambda: "one two three" in shop.told(chat))
        shop.settled()
        assert shop.told(chat) == ["one two three"]


def test_a_model_that_refuses_is_said_in_a_sentence_and_the_next_question_answered(tmp_path, server):
    with Shop(tmp_path / "shop", server, model=Failing(ModelRefusedError("no"))) as shop:
        assert shop.asks("When are you open?") == ["I cannot answer this. Please tell whoever runs this bot."]
        assert shop.asks("Are you there?") == ["yes"]


def test_other_chats_are_answered_while_one_waits_for_the_model(tmp_path, server):
    with Shop(tmp_path / "shop", server, model=Echo(gate=asyncio.Event())) as shop:
        server.say("one two three")
        assert shop.asks("Hello", user=7) == ["Hello"]
        shop.soon(shop.model._gate.set)
        assert shop.answered() == ["one two three"]


# --- the disk --------------------------------------------------------------------------------------------------------


def full(connection):
    """No page more for a database."""
    [pages] = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")


def roomy(connection):
    connection.execute("PRAGMA max_page_count = 1000000")


def test_while_the_inbox_has_no_room_people_are_told_once_and_nothing_is_lost(shop, server):
    connection = shop.inbox._connection
    shop.soon(lambda: full(connection))
    server.say("When " * 800)
    assert shop.answered() == [CANNOT_WORK]
    assert server.pending
    assert shop.messages() == ()
    shop.soon(lambda: roomy(connection))
    assert shop.answered(2)[1:] == [("When " * 800).strip()]
    assert shop.asks("Thanks") == ["Thanks"]


def test_while_the_log_has_no_room_people_are_told_once_and_nothing_is_lost(shop, server):
    connection = shop.ws.store.database._writer
    shop.soon(lambda: full(connection))
    server.say("When " * 800)
    assert shop.answered() == [CANNOT_WORK]
    shop.soon(lambda: roomy(connection))
    assert shop.answered(2)[1:] == [("When " * 800).strip()]
    shop.settled()
    assert len(shop.told()) == 2
    assert shop.ws.verify() == []


@contextmanager
def no_room(size=1):
    """No file of this process may grow past a size."""
    resource = pytest.importorskip("resource", reason="limits of POSIX")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_while_nothing_at_all_can_be_written_people_are_told_once_and_nothing_is_lost(shop, server):
    shop.asks("Hello")
    shop.settled()
    with no_room():
        server.say("When are you open?")
        server.say("And you?", user=7)
        assert shop.answered(2)[1:] == [CANNOT_WORK]
        assert shop.answered(chat=7) == [CANNOT_WORK]
    shop.answered(3)
    shop.answered(2, 7)
    shop.settled()
    assert shop.told()[1:] == [CANNOT_WORK, "When are you open?"]
    assert shop.told(7) == [CANNOT_WORK, "And you?"]
    assert shop.ws.verify() == []


def test_an_answer_that_could_not_be_kept_when_it_was_written_is_kept_and_shown_once(tmp_path, server):
    with Shop(tmp_path / "shop", server, model=Echo(gate=asyncio.Event())) as shop:
        server.say("one two three")
        server.wait_for(lambda: shop.model.prompts)
        with no_room():
            shop.soon(shop.model._gate.set)
            assert shop.answered() == [CANNOT_WORK]
        shop.answered(2)
        shop.settled()
        assert shop.told() == [CANNOT_WORK, "one two three"]
        assert [one.text for one in shop.messages()] == ["one two three"] * 2
        assert shop.ws.undelivered() == []


def test_a_file_for_which_there_is_no_room_is_taken_when_there_is(shop, server):
    shop.asks("Hello")
    shop.settled()
    with no_room(5_000_000):
        server.send_document("book.txt", b"rose " * 2_000_000, caption="A book")
        assert shop.answered(2)[1:] == [CANNOT_WORK]
        assert not list((shop.path / "files").rglob("*.txt"))
    shop.answered(3)
    shop.settled()
    [document] = shop.messages()[2].attachments
    assert (shop.path / "files" / document.file).stat().st_size == 10_000_000


def test_a_bot_without_room_for_its_inbox_can_be_stopped(tmp_path, server):
    with Shop(tmp_path / "shop", server) as shop:
        shop.soon(lambda: full(shop.inbox._connection))
        server.say("When " * 800)
        shop.answered()
    with Shop(tmp_path / "shop", server) as shop:
        assert shop.answered(2)[1:] == [("When " * 800).strip()]


# --- much ------------------------------------------------------------------------------------------------------------


def test_an_answer_of_20_000_characters_of_hard_markdown_arrives_whole_with_its_buttons(tmp_path, server):
    block = (
        "# Цены _2026_ * и ~ прочее\n\n- **Розы**: `150` [сайт](https://example.org/a_(b)?c=1&d=<2>)\n"
        "1. *not closed **at all\n> цитата || спойлер ||\n\n```python\ndef f(x):\n    return x ** 2  # `_*[~\n```\n"
        "| a | b |\n|---|---|\n| 1 | <b>2</b> |\n\n👩‍👩‍👧‍👦 \\_ \\* !@#.$%^&*()_+{}-= end{number}\n\n"
    )
    text = ""
    while len(text) < 20_000:
        text += block.replace("{number}", f"{len(text)}")
    pieces = [text[at : at + 500] for at in range(0, len(text), 500)]
    with Shop(tmp_path / "shop", server, model=Saying(*pieces, Completion(text)), tempo=AT_ONCE) as shop:
        server.say("Tell me everything.")
        shop.settled()
        shop.answered()
        shown = [one for one in server.answers() if not one["text"].startswith("I keep")]
        assert 5 <= len(shown) <= 12
        ends = [int(word[3:]) for one in shown for word in one["text"].split() if word.startswith("end")]
        assert ends == sorted(ends)
        assert len(ends) == text.count("end")
        assert [server.buttons(one["message_id"]) for one in shown] == [[]] * (len(shown) - 1) + [["👍", "👎"]]
        assert shop.reply().delivered == tuple(str(one["message_id"]) for one in shown)
        assert shop.reply().text == text
        assert [call.description for call in server.calls() if call.status != 200] == []


def test_a_file_of_25_megabytes_is_refused_in_a_sentence_and_one_of_15_is_taken(shop, server):
    server.send_document("film.txt", bytes(25_000_000))
    assert shop.answered() == ["film.txt is too large: I take files of up to 20 MB."]
    server.send_document("book.txt", b"rose " * 3_000_000, caption="A book")
    shop.answered(2)
    shop.settled()
    [refused], [taken] = [one.attachments for one in shop.messages() if one.role == "user"]
    assert (refused.file, refused.size) == ("", 25_000_000)
    assert (shop.path / "files" / taken.file).stat().st_size == 15_000_000
    assert not [call for call in server.calls() if call.method in ("getFile", "download")][2:]


def test_two_hundred_chats_at_once_are_all_answered(shop, server):
    for chat in range(1, 201):
        server.say(f"I am {chat}", user=chat)
    server.wait_for(lambda: all(shop.told(chat) for chat in range(1, 201)), 30)
    shop.settled()
    assert [shop.told(chat) for chat in range(1, 201)] == [[f"I am {chat}"] for chat in range(1, 201)]
    assert shop.ws.unanswered() == shop.ws.undelivered() == []


# --- processes -------------------------------------------------------------------------------------------------------


def test_a_bot_that_is_terminated_ends_well_and_the_next_one_goes_on(tmp_path, server):
    path = tmp_path / "shop"
    trainerlib.open(path).close()
    bot = telegram_bot.start(path, server, tmp_path / "log")
    for number in range(5):
        for chat in range(1, 7):
            server.say(f"say {number}", user=chat)
    server.wait_for(lambda: server.texts(1), 30)
    bot.terminate()
    bot.join(30)
    assert bot.exitcode == 0
    with Shop(path, server) as shop:
        server.wait_for(lambda: all(len(shop.told(chat)) >= 5 for chat in range(1, 7)))
        shop.settled()
        assert [shop.told(chat) for chat in range(1, 7)] == [[f"say {number}" for number in range(5)]] * 6
        assert shop.ws.unanswered() == shop.ws.undelivered() == []


def test_a_second_bot_of_a_workspace_is_refused(tmp_path, server, monkeypatch):
    path = tmp_path / "shop"
    monkeypatch.setenv(starting.TOKEN, server.token)
    monkeypatch.setenv("TRAINERLIB_TELEGRAM_API", server.url)
    with trainerlib.open(path) as ws:
        bot = telegram_bot.start(path, server, tmp_path / "log")
        server.wait_for(lambda: server.calls("getUpdates"), 30)
        with pytest.raises(SettingsError, match="runs already"):
            starting.run(ws)
        bot.terminate()
        bot.join(30)
        assert bot.exitcode == 0


# --- what is not to be seen ------------------------------------------------------------------------------------------


def test_the_token_is_in_no_log_no_event_and_no_file(shop, server, caplog, capfd):
    server.fail("sendMessage|getUpdates|getFile", Fault(502, times=2))
    server.send_document("prices.txt", b"Roses: 150", caption="How much?")
    shop.answered()
    server.fail("download", Fault(drop=True, after_acceptance=True))
    server.fail("sendMessage", Fault(drop=True, after_acceptance=True))
    server.send_document("more.txt", b"Tulips: 90", caption="And these?")
    shop.answered(2)
    server.down()
    server.say("Still there?", user=OWNER)
    server.up()
    shop.answered(chat=OWNER)
    shop.settled()
    shop.end()
    secret = server.token.partition(":")[2]
    assert [line for line in shop.logged() if line["level"] in ("warning", "error")]
    assert secret not in shop.log.getvalue()
    assert secret not in caplog.text
    assert secret.encode() not in shop.read()
    assert secret not in "".join(capfd.readouterr())
    assert not [text for chat in (ANN, OWNER) for text in server.texts(chat) if secret in text]


def test_the_log_has_a_line_for_each_update_and_no_word_of_anybody(shop, server):
    shop.asks("Is the zanzibar open?", name="Quetzal")
    server.tap("👍")
    shop.answered(2)
    shop.settled()
    done = [line for line in shop.logged() if line["event"] == "done"]
    assert [(line["update"], line["kind"], line["chat"]) for line in done] == [
        (500_001, "message", f"telegram:{ANN}"),
        (500_002, "tap", f"telegram:{ANN}"),
    ]
    assert all(line["milliseconds"] > 0 for line in done)
    assert "zanzibar" not in shop.log.getvalue()
    assert "Quetzal" not in shop.log.getvalue()


def test_of_people_who_did_not_consent_no_word_is_left_where_nothing_is_to_be_recorded(tmp_path, server):
    with Shop(tmp_path / "shop", server, settings=NOTHING) as shop:
        assert shop.asks("Is the zanzibar open?", name="Quetzal") == ["Is the zanzibar open?"]
        assert shop.asks("А занзибар?", user=7, name="Кетцаль", lang="ru") == ["А занзибар?"]
        server.send_document("zanzibar.txt", b"zanzibar prices", caption="zanzibar?")
        shop.answered(2)
        server.send_voice(caption="zanzibar!")
        shop.answered(3)
        shop.asks("/feedback zanzibar")
        shop.settled()
        shop.soon(shop.inbox.tidy)
        for word in ("zanzibar", "занзибар", "Quetzal", "Кетцаль", "OpusHead"):
            assert word.encode() not in shop.read()
        assert server.texts()[0].startswith("I keep nothing of what you write unless you allow it.")
        assert shop.ws.stats().messages == 0
        server.tap("I allow it")
        shop.settled()
        shop.asks("Is the zanzibar open now?")
        shop.settled()
        assert b"zanzibar" in shop.read()
        assert [one.text for one in shop.messages()] == ["Is the zanzibar open now?"] * 2
