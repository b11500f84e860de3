"""What the bot shows arrives once and in order, whatever Telegram does."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import asynccontextmanager

import pytest

pytest.importorskip("aiogram", reason="needs the extra: pip install 'trainerlib[telegram]'")

from aiogram import Bot
from aiogram.client.telegram import TelegramAPIServer
from telegram_server import ANN, GROUP, Fault

from bots.port import Button, Say
from bots.telegram.sending import Place, RefusedError, Sender, Tempo, UnreachableError
from bots.telegram.session import session
from bots.telegram.transport import UNLIMITED, Limits, Transport

QUICK = Tempo(after=0.0, draft=0.0, edit=0.0, typing=0.02)
BUTTONS = ((Button("👍", "up:12"), Button("👎", "down:12")),)


class Hours:
    """Time in which half a minute of waiting is over at once."""

    def __init__(self):
        self.slept = []

    def clock(self):
        return time.monotonic() + sum(self.slept)

    async def sleep(self, seconds):
        self.slept.append(seconds)
        await asyncio.sleep(0.005)


@asynccontextmanager
async def sender(server, *, limits=UNLIMITED, sleep=None, tempo=QUICK):
    hours = Hours()
    bot = Bot(server.token, session=session(TelegramAPIServer.from_base(server.url)))
    try:
        yield Sender(bot, transport=Transport(limits, clock=hours.clock, sleep=sleep or hours.sleep), tempo=tempo)
    finally:
        await bot.session.close()


def shown(server, *says, place=None, sent=(), **more):
    """Show things one after the other; ids of their messages, and those that were told of as they were sent."""
    told = []

    async def go():
        async with sender(server) as shows:
            return [await shows.show(say, place, sent=sent, on_sent=told.append, **more) for say in says]

    place = place or Place(ANN, newest=server.say("When are you open?"))
    return asyncio.run(go()), told


def test_a_message_arrives_with_its_looks_and_buttons(server):
    [[number]], told = shown(server, Say("Open **now**", buttons=BUTTONS))
    [message] = server.answers()
    assert message["text"] == "Open now"
    assert message["entities"] == [{"type": "bold", "offset": 5, "length": 3}]
    assert told == [number] == [message["message_id"]]
    assert server.buttons(number) == ["👍", "👎"]


def test_a_long_text_is_several_messages_with_the_buttons_under_the_last(server):
    text = "\n\n".join(f"{number}. " + "слово " * 100 for number in range(20))
    [ids], told = shown(server, Say(text, buttons=BUTTONS))
    assert len(ids) > 2
    assert told == ids == [message["message_id"] for message in server.answers()]
    assert [server.buttons(number) for number in ids] == [[]] * (len(ids) - 1) + [["👍", "👎"]]
    assert " ".join(server.texts()).split() == text.split()


def test_messages_that_are_there_already_are_not_sent_again(server):
    text = "\n\n".join("word " * 700 for _ in range(3))
    [ids], _ = shown(server, Say(text))
    [again], told = shown(server, Say(text), sent=ids[:2])
    assert len(ids) == 3
    assert again[:2] == ids[:2]
    assert told == again[2:]
    assert len(server.answers()) == 4


def test_ids_past_those_of_a_text_are_of_what_comes_after_it(server):
    [ids], told = shown(server, Say("Yes."), sent=(7, 8))
    assert (ids, told, server.answers()) == ([7], [], [])


def test_what_replaces_something_is_an_edit_of_it(server):
    place = Place(ANN, newest=server.say("/jobs"))

    async def go():
        async with sender(server) as shows:
            [first] = await shows.show(Say("10 %"), place, on_sent=lambda _: None)
            told = []
            for words in ("20 %", "20 %", "30 %"):
                assert await shows.show(Say(words, replaces=True), place, last=first, on_sent=told.append) == [first]
            return told

    assert asyncio.run(go()) == []
    assert server.texts() == ["30 %"]


def test_what_replaces_a_message_that_somebody_deleted_is_sent(server):
    [[number]], told = shown(server, Say("30 %", replaces=True), last=77)
    assert told == [number]
    assert server.texts() == ["30 %"]


def test_in_a_group_the_first_message_answers_whoever_asked(server):
    asked = server.say("@trainer_test_bot когда вы открыты?", group=True)
    shown(server, Say("word " * 1000), place=Place(GROUP, message=asked, private=False))
    first, *rest = server.answers(GROUP)
    assert first["reply_to_message"]["message_id"] == asked
    assert rest
    assert not [message for message in rest if "reply_to_message" in message]


def test_a_message_that_was_deleted_is_answered_without_pointing_to_it(server):
    server.say("Hello", group=True)
    shown(server, Say("Yes."), place=Place(GROUP, message=999, private=False))
    assert server.texts(GROUP) == ["Yes."]


def test_what_asks_for_an_answer_asks_only_whoever_it_is_for(server):
    asked = server.say("/correct", group=True)
    shown(server, Say("✏️ #12 What should I have said?", asks=True), place=Place(GROUP, message=asked, private=False))
    [call] = server.calls("sendMessage")
    assert call.params["reply_markup"] == {"force_reply": True, "selective": True}
    assert call.params["reply_parameters"]["message_id"] == asked


def test_a_topic_gets_its_answers(server):
    asked = server.say("Hello", group=True, thread=7)
    shown(server, Say("Yes."), place=Place(GROUP, 7, asked, private=False))
    assert server.answers(GROUP)[0]["message_thread_id"] == 7


def test_a_file_has_its_text_below_it(server, tmp_path):
    (tmp_path / "часы.txt").write_text("9–18")
    [ids], told = shown(server, Say("Here are **the hours**", file=tmp_path / "часы.txt", buttons=BUTTONS))
    [message] = server.answers()
    assert told == ids
    assert (message["document"]["file_name"], message["caption"]) == ("часы.txt", "Here are the hours")
    assert message["caption_entities"][0]["type"] == "bold"
    assert server.buttons(message["message_id"]) == ["👍", "👎"]


def test_a_file_comes_after_a_text_that_is_too_long_for_it(server, tmp_path):
    (tmp_path / "hours.txt").write_text("9 to 18")
    [ids], _ = shown(server, Say("word " * 300, file=tmp_path / "hours.txt"))
    text, file = server.answers()
    assert [text["message_id"], file["message_id"]] == ids
    assert "caption" not in file


def test_a_file_that_is_gone_is_refused_and_the_bot_lives_on(server, tmp_path):
    with pytest.raises(RefusedError, match="no such file any more"):
        shown(server, Say("Here", file=tmp_path / "gone.txt"))


def test_nothing_to_say_is_no_error(server):
    shown(server, Say("\u200b \n", buttons=BUTTONS))
    assert server.texts() == ["…"]


# --- when Telegram has trouble ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=429, retry_after=7, times=2),
        Fault(status=502, times=3),
        Fault(status=500, after_acceptance=True),
        Fault(drop=True, times=2),
        Fault(drop=True, after_acceptance=True),
    ],
    ids=["too many", "5xx", "5xx and taken", "lost", "lost and taken"],
)
def test_a_message_is_there_once_whatever_becomes_of_the_request(server, fault):
    server.fail("sendMessage", fault)
    [[number]], told = shown(server, Say("Open **now**.", buttons=BUTTONS))
    assert server.texts() == ["Open now."]
    assert told == [number] == [server.answers()[0]["message_id"]]


def test_a_message_that_may_have_been_sent_is_found_among_those_of_other_people(server):
    asked = server.say("Когда вы открыты?", group=True)
    server.fail("sendMessage", Fault(drop=True, after_acceptance=True, delay=0.1))
    place = Place(GROUP, message=asked, private=False, newest=asked)
    for number in range(3):
        server.say(f"{number}", group=True)
    [[number]], told = shown(server, Say("С 9 до 18."), place=place)
    assert server.texts(GROUP) == ["С 9 до 18."]
    assert told == [number]


def test_where_the_newest_message_is_not_known_one_is_sent_rather_twice_than_never(server):
    server.say("Hello")
    server.fail("sendMessage", Fault(drop=True, after_acceptance=True))
    shown(server, Say("Yes."), place=Place(ANN))
    assert server.texts() == ["Yes.", "Yes."]
    assert not server.calls("editMessageText")


def test_what_a_killed_process_sent_and_could_not_write_down_is_not_sent_again(server):
    place = Place(ANN, newest=server.say("When?"))
    [[first]], _ = shown(server, Say("At 9."), place=place)
    [[again]], told = shown(server, Say("At 9."), place=place, doubtful=True)
    assert server.texts() == ["At 9."]
    assert told == [again] == [first]


def test_what_a_killed_process_did_not_send_is_sent(server):
    shown(server, Say("At 9."), doubtful=True)
    assert server.texts() == ["At 9."]


def test_a_server_that_is_down_gets_the_message_when_it_is_up_again(server):
    place, tries = Place(ANN, newest=server.say("When?")), []
    server.down()

    async def wait(seconds):
        tries.append(seconds)
        if len(tries) == 9:
            await asyncio.to_thread(server.up)

    async def go():
        async with sender(server, sleep=wait) as shows:
            await shows.show(Say("At 9."), place, on_sent=lambda _: None)

    asyncio.run(go())
    assert server.texts() == ["At 9."]
    assert tries == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


def test_messages_of_a_chat_keep_their_order_while_telegram_has_trouble(server):
    place = Place(ANN, newest=server.say("Tell me"))
    server.fail("sendMessage", Fault(status=500, times=4))

    async def go():
        async with sender(server) as shows:
            told = []
            says = [shows.show(Say(str(number)), place, on_sent=told.append) for number in range(5)]
            await asyncio.gather(*says)

    asyncio.run(go())
    assert server.texts() == ["0", "1", "2", "3", "4"]


def test_a_chat_that_must_wait_holds_no_other_up(server):
    """Telegram said to wait in Ann's chat; the clock stands still, so nothing is sent there."""
    server.say("Hello")
    server.say("Hello", user=77)
    server.fail("sendMessage", Fault(status=429, retry_after=30, chat=ANN))
    waits = []

    async def wait(seconds):
        waits.append(seconds)
        await asyncio.Event().wait()

    async def go():
        async with sender(server, sleep=wait) as shows:
            held = asyncio.create_task(shows.show(Say("Ann"), Place(ANN), on_sent=lambda _: None))
            await server.until(lambda: server.calls("sendMessage"))
            await shows.show(Say("Ben"), Place(77), on_sent=lambda _: None)
            held.cancel()
            await asyncio.wait([held])

    asyncio.run(go())
    assert (server.texts(77), server.texts()) == (["Ben"], [])
    assert 29 < waits[0] <= 30


