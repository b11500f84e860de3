"""A talk with the bot on Telegram, through real HTTP: what people write, tap and send, and what they are told."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("aiogram", reason="needs the extra: pip install 'trainerlib[telegram]'")

from answering import events
from telegram_chats import Upload
from telegram_server import ANN, GROUP, PHOTO, VOICE
from telegram_talk import OWNER, TEACHER, Shop

from bots.commands import COMMANDS
from bots.roles import PERSON
from trainerlib.events import Corrected, MessageEdited

UNKNOWN = "I do not know this yet. If somebody corrects this answer, I will give the corrected one next time."
BEN = 7


@pytest.fixture
def taught(tmp_path, server):
    """A shop that answers from what it was taught."""
    with Shop(tmp_path / "shop", server, model="memory") as running:
        yield running


def feedback(shop, chat=ANN):
    """What stands of the last reply of a chat."""
    return [(one.by, one.rating, one.text, one.reason) for one in shop.reply(chat).feedback]


# --- what people write -----------------------------------------------------------------------------------------------


def test_a_question_is_recorded_answered_and_delivered(shop, server):
    asked = server.say("When are you open?", name="Ann")
    assert shop.answered() == ["When are you open?"]
    shop.settled()
    question, reply = shop.messages()
    assert (question.text, question.author, question.name) == ("When are you open?", "telegram:1001", "Ann")
    assert question.sent_at.timestamp() == server.messages()[0]["date"]
    assert (reply.role, reply.text, reply.in_reply_to) == ("assistant", "When are you open?", question.number)
    assert reply.delivered == (str(server.newest()),)
    assert shop.ws.find(f"telegram:{server.bot['id']}:{ANN}:{asked}").id == question.id
    assert server.buttons(server.newest()) == ["👍", "👎"]


def test_the_first_message_alone_is_answered_with_a_word_on_privacy(shop, server):
    shop.asks("When are you open?")
    shop.asks("And on Sundays?")
    said = server.texts()
    assert said[0].startswith("I keep this conversation")
    assert said[1:] == ["When are you open?", "And on Sundays?"]


def test_each_person_is_spoken_to_in_their_language(shop, server):
    server.say("When?", name="Ann")
    server.say("Когда?", user=BEN, name="Оля", lang="ru")
    shop.answered()
    shop.answered(chat=BEN)
    assert server.texts()[0].startswith("I keep")
    assert server.texts(BEN)[0].startswith("Я храню")
    assert shop.asks("/hi") == ["Hello, Ann! Ask me anything, or see what I can do: /help"]
    [greeting] = shop.asks("/hi", user=BEN)
    assert "Оля" in greeting
    assert "/help" in greeting
    assert "Ask" not in greeting


def test_a_voice_note_is_kept_with_its_duration_and_asked_for_in_writing(shop, server):
    server.send_voice(seconds=7)
    assert shop.answered() == ["I cannot hear yet. Please write it to me."]
    shop.settled()
    [message] = shop.messages()
    [voice] = message.attachments
    assert (voice.kind, voice.duration, voice.media_type) == ("voice", 7.0, "audio/ogg")
    assert (shop.path / "files" / voice.file).read_bytes() == VOICE


def test_the_words_of_a_document_join_the_conversation(shop, server):
    server.send_document("цены.md", "# Цены\n\nРозы: 150".encode(), caption="Сколько стоят розы?")
    [answer] = shop.answered()
    assert answer.startswith("Сколько стоят розы?")
    assert "Розы: 150" in shop.model.prompts[-1].turns[-1].content
    shop.settled()
    [document] = shop.messages()[0].attachments
    assert (document.kind, document.name, document.text) == ("document", "цены.md", "# Цены\n\nРозы: 150")


def test_a_document_that_cannot_be_read_is_named_in_a_sentence(shop, server):
    server.send_document("setup.exe", b"MZ\x90\x00", caption="What is this?")
    sentence, answer = shop.answered(2)
    assert sentence.startswith("setup.exe: ")
    assert answer == "What is this?"


def test_an_album_is_one_message_with_several_parts_and_is_answered_once(shop, server):
    album = [("photo", "a.jpg", PHOTO + b"a"), ("photo", "b.jpg", PHOTO + b"b"), ("photo", "c.jpg", PHOTO + b"c")]
    server.send_album(album, caption="Which of these roses is yours?")
    assert shop.answered() == ["Which of these roses is yours?"]
    assert shop.asks("And now?") == ["And now?"]
    shop.settled()
    first = shop.messages()[0]
    assert [(one.kind, (shop.path / "files" / one.file).read_bytes()) for one in first.attachments] == [
        ("photo", data) for _, _, data in album
    ]
    assert [one.text for one in shop.messages() if one.role == "user"] == ["Which of these roses is yours?", "And now?"]


def test_the_words_of_an_album_may_be_under_any_part_of_it(shop, server):
    parts = [{"photo": server.telegram.store("photo", Upload("a.jpg", PHOTO)), "media_group_id": "7"} for _ in range(3)]
    parts[1] |= server.telegram.written("@trainer_test_bot Which rose?", "caption")
    with server._changed:
        server._write(parts, {"group": True})
        server._write([{**part, "media_group_id": "8"} for part in parts[::2]], {"group": True})
    assert shop.answered(chat=GROUP) == ["Which rose?"]
    assert shop.asks("@trainer_test_bot Thanks", chat=GROUP) == ["Thanks"]
    shop.settled()
    said = [one for one in shop.messages(GROUP) if one.role == "user"]
    assert [(one.text, len(one.attachments)) for one in said] == [("Which rose?", 3), ("Thanks", 0)]


def test_a_photo_with_words_is_kept_and_its_words_are_answered(shop, server):
    server.send_photo(caption="Is this a rose?")
    assert shop.answered() == ["Is this a rose?"]
    shop.settled()
    [photo] = shop.messages()[0].attachments
    assert (photo.kind, photo.media_type) == ("photo", "image/jpeg")
    assert (shop.path / "files" / photo.file).read_bytes() == PHOTO


def test_a_photo_without_words_is_asked_about(shop, server):
    server.send_photo()
    assert shop.answered() == ["I cannot see pictures yet. Please write what it is about."]


def test_an_edited_message_is_edited_in_the_log_and_not_answered_again(shop, server):
    asked = server.say("When are you opn?")
    shop.answered()
    server.edit(asked, "When are you open?")
    shop.settled()
    assert shop.messages()[0].text == "When are you open?"
    assert [one.text for one in events(shop.ws, MessageEdited)] == ["When are you open?"]
    assert len(shop.told()) == 1


def test_what_is_replied_to_and_quoted_is_shown_to_the_model(shop, server):
    server.say("We are open from 9 to 18. Parking is free.")
    shop.answered()
    before = server.newest()
    shop.asks("On Sundays too?", reply_to=before, quote="Parking is free.")
    assert "> Parking is free." in shop.model.prompts[-1].turns[-1].content
    shop.settled()
    question = next(one for one in shop.messages() if one.text == "On Sundays too?")
    assert question.in_reply_to == shop.messages()[1].number


def test_new_begins_a_fresh_conversation(shop):
    shop.asks("My name is Ann.")
    shop.asks("/new")
    shop.asks("What is my name?")
    assert [turn.content for turn in shop.model.prompts[-1].turns] == ["What is my name?"]
    shop.settled()
    assert [one.text for one in shop.messages(f"{ANN}#2")] == ["What is my name?"] * 2


def test_what_has_no_words_and_no_file_is_not_answered(shop, server):
    with server._changed:
        server._write([{"location": {"latitude": 51.5, "longitude": 0.1}}], {})
    assert shop.asks("Hello") == ["Hello"]


# --- buttons and teaching --------------------------------------------------------------------------------------------


def test_a_thumb_up_is_thanked_for_and_can_be_undone(shop, server):
    shop.asks("When are you open?")
    tap = server.tap("👍")
    shop.answered(2)
    assert shop.told()[1:] == ["Thank you, noted."]
    assert server.answer_to(tap) is not None
    assert feedback(shop) == [("telegram:1001", 1, "", "")]
    assert shop.taps("Undo") == ["Taken back: it does not count any more."]
    assert feedback(shop) == []


def test_a_thumb_down_asks_for_the_reason_and_each_one_counts(shop, server):
    shop.asks("When are you open?")
    answer = server.newest()
    reasons = [("Wrong fact", "wrong-fact"), ("Tone", "tone"), ("Language", "language")]
    for label, reason in [*reasons, ("Too long", "too-long"), ("Unsafe", "unsafe")]:
        [asked] = shop.taps("👎", answer)
        assert asked.startswith(f"👎 #{shop.reply().id} ")
        assert shop.taps(label) == ["Thank you, noted."]
        assert feedback(shop) == [("telegram:1001", -1, "", reason)]


def test_what_was_wrong_can_be_said_in_words(shop, server):
    shop.asks("When are you open?")
    shop.taps("👎")
    assert shop.asks("Ты спутал магазин", reply_to=server.newest()) == ["Thank you, noted."]
    assert shop.asks("Совсем", reply_to=server.newest() - 2, quote="Tap it") == ["Thank you, noted."]
    assert [text for _, _, text, _ in feedback(shop) if text] == ["Ты спутал магазин", "Совсем"]
    assert len(shop.model.prompts) == 1


def test_feedback_in_words_is_about_the_last_answer(shop):
    shop.asks("When are you open?")
    assert shop.asks("/feedback The hours are wrong.") == ["Thank you, noted."]
    assert feedback(shop) == [("telegram:1001", None, "The hours are wrong.", "")]


def test_a_reaction_counts_until_it_is_taken_back(shop, server):
    shop.asks("When are you open?")
    server.react(server.newest(), ["👍"])
    shop.settled()
    assert feedback(shop) == [("telegram:1001", 1, "👍", "")]
    server.react(server.newest(), [])
    shop.settled()
    assert feedback(shop) == []
    assert len(shop.told()) == 1


def test_the_pencil_asks_and_the_answer_to_it_corrects(shop, server):
    shop.asks("When are you open?", user=TEACHER)
    [asked] = shop.taps("✏️", user=TEACHER)
    assert asked.startswith(f"✏️ #{shop.reply(TEACHER).id} ")
    [told] = shop.asks("9 to 18.", user=TEACHER, reply_to=server.newest(TEACHER))
    assert "It should say: 9 to 18." in told
    assert [(one.text, one.by) for one in events(shop.ws, Corrected)] == [("9 to 18.", "telegram:2")]
    assert shop.taps("Undo", user=TEACHER) == ["Taken back: it does not count any more."]
    assert shop.reply(TEACHER).corrections == ()
    assert len(shop.model.prompts) == 1


def test_a_correction_is_what_a_similar_question_in_another_chat_is_answered_with(taught):
    assert taught.asks("When are you open on Sunday?") == [UNKNOWN]
    taught.asks(f"/correct {taught.reply().id} From 10 to 16.", user=TEACHER)
    assert taught.asks("When are you open on Sunday, please?", user=BEN) == ["From 10 to 16."]


@pytest.mark.parametrize("given", ["/correct From 10 to 16.", "✏️ From 10 to 16.", "✏ From 10 to 16."])
def test_an_answer_is_corrected_by_replying_to_it(shop, server, given):
    shop.asks("When are you open?", user=TEACHER)
    [told] = shop.asks(given, user=TEACHER, reply_to=server.newest(TEACHER))
    assert "It should say: From 10 to 16." in told
    assert [one.text for one in shop.reply(TEACHER).corrections] == ["From 10 to 16."]


def test_an_answer_of_several_messages_is_corrected_by_replying_to_any_of_them(shop, server):
    shop.asks("words " * 1500, user=TEACHER)
    shop.settled()
    first, *_more = [one for one in server.answers(TEACHER) if one["text"].startswith("words")]
    [told] = shop.asks("/correct Fewer words.", user=TEACHER, reply_to=first["message_id"])
    assert "It should say: Fewer words." in told


def test_a_correction_that_is_edited_counts_as_it_is_then(shop, server):
    shop.asks("When are you open?", user=TEACHER)
    given = server.say("/correct 9 to 8.", user=TEACHER, reply_to=server.newest(TEACHER))
    shop.answered(2, TEACHER)
    server.edit(given, "/correct 9 to 18.", chat=TEACHER, user=TEACHER)
    shop.answered(3, TEACHER)
    assert shop.reply(TEACHER).corrections[-1].text == "9 to 18."


def test_a_button_of_a_bot_that_was_stopped_works(tmp_path, server):
    with Shop(tmp_path / "shop", server) as before:
        before.asks("When are you open?")
    with Shop(tmp_path / "shop", server) as after:
        assert after.taps("👍") == ["Thank you, noted."]
        assert feedback(after) == [("telegram:1001", 1, "", "")]


@pytest.mark.parametrize(("label", "status"), [("I allow it", "given"), ("I do not", "withdrawn")])
def test_consent_is_a_tap(shop, server, label, status):
    shop.asks("When are you open?")
    server.tap(label)
    shop.answered(2)
    assert shop.ws.person("telegram:1001").consent.status == status


# --- commands --------------------------------------------------------------------------------------------------------

ARGUMENTS = {
    "correct": "1 Better.", "feedback": "Good.", "train": "shop", "test": '[{"input": "Hi", "contains": "Hi"}]',
    "select_dataset": "shop", "archive": "files", "getfile": "workspace.toml", "role": "7 trainer",
}  # fmt: skip


def test_every_command_is_answered_and_none_fails(shop):
    for name in COMMANDS:
        assert all(shop.asks(f"/{name} {ARGUMENTS.get(name, '')}".strip(), user=OWNER)), name
        assert all(shop.asks(f"/{name}", user=OWNER)), name
    shop.settled()
    assert [line for line in shop.logged() if line["level"] != "info"] == []


def test_a_person_is_refused_every_command_that_is_for_others(shop):
    refused = [name for name in COMMANDS if name not in PERSON]
    before = shop.ws.store.position
    for name in refused:
        [told] = shop.asks(f"/{name} {ARGUMENTS.get(name, '')}".strip())
        assert told.startswith((f"/{name} is for ", "Only trainers correct answers here."))
    shop.settled()
    assert shop.ws.store.position == before


def test_a_person_is_refused_the_buttons_that_are_for_others(shop):
    shop.asks("@trainer_test_bot When are you open?", user=TEACHER, chat=GROUP)
    shop.taps("✏️", chat=GROUP, user=BEN)
    assert "Only trainers correct answers here." in shop.told(GROUP)[-1]


@pytest.mark.parametrize(
    "action", ["cmd:train:no", "cmd:jobs:stop:1", "cmd:model:promote:1", "cmd:datasets:build", "fix:3"]
)
def test_an_action_that_a_person_made_up_is_refused(shop, server, action):
    shop.asks("When are you open?")
    shop.settled()
    under = server.answers()[-1]
    before = shop.ws.store.position
    server.raw({"callback_query": {"id": "1", "from": server.messages()[0]["from"], "message": under,
                                   "chat_instance": "1", "data": action}})  # fmt: skip
    told = shop.answered(2)[-1]
    assert "is for " in told or told.startswith("Only trainers correct answers here.")
    assert shop.ws.store.position == before


def test_help_lists_what_somebody_may_do(shop):
    [mine] = shop.asks("/help")
    [owners] = shop.asks("/help", user=OWNER)
    assert "/privacy" in mine
    assert "/train" not in mine
    assert all(f"/{name}" in owners for name in COMMANDS)


def test_a_file_with_the_caption_train_makes_examples(shop, server):
    rows = [{"prompt": f"What is {number}?", "completion": f"It is {number}."} for number in range(3)]
    content = "".join(f"{json.dumps(row)}\n" for row in rows).encode()
    server.send_document("examples.jsonl", content, caption="/train", user=OWNER)
    shop.answered(chat=OWNER)
    shop.settled()
    assert shop.ws.stats().imports == 1
    assert "3" in shop.told(OWNER)[-1]
    assert shop.messages(OWNER) == ()


def test_a_file_is_sent(shop, server):
    (shop.path / "prices.txt").write_text("Roses: 150", encoding="utf-8")
    server.say("/getfile prices.txt", user=OWNER)
    [message] = server.wait_for(lambda: server.answers(OWNER))
    assert message["document"]["file_name"] == "prices.txt"


def test_everything_about_a_person_is_sent_and_no_copy_stays(shop, server):
    shop.asks("Is the zanzibar open?")
    server.say("/export")
    [message] = server.wait_for(lambda: [one for one in server.answers() if "document" in one])
    shop.settled()
    assert b"zanzibar" in server.telegram.files[message["document"]["file_id"]].data
    assert not list((shop.path / "exports").iterdir())


def test_what_somebody_has_erased_is_in_no_file_any_more(shop, server):
    shop.asks("Is the zanzibar open?", name="Quetzal")
    server.send_document("zanzibar.txt", b"zanzibar prices", caption="zanzibar?")
    shop.answered(2)
    shop.asks("/forget")
    [erased] = shop.taps("Erase it")
    assert erased.startswith("Erased: 4 messages.")
    shop.settled()
    assert b"zanzibar" not in shop.read()
    assert b"Quetzal" not in shop.read()


# --- groups ----------------------------------------------------------------------------------------------------------


def test_in_a_group_only_what_is_said_to_the_bot_is_answered(shop, server):
    server.say("I am off for lunch.", group=True)
    server.say("/help@another_bot", group=True)
    server.say("@trainer_test_bot_2 hello", group=True)
    assert shop.asks("@trainer_test_bot, when are you open?", chat=GROUP) == ["when are you open?"]
    assert shop.asks("And on Sundays?", chat=GROUP, reply_to=server.newest(GROUP)) == ["And on Sundays?"]
    assert shop.asks("/help@Trainer_Test_Bot", chat=GROUP)[0].startswith("/start")
    shop.settled()
    said = [one.text for one in shop.messages(GROUP) if one.role == "user"]
    assert said == ["when are you open?", "And on Sundays?"]


def test_an_answer_in_a_group_replies_to_whoever_asked(shop, server):
    asked = server.say("@trainer_test_bot When?", group=True)
    shop.answered(chat=GROUP)
    assert server.answers(GROUP)[-1]["reply_to_message"]["message_id"] == asked


def test_people_of_a_group_are_told_apart(shop):
    shop.asks("@trainer_test_bot I am Ann.", chat=GROUP)
    shop.asks("@trainer_test_bot I am Ben.", chat=GROUP, user=BEN, name="Ben")
    shop.settled()
    said = [(one.author, one.name) for one in shop.messages(GROUP) if one.role == "user"]
    assert said == [("telegram:1001", "Ann"), ("telegram:7", "Ben")]
    assert [one.title for one in shop.ws.conversations()] == [f"Group {-GROUP}"]


def test_the_settings_can_have_everything_answered_in_a_group(tmp_path, server):
    with Shop(tmp_path / "shop", server, settings='[bots]\ngroups = "all"\n') as shop:
        assert shop.asks("When are you open?", chat=GROUP) == ["When are you open?"]


def test_a_topic_of_a_forum_is_a_conversation_of_its_own(shop, server):
    shop.asks("@trainer_test_bot Roses?", chat=GROUP, thread=5)
    shop.asks("@trainer_test_bot Tulips?", chat=GROUP, thread=6)
    shop.settled()
    assert [one.text for one in shop.messages(f"{GROUP}:5")] == ["Roses?", "Roses?"]
    assert [one.text for one in shop.messages(f"{GROUP}:6")] == ["Tulips?", "Tulips?"]
    assert [one.get("message_thread_id") for one in server.answers(GROUP) if one["text"] == "Tulips?"] == [6]
    assert shop.taps("👍", chat=GROUP) == ["Thank you, noted."]
    assert feedback(shop, f"{GROUP}:6") == [("telegram:1001", 1, "", "")]


def test_a_reaction_in_a_topic_counts(shop, server):
    shop.asks("@trainer_test_bot Roses?", chat=GROUP, thread=5)
    shop.settled()
    server.react(server.newest(GROUP), ["👎"], chat=GROUP)
    shop.settled()
    assert feedback(shop, f"{GROUP}:5") == [("telegram:1001", -1, "👎", "")]


# --- while it is written ---------------------------------------------------------------------------------------------


def test_cancel_ends_an_answer_that_is_being_written(slow, server):
    server.say("one two three")
    server.wait_for(server.drafts)
    server.say("/cancel")
    assert sorted(slow.answered(2)) == ["Stopped.", "one"]
    slow.settled()
    assert slow.model.ended
    assert slow.reply().text == "one"
    assert slow.reply().delivered


def test_the_stop_button_of_a_draft_ends_the_answer(slow, server):
    server.say("one two three")
    server.wait_for(server.drafts)
    server.stop()
    assert slow.answered() == ["one"]
    slow.settled()
    assert slow.reply().text == "one"


def test_the_stop_button_of_a_draft_in_a_topic_ends_the_answer(slow, server):
    server.say("one two three", thread=5)
    server.wait_for(server.drafts)
    server.stop()
    assert slow.answered() == ["one"]


def test_the_stop_button_in_a_group_ends_the_answer_and_goes(slow, server):
    server.say("@trainer_test_bot one two three", group=True)
    early = server.wait_for(
        lambda: [one for one in server.answers(GROUP) if server.buttons(one["message_id"], chat=GROUP) == ["Stop"]]
    )
    server.tap("Stop", chat=GROUP)
    slow.settled()
    assert slow.told(GROUP) == ["one"]
    assert server.answers(GROUP)[-1]["message_id"] == early[0]["message_id"]
    assert server.buttons(early[0]["message_id"], chat=GROUP) == ["👍", "👎", "✏️"]


def test_an_answer_grows_in_its_draft_and_the_bot_is_seen_typing(slow, server):
    server.say("one two three")
    server.wait_for(lambda: server.drafts() and server.drafts()[0].texts == ["one"])
    slow.soon(slow.model._gate.set)
    assert slow.answered() == ["one two three"]
    assert not server.drafts()[0].shown


def test_nothing_is_stopped_where_nothing_is_written(shop):
    assert shop.asks("/cancel") == ["There is nothing to stop."]
