"""A day of an owner and a trainer at work: what they change their minds about, and what two of them do at once."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("aiogram", reason="needs the extra: pip install 'trainerlib[telegram]'")

from telegram_server import GROUP
from telegram_talk import OWNER, TEACHER, Shop

BEN = 7
ME = "@trainer_test_bot"


def corrections(shop):
    return [one.text for one in shop.reply(TEACHER).corrections]


# --- roles -----------------------------------------------------------------------------------------------------------


def test_a_trainer_of_the_settings_is_not_made_a_person_in_the_chat(shop):
    """Once they are erased the settings are all that is known of them, and they were a trainer again."""
    said = shop.asks(f"/role {TEACHER} person", user=OWNER)
    assert said[0].startswith("The settings make them a trainer, so they stay one.")


@pytest.mark.parametrize("who", ["@ann", "7,", "<7>", "+7", "t.me/ann", "7:8", "٧"])
def test_a_role_is_given_to_a_number_alone(shop, who):
    shop.asks(f"/role {who} owner", user=OWNER)
    shop.settled()
    assert [person.id for person in shop.ws.people() if person.role] == []


def test_of_two_owners_who_choose_a_model_at_once_the_second_sees_what_the_first_one_did(tmp_path, server):
    with Shop(tmp_path / "shop", server, settings='[bots]\nowners = ["telegram:1", "telegram:3"]\n') as shop:
        for name in "abc":
            shop.ws.models.add(f"openai:{name}")
        for _ in range(4):
            shop.ws.models.promote("openai:c", force=True)
            shop.asks("/model promote openai:a", user=1)
            shop.asks("/model promote openai:b", user=3)
            server.tap("Let it answer all the same", user=1)
            server.tap("Let it answer all the same", user=3)
            shop.settled()
            said = sorted("from now on" in shop.told(user)[-1] for user in (1, 3))
            assert said == [False, True]


# --- corrections -----------------------------------------------------------------------------------------------------


def test_a_correction_that_is_edited_back_counts_as_it_is_now(shop, server):
    shop.asks("When?", user=TEACHER)
    message = server.say("✏️ one", user=TEACHER, reply_to=server.newest(TEACHER))
    shop.settled()
    for words in ("✏️ two", "✏️ three", "✏️ two"):
        server.edit(message, words, user=TEACHER)
        shop.settled()
    assert corrections(shop) == ["two"]


def test_the_name_of_the_bot_in_a_correction_is_a_word(shop, server):
    shop.asks("Where?", user=TEACHER)
    shop.asks(f"/correct Order at {ME} or call.", user=TEACHER, reply_to=server.newest(TEACHER))
    assert corrections(shop) == [f"Order at {ME} or call."]


def test_the_name_of_the_bot_in_a_chat_of_two_is_a_word(shop):
    assert shop.asks(f"Is {ME} you?") == [f"Is {ME} you?"]


def test_the_number_of_the_answer_that_is_replied_to_is_no_word_of_its_correction(shop, server):
    shop.asks("When?", user=TEACHER)
    about = shop.reply(TEACHER).id
    shop.asks(f"/correct #{about} 9 to 18.", user=TEACHER, reply_to=server.newest(TEACHER))
    assert corrections(shop) == ["9 to 18."]


def test_an_answer_that_was_erased_is_not_corrected(shop, server):
    server.say(f"{ME} my phone?", chat=GROUP, user=BEN)
    shop.settled()
    about = server.newest(GROUP)
    shop.asks("/forget", user=BEN)
    shop.taps("Erase it", user=BEN)
    said = shop.asks("/correct Call 555.", user=TEACHER, chat=GROUP, reply_to=about)
    assert said == ["There is no such answer of mine in this chat."]


def test_a_reaction_that_is_put_again_within_a_second_counts(shop, server):
    shop.asks("When?")
    shop.settled()
    for reactions in (["👍"], [], ["👍"]):
        server.react(server.newest(), reactions)
    shop.settled()
    assert [one.rating for one in shop.reply().feedback] == [1]


# --- commands --------------------------------------------------------------------------------------------------------


def test_a_command_after_the_name_of_the_bot_is_one(shop):
    assert shop.asks(f"{ME} /hi", chat=GROUP)[0].startswith("Hello, Ann!")


def test_a_question_that_is_edited_into_a_command_has_the_words_of_it(shop, server):
    message = server.say("When are you open?")
    shop.answered()
    words = f"/Train{ME}\nsupport  openai:x"
    server.edit(message, words)
    shop.settled()
    assert shop.messages()[0].text == words


def test_an_empty_file_is_not_sent_and_that_is_said(shop):
    (shop.path / "files" / "empty.txt").touch()
    assert shop.asks("/getfile files/empty.txt", user=OWNER)[0].startswith("The file is empty.")


@pytest.mark.parametrize("command", ["/train", "/test"])
def test_why_the_file_of_a_command_was_not_taken_is_said(shop, server, command):
    server.send_document("empty.jsonl", b"", caption=command, user=OWNER)
    assert shop.answered(chat=OWNER)[-1] == "empty.jsonl: The file is empty."


@pytest.mark.parametrize("caption", ["/train", "/train bogus"])
def test_the_log_alone_has_what_was_made_examples(shop, server, caption):
    line = {"messages": [{"role": "user", "content": "When?"}, {"role": "assistant", "content": "9 to 18."}]}
    server.send_document("good.jsonl", json.dumps(line).encode(), caption=caption, user=OWNER)
    shop.answered(chat=OWNER)
    shop.settled()
    assert [path for path in (shop.path / "files").rglob("*") if path.is_file()] == []


def test_an_instruction_that_cannot_be_read_is_waited_for(shop):
    instruction = shop.path / "instruction.md"
    instruction.write_bytes("Отвечай коротко.".encode("cp1251"))
    assert shop.asks("When?")[0].startswith("I cannot work right now.")
    instruction.write_text("Отвечай коротко.", encoding="utf-8")
    assert shop.answered(2)[1] == "When?"