@pytest.mark.parametrize(
    "refusal",
    [
        Fault(status=403, description="Forbidden: bot was blocked by the user"),
        Fault(status=403, description="Forbidden: bot was kicked from the supergroup chat"),
        Fault(status=400, description="Bad Request: message thread not found"),
        Fault(status=400, description="Bad Request: not enough rights to send text messages to the chat"),
    ],
    ids=lambda fault: fault.description,
)
def test_where_nobody_is_any_more_one_try_is_made(server, refusal):
    server.fail("send.*", refusal)
    with pytest.raises(UnreachableError):
        shown(server, Say("Hello"))
    assert len(server.calls("sendMessage")) == 1


def test_a_chat_that_there_is_not_gets_one_try(server):
    with pytest.raises(UnreachableError, match="chat not found"):
        shown(server, Say("Hello"), place=Place(5))
    assert len(server.calls("sendMessage")) == 1


def test_looks_that_telegram_refuses_are_left_out_and_the_words_are_sent(server):
    server.fail("sendMessage", Fault(status=400, description="Bad Request: can't parse entities: whatever"))
    shown(server, Say("Open **now**"))
    [message] = server.answers()
    assert (message["text"], message.get("entities")) == ("Open now", None)


def test_a_message_that_telegram_refuses_is_refused_once(server):
    with pytest.raises(RefusedError, match="BUTTON_DATA_INVALID"):
        shown(server, Say("Hello", buttons=((Button("👍", "x" * 65),),)))
    assert len(server.calls("sendMessage")) == 1


