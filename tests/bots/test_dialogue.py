"""What is said to a bot is recorded and answered once, and what cannot be answered is said in a sentence."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from answering import Echo, Failing, configure, dialogue, events, using
from talking import ANNA, BEN, CHAT, NOON, OLGA, Talk

import trainerlib
from bots.dialogue import Answering, Later
from bots.port import Request, Upload
from trainerlib.errors import BudgetError, KeyConflictError, ModelError, ModelRefusedError, ModelUnavailableError
from trainerlib.events import ConsentGiven, MessageRecorded, ReplyGenerated

ASKS = "only if you allow it"
NOTHING = '[bots]\nunconsented = "nothing"\n'


@pytest.fixture
def ws(tmp_path):
    with trainerlib.open(tmp_path / "shop") as workspace:
        using(workspace, Echo())
        yield workspace


@pytest.fixture
def talk(ws):
    """Ben was asked for his consent before."""
    ws.person(BEN.person).withdraw_consent()
    return Talk(ws)


@pytest.fixture
def careful(tmp_path):
    """Nothing is recorded of people who did not consent."""
    with trainerlib.open(tmp_path / "careful") as workspace:
        configure(workspace, NOTHING)
    with trainerlib.open(tmp_path / "careful") as workspace:
        using(workspace, Echo())
        yield workspace


def kept(ws, name, data):
    path = ws.path / "files" / name
    path.write_bytes(data)
    return path


# --- what is said ----------------------------------------------------------------------------------------------------


def test_a_message_is_recorded_with_who_said_it_when_and_answered(ws, talk):
    assert talk.hear("When are you open?") == ["When are you open?"]
    [said] = events(ws, MessageRecorded)
    assert (said.role, said.text, said.author, said.name) == ("user", "When are you open?", BEN.person, BEN.name)
    assert said.sent_at == NOON
    assert ws.find(talk.key).text == "When are you open?"
    assert talk.replies[0].in_reply_to == ws.find(talk.key).number
    state = ws.conversation(CHAT).state
    assert (state.platform, state.title) == ("telegram", "")
    assert not ws.undelivered()


def test_a_group_has_its_title_and_everybody_is_heard(ws, talk):
    ws.person(OLGA.person).withdraw_consent()
    talk.hear("Hi", private=False, title="Flower shop")
    talk.hear("Привет", OLGA, private=False, title="Flower shop")
    state = ws.conversation(CHAT).state
    assert state.title == "Flower shop"
    assert [message.author for message in state.messages if message.role == "user"] == [BEN.person, OLGA.person]


def test_what_was_answered_and_delivered_is_not_shown_again(ws, talk):
    said = talk.request("Hi")
    assert talk.run(talk.dialogue.hear(said)) == ["Hi"]
    assert talk.run(talk.dialogue.hear(said)) == []
    assert Talk(ws).run(Talk(ws).dialogue.hear(said)) == []
    assert len(events(ws, MessageRecorded)) == len(events(ws, ReplyGenerated)) == 1


def test_what_was_answered_but_not_delivered_is_shown_from_the_log(ws, talk):
    said = talk.request("one two")

    async def crash():
        async for shown in talk.dialogue.hear(said):
            assert await shown.answer
            return

    asyncio.run(crash())
    again = Talk(ws)
    assert again.run(again.dialogue.hear(said)) == ["one two"]
    assert len(events(ws, ReplyGenerated)) == 1


def test_an_empty_message_is_not_recorded(ws, talk):
    assert talk.hear("  \n") == []
    assert not ws.conversation(CHAT).begun


def test_what_it_replies_to_is_known_and_not_quoted_twice(ws, talk):
    talk.hear("Are you open?")
    reply = talk.replies[0]
    talk.hear("And on Sundays?", about=reply.id, quoted="**Are** you open?")
    asked = ws.find(talk.key)
    assert asked.in_reply_to == reply.number
    assert asked.content == "And on Sundays?"


@pytest.mark.parametrize("about", [True, False])
def test_the_words_of_somebody_else_or_a_part_of_an_answer_join_the_conversation(ws, talk, about):
    talk.hear("We open at 9. We close at 18.")
    given = {"about": talk.replies[0].id} if about else {}
    talk.hear("Каждый день?", quoted="We close at 18.", **given)
    asked = ws.find(talk.key)
    assert (asked.text, asked.content) == ("Каждый день?", "Каждый день?\n\n> We close at 18.")
    assert (asked.in_reply_to is not None) is about


def test_a_reply_to_what_is_not_in_the_conversation_is_a_question_like_any_other(ws, talk):
    elsewhere = ws.conversation("telegram:43").record("assistant", "Secret")
    assert talk.hear("Hi", about=elsewhere.id) == ["Hi"]
    assert talk.hear("Hello", about=99_999) == ["Hello"]
    assert ws.find(talk.key).in_reply_to is None


# --- files -----------------------------------------------------------------------------------------------------------


def test_the_words_of_a_document_join_the_conversation(ws, talk):
    path = kept(ws, "a1.txt", "Мы открыты с 9 до 18.".encode())
    document = Upload("document", path, "Часы работы.txt", "text/plain", 31)
    assert talk.hear("Когда?", files=(document,)) == ["Когда? Мы открыты с 9 до 18."]
    [attachment] = ws.find(talk.key).attachments
    assert (attachment.kind, attachment.file, attachment.name) == ("document", "a1.txt", "Часы работы.txt")
    assert (attachment.media_type, attachment.size, attachment.text) == ("text/plain", 31, "Мы открыты с 9 до 18.")


def test_a_document_without_words_is_kept_and_said_to_be_such(ws, talk):
    document = Upload("document", kept(ws, "a1.txt", b""), "empty.txt", "text/plain", 1)
    assert talk.hear(files=(document,)) == ["empty.txt: The file is empty."]
    assert talk.hear("See?", files=(document,)) == ["empty.txt: The file is empty.", "See?"]
    assert ws.find(talk.key).attachments[0].file == "a1.txt"


def test_a_voice_note_is_kept_and_text_is_asked_for(ws, talk):
    voice = Upload("voice", kept(ws, "v.ogg", b"OggS"), mime="audio/ogg", size=4, seconds=2.5)
    assert talk.hear(files=(voice,)) == ["I cannot hear yet. Please write it to me."]
    [attachment] = ws.find(talk.key).attachments
    assert (attachment.kind, attachment.file, attachment.duration, attachment.text) == ("voice", "v.ogg", 2.5, "")
    assert not events(ws, ReplyGenerated)


def test_a_photo_is_a_part_of_its_caption_and_alone_it_is_asked_about(ws, talk):
    photos = tuple(Upload("photo", kept(ws, f"{number}.jpg", b"\xff\xd8"), size=2) for number in range(3))
    assert talk.hear("What is this?", files=photos) == ["What is this?"]
    assert [item.file for item in ws.find(talk.key).attachments] == ["0.jpg", "1.jpg", "2.jpg"]
    assert talk.hear(files=photos) == ["I cannot see pictures yet. Please write what it is about."]


def test_a_file_that_was_too_large_or_did_not_arrive_is_named_in_a_sentence(ws, talk):
    large = Upload("document", None, "film.pdf", size=25_000_000)
    assert talk.hear("Read this", files=(large,)) == [
        "film.pdf is too large: I take files of up to 20 MB.",
        "Read this",
    ]
    lost = Upload("document", None, "note.txt", size=5)
    assert talk.hear(files=(lost,)) == ["note.txt did not arrive. Please send it again."]
    assert ws.find(talk.key).attachments[0].file == ""


def test_a_file_that_is_taken_in_again_under_another_name_is_not_kept_twice(ws, talk):
    said = talk.request(files=(Upload("document", kept(ws, "a.txt", b"9 to 18"), "a.txt"),))
    talk.run(talk.dialogue.hear(said))
    again = Request(BEN, CHAT, files=(Upload("document", kept(ws, "b.txt", b"9 to 18"), "a.txt"),), key=said.key)
    assert talk.run(talk.dialogue.hear(again)) == []
    assert [path.name for path in (ws.path / "files").iterdir()] == ["a.txt"]


def test_a_file_that_comes_with_a_correction_is_not_kept(ws, talk):
    talk.hear("Hi")
    voice = Upload("voice", kept(ws, "v.ogg", b"OggS"))
    talk.hear("✏️ Hello!", ANNA, about=talk.replies[0].id, files=(voice,))
    assert ws.message(talk.replies[0].id).corrected_text == "Hello!"
    assert not list((ws.path / "files").iterdir())


# --- when it does not work -------------------------------------------------------------------------------------------


def test_a_model_that_is_down_leaves_the_question_open_for_later(ws, talk):
    using(ws, Failing(ModelUnavailableError("no answer for 60 seconds")))
    said = talk.request("Hi")
    assert talk.run(talk.dialogue.hear(said)) == [
        "I cannot answer right now. I will try again, so you need not ask twice."
    ]
    assert isinstance(talk.shown[0], Later)
    assert str(talk.shown[0].error) == "no answer for 60 seconds"
    assert [pending.message.text for pending in ws.unanswered()] == ["Hi"]
    assert talk.run(talk.dialogue.hear(said)) == ["yes"]
    assert len(events(ws, MessageRecorded)) == 1


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (BudgetError("used up"), "Please ask again tomorrow"),
        (ModelRefusedError("sk-secret is wrong"), "Please tell whoever runs this bot"),
        (ModelError("no such model"), "Please tell whoever runs this bot"),
    ],
)
def test_what_is_refused_is_told_plainly_and_without_details(ws, talk, error, told):
    using(ws, Failing(error))
    [said] = talk.hear("Hi")
    assert told in said
    assert str(error) not in said


def test_a_question_that_is_erased_while_it_is_answered_gets_nothing(ws, talk):
    async def race():
        gate = asyncio.Event()
        using(ws, Echo(gate=gate))
        shown = []
        async for one in talk.dialogue.hear(talk.request("one two")):
            shown.append(one)
            if isinstance(one, Answering):
                pieces = aiter(one.pieces())
                await anext(pieces)
                await talk.show(talk.dialogue.tap(talk.request(), f"forget:yes:{BEN.person}"))
                gate.set()
                assert [piece async for piece in pieces] == [" two"]
        return shown

    assert [type(one) for one in asyncio.run(race())] == [Answering]
    assert not events(ws, ReplyGenerated)


# --- stopping --------------------------------------------------------------------------------------------------------


def stopped(talk, stop):
    """What stopping an answer after its first word gave, what is shown of it, and the reply."""

    async def both():
        using(talk.ws, Echo(gate=asyncio.Event()))
        shown = []
        async for one in talk.dialogue.hear(talk.request("one two")):
            assert isinstance(one, Answering)
            pieces = aiter(one.pieces())
            shown.append(await anext(pieces))
            told = await stop(talk.dialogue)
            shown += [piece async for piece in pieces]
        return told, shown, one.reply

    return asyncio.run(both())


def test_cancel_stops_the_answer_of_a_chat_and_keeps_what_was_written(talk):
    told, shown, reply = stopped(talk, lambda dialogue: dialogue.cancel(talk.request()))
    assert (told, shown, reply.text) == (1, ["one"], "one")
    assert reply.shortfall == "stopped"
    assert asyncio.run(talk.dialogue.cancel(talk.request())) == 0


def test_the_stop_button_stops_its_answer_alone_and_only_in_its_chat(talk):
    async def stop(dialogue):
        question = talk.ws.conversation(CHAT).messages[0].id
        elsewhere = await dialogue.stop(question, msgspec.structs.replace(talk.request(), chat="telegram:43"))
        another = await dialogue.stop(question + 1, talk.request())
        await talk.show(dialogue.tap(talk.request(), f"stop:{question}"))
        return elsewhere, another

    told, shown, reply = stopped(talk, stop)
    assert told == (False, False)
    assert (shown, reply.text) == (["one"], "one")


def test_an_answer_that_is_stopped_before_its_first_word_is_none(ws, talk):
    """Whoever stopped it is told so by the command."""

    async def both():
        async for shown in talk.dialogue.hear(talk.request("one two")):
            if not isinstance(shown, Answering):
                return shown.text
            await shown.answer.stop()
        return None

    assert asyncio.run(both()) is None
    assert not events(ws, ReplyGenerated)


# --- edits, deletions, fresh conversations ---------------------------------------------------------------------------


def test_an_edit_is_an_event_and_is_answered_by_nothing(ws, talk):
    said = talk.request("helo")
    talk.run(talk.dialogue.hear(said))
    later = talk.request("hello", sent_at=NOON + timedelta(hours=1))
    for _ in range(2):
        assert talk.run(talk.dialogue.edited(later, said.key)) == []
    message = ws.find(said.key)
    assert (message.text, message.original) == ("hello", "helo")


def test_a_deletion_is_an_event_and_what_was_never_recorded_is_no_error(ws, talk):
    talk.hear("hello")
    key = talk.key
    talk.dialogue.deleted(key)
    talk.dialogue.deleted("telegram:1:42:9")
    assert talk.run(talk.dialogue.edited(talk.request("new"), "telegram:1:42:9")) == []
    assert ws.find(key).deleted


def test_a_fresh_conversation_begins_without_what_was_said_before(ws, talk):
    model = using(ws, Echo())
    talk.hear("one")
    again = talk.request()
    for _ in range(2):
        assert talk.run(talk.dialogue.new(again)) == [
            "A fresh conversation: what was said before does not matter any more."
        ]
    talk.hear("two")
    assert ws.conversation_of(ws.find(talk.key).id) == f"{CHAT}#2"
    assert dialogue(model.prompts[-1]) == [("user", "two")]
    assert not ws.conversation(f"{CHAT}#3").begun


def test_the_conversation_that_goes_on_is_found_again_after_a_restart(ws, talk):
    talk.hear("one")
    talk.run(talk.dialogue.new(talk.request()))
    assert Talk(ws).dialogue.conversation(CHAT).id == f"{CHAT}#2"
    talk.hear("two")
    talk.run(talk.dialogue.new(talk.request()))
    assert Talk(ws).dialogue.conversation(CHAT).id == f"{CHAT}#3"
    assert Talk(ws).dialogue.conversation("telegram:42:7").id == "telegram:42:7"


# --- consent ---------------------------------------------------------------------------------------------------------


def test_the_first_message_explains_and_asks_and_no_other_does(ws):
    talk = Talk(ws)
    said = talk.request("Hi")
    explained, answer = talk.run(talk.dialogue.hear(said))
    assert ASKS in explained
    assert answer == "Hi"
    assert [button.action for button in talk.shown[0].buttons[0]] == ["consent:yes", "consent:no"]
    assert talk.hear("Hello") == ["Hello"]
    again = Talk(ws)
    assert again.run(again.dialogue.hear(talk.request("Привет"))) == ["Привет"]


def test_everybody_of_a_group_is_asked_with_their_first_message(ws):
    talk = Talk(ws)
    assert ASKS in talk.hear("Hi", private=False)[0]
    explained, answer = talk.hear("Привет", OLGA, private=False)
    assert "только если вы разрешите" in explained
    assert answer == "Привет"
    assert talk.hear("Ещё", OLGA, private=False) == ["Ещё"]


def test_a_first_message_that_is_heard_again_says_the_same(ws):
    """The same number of things is shown, also when they gave their consent meanwhile."""
    using(ws, Failing(ModelUnavailableError("down")))
    talk = Talk(ws)
    said = talk.request("Hi", sent_at=datetime.now(UTC) - timedelta(seconds=2))
    first = talk.run(talk.dialogue.hear(said))
    talk.tap("consent:yes")
    second = talk.run(talk.dialogue.hear(said))
    assert first[0] == second[0]
    assert second[1:] == ["yes"]
    assert ASKS in first[0]


def test_who_said_yes_or_no_before_is_not_asked(ws):
    ws.person(BEN.person).give_consent(wording="by hand")
    ws.person(OLGA.person).withdraw_consent()
    talk = Talk(ws)
    assert talk.hear("Hi") == ["Hi"]
    assert talk.hear("Привет", OLGA, sent_at=None) == ["Привет"]


def test_consent_is_given_and_taken_back_by_buttons(ws):
    talk = Talk(ws)
    talk.hear("Hi")
    talk.tap("consent:yes")
    [given] = events(ws, ConsentGiven)
    assert given.wording == "bots-1"
    assert given.text == talk.shown[0].text
    assert ws.person(BEN.person).consent.status == "given"
    [status] = talk.run(talk.dialogue.consent(talk.request()))
    assert "You have allowed training" in status
    assert talk.actions() == ["consent:yes", "consent:no"]
    talk.tap("consent:no")
    assert ws.person(BEN.person).consent.status == "withdrawn"


def test_what_is_said_without_consent_is_in_no_dataset(ws):
    talk = Talk(ws)
    talk.hear("When are you open?")
    ws.correct(talk.replies[0].id, "9 to 18.", by=ANNA.person)

    def build():
        dataset = ws.datasets.build("support", trainerlib.Recipe(targets="corrected"))
        return dataset.examples, dataset.excluded

    assert build() == (0, {"no-consent": 1})
    talk.tap("consent:yes")
    assert build() == (1, {})
    talk.tap("consent:no")
    assert build() == (0, {"consent-withdrawn": 1})


def test_privacy_says_what_is_kept_and_how_things_stand(ws, talk):
    [said] = talk.run(talk.dialogue.privacy(talk.request()))
    assert "You do not allow training" in said
    assert all(command in said for command in ("/consent", "/export", "/forget"))
    assert ws.models.current in said


# --- nothing is recorded ----------------------------------------------------------------------------------------------


def test_where_nothing_may_be_recorded_the_answer_comes_all_the_same(careful):
    talk = Talk(careful)
    explained, answer = talk.hear("Hi")
    assert "I keep nothing of what you write unless you allow it" in explained
    assert answer == "Hi"
    assert talk.hear("Hello") == ["Hello"]
    assert careful.store.position == 0
    talk.tap("consent:yes")
    talk.hear("Kept")
    assert [message.text for message in events(careful, MessageRecorded)] == ["Kept"]


def test_a_no_is_remembered_and_is_all_that_is(careful):
    talk = Talk(careful)
    talk.tap("consent:no")
    assert talk.hear("Hi") == ["Hi"]
    assert talk.hear("Hello", sent_at=None) == ["Hello"]
    assert {recorded.stream for recorded in careful.store.read_all()} == {f"person/{BEN.person}"}


def test_who_did_not_answer_is_asked_again_after_a_day(careful):
    now = [NOON]
    talk = Talk(careful, clock=lambda: now[0])
    said = talk.request("Hi")
    assert len(talk.run(talk.dialogue.hear(said))) == 2
    assert len(talk.run(talk.dialogue.hear(said))) == 2
    now[0] += timedelta(hours=23)
    assert talk.hear("Hello") == ["Hello"]
    now[0] += timedelta(hours=1)
    assert len(talk.hear("Hello")) == 2


def test_their_files_are_read_and_deleted(careful):
    talk = Talk(careful)
    document = Upload("document", kept(careful, "a.txt", b"9 to 18"), "a.txt")
    voice = Upload("voice", kept(careful, "v.ogg", b"OggS"))
    assert talk.hear("Hours?", files=(document, voice), quoted="We are open.")[1:] == [
        "I cannot hear yet. Please write it to me.",
        "Hours? 9 to 18 > We are open.",
    ]
    assert not list((careful.path / "files").iterdir())


def test_their_files_are_kept_until_the_model_is_back(careful):
    using(careful, Failing(ModelUnavailableError("down")))
    talk = Talk(careful)
    said = talk.request(files=(Upload("document", kept(careful, "a.txt", b"9 to 18"), "a.txt"),))
    assert isinstance(asyncio.run(talk.show(talk.dialogue.hear(said)))[-1], Later)
    assert talk.run(talk.dialogue.hear(said))[-1] == "yes"
    assert not list((careful.path / "files").iterdir())


def test_similar_questions_are_recalled_for_them_too(careful):
    chat = careful.conversation("telegram:43")
    answer = chat.record("assistant", "At 10.", in_reply_to=chat.record("user", "When are you open?"))
    careful.correct(answer.id, "9 to 18.", by=ANNA.person)
    model = using(careful, Echo("memory"))
    Talk(careful).hear("When are you open, please?")
    assert [recalled.answer for recalled in model.prompts[0].recalled] == ["9 to 18."]


# --- everything about a person ---------------------------------------------------------------------------------------


def test_everything_about_a_person_is_sent_as_a_file_and_not_left_behind(talk):
    talk.hear("Меня зовут Бен")

    async def export():
        says = talk.dialogue.export(talk.request())
        return [(say.text, say.file, json.loads(say.file.read_bytes())) async for say in says]

    [(text, path, records)] = asyncio.run(export())
    assert text == f"Everything about you: {len(records)} records."
    assert [record["text"] for record in records if record["kind"] == "message"] == ["Меня зовут Бен"]
    assert path.name == "telegram-7.json"
    assert not path.exists()


def test_nobody_else_is_shown_what_there_is_about_a_person(talk):
    talk.hear("Меня зовут Бен")
    [said] = talk.run(talk.dialogue.export(talk.request(private=False)))
    assert said == "What I have about you is for you alone. Please ask me for it in a private chat."
    assert talk.run(talk.dialogue.export(talk.request(caller=OLGA))) == ["У меня ничего о вас нет."]


def test_a_person_is_erased_once_they_say_so_themselves(ws, talk):
    talk.hear("Меня зовут Бен")
    talk.run(talk.dialogue.forget(talk.request()))
    erase, keep = talk.actions()
    assert talk.tap(keep) == ["Nothing was erased."]
    assert talk.tap(erase, ANNA) == ["Only the person who asked can answer that."]
    assert ws.find("telegram:1:42:1001").text == "Меня зовут Бен"
    request = talk.request()
    told = talk.run(talk.dialogue.tap(request, erase))
    assert told[0].startswith("Erased: 2 messages.")
    assert talk.run(talk.dialogue.tap(request, erase)) == told
    assert not any(message.text for message in ws.conversation(CHAT).messages)


def test_who_was_erased_is_new_again(ws):
    talk = Talk(ws)
    assert len(talk.hear("Hi")) == 2
    talk.tap(f"forget:yes:{BEN.person}")
    assert len(talk.hear("Hi")) == 2
    assert len(talk.hear("Hi")) == 1


def test_nobody_is_erased_of_whom_there_is_nothing(ws):
    assert Talk(ws).tap(f"forget:yes:{BEN.person}") == ["I have nothing about you."]


def test_requests_without_a_key_are_heard_as_often_as_they_come(ws, talk):
    for _ in range(2):
        assert talk.run(talk.dialogue.hear(Request(BEN, CHAT, "Hi"))) == ["Hi"]
    assert len(events(ws, MessageRecorded)) == 2


def test_other_words_under_a_key_are_the_first_ones(ws, talk):
    """Telegram redelivers what it sent; a key that means something else would be somebody else's."""
    talk.hear("Hi")
    assert talk.run(talk.dialogue.hear(Request(BEN, CHAT, "Other", key=talk.key))) == []
    with pytest.raises(KeyConflictError):
        ws.conversation(CHAT).record("user", "Other", key=talk.key)
