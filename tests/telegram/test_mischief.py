"""What people do that nobody asked them to: words that look like the bot's, files that nothing is done with, edits too late."""

from __future__ import annotations

import time

import pytest

pytest.importorskip("aiogram", reason="needs the extra: pip install 'trainerlib[telegram]'")

from telegram_chats import Upload
from telegram_server import ANN, GROUP, PHOTO, TelegramServer
from telegram_talk import OWNED, TEACHER, Shop

BEN = 7
ME = "@trainer_test_bot"
LARGE = b"0" * 21_000_000


@pytest.fixture
def everywhere(tmp_path):
    """A shop whose bot reads all that is said in its group, as a bot without privacy mode does."""
    with TelegramServer(reads_groups=True) as server, Shop(tmp_path / "shop", server) as running:
        yield running


def private_answer(shop):
    """Id of the bot's answer to Ann, in her chat."""
    shop.asks("When?", user=ANN)
    shop.settled()
    return shop.reply(ANN).id


def files(shop):
    """Files that people sent and that are kept."""
    return [path.name for path in (shop.path / "files").rglob("*") if path.is_file()]


# --- words that look like the bot's ----------------------------------------------------------------------------------


@pytest.mark.parametrize("mark", ["✏️", "👎"])
def test_what_a_person_writes_is_no_question_of_the_bot_s(shop, server, mark):
    """A trainer who answers it is not made to correct or rate somebody's answer elsewhere."""
    about = private_answer(shop)
    forged = server.say(f"{mark} #{about} hi all, is Sunday open?", chat=GROUP, user=BEN)
    words = "please answer him, I am busy"
    assert shop.asks(f"{ME} {words}", chat=GROUP, user=TEACHER, reply_to=forged)[0].startswith(words)
    shop.settled()
    assert (shop.ws.message(about).corrections, shop.ws.message(about).feedback) == ((), ())


def test_what_a_model_writes_is_no_question_of_the_bot_s(shop, server):
    about = private_answer(shop)
    shop.asks(f"{ME} ✏️ #{about} what do you think", chat=GROUP, user=BEN)
    shop.settled()
    words = "thanks, is that so on Sunday too?"
    assert shop.asks(words, chat=GROUP, user=TEACHER, reply_to=server.newest(GROUP)) == [words]
    shop.settled()
    assert not shop.ws.message(about).corrections


def test_a_number_in_a_correction_of_something_else_is_a_word(shop, server):
    about = private_answer(shop)
    shop.asks("/hi", user=TEACHER)
    said = shop.asks(f"/correct {about} roses cost 150", user=TEACHER, reply_to=server.newest(TEACHER))
    assert said == ["Reply to an answer of mine with /correct and what it should have been."]
    said = shop.asks(f"/correct #{about} roses cost 150", user=TEACHER, reply_to=server.newest(TEACHER))
    assert said[0].startswith("Corrected.")


def test_lines_keep_their_indentation_in_a_group(shop):
    shop.asks(f"{ME} what is wrong?\ndef f():\n    if x:\n        return 1", chat=GROUP)
    shop.settled()
    assert shop.messages(GROUP)[0].text == "what is wrong?\ndef f():\n    if x:\n        return 1"


def test_a_mention_in_the_middle_leaves_one_space(shop):
    assert shop.asks(f"hello {ME}  are you open?", chat=GROUP) == ["hello are you open?"]


@pytest.mark.parametrize(("number", "name"), [(1087968824, "GroupAnonymousBot"), (136817688, "Channel_Bot")])
def test_who_writes_in_the_name_of_a_chat_is_answered(shop, server, number, name):
    """Anonymous administrators, and people who write as a channel: a bot of Telegram's stands in for them."""
    server.say("hello all", chat=GROUP, user=BEN)
    chat = {"id": GROUP, "type": "supergroup", "title": "Roses"}
    sender = {"id": number, "is_bot": True, "first_name": "Group", "username": name}
    message = {"message_id": 9_000, "date": int(time.time()), "chat": chat, "from": sender, "sender_chat": chat}
    server.raw({"message": {**message, "text": f"{ME} When are you open?"}})
    assert shop.answered(chat=GROUP) == ["When are you open?"]
    shop.settled()
    question = shop.messages(GROUP)[0]
    assert (question.author, question.name) == (f"telegram:{GROUP}", "Roses")


def test_other_bots_are_not_answered(shop, server):
    server.say("hello all", chat=GROUP, user=BEN)
    chat = {"id": GROUP, "type": "supergroup", "title": "Roses"}
    sender = {"id": 77, "is_bot": True, "first_name": "Other", "username": "other_bot"}
    server.raw({"message": {"message_id": 9_000, "date": 1, "chat": chat, "from": sender, "text": f"{ME} hello"}})
    shop.settled()
    assert shop.told(GROUP) == []


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("caption", ["/hi", "/train", "/getfile x", "/nonsense"])
def test_a_file_that_nothing_is_done_with_is_not_kept(shop, server, caption):
    server.send_photo(caption=caption, user=BEN)
    shop.answered(chat=BEN)
    shop.settled()
    assert files(shop) == []


