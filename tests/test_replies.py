"""A question is answered once, by the model that answers its conversation, and what became of it is in the log."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from answering import CHAT, Echo, Failing, Saying, ask, configure, dialogue, events, using, whole
from chat_server import ChatServer, Reply

import trainerlib
from trainerlib import settings
from trainerlib.chat.port import Completion
from trainerlib.erasure import erase_person
from trainerlib.errors import (
    BudgetError,
    InvalidEventError,
    ModelError,
    ModelRefusedError,
    ModelUnavailableError,
    NotFoundError,
)
from trainerlib.events import ReplyFailed, ReplyGenerated

CHILDREN = Path(__file__).with_name("answering.py")


@pytest.fixture
def ws(tmp_path):
    with trainerlib.open(tmp_path / "shop") as workspace:
        yield workspace


@pytest.fixture
def chat(ws):
    return ws.conversation(CHAT)


def test_a_delivery_recorded_by_a_coroutine_is_recorded_once(ws, chat):
    using(ws, Echo())
    question = chat.record("user", "когда вы открыты?")
    reply = asyncio.run(whole(ws, chat, question))

    async def deliver():
        await ws.deliver_async(reply.id, ["1002"])
        await ws.deliver_async(reply.id, ["1003"])
        with pytest.raises(NotFoundError):
            await ws.deliver_async(question.id + 100)
        with pytest.raises(NotFoundError):
            await ws.deliver_async(1)

    asyncio.run(deliver())
    assert chat.messages[-1].delivered == ("1002",)


def test_an_answer_is_waited_for_no_longer_than_one_likes(ws, chat):
    gate = asyncio.Event()
    using(ws, Echo(gate=gate))
    question = chat.record("user", "когда вы открыты?")

    async def wait():
        answer = ws.reply(chat, to=question)
        early = await answer.within(0.01)
        gate.set()
        return early, await answer.within(20), answer.message

    assert asyncio.run(wait()) == (False, True, chat.messages[-1])


# --- one answer ------------------------------------------------------------------------------------------------------


def test_the_pieces_make_the_reply_that_is_recorded(ws, chat):
    using(ws, Echo())
    question = chat.record("user", "когда вы открыты?")

    async def read():
        answer = ws.reply(chat, to=question)
        assert answer.message is None
        assert answer.text == ""
        return [piece async for piece in answer], answer

    pieces, answer = asyncio.run(read())
    assert pieces == ["когда", " вы", " открыты?"]
    assert answer.message == chat.messages[-1]
    assert (answer.text, answer.model, answer.known) == ("когда вы открыты?", "echo", True)


def test_the_event_says_who_answered_what_and_how(ws, chat):
    (ws.path / settings.INSTRUCTION).write_text("<!-- no -->\nОтвечайте кратко.\n", encoding="utf-8")
    configure(ws, '[chat]\nparameters = { temperature = 0.2 }\n[prices]\n"echo" = { input = 1.0, output = 2.0 }')
    with trainerlib.open(ws.path) as again:
        model = using(again, Echo("openai:echo"))
        question = chat.record("user", "three short words", author="telegram:7")
        asyncio.run(whole(again, "telegram:42", question.id))
    [reply] = events(ws, ReplyGenerated)
    assert (reply.text, reply.in_reply_to, reply.model) == ("three short words", question.number, "openai:echo")
    assert reply.instruction == "Отвечайте кратко."
    assert reply.context == (question.id,)
    assert reply.parameters == {"temperature": 0.2, "model": "openai:echo-2026"}
    assert reply.usage == {"input_tokens": 3, "output_tokens": 3}
    assert reply.cost == pytest.approx(9e-6)
    assert 0 <= reply.latency < 60
    assert reply.recall == {"count": 3, "tokens": 800, "threshold": again.settings.recall.threshold}
    [prompt] = model.prompts
    assert dialogue(prompt) == [("system", "Отвечайте кратко."), ("user", "three short words")]
    assert prompt.parameters == {"temperature": 0.2}


def test_a_change_of_the_instruction_counts_for_the_next_answer(ws, chat):
    using(ws, Echo())
    for text in ("Be brief.", "Be kind."):
        (ws.path / settings.INSTRUCTION).write_text(text, encoding="utf-8")
        ask(ws, chat)
    assert [reply.instruction for reply in events(ws, ReplyGenerated)] == ["Be brief.", "Be kind."]


def test_without_an_instruction_file_the_conversation_s_last_one_holds(ws, chat):
    model = using(ws, Echo())
    chat.record("system", "Be brief.")
    system = chat.record("system", "Будьте кратки.")
    ask(ws, chat, "Привет")
    [reply] = events(ws, ReplyGenerated)
    assert reply.instruction == "Будьте кратки."
    assert system.id in reply.context
    assert dialogue(model.prompts[0])[0] == ("system", "Будьте кратки.")


def test_a_question_asked_again_has_its_first_reply(ws, chat):
    model = using(ws, Echo())
    question = chat.record("user", "Hi")
    first = asyncio.run(whole(ws, chat, question))
    again = ws.reply(chat, to=question, model="another")

    async def read():
        return [piece async for piece in again]

    assert asyncio.run(read()) == ["Hi"]
    assert again.message == first
    assert len(model.prompts) == len(events(ws, ReplyGenerated)) == 1


def test_what_a_person_answered_is_the_answer(ws, chat):
    model = using(ws, Echo())
    question = chat.record("user", "Hi")
    answer = chat.record("assistant", "Hello!", author="telegram:1", in_reply_to=question)
    assert asyncio.run(whole(ws, chat, question)) == answer
    assert not model.prompts


def test_sixteen_callers_at_once_share_one_answer(ws, chat):
    model = using(ws, Echo())
    question = chat.record("user", "one two three")

    async def read():
        return [piece async for piece in ws.reply(chat, to=question)]

    async def all_at_once():
        return await asyncio.gather(*(read() for _ in range(8)), *(whole(ws, chat, question) for _ in range(8)))

    answers = asyncio.run(all_at_once())
    assert answers[:8] == [["one", " two", " three"]] * 8
    assert len({message.id for message in answers[8:]}) == 1
    assert len(model.prompts) == len(events(ws, ReplyGenerated)) == 1


def test_who_was_slower_is_given_the_first_reply(ws, chat):
    """Another process answers while a model is still writing here."""
    question = chat.record("user", "one two")

    async def race(other):
        gate = asyncio.Event()
        using(ws, Echo(gate=gate))
        using(other, Saying("first", Completion("first")))
        slow = ws.reply(chat, to=question)
        pieces = aiter(slow)
        assert await anext(pieces) == "one"
        first = await other.reply(chat.id, to=question.id)
        gate.set()
        return await slow, first, slow

    with trainerlib.open(ws.path) as other:
        message, first, slow = asyncio.run(race(other))
    assert message == first == slow.message
    assert (message.text, slow.model) == ("first", "saying")
    assert len(events(ws, ReplyGenerated)) == 1


def test_many_conversations_are_answered_side_by_side(ws):
    using(ws, Echo())

    async def one(number):
        chat = ws.conversation(f"telegram:{number}")
        return await ws.reply(chat, to=chat.record("user", f"вопрос {number}"))

    async def everybody():
        return await asyncio.gather(*(one(number) for number in range(32)))

    assert [message.text for message in asyncio.run(everybody())] == [f"вопрос {number}" for number in range(32)]


def test_the_model_is_opened_once_and_closed_at_the_end(ws, chat):
    model = using(ws, Echo())
    opened = []
    ws.replies._open_model = lambda name: opened.append(name) or model

    async def talk():
        for text in ("one", "two"):
            await ws.reply(chat, to=chat.record("user", text))
        await ws.replies.close()

    asyncio.run(talk())
    assert opened == ["echo"]
    assert model.closed == 1


def test_models_that_no_longer_answer_are_closed(ws, chat):
    models = {}
    using(ws, Echo())
    ws.replies._open_model = lambda name: models.setdefault(name, Echo(name))
    for name in ("a", "b", "c", "b"):
        ask(ws, chat, model=name)
    assert {name: model.closed for name, model in models.items()} == {"a": 1, "b": 0, "c": 0}


def test_only_a_message_of_a_person_in_the_conversation_is_answered(ws, chat):
    using(ws, Echo())
    question = chat.record("user", "Hi")
    answer = chat.record("assistant", "Hello!")
    with pytest.raises(NotFoundError, match=r"no message 99 in conversation telegram:42"):
        ws.reply(chat, to=99)
    with pytest.raises(NotFoundError, match=r"no message 2 in conversation telegram:43"):
        ws.reply("telegram:43", to=question)
    with pytest.raises(InvalidEventError, match="only that is answered"):
        ws.reply(chat, to=answer)


def test_a_message_that_was_taken_down_is_not_answered(ws, chat):
    using(ws, Echo())
    question = chat.record("user", "Hi")
    ws.delete(question.id)
    with pytest.raises(InvalidEventError, match="says nothing that could be answered"):
        asyncio.run(whole(ws, chat, question))


# --- when it does not work -------------------------------------------------------------------------------------------


def test_a_failure_is_recorded_and_the_question_may_be_asked_again(ws, chat):
    using(ws, Failing(ModelUnavailableError("no answer for 60 seconds")))
    question = chat.record("user", "Hi")
    with pytest.raises(ModelUnavailableError, match="60 seconds"):
        asyncio.run(whole(ws, chat, question))
    assert chat.state.failures == ((question.number, "no answer for 60 seconds"),)
    assert asyncio.run(whole(ws, chat, question)).text == "yes"


def test_the_same_failure_is_recorded_once_and_another_beside_it(ws, chat):
    down = ModelUnavailableError("нет связи")
    using(ws, Failing(down, down, ModelRefusedError("no such model")))
    question = chat.record("user", "Hi")
    for error in (ModelUnavailableError, ModelUnavailableError, ModelRefusedError):
        with pytest.raises(error):
            asyncio.run(whole(ws, chat, question))
    assert [error for _, error in chat.state.failures] == ["нет связи", "no such model"]


def test_everybody_who_waits_is_told_the_failure(ws, chat):
    using(ws, Failing(ModelUnavailableError("down")))
    question = chat.record("user", "Hi")

    async def both():
        return await asyncio.gather(*(whole(ws, chat, question) for _ in range(2)), return_exceptions=True)

    assert [str(error) for error in asyncio.run(both())] == ["down", "down"]
    assert len(events(ws, ReplyFailed)) == 1


def test_no_secret_is_recorded_with_a_failure(ws, chat):
    key = "sk-proj-" + "a1B2c3D4e5" * 4
    using(ws, Failing(ModelRefusedError(f"Incorrect API key provided: {key}")))
    with pytest.raises(ModelRefusedError):
        ask(ws, chat)
    [failed] = events(ws, ReplyFailed)
    assert key not in failed.error
    assert failed.error.startswith("Incorrect API key provided")


@pytest.mark.parametrize(
    ("said", "error"),
    [(["Hel"], "ended without an answer"), ([Completion("")], "an empty answer"), ([], "an empty answer")],
)
def test_an_answer_that_is_none_is_a_failure(ws, chat, said, error):
    using(ws, Saying(*said))
    with pytest.raises(ModelUnavailableError, match=error):
        ask(ws, chat)
    assert not events(ws, ReplyGenerated)
    assert error in events(ws, ReplyFailed)[0].error


def test_an_unknown_model_is_a_failure(ws, chat):
    with pytest.raises(ModelError, match="there is no model 'gpt-x'"):
        ask(ws, chat, model="gpt-x")


def test_a_budget_that_is_used_up_asks_no_model(ws):
    configure(ws, "[budget]\nperson = 5\n")
    with trainerlib.open(ws.path) as again:
        model = using(again, Echo())
        chat = again.conversation("telegram:1")
        ask(again, chat, "three short words")
        with pytest.raises(BudgetError):
            ask(again, chat, "and three more")
        assert len(model.prompts) == 1
        assert len(events(again, ReplyFailed)) == 1


# --- stopping --------------------------------------------------------------------------------------------------------


def test_stopping_keeps_what_was_written(ws, chat):
    async def stopped():
        model = using(ws, Echo(gate=asyncio.Event()))
        answer = ws.reply(chat, to=chat.record("user", "one two three"))
        async for piece in answer:
            assert piece == "one"
            message = await answer.stop()
        return model, message

    model, message = asyncio.run(stopped())
    assert model.ended
    assert message.text == "one"
    [reply] = events(ws, ReplyGenerated)
    assert reply.parameters == {"stopped": True}
    assert set(reply.usage) == {"input_tokens", "output_tokens"}
    assert asyncio.run(whole(ws, chat, message.in_reply_to + message.id - message.number)).text == "one"


def test_stopping_before_the_first_word_records_nothing(ws, chat):
    question = chat.record("user", "one two")

    async def stopped(turns):
        using(ws, Echo(gate=asyncio.Event()))
        answer = ws.reply(chat, to=question)
        waiting = asyncio.ensure_future(answer._whole())
        for _ in range(turns):
            await asyncio.sleep(0)
        assert await answer.stop() is None
        assert answer.message is None
        with pytest.raises(ModelUnavailableError, match="stopped before it had written anything"):
            await waiting

    for turns in (0, 1, 2):
        asyncio.run(stopped(turns))
    assert not events(ws, ReplyGenerated)
    assert not events(ws, ReplyFailed)
    using(ws, Echo())
    assert asyncio.run(whole(ws, chat, question)).text == "one two"


def test_stopping_a_finished_answer_changes_nothing(ws, chat):
    using(ws, Echo())

    async def stopped():
        answer = ws.reply(chat, to=chat.record("user", "one two"))
        message = await answer
        assert await answer.stop() == message
        assert await answer == message

    asyncio.run(stopped())
    assert events(ws, ReplyGenerated)[0].text == "one two"


def test_an_answer_goes_on_when_who_waits_for_it_is_cancelled(ws, chat):
    async def impatient():
        gate = asyncio.Event()
        using(ws, Echo(gate=gate))
        answer = ws.reply(chat, to=chat.record("user", "one two"))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(answer._whole(), 0.01)
        gate.set()
        return await answer

    assert asyncio.run(impatient()).text == "one two"


def test_an_event_loop_that_ends_leaves_the_question_open(ws, chat):
    """As after a kill: the next start answers it."""
    question = chat.record("user", "one two")

    async def ends():
        using(ws, Echo(gate=asyncio.Event()))
        async for _ in ws.reply(chat, to=question):
            return

    asyncio.run(ends())
    assert not events(ws, ReplyGenerated)
    assert [pending.message.id for pending in ws.unanswered()] == [question.id]


def test_who_is_erased_while_a_model_writes_is_not_answered(ws, chat):
    """What it was shown must not come back with the reply."""
    question = chat.record("user", "я Ольга, телефон 12", author="telegram:7")

    async def erased():
        gate = asyncio.Event()
        using(ws, Echo(gate=gate))
        answer = ws.reply(chat, to=question)
        assert await anext(aiter(answer)) == "я"
        erase_person(ws.store, ws.path, "telegram:7")
        gate.set()
        with pytest.raises(InvalidEventError, match="was erased while it was answered"):
            await answer

    asyncio.run(erased())
    assert not events(ws, ReplyGenerated)
    assert not ws.unanswered()


# --- a model behind HTTP ---------------------------------------------------------------------------------------------


@pytest.fixture
def served(tmp_path):
    """A workspace whose model is asked over HTTP, and the server."""
    pytest.importorskip("openai", reason="needs 'trainerlib[openai]'")
    with ChatServer(key="sk-secret-1234567890") as server:
        place = tmp_path / "served"
        place.mkdir()
        text = f'[chat]\nmodel = "openai:gpt-x"\n[openai]\nbase_url = "{server.url}"\nretries = 0\n'
        (place / settings.FILE).write_text(text + '[prices]\n"gpt-x" = { input = 1.0, output = 10.0 }\n')
        (place / settings.SECRETS).write_text("OPENAI_API_KEY=sk-secret-1234567890\n")
        with trainerlib.open(place) as workspace:
            yield workspace, server


async def heard(ws, question, *, pieces=None):
    """The reply, stopped after so many pieces."""
    answer, heard = ws.reply(CHAT, to=question), 0
    try:
        async for _ in answer:
            heard += 1
            if heard == pieces:
                await answer.stop()
    finally:
        await ws.replies.close()
    return answer


def test_a_served_model_is_told_corrections_and_what_it_took_is_recorded(served):
    ws, server = served
    chat = ws.conversation(CHAT)
    first = asyncio.run(heard(ws, chat.record("user", "Когда вы открыты?"))).message
    correction = ws.correct(first.id, "С 9 до 20.", by="telegram:1")
    answer = asyncio.run(heard(ws, chat.record("user", "когда вы открыты")))
    assert answer.message.text == "С 9 до 18."
    told = server.requests[-1].body["messages"]
    assert told[0]["role"] == "system"
    assert told[0]["content"].endswith("Вопрос: Когда вы открыты?\nОтвет: С 9 до 20.")
    assert [turn["content"] for turn in told[1:]] == ["Когда вы открыты?", "когда вы открыты"]
    reply = events(ws, ReplyGenerated)[-1]
    assert (reply.model, reply.usage["input_tokens"], reply.usage["output_tokens"]) == ("openai:gpt-x", 20, 7)
    assert reply.cost == pytest.approx(9e-5)
    assert correction.id in reply.context


def test_stopping_hangs_up_on_the_server(served):
    ws, server = served
    server.then(Reply(endless=True))
    answer = asyncio.run(heard(ws, ws.conversation(CHAT).record("user", "Hi"), pieces=2))
    assert server.hung_up.wait(10)
    assert answer.message.text == answer.text != ""
    assert events(ws, ReplyGenerated)[0].parameters == {"stopped": True}


def test_a_refused_key_is_not_in_the_log(served):
    ws, server = served
    server.key = "sk-another-0987654321"
    with pytest.raises(ModelRefusedError):
        asyncio.run(heard(ws, ws.conversation(CHAT).record("user", "Hi")))
    [failed] = events(ws, ReplyFailed)
    assert failed.error
    assert b"sk-secret" not in b"".join(path.read_bytes() for path in ws.path.glob("trainer.db*"))


# --- which model -----------------------------------------------------------------------------------------------------


def test_a_promotion_counts_from_the_next_reply_on(ws, chat):
    """Whichever process promotes."""
    ws.replies._open_model = Echo
    ask(ws, chat)
    with trainerlib.open(ws.path) as other:
        other.models.add("openai:gpt-x")
        other.models.promote("openai:gpt-x", force=True)
        ask(ws, chat)
        other.models.rollback()
        ask(ws, chat)
    assert [reply.model for reply in events(ws, ReplyGenerated)] == ["memory", "openai:gpt-x", "memory"]


# --- killed, and begun again -----------------------------------------------------------------------------------------


def child(*words):
    return subprocess.Popen([sys.executable, str(CHILDREN), *map(str, words)], stdout=subprocess.PIPE, text=True)


def test_two_processes_answer_a_question_once(ws, chat):
    questions = [chat.record("user", f"вопрос {number}") for number in range(6)]
    both = [child("answer", ws.path, name, *(question.id for question in questions)) for name in ("one", "two")]
    told = [process.communicate(timeout=60)[0].split() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert told[0] == told[1]
    assert [int(id_) for id_ in told[0]] == [message.id for message in chat.messages if message.role == "assistant"]
    assert len(told[0]) == 6


@pytest.mark.parametrize("moment", ["before", "written"])
def test_a_kill_before_the_record_leaves_one_reply_in_the_end(ws, chat, moment):
    question = chat.record("user", "Когда вы открыты?")
    process = child("die", ws.path, moment, question.id)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert not events(ws, ReplyGenerated)
    assert [pending.message.id for pending in ws.unanswered()] == [question.id]
    using(ws, Echo())
    reply = asyncio.run(whole(ws, chat, question))
    assert not ws.unanswered()
    assert [pending.message.id for pending in ws.undelivered()] == [reply.id]
    assert len(events(ws, ReplyGenerated)) == 1


def test_a_kill_after_the_record_leaves_a_reply_to_deliver(ws, chat):
    question = chat.record("user", "Hi")
    process = child("die", ws.path, "recorded", question.id)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    [pending] = ws.undelivered()
    assert (pending.conversation, pending.message.text) == ("telegram:42", "Hi")
    assert asyncio.run(whole(ws, chat, question)).id == pending.message.id


# --- people of whom nothing is recorded ------------------------------------------------------------------------------


def unrecorded(ws, text="When are you open?"):
    async def read():
        answer = ws.answer_unrecorded(text, conversation=CHAT, person="telegram:7")
        return "".join([piece async for piece in answer]), answer

    return asyncio.run(read())


def test_an_answer_of_which_nothing_is_recorded(ws):
    using(ws, Saying("At ", "9.", Completion("At 9.")))
    before = ws.store.position
    text, answer = unrecorded(ws)
    assert (text, answer.text, answer.message) == ("At 9.", "At 9.", None)
    assert ws.store.position == before


def test_it_knows_what_was_corrected_for_others(ws, chat):
    reply = ask(ws, chat)
    ws.correct(reply.id, "9 to 18.", by="telegram:1")
    assert unrecorded(ws, "what time do you open?")[0] == "9 to 18."


def test_a_failure_of_it_is_not_recorded_either(ws):
    using(ws, Failing(ModelUnavailableError("down")))
    before = ws.store.position
    with pytest.raises(ModelUnavailableError):
        unrecorded(ws)
    assert ws.store.position == before


def test_a_question_without_words_is_refused(ws):
    with pytest.raises(InvalidEventError):
        ws.answer_unrecorded(" ", conversation=CHAT)
