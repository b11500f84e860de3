"""The server that stands for Telegram does what Telegram does, and refuses what it refuses, for the unmodified aiogram."""

from __future__ import annotations

import asyncio
import json
import math
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

aiogram = pytest.importorskip("aiogram", reason="needs the extra: pip install 'trainerlib[telegram]'")

from aiogram import Bot, Dispatcher  # noqa: E402 - only where aiogram is installed
from aiogram.client.session.aiohttp import AiohttpSession  # noqa: E402 - likewise
from aiogram.client.telegram import TelegramAPIServer  # noqa: E402 - likewise
from aiogram.exceptions import (  # noqa: E402 - likewise
    TelegramBadRequest,
    TelegramConflictError,
    TelegramEntityTooLarge,
    TelegramForbiddenError,
    TelegramNetworkError,
    TelegramNotFound,
    TelegramRetryAfter,
    TelegramServerError,
    TelegramUnauthorizedError,
)
from aiogram.methods import TelegramMethod  # noqa: E402 - likewise
from aiogram.types import (  # noqa: E402 - likewise
    BotCommand,
    BotCommandScopeChat,
    BufferedInputFile,
    CallbackQuery,
    ForceReply,
    InlineKeyboardButton,
    InlineKeyboardMarkup,
    InputMediaDocument,
    InputMediaPhoto,
    Message,
    MessageEntity,
    ReactionTypeEmoji,
    ReplyParameters,
)
from telegram_http import Call  # noqa: E402 - likewise
from telegram_markup import MarkupError, formatted, part, units  # noqa: E402 - likewise
from telegram_methods import REQUIRED, Pace  # noqa: E402 - likewise
from telegram_server import ANN, GROUP, PHOTO, VOICE, Fault, TelegramServer  # noqa: E402 - likewise

SPEC = Path(__file__).parents[3] / "shared" / "reference" / "botapi-10.2-methods.json"
GOOD = InlineKeyboardButton(text="👍", callback_data="up:12")
BAD = InlineKeyboardButton(text="👎", callback_data="down:12")
THUMBS = InlineKeyboardMarkup(inline_keyboard=[[GOOD, BAD]])


@pytest.fixture(scope="module")
def runner():
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def session(runner):
    session = AiohttpSession()
    yield session
    runner.run(session.close())


@pytest.fixture
def bot(server, session):
    session.api = TelegramAPIServer.from_base(server.url)
    return Bot(server.token, session=session)


@pytest.fixture
def ask(runner, bot):
    """Have the bot do something, and wait for it."""

    def asked(method):
        async def done():
            return await (bot(method) if isinstance(method, TelegramMethod) else method)

        return runner.run(done())

    return asked


def refused(ask, method, words, error=TelegramBadRequest):
    with pytest.raises(error, match=words.replace("(", r"\(").replace("*", r"\*")):
        ask(method)


# --- asking for updates -----------------------------------------------------------------------------------------------


def test_the_bot_learns_who_it_is(ask, bot, server):
    assert ask(bot.get_me()).id == server.bot["id"] == bot.id


def test_a_wrong_token_is_unauthorized(ask, server, session):
    refused(ask, Bot("1:other", session=session).get_me(), "Unauthorized", TelegramUnauthorizedError)
    assert [call.status for call in server.calls("getMe")] == [401]


def test_an_unknown_method_is_not_found(ask):
    class Dance(TelegramMethod[bool]):
        __returning__ = bool
        __api_method__ = "dance"

    refused(ask, Dance(), "method not found", TelegramNotFound)


def test_updates_come_again_until_a_later_offset_confirms_them(ask, bot, server):
    server.say("Hello")
    server.say("Are you there?")
    first = ask(bot.get_updates())
    assert [update.message.text for update in first] == ["Hello", "Are you there?"]
    assert ask(bot.get_updates()) == first
    assert [update.message.text for update in ask(bot.get_updates(offset=first[1].update_id))] == ["Are you there?"]
    assert [update["message"]["text"] for update in server.pending] == ["Are you there?"]
    assert ask(bot.get_updates(offset=first[1].update_id + 1)) == []
    assert server.pending == []


def test_a_negative_offset_forgets_all_but_the_last(ask, bot, server):
    for text in ("one", "two", "three"):
        server.say(text)
    assert [update.message.text for update in ask(bot.get_updates(offset=-1))] == ["three"]
    assert len(server.pending) == 1


def test_a_poll_takes_no_more_than_it_asked_for(ask, bot, server):
    for number in range(5):
        server.say(f"{number}")
    assert len(ask(bot.get_updates(limit=2))) == 2


def test_a_poll_waits_for_what_is_said(runner, bot, server):
    async def polled():
        poll = asyncio.create_task(bot.get_updates(timeout=20))
        await server.until(lambda: server.calls("getUpdates"))
        server.say("At last")
        return await poll

    assert [update.message.text for update in runner.run(polled())] == ["At last"]


def test_of_two_pollers_the_first_is_told_that_there_is_another(runner, bot, server):
    async def polled():
        first = asyncio.create_task(bot.get_updates(timeout=20))
        await server.until(lambda: server.calls("getUpdates"))
        await bot.get_updates(timeout=0)
        await first

    with pytest.raises(TelegramConflictError, match="terminated by other getUpdates request"):
        runner.run(polled())