def test_a_group_that_became_a_supergroup_is_answered_there(server):
    server.say("Hello", group=True)
    server.say("Hello", chat=-42)
    moved = server.telegram.chats[GROUP].about["id"]

    async def go():
        async with sender(server) as shows:
            shows._moved[-42] = moved
            await shows.show(Say("Yes."), Place(-42, private=False), on_sent=lambda _: None)

    asyncio.run(go())
    assert (server.texts(GROUP), server.texts(-42)) == (["Yes."], [])


def test_the_token_is_in_no_error_and_no_log(server, caplog):
    caplog.set_level(logging.DEBUG)
    server.fail("sendMessage", Fault(drop=True))
    server.fail("sendMessage", Fault(status=502, times=2))
    server.fail("sendMessage", Fault(status=403))
    with pytest.raises(UnreachableError) as error:
        shown(server, Say("Hello"))
    assert server.token not in repr(error.value) + caplog.text
    assert server.token.partition(":")[2] not in caplog.text
    assert "ServerDisconnectedError" in caplog.text


# --- answers while they are written ----------------------------------------------------------------------------------


async def writing(server, *texts, seen):
    """An answer that goes on when what there is of it was seen."""
    for number, text in enumerate(texts, start=1):
        yield text
        await server.until(lambda number=number: seen(number))