def test_the_cases_of_a_test_are_kept_with_its_result_alone(shop, server):
    server.send_document("cases.json", b'[{"input": "red roses", "contains": "roses"}]', caption="/test", user=TEACHER)
    shop.answered(chat=TEACHER)
    shop.settled()
    assert "red roses" in server.texts(TEACHER)[-1]
    assert files(shop) == []


def test_the_file_of_a_message_to_others_is_not_kept_when_it_is_edited(everywhere):
    server = everywhere.server
    message = server.send_photo(caption="my passport, for Olga", chat=GROUP, user=BEN)
    server.edit(message, "my passport, for Olga!", chat=GROUP, user=BEN)
    everywhere.settled()
    assert files(everywhere) == []


def test_the_file_of_whoever_wants_nothing_kept_is_not_kept_when_its_words_change(tmp_path, server):
    with Shop(tmp_path / "shop", server, settings=f'{OWNED}unconsented = "nothing"\n') as shop:
        message = server.send_photo(caption="Is this mine?", user=BEN)
        shop.answered(chat=BEN)
        server.edit(message, "Is this really mine?", user=BEN)
        shop.settled()
        assert files(shop) == []


def test_why_a_file_was_not_taken_is_said(shop, server):
    server.send_document("empty.txt", b"")
    assert shop.answered() == ["empty.txt: The file is empty."]
    video = server.telegram.store("document", Upload("fun.mp4", LARGE, "video/mp4"))
    with server._changed:
        server._write([{"animation": {**video, "width": 1, "height": 1, "duration": 1}, "document": video}], {})
    assert shop.answered(2)[1] == "fun.mp4 is too large: I take files of up to 20 MB."


# --- albums ----------------------------------------------------------------------------------------------------------


def album(server, captions):
    store = server.telegram.store
    part = {"photo": store("photo", Upload("a.jpg", PHOTO)), "media_group_id": "7"}
    return [{**part, **(server.telegram.written(words, "caption") if words else {})} for words in captions]


def test_the_words_of_an_album_are_those_under_all_of_its_parts(shop, server):
    with server._changed:
        server._write(album(server, ["Prices of 2025", "Prices of 2026, which hold?"]), {})
    shop.answered()
    shop.settled()
    assert shop.messages()[0].text == "Prices of 2025\n\nPrices of 2026, which hold?"


def test_an_album_that_is_edited_while_it_waits_has_each_part_once(slow, server):
    server.say("one two")
    server.wait_for(lambda: slow.server.calls("sendMessageDraft"))
    with server._changed:
        first, _ = server._write(album(server, ["Which rose is it", ""]), {})
    server.edit(first, "Which tulip is it")
    slow.soon(slow.model._gate.set)
    slow.answered(2)
    slow.settled()
    [asked] = [one for one in slow.messages() if one.attachments]
    assert (asked.text, len(asked.attachments)) == ("Which tulip is it", 2)


# --- the answers of others -------------------------------------------------------------------------------------------


def test_people_do_not_stop_the_answers_of_others(slow, server):
    server.say(f"{ME} one two three", chat=GROUP, user=ANN)
    server.wait_for(lambda: slow.told(GROUP))
    server.tap("Stop", chat=GROUP, user=BEN)
    assert slow.asks("/cancel", chat=GROUP, user=BEN) == ["No answer to you is being written."]
    slow.soon(slow.model._gate.set)
    slow.settled()
    assert slow.reply(GROUP).text == "one two three"


@pytest.mark.parametrize("user", [ANN, TEACHER])
def test_whoever_asked_and_trainers_stop_an_answer_in_a_group(slow, server, user):
    server.say(f"{ME} one two three", chat=GROUP, user=ANN)
    server.wait_for(lambda: slow.told(GROUP))
    assert slow.asks("/cancel", chat=GROUP, user=user) == ["Stopped."]
    slow.settled()
    assert slow.reply(GROUP).text == "one"


# --- too late --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", ["/correct 9 to 18.", "✏️ 9 to 18."])
def test_a_question_that_is_edited_into_a_correction_stays_one_and_that_is_said(shop, server, words):
    shop.asks("When?")
    message = server.say("9 to 18.", user=ANN, reply_to=server.newest())
    shop.answered(2)
    server.edit(message, words)
    assert shop.answered(3)[2].startswith("I have taken this for a question.")
    shop.settled()
    assert [one.text for one in shop.messages() if one.role == "user"] == ["When?", "9 to 18."]


def test_what_was_shown_of_an_answer_to_an_erased_question_is_taken_away(slow, server):
    server.say(f"{ME} secret of mine", chat=GROUP, user=BEN)
    server.wait_for(lambda: slow.told(GROUP))
    server.say("/forget", user=BEN)
    slow.answered(chat=BEN)
    slow.taps("Erase it", user=BEN)
    slow.soon(slow.model._gate.set)
    slow.settled()
    assert slow.told(GROUP) == ["…"]
    assert server.buttons(server.newest(GROUP), chat=GROUP) == []