def test_reactions_come_only_to_a_bot_that_asks_for_them(ask, bot, server):
    asked = server.say("Hello")
    server.react(asked, ["👍"])
    assert len(ask(bot.get_updates())) == 1
    ask(bot.get_updates(allowed_updates=["message_reaction"]))
    server.say("not wanted")
    server.react(asked, ["❤"])
    seen = ask(bot.get_updates())[-1].message_reaction
    assert ([one.emoji for one in seen.old_reaction], [one.emoji for one in seen.new_reaction]) == (["👍"], ["❤"])
    assert len(server.pending) == 2


# --- the people -------------------------------------------------------------------------------------------------------


def test_a_message_says_who_wrote_it_where_and_in_what_language(ask, bot, server):
    server.say("Когда вы открыты?", user=7, name="Вера", lang="ru")
    message = ask(bot.get_updates())[0].message
    assert (message.from_user.id, message.from_user.first_name, message.from_user.language_code) == (7, "Вера", "ru")
    assert (message.chat.id, message.chat.type) == (7, "private")
    server.say("And on Sunday?", user=7)
    assert ask(bot.get_updates())[1].message.from_user.first_name == "Вера"


def test_commands_and_mentions_are_marked_in_utf16(ask, bot, server):
    server.say("/train@trainer_test_bot 🏟🏟 @trainer_test_bot now")
    message = ask(bot.get_updates())[0].message
    assert [(one.type, one.extract_from(message.text)) for one in message.entities] == [
        ("bot_command", "/train@trainer_test_bot"),
        ("mention", "@trainer_test_bot"),
    ]


def test_an_answer_to_a_message_carries_it_and_the_quote(ask, bot, server):
    server.say("Hello")
    shown = ask(bot.send_message(ANN, "🏟 We open at 9."))
    server.say("At 9?", reply_to=shown.message_id, quote="at 9")
    message = ask(bot.get_updates())[1].message
    assert message.reply_to_message.text == "🏟 We open at 9."
    assert (message.quote.text, message.quote.position) == ("at 9", units("🏟 We open "))


def test_a_quote_of_what_was_never_said_is_a_mistake_of_the_test(server):
    asked = server.say("Hello")
    with pytest.raises(LookupError, match="does not say"):
        server.say("What?", reply_to=asked, quote="Goodbye")


def test_a_group_has_topics_and_several_people(ask, bot, server):
    server.say("Hello all", group=True, title="Shop")
    server.say("Hello from the topic", group=True, user=8, thread=5)
    first, second = (update.message for update in ask(bot.get_updates()))
    assert (first.chat.id, first.chat.type, first.chat.title) == (GROUP, "supergroup", "Shop")
    assert (second.message_thread_id, second.is_topic_message, second.from_user.id) == (5, True, 8)


def test_a_bot_that_does_not_read_groups_gets_what_is_meant_for_it(runner, session):
    with TelegramServer(reads_groups=False) as server:
        session.api = TelegramAPIServer.from_base(server.url)
        bot = Bot(server.token, session=session)
        server.say("to nobody", group=True)
        server.say("hey @trainer_test_bot", group=True)
        server.say("/help", group=True)
        answer = runner.run(bot.send_message(GROUP, "Yes?"))
        server.say("to you", group=True, reply_to=answer.message_id)
        server.say("in private")
        assert [update["message"]["text"] for update in server.pending] == [
            "hey @trainer_test_bot",
            "/help",
            "to you",
            "in private",
        ]


def test_an_edit_changes_the_message_and_its_commands(ask, bot, server):
    asked = server.say("/hepl")
    server.edit(asked, "/help me")
    message = ask(bot.get_updates())[1].edited_message
    assert (message.message_id, message.text, message.entities[0].length) == (asked, "/help me", 5)
    assert [one["text"] for one in server.messages()] == ["/help me"]


def test_a_long_text_comes_whole(ask, bot, server):
    server.say("слово " * 680)
    assert ask(bot.get_updates())[0].message.text == "слово " * 680


def test_an_album_is_several_updates_with_one_group(ask, bot, server):
    ids = server.send_album([("photo", "a.jpg", PHOTO), ("photo", "b.jpg", PHOTO + b"2")], caption="Our shop")
    messages = [update.message for update in ask(bot.get_updates())]
    assert [message.message_id for message in messages] == ids
    assert len({message.media_group_id for message in messages}) == 1
    assert [message.caption for message in messages] == ["Our shop", None]
    server.send_album([("document", "a.txt", b"1"), ("document", "b.txt", b"2")])
    assert len({message.message.media_group_id for message in ask(bot.get_updates())}) == 2


def test_an_update_can_be_sent_as_it_is_and_twice(ask, bot, server):
    server.say("Hello")
    member = {"user": server.bot, "status": "member"}
    left = {"chat": {"id": ANN, "type": "private"}, "from": {"id": ANN, "is_bot": False, "first_name": "Ann"}, "date": 1,
            "old_chat_member": member, "new_chat_member": {**member, "status": "kicked", "until_date": 0}}  # fmt: skip
    number = server.raw({"my_chat_member": left})
    server.raw({"update_id": number, "my_chat_member": left})
    assert [update.update_id for update in ask(bot.get_updates())][1:] == [number, number]


# --- files ------------------------------------------------------------------------------------------------------------