def streamed(server, place, *texts, seen, sent=()):
    told, says = [], []

    async def go():
        async with sender(server) as shows:
            early = await shows.stream(writing(server, *texts, seen=seen), place, 12, sent=sent, on_sent=told.append)
            says.append(early)
            say = Say("".join(texts), buttons=BUTTONS)
            says.append(await shows.show(say, place, sent=early, on_sent=told.append, streamed=True))

    asyncio.run(go())
    return says, told


def test_in_a_chat_of_two_an_answer_is_a_draft_until_it_is_sent(server):
    place = Place(ANN, newest=server.say("When?"))
    drafts = server.drafts
    says, told = streamed(
        server, place, "Every **day**", " from", " 9", seen=lambda number: drafts() and len(drafts()[0].texts) >= number
    )
    [draft] = server.drafts()
    assert draft.texts == ["Every day", "Every day from", "Every day from 9"]
    assert (draft.id, draft.can_stop, draft.shown) == (12, True, False)
    assert server.texts() == ["Every day from 9"]
    assert says == [[], told]


def test_in_a_group_an_answer_is_written_into_one_message(server):
    asked = server.say("@trainer_test_bot when?", group=True)
    place = Place(GROUP, message=asked, private=False, language="ru", newest=asked)
    labels = []

    def seen(number):
        if server.answers(GROUP):
            labels.append(server.buttons(server.answers(GROUP)[0]["message_id"], chat=GROUP))
        return server.texts(GROUP)[-1:] == [["Every", "Every day", "Every day at 9"][number - 1]]

    says, told = streamed(server, place, "Every", " day", " at 9", seen=seen)
    [message] = server.answers(GROUP)
    assert message["reply_to_message"]["message_id"] == asked
    assert message["text"] == "Every day at 9"
    assert labels[0] == ["Стоп"]
    assert server.buttons(message["message_id"], chat=GROUP) == ["👍", "👎"]
    assert says == [told, told] == [[message["message_id"]]] * 2


def test_after_a_crash_a_group_sees_the_same_message_finished(server):
    asked = server.say("When?", group=True)
    place = Place(GROUP, message=asked, private=False, newest=asked)
    [[number]], _ = shown(server, Say("Every d"), place=place)
    says, told = streamed(server, place, "Every day at 9", seen=lambda _: True, sent=(number,))
    assert server.texts(GROUP) == ["Every day at 9"]
    assert (says[1], told) == ([number], [])


def test_a_long_answer_in_a_group_goes_on_in_further_messages(server):
    asked = server.say("When?", group=True)
    place = Place(GROUP, message=asked, private=False, newest=asked)
    text = "\n\n".join("word " * 300 for _ in range(6))
    says, told = streamed(server, place, "word", text.removeprefix("word"), seen=lambda _: server.texts(GROUP))
    assert len(told) > 1
    assert says[1] == told == [message["message_id"] for message in server.answers(GROUP)]
    assert " ".join(server.texts(GROUP)).split() == text.split()


@pytest.mark.parametrize("private", [True, False])
@pytest.mark.parametrize(
    "fault", [Fault(status=429, retry_after=30), Fault(status=500), Fault(drop=True), Fault(status=400)], ids=str
)
def test_when_showing_an_answer_early_fails_it_is_sent_whole_and_once(server, fault, private):
    asked = server.say("When?", group=not private)
    chat = ANN if private else GROUP
    place = Place(chat, message=asked, private=private, newest=asked)
    server.fail("sendMessageDraft|editMessageText", fault)

    def seen(number):
        return number > 1 or server.calls("sendMessageDraft") or server.texts(GROUP)

    streamed(server, place, "Every", " day", seen=seen)
    assert server.texts(chat) == ["Every day"]


def test_a_streamed_message_that_somebody_deleted_is_sent_anew(server):
    asked = server.say("When?", group=True)
    place = Place(GROUP, message=asked, private=False, newest=asked)
    says, told = streamed(server, place, "At 9", seen=lambda _: True, sent=(77,))
    assert server.texts(GROUP) == ["At 9"]
    assert says[1] == told


def test_while_the_model_thinks_the_bot_is_typing(server):
    place = Place(ANN, newest=server.say("When?"))

    async def thinking():
        await server.until(lambda: len(server.actions()) >= 2)
        yield "At 9"

    async def go():
        async with sender(server) as shows:
            await shows.stream(thinking(), place, 12, on_sent=lambda _: None)

    asyncio.run(go())
    assert set(server.actions()) == {"typing"}


def test_a_model_that_fails_while_it_answers_is_the_trouble_of_whoever_asked_it(server):
    place = Place(ANN, newest=server.say("When?"))

    async def failing():
        yield "At"
        raise LookupError("the model is gone")

    async def go():
        async with sender(server) as shows:
            await shows.stream(failing(), place, 12, on_sent=lambda _: None)

    with pytest.raises(LookupError):
        asyncio.run(go())


def test_a_group_that_has_had_many_messages_is_not_shown_what_is_being_written(server):
    """Edits would use up what the final answer needs."""
    asked = server.say("When?", group=True)
    place = Place(GROUP, message=asked, private=False, newest=asked)

    async def words():
        for number in range(200):
            yield f"{number} "
            await asyncio.sleep(0)

    async def go():
        async with sender(server, limits=Limits(burst=1000, every=0.0), tempo=QUICK) as shows:
            early = await shows.stream(words(), place, 12, on_sent=lambda _: None)
            await shows.show(Say("whole"), place, sent=early, streamed=True, on_sent=lambda _: None)

    asyncio.run(go())
    assert len(server.calls("editMessageText")) <= 14
    assert server.texts(GROUP) == ["whole"]