def test_files_of_people_can_be_had_byte_for_byte(ask, bot, server):
    server.send_voice(seconds=4)
    server.send_document("прайс.csv", b"a;b\n", caption="/train")
    server.send_photo(caption="The door")
    voice, document, photo = (update.message for update in ask(bot.get_updates()))
    assert (voice.voice.duration, voice.voice.mime_type, voice.voice.file_size) == (4, "audio/ogg", len(VOICE))
    assert (document.document.file_name, document.document.mime_type) == ("прайс.csv", "text/csv")
    assert document.caption_entities[0].type == "bot_command"
    assert photo.photo[0].file_size < photo.photo[-1].file_size
    for file, data in ((voice.voice, VOICE), (document.document, b"a;b\n"), (photo.photo[-1], PHOTO)):
        taken = BytesIO()
        ask(bot.download(file, destination=taken))
        assert taken.getvalue() == data
    assert len(server.calls("download")) == 3


def test_a_file_of_25_megabytes_is_too_big_to_have(ask, bot, server):
    server.send_document("big.jsonl", bytes(25 << 20))
    document = ask(bot.get_updates())[0].message.document
    assert document.file_size == 25 << 20
    refused(ask, bot.get_file(document.file_id), "file is too big")
    refused(ask, bot.get_file("no-such"), "wrong file_id")


def test_a_download_can_break_off_in_the_middle(ask, bot, server):
    server.send_document("a.txt", bytes(100_000))
    file = ask(bot.get_file(ask(bot.get_updates())[0].message.document.file_id))
    server.fail("download", Fault(drop=True, after_acceptance=True))
    with pytest.raises(aiogram.client.session.aiohttp.ClientError):
        ask(bot.download_file(file.file_path, destination=BytesIO()))
    server.fail("download", Fault(404))
    with pytest.raises(aiogram.client.session.aiohttp.ClientError):
        ask(bot.download_file(file.file_path, destination=BytesIO()))
    assert ask(bot.download_file(file.file_path)).read() == bytes(100_000)


def test_the_bot_sends_files_by_multipart_and_again_by_id(ask, bot, server):
    server.say("Hello")
    sent = ask(bot.send_document(ANN, BufferedInputFile(b"{}", "данные.json"), caption="Here"))
    assert (sent.document.file_name, sent.document.file_size, sent.caption) == ("данные.json", 2, "Here")
    again = ask(bot.send_document(ANN, sent.document.file_id))
    assert ask(bot.download(again.document)).read() == b"{}"
    ask(bot.send_voice(ANN, BufferedInputFile(VOICE, "a.ogg")))
    ask(bot.send_photo(ANN, BufferedInputFile(PHOTO, "a.jpg")))
    assert [set(message) & {"document", "voice", "photo"} for message in server.answers()] == [
        {"document"},
        {"document"},
        {"voice"},
        {"photo"},
    ]
    assert next(iter(server.calls("sendDocument")[0].files.values())).data == b"{}"


def test_files_that_telegram_does_not_take_are_refused(ask, bot, server):
    server.say("Hello")
    refused(ask, bot.send_document(ANN, "no-such-file"), "wrong remote file identifier")
    refused(ask, bot.send_document(ANN, BufferedInputFile(b"", "a.txt")), "file must be non-empty")
    large = BufferedInputFile(bytes((10 << 20) + 1), "a.jpg")
    refused(ask, bot.send_photo(ANN, large), "Request Entity Too Large", TelegramEntityTooLarge)
    too_large = BufferedInputFile(bytes(52 << 20), "a.bin")
    refused(ask, bot.send_document(ANN, too_large), "Request Entity Too Large", TelegramEntityTooLarge)
    refused(ask, bot.send_photo(ANN, BufferedInputFile(PHOTO, "a.jpg"), caption="я" * 1025), "caption is too long")
    assert server.answers() == []


def test_the_bot_sends_an_album(ask, bot, server):
    server.say("Hello")
    files = [BufferedInputFile(b"1", "a.txt"), BufferedInputFile(b"2", "b.txt")]
    sent = ask(bot.send_media_group(ANN, [InputMediaDocument(media=file, caption="x") for file in files]))
    assert [message.document.file_name for message in sent] == ["a.txt", "b.txt"]
    assert sent[0].media_group_id == sent[1].media_group_id
    refused(ask, bot.send_media_group(ANN, [InputMediaDocument(media=files[0])]), "from 2 to 10")
    mixed = [InputMediaDocument(media=files[0]), InputMediaPhoto(media=BufferedInputFile(PHOTO, "a.jpg"))]
    refused(ask, bot.send_media_group(ANN, mixed), "can't use the media of the specified type in the album")


# --- sending ----------------------------------------------------------------------------------------------------------


def test_nobody_can_be_written_to_who_did_not_write_first(ask, bot):
    refused(ask, bot.send_message(ANN, "Hello?"), "chat not found")


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (lambda bot: bot.send_message(ANN, ""), "message text is empty"),
        (lambda bot: bot.send_message(ANN, " \n "), "text must be non-empty"),
        (lambda bot: bot.send_message(ANN, "🏟" * 2049), "message is too long"),
        (lambda bot: bot.send_message(ANN, "x", message_thread_id=9), "message thread not found"),
        (lambda bot: bot.send_message(ANN, "x", reply_parameters=ReplyParameters(message_id=99)), "to be replied not found"),
        (lambda bot: bot.send_message(ANN, "x", reply_parameters=ReplyParameters(message_id=1, quote="no")), "QUOTE_TEXT"),
        (lambda bot: bot.send_message(ANN, "x", parse_mode="XML"), "unsupported parse_mode"),
        (lambda bot: bot.send_chat_action(ANN, "dancing"), "wrong parameter action"),
        (lambda bot: bot.send_message_draft(ANN, 0, text="x"), "draft_id is invalid"),
        (lambda bot: bot.edit_message_text("x", chat_id=ANN, message_id=1), "message can't be edited"),
        (lambda bot: bot.edit_message_text("x", chat_id=ANN, message_id=99), "message to edit not found"),
        (lambda bot: bot.edit_message_text("x", chat_id=ANN), "message identifier is not specified"),
        (lambda bot: bot.delete_message(ANN, 99), "message to delete not found"),
        (lambda bot: bot.set_message_reaction(ANN, 99), "message to react not found"),
        (lambda bot: bot.set_my_commands([BotCommand(command="Wrong!", description="x")]), "BOT_COMMAND_INVALID"),
        (lambda bot: bot.set_my_commands([BotCommand(command="ok", description="")]), "DESCRIPTION_INVALID"),
        (lambda bot: bot.answer_callback_query("1"), "query is too old"),
        (lambda bot: bot.get_chat_member(ANN, 55), "user not found"),
        (lambda bot: bot.set_webhook("http://example.org/"), "An HTTPS URL must be provided"),
        (lambda bot: bot.set_webhook("https://example.org/", secret_token="a b"), "unallowed characters"),
    ],
)  # fmt: skip
def test_it_refuses_what_telegram_refuses(ask, bot, server, method, words):
    server.say("Hello")
    refused(ask, method(bot), words)
    assert server.answers() == []


def test_4096_units_of_utf16_are_one_message(ask, bot, server):
    server.say("Hello")
    assert ask(bot.send_message(ANN, "🏟" * 2048)).text == "🏟" * 2048


def test_parameters_that_telegram_requires_are_required():
    if not SPEC.exists():
        pytest.skip("the description of the Bot API is not here")
    methods = json.loads(SPEC.read_text())["methods"]
    # Telegram takes `setWebhook` without its address, as one that deletes it.
    for method in set(REQUIRED) - {"setWebhook"}:
        assert set(REQUIRED[method]) == {one["name"] for one in methods[method]["fields"] if one["required"]}, method


@pytest.mark.parametrize("method", [method for method, names in REQUIRED.items() if names])
def test_no_method_works_without_what_it_requires(runner, session, server, method):
    async def asked():
        client = await session.create_session()
        async with client.post(f"{server.url}/bot{server.token}/{method}", json={}) as answer:
            return answer.status, await answer.json()

    status, answer = runner.run(asked())
    assert (status, answer["ok"]) == (400, False)
    assert answer["description"].startswith("Bad Request: ")


def test_entities_are_shown_as_they_were_sent(ask, bot, server):
    server.say("Hello")
    entities = [
        MessageEntity(type="bold", offset=3, length=4),
        MessageEntity(type="pre", offset=8, length=1, language="py"),
    ]
    sent = ask(bot.send_message(ANN, "🏟 bold x  ", entities=entities))
    assert [(one.type, one.extract_from(sent.text)) for one in sent.entities] == [("bold", "bold"), ("pre", "x")]
    assert (sent.text, sent.entities[1].language) == ("🏟 bold x", "py")


def test_a_parse_mode_goes_before_entities(ask, bot, server):
    server.say("Hello")
    bold = [MessageEntity(type="bold", offset=0, length=1)]
    assert ask(bot.send_message(ANN, "a <i>b</i>", parse_mode="HTML", entities=bold)).entities[0].type == "italic"


@pytest.mark.parametrize(
    ("entity", "words"),
    [
        (
            {"type": "bold", "offset": 8, "length": 1},
            "entity beginning at UTF-16 offset 8 ends after the end of the text",
        ),
        ({"type": "bold", "offset": 90, "length": 1}, "entity begins after the end of the text at UTF-16 offset 90"),
        ({"type": "bold", "offset": -1, "length": 1}, "incorrect offset -1"),
        ({"type": "bold", "offset": 0, "length": -1}, "incorrect length -1"),
        ({"type": "bold", "offset": 1, "length": 2}, "begins in a middle of a UTF-16 symbol at byte offset 4"),
        ({"type": "bold", "offset": 0, "length": 1}, "ends in a middle of a UTF-16 symbol at byte offset 4"),
        ({"type": "heading", "offset": 0, "length": 2}, "Unsupported type"),
        ({"type": "text_link", "offset": 0, "length": 2, "url": "localhost"}, "Wrong HTTP URL"),
    ],
)
def test_entities_outside_the_text_are_refused(ask, bot, server, entity, words):
    server.say("Hello")
    refused(ask, bot.send_message(ANN, "🏟 title", entities=[MessageEntity(**entity)]), words)


def test_an_answer_shows_what_it_answers(ask, bot, server):
    asked = server.say("When are you open?")
    sent = ask(bot.send_message(ANN, "At 9.", reply_parameters=ReplyParameters(message_id=asked, quote="open")))
    assert (sent.reply_to_message.text, sent.quote.text, sent.quote.position) == ("When are you open?", "open", 13)
    lost = ReplyParameters(message_id=99, allow_sending_without_reply=True)
    assert ask(bot.send_message(ANN, "At 9.", reply_parameters=lost)).reply_to_message is None


def test_a_request_to_answer_is_no_keyboard(ask, bot, server):
    server.say("Hello")
    sent = ask(bot.send_message(ANN, "✏️ #12", reply_markup=ForceReply(input_field_placeholder="What is right?")))
    assert sent.reply_markup is None
    assert server.calls("sendMessage")[0].params["reply_markup"]["force_reply"] is True


@pytest.mark.parametrize(
    ("button", "words"),
    [
        ({"text": "x", "callback_data": "я" * 33}, "BUTTON_DATA_INVALID"),
        ({"text": "x"}, "Text buttons are unallowed"),
        ({"text": "", "callback_data": "a"}, "must be of type String"),
    ],
)
def test_buttons_that_telegram_does_not_take_are_refused(ask, bot, server, button, words):
    server.say("Hello")
    markup = InlineKeyboardMarkup(inline_keyboard=[[InlineKeyboardButton(**button)]])
    refused(ask, bot.send_message(ANN, "x", reply_markup=markup), words)


def test_topics_are_written_to_by_number(ask, bot, server):
    server.say("Hello", group=True, thread=5)
    assert ask(bot.send_message(GROUP, "Hi", message_thread_id=5)).message_thread_id == 5
    refused(ask, bot.send_message(GROUP, "Hi", message_thread_id=6), "message thread not found")


def test_actions_are_seen(ask, bot, server):
    server.say("Hello")
    ask(bot.send_chat_action(ANN, "typing"))
    assert server.actions() == ["typing"]


# --- drafts -----------------------------------------------------------------------------------------------------------


def test_a_draft_grows_and_goes_when_the_message_comes(ask, bot, server):
    server.say("Hello")
    for text in ("", "We", "We open"):
        ask(bot.send_message_draft(ANN, 3, text=text, can_stop=True))
    (draft,) = server.drafts()
    assert (draft.texts, draft.can_stop, draft.shown) == (["", "We", "We open"], True, True)
    ask(bot.send_message(ANN, "We open at 9."))
    assert not server.drafts()[0].shown
    ask(bot.send_message_draft(ANN, 3, text="Next"))
    assert [draft.texts[-1] for draft in server.drafts()] == ["We open", "Next"]


def test_a_draft_can_be_stopped_once_and_does_not_come_back(ask, bot, server):
    server.say("Hello")
    ask(bot.send_message_draft(ANN, 3, text="We", can_stop=True))
    server.stop()
    stopped = ask(bot.get_updates())[1].stopped_message_generation
    assert (stopped.chat.id, stopped.draft_id) == (ANN, 3)
    ask(bot.send_message_draft(ANN, 3, text="We open", can_stop=True))
    (draft,) = server.drafts()
    assert (draft.stopped, draft.shown) == (True, False)
    with pytest.raises(LookupError, match="no draft to stop"):
        server.stop()


def test_a_group_has_no_drafts(ask, bot, server):
    server.say("Hello", group=True)
    refused(ask, bot.send_message_draft(GROUP, 3, text="x"), "TEXTDRAFT_PEER_INVALID")


def test_a_draft_has_the_limits_of_a_message(ask, bot, server):
    server.say("Hello")
    refused(ask, bot.send_message_draft(ANN, 3, text="x" * 4097), "message is too long")


# --- what was sent ----------------------------------------------------------------------------------------------------


def test_an_edit_is_seen_and_takes_the_buttons_away(ask, bot, server):
    server.say("Hello")
    sent = ask(bot.send_message(ANN, "Wait", reply_markup=THUMBS))
    assert server.buttons(sent.message_id) == ["👍", "👎"]
    ask(bot.edit_message_text("Done", chat_id=ANN, message_id=sent.message_id))
    assert (server.texts(), server.buttons(sent.message_id)) == (["Done"], [])


def test_an_edit_that_changes_nothing_is_refused(ask, bot, server):
    server.say("Hello")
    sent = ask(bot.send_message(ANN, "Wait", reply_markup=THUMBS))
    same = bot.edit_message_text("Wait", chat_id=ANN, message_id=sent.message_id, reply_markup=THUMBS)
    refused(ask, same, "message is not modified")
    ask(bot.edit_message_reply_markup(chat_id=ANN, message_id=sent.message_id))
    refused(ask, bot.edit_message_reply_markup(chat_id=ANN, message_id=sent.message_id), "message is not modified")
    refused(ask, bot.edit_message_text("Wait", chat_id=ANN, message_id=sent.message_id), "message is not modified")


def test_captions_are_edited_as_captions(ask, bot, server):
    server.say("Hello")
    text, photo = ask(bot.send_message(ANN, "x")), ask(bot.send_photo(ANN, BufferedInputFile(PHOTO, "a.jpg")))
    ask(bot.edit_message_caption(chat_id=ANN, message_id=photo.message_id, caption="The door"))
    assert server.texts() == ["x", "The door"]
    refused(ask, bot.edit_message_text("x", chat_id=ANN, message_id=photo.message_id), "there is no text")
    refused(ask, bot.edit_message_caption(chat_id=ANN, message_id=text.message_id, caption="x"), "there is no caption")


def test_in_a_group_only_an_administrator_deletes_what_others_wrote(ask, bot, server):
    asked = server.say("Hello", group=True)
    refused(ask, bot.delete_message(GROUP, asked), "message can't be deleted")
    server.telegram.admins.add((GROUP, server.bot["id"]))
    ask(bot.delete_message(GROUP, asked))
    assert server.messages(GROUP) == []
    assert [one.user.id for one in ask(bot.get_chat_administrators(GROUP))] == [server.bot["id"]]


def test_several_messages_are_deleted_at_once(ask, bot, server):
    asked = server.say("Hello")
    sent = ask(bot.send_message(ANN, "x"))
    assert ask(bot.delete_messages(ANN, [asked, sent.message_id, 99]))
    assert server.messages() == []


def test_the_bot_reacts_with_one_emoji_there_is(ask, bot, server):
    asked = server.say("Hello")
    ask(bot.set_message_reaction(ANN, asked, [ReactionTypeEmoji(emoji="👀")]))
    assert server.reactions(asked) == ["👀"]
    refused(ask, bot.set_message_reaction(ANN, asked, [ReactionTypeEmoji(emoji="🧮")]), "REACTION_INVALID")
    two = [ReactionTypeEmoji(emoji="👀"), ReactionTypeEmoji(emoji="👍")]
    refused(ask, bot.set_message_reaction(ANN, asked, two), "REACTIONS_TOO_MANY")


def test_a_tap_is_answered_once(ask, bot, server):
    server.say("Hello")
    ask(bot.send_message(ANN, "At 9.", reply_markup=THUMBS))
    tap = server.tap("👎")
    query = ask(bot.get_updates())[1].callback_query
    assert (query.id, query.data, query.message.text, query.from_user.id) == (tap, "down:12", "At 9.", ANN)
    assert server.answer_to(tap) is None
    ask(bot.answer_callback_query(tap, "Thanks", show_alert=True))
    assert server.answer_to(tap) == {"text": "Thanks", "show_alert": True}
    refused(ask, bot.answer_callback_query(tap), "query is too old")


def test_a_tap_can_be_too_old_to_answer(ask, bot, server):
    server.say("Hello")
    ask(bot.send_message(ANN, "At 9.", reply_markup=THUMBS))
    refused(ask, bot.answer_callback_query(server.tap("up:12", expired=True)), "query is too old")


def test_a_button_that_is_not_shown_cannot_be_tapped(ask, bot, server):
    server.say("Hello")
    ask(bot.send_message(ANN, "At 9.", reply_markup=THUMBS))
    with pytest.raises(LookupError, match=r"only .*👍"):
        server.tap("✏️")


# --- the bot itself ---------------------------------------------------------------------------------------------------


def test_commands_are_kept_by_scope_and_language(ask, bot):
    ask(bot.set_my_commands([BotCommand(command="help", description="Help")]))
    ask(bot.set_my_commands([BotCommand(command="help", description="Помощь")], language_code="ru"))
    scope = BotCommandScopeChat(chat_id=ANN)
    ask(bot.set_my_commands([BotCommand(command="train", description="Train")], scope=scope))
    assert [one.description for one in ask(bot.get_my_commands())] == ["Help"]
    assert [one.description for one in ask(bot.get_my_commands(language_code="ru"))] == ["Помощь"]
    assert [one.command for one in ask(bot.get_my_commands(scope=scope))] == ["train"]
    ask(bot.delete_my_commands())
    assert ask(bot.get_my_commands()) == []


def test_the_bot_looks_at_chats_and_members(ask, bot, server):
    server.say("Hello", user=8, name="Ben", group=True, title="Shop")
    assert ask(bot.get_chat(GROUP)).title == "Shop"
    assert ask(bot.get_chat_member(GROUP, 8)).user.first_name == "Ben"
    assert ask(bot.get_chat_member(GROUP, bot.id)).status == "member"
    assert ask(bot.get_my_default_administrator_rights()).can_delete_messages is False


# --- the webhook ------------------------------------------------------------------------------------------------------


@pytest.fixture
def hook():
    """A web server that takes updates; `answers` has the next statuses."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            status = web.answers.pop(0) if web.answers else 200
            web.taken.append((status, self.headers["X-Telegram-Bot-Api-Secret-Token"], body["message"]["text"]))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as web:
        web.answers, web.taken = [], []
        thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield web
        web.shutdown()
        thread.join()


def test_a_webhook_gets_updates_in_order_until_it_takes_them(ask, bot, server, hook):
    hook.answers = [500]
    server.say("one")
    ask(bot.set_webhook(f"http://127.0.0.1:{hook.server_port}/hook", secret_token="s3cret"))
    server.say("two")
    server.wait_for(lambda: not server.pending)
    assert hook.taken == [(500, "s3cret", "one"), (200, "s3cret", "one"), (200, "s3cret", "two")]
    info = ask(bot.get_webhook_info())
    assert (info.pending_update_count, info.last_error_message[:19]) == (0, "Wrong response from")


def test_while_there_is_a_webhook_nobody_polls(ask, bot, hook):
    ask(bot.set_webhook(f"http://127.0.0.1:{hook.server_port}/"))
    refused(ask, bot.get_updates(), "while webhook is active", TelegramConflictError)
    ask(bot.delete_webhook(drop_pending_updates=True))
    assert ask(bot.get_updates()) == []


# --- faults -----------------------------------------------------------------------------------------------------------


def test_a_flood_wait_is_told_and_nothing_is_shown(ask, bot, server):
    server.say("Hello")
    server.fail("send.*", Fault(429, retry_after=7))
    with pytest.raises(TelegramRetryAfter) as wait:
        ask(bot.send_message(ANN, "x"))
    assert wait.value.retry_after == 7
    assert server.answers() == []
    ask(bot.send_message(ANN, "x"))
    assert [call.status for call in server.calls("sendMessage")] == [429, 200]


def test_a_server_can_err_as_often_as_told(ask, bot, server):
    server.say("Hello")
    server.fail("sendMessage", Fault(502, times=2))
    refused(ask, bot.send_message(ANN, "x"), "Bad Gateway", TelegramServerError)
    refused(ask, bot.send_message(ANN, "x"), "Bad Gateway", TelegramServerError)
    ask(bot.send_message(ANN, "x"))
    server.fail(".*", Fault(500, times=math.inf))
    refused(ask, bot.get_me(), "Internal Server Error", TelegramServerError)
    server.mend()
    ask(bot.get_me())


def test_one_chat_can_block_the_bot(ask, bot, server):
    server.say("Hello")
    server.say("Hello", user=8)
    server.fail("sendMessage", Fault(403, chat=8))
    ask(bot.send_message(ANN, "x"))
    refused(ask, bot.send_message(8, "x"), "bot was blocked by the user", TelegramForbiddenError)


@pytest.mark.parametrize("accepted", [False, True])
def test_a_connection_can_drop_before_or_after_the_message_was_taken(ask, bot, server, accepted):
    server.say("Hello")
    server.fail("sendMessage", Fault(drop=True, after_acceptance=accepted))
    with pytest.raises(TelegramNetworkError):
        ask(bot.send_message(ANN, "x"))
    assert server.texts() == ["x"] * accepted
    (call,) = server.calls("sendMessage")
    assert (call.status, call.result is not None) == (0, accepted)


def test_an_error_can_follow_a_message_that_was_taken(ask, bot, server):
    server.say("Hello")
    server.fail("sendMessage", Fault(500, after_acceptance=True))
    refused(ask, bot.send_message(ANN, "x"), "Internal Server Error", TelegramServerError)
    assert server.texts() == ["x"]


def test_an_answer_can_come_later_than_the_bot_waits(ask, bot, server):
    server.say("Hello")
    server.fail("sendMessage", Fault(delay=20, after_acceptance=True))
    with pytest.raises(TelegramNetworkError, match="timeout"):
        ask(bot.send_message(ANN, "x", request_timeout=0.2))
    assert server.texts() == ["x"]


def test_updates_that_were_said_while_the_server_was_down_come_after(ask, bot, server):
    ask(bot.get_me())
    url = server.url
    server.down()
    server.say("Are you there?")
    with pytest.raises(TelegramNetworkError):
        ask(bot.get_updates())
    server.up()
    assert server.url == url
    assert [update.message.text for update in ask(bot.get_updates())] == ["Are you there?"]


def test_a_poll_that_waits_is_cut_when_the_server_goes_down(runner, bot, server):
    async def polled():
        poll = asyncio.create_task(bot.get_updates(timeout=20))
        await server.until(lambda: server.calls("getUpdates"))
        await asyncio.to_thread(server.down)
        await poll

    with pytest.raises(TelegramNetworkError):
        runner.run(polled())


def test_more_than_a_burst_is_too_fast_for_a_chat(runner, session):
    with TelegramServer(pace=Pace(burst=2, every=1000)) as server:
        session.api = TelegramAPIServer.from_base(server.url)
        bot = Bot(server.token, session=session)
        server.say("Hello")
        server.say("Hello", user=8)
        for _ in range(2):
            sent = runner.run(bot.send_message(ANN, "x"))
        with pytest.raises(TelegramRetryAfter) as wait:
            runner.run(bot.edit_message_text("y", chat_id=ANN, message_id=sent.message_id))
        assert 990 <= wait.value.retry_after <= 1000
        runner.run(bot.send_message(8, "another chat"))


def test_a_group_takes_twenty_messages_a_minute(runner, session):
    with TelegramServer(pace=Pace(burst=100)) as server:
        session.api = TelegramAPIServer.from_base(server.url)
        bot = Bot(server.token, session=session)
        server.say("Hello", group=True)
        for _ in range(20):
            runner.run(bot.send_message(GROUP, "x"))
        with pytest.raises(TelegramRetryAfter):
            runner.run(bot.send_message(GROUP, "x"))


# --- looking ----------------------------------------------------------------------------------------------------------


def test_waiting_in_vain_says_what_was_asked_last(ask, bot, server):
    server.say("Hello")
    ask(bot.send_message(ANN, "x"))
    with pytest.raises(TimeoutError, match=r"1 updates pending.*\n.*sendMessage"):
        server.wait_for(lambda: len(server.answers()) == 2, timeout=0.05)


def test_calls_tell_what_was_asked_and_when(ask, bot, server):
    server.say("Hello")
    before = time.monotonic()
    ask(bot.send_message(ANN, "x", disable_notification=True, reply_markup=THUMBS))
    ask(bot.get_updates())
    (call,) = server.calls()
    assert isinstance(call, Call)
    assert (call.chat, call.text, call.params["disable_notification"]) == (ANN, "x", True)
    assert call.params["reply_markup"]["inline_keyboard"][0][0]["callback_data"] == "up:12"
    assert before <= call.at <= time.monotonic()
    assert len(server.calls("getUpdates")) == 1


def test_two_hundred_chats_are_answered_by_a_dispatcher(runner, server, bot):
    dispatcher = Dispatcher()

    @dispatcher.message()
    async def answer(message: Message):
        await message.answer(f"You said: {message.text}", reply_markup=THUMBS)

    @dispatcher.callback_query()
    async def tapped(query: CallbackQuery):
        await query.answer("Thanks")
        await query.message.edit_reply_markup()

    people = range(2000, 2200)

    async def polled():
        polling = asyncio.create_task(dispatcher.start_polling(bot, handle_signals=False, close_bot_session=False))
        for number in range(2):
            for user in people:
                server.say(f"{number}", user=user)
        await server.until(lambda: all(len(server.answers(user)) == 2 for user in people), timeout=60)
        tap = server.tap("👍", chat=2000)
        await server.until(lambda: server.answer_to(tap) and not server.buttons(4, chat=2000))
        await server.until(lambda: not server.pending)
        await dispatcher.stop_polling()
        await polling

    runner.run(polled())
    assert all(sorted(server.texts(user)) == ["You said: 0", "You said: 1"] for user in people)


# --- formatted text ---------------------------------------------------------------------------------------------------


def shown(text, mode):
    words, entities = formatted(text, mode, None)
    return words, [(one["type"], part(words, one)) for one in entities]


@pytest.mark.parametrize(
    ("text", "words", "entities"),
    [
        (r"*жирный* и _курсив_\.", "жирный и курсив.", [("bold", "жирный"), ("italic", "курсив")]),
        (r"*a _b_ c*", "a b c", [("bold", "a b c"), ("italic", "b")]),
        ("__u__ ~s~ ||hidden||", "u s hidden", [("underline", "u"), ("strikethrough", "s"), ("spoiler", "hidden")]),
        ("`a.b` ```py\nx = 1\n```", "a.b x = 1", [("code", "a.b"), ("pre", "x = 1")]),
        (r"[🏟 shop](https://example\.org/a\)b)", "🏟 shop", [("text_link", "🏟 shop")]),
        ("before\n>one\n>two\nafter", "before\none\ntwo\nafter", [("blockquote", "one\ntwo")]),
    ],
)
def test_markdown_becomes_entities(text, words, entities):
    assert shown(text, "MarkdownV2") == (words, entities)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Version 1.0", "Character '.' is reserved and must be escaped with the preceding '\\'"),
        ("🏟 🏟_abacaba", "Can't find end of Italic entity at byte offset 9"),
        ("🏟 🏟_abac * asd ", "Can't find end of Bold entity at byte offset 15"),
        ("🏟 🏟`", "Can't find end of Code entity at byte offset 9"),
        ("🏟 🏟```", "Can't find end of Pre entity at byte offset 9"),
        ("🏟 🏟```a ", "Can't find end of PreCode entity at byte offset 9"),
        ("🏟 🏟__🏟 🏟_", "Can't find end of Italic entity at byte offset 20"),
        ("[a](b", "Can't find end of a URL at byte offset 3"),
    ],
)
def test_markdown_that_telegram_does_not_take_is_refused(text, words):
    with pytest.raises(MarkupError) as refusal:
        formatted(text, "MarkdownV2", None)
    assert str(refusal.value) == f"can't parse entities: {words}"


@pytest.mark.parametrize(
    ("text", "words", "entities"),
    [
        ("<b>жирный</b> &amp; <i>🏟</i>", "жирный & 🏟", [("bold", "жирный"), ("italic", "🏟")]),
        ('<a href="https://example.org">shop</a>', "shop", [("text_link", "shop")]),
        ('<pre><code class="language-py">x</code></pre>', "x", [("code", "x"), ("pre", "x")]),
        ('<span class="tg-spoiler">s</span>', "s", [("spoiler", "s")]),
        ("<blockquote expandable>q</blockquote>", "q", [("expandable_blockquote", "q")]),
    ],
)
def test_html_becomes_entities(text, words, entities):
    assert shown(text, "HTML") == (words, entities)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("я <h1>x</h1>", 'Unsupported start tag "h1" at byte offset 3'),
        ("a < b", 'Unsupported start tag "" at byte offset 2'),
        ("<b>x", 'Can\'t find end tag corresponding to start tag "b"'),
        ("<b>x</i>", 'Unmatched end tag at byte offset 4, expected "</b>", found "</i>"'),
        ("x</b>", "Unexpected end tag at byte offset 1"),
        ("x <b", "Unclosed start tag at byte offset 2"),
    ],
)
def test_html_that_telegram_does_not_take_is_refused(text, words):
    with pytest.raises(MarkupError) as refusal:
        formatted(text, "HTML", None)
    assert str(refusal.value) == f"can't parse entities: {words}"


def test_old_markdown_knows_no_nesting():
    assert shown("*a* _b_ `c` [d](https://example.org) e\\_f", "Markdown") == (
        "a b c d e_f",
        [("bold", "a"), ("italic", "b"), ("code", "c"), ("text_link", "d")],
    )
    with pytest.raises(MarkupError, match="Can't find end of the entity starting at byte offset 0"):
        formatted("*unclosed", "Markdown", None)


@given(st.text(), st.sampled_from(["HTML", "MarkdownV2", "Markdown", None]))
def test_whatever_is_shown_has_its_entities_within_the_text(text, mode):
    try:
        words, entities = formatted(text, mode, None)
    except MarkupError:
        return
    assert all(one["offset"] >= 0 < one["length"] <= units(words) - one["offset"] for one in entities)
