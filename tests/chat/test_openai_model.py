"""The `openai` model against a server on loopback, with the real package: answers, refusals, trouble and secrets."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
import traceback
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from chat_asking import ask, asking, heard
from chat_server import ChatServer, Reply, refusal
from hypothesis import given
from hypothesis import strategies as st

from trainerlib.chat.openai_api import OpenAIModel
from trainerlib.chat.port import Completion, Prompt, complete
from trainerlib.errors import ModelError, ModelRefusedError, ModelUnavailableError, SettingsError
from trainerlib.examples import Turn
from trainerlib.openai_servers import without_secrets
from trainerlib.settings import OpenAISettings

pytest.importorskip("openai", reason="needs the extra: pip install 'trainerlib[openai]'")

SECRET = "sk-proj-Zx81kQvT0bLw9RmN4yUe7HdC"
QUESTION = asking("Когда вы открыты?")


def model(server, *, key="", name="gpt-x", **settings):
    address = server if isinstance(server, str) else server.url
    return OpenAIModel(name, OpenAISettings(base_url=address, **settings), {"OPENAI_API_KEY": key}.get)


def error(model, prompt=QUESTION):
    """What a model raises, whose whole traceback is looked through for the key as well."""
    with pytest.raises(ModelError) as caught:
        ask(model, prompt)
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value.__context__) + repr(model)
    assert SECRET[:12] not in shown
    assert SECRET[-8:] not in shown
    assert "\n" not in str(caught.value)
    return caught.value


def unavailable(model, prompt=QUESTION):
    found = error(model, prompt)
    assert type(found) is ModelUnavailableError, found
    return str(found)


def refused(model, prompt=QUESTION):
    found = error(model, prompt)
    assert type(found) is ModelRefusedError, found
    return str(found)


# --- answers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["We are open from 9 to 18, every day.", "Мы открыты с 9 до 18, без выходных 🌷\n\nЖдём!"]
)
def test_an_answer_comes_in_pieces_and_then_as_a_whole(server, text):
    server.then(Reply(text, model="gpt-x-2026-08-07"))
    pieces, whole = ask(model(server), QUESTION)
    assert len(pieces) > 5
    assert whole == Completion(
        text, "gpt-x-2026-08-07", {"input_tokens": 20, "output_tokens": 7, "cached_tokens": 4}, "stop"
    )


def test_the_server_gets_the_dialogue_and_the_parameters_as_they_are(server):
    turns = (Turn("system", "Отвечай кратко."), Turn("user", "Hi"), Turn("assistant", "Hello"), Turn("tool", "42"))
    prompt = Prompt(turns, parameters={"temperature": 0.2, "top_k": 40, "seed": 7, "max_tokens": None})
    ask(model(server, name="llama3.2:3b"), prompt)
    [request] = server.requests
    assert request.path == "/v1/chat/completions"
    assert request.body == {
        "model": "llama3.2:3b",
        "messages": [
            {"role": "system", "content": "Отвечай кратко."},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello"},
            {"role": "user", "content": "42"},
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.2,
        "top_k": 40,
        "seed": 7,
    }


def test_what_makes_an_answer_plain_text_cannot_be_changed_by_a_parameter(server):
    assert refused(model(server), asking("Hi", n=2, stream=False)).endswith(": n, stream cannot be set as a parameter")
    assert server.requests == []


def test_an_answer_cut_off_by_its_limit_or_by_a_filter_says_so(server):
    server.then(Reply("С 9 до", finish="length"), Reply("С 9", finish="content_filter"))
    asked = model(server)
    assert [ask(asked, QUESTION)[1].finish for _ in range(2)] == ["length", "content_filter"]


@pytest.mark.parametrize("streams", [True, False])
def test_a_refusal_in_words_is_an_answer_that_says_so(server, streams):
    server.then(Reply(text="", refusal="Извините, я не могу с этим помочь."))
    asked = model(server)
    asked._streams = streams
    pieces, whole = ask(asked, QUESTION)
    assert (whole.text, whole.finish) == ("Извините, я не могу с этим помочь.", "refusal")
    assert pieces


@pytest.mark.parametrize(
    ("finish", "kind", "words"),
    [
        ("stop", ModelUnavailableError, "the answer is empty"),
        ("length", ModelRefusedError, "all tokens were used before the first word; allow more with max_tokens"),
        ("content_filter", ModelRefusedError, "the provider's filter withheld the answer"),
    ],
)
@pytest.mark.parametrize("text", ["", "\n "])
def test_an_answer_without_words_is_an_error_that_says_why(server, finish, kind, words, text):
    server.then(Reply(text, finish=finish))
    found = error(model(server))
    assert type(found) is kind
    assert str(found).endswith(f": {words}")


def test_chunks_without_text_and_fields_that_nobody_knows_are_passed_over(server):
    chunks = [
        {"choices": [], "prompt_filter_results": []},
        {"choices": None},
        {"choices": [{"index": 0, "delta": {"reasoning_content": "hm"}}]},
        {"choices": [{"index": 0, "delta": None}]},
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": None}}], "model": "m-1"},
        {"choices": [{"index": 0, "delta": {"content": "Hi"}, "logprobs": None}], "usage": {"prompt_tokens": "?"}},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1, "completion_tokens_details": {"reasoning_tokens": 1}}},
    ]  # fmt: skip
    server.then(Reply(lines=[*map(json.dumps, chunks), "[DONE]"]))
    usage = {"input_tokens": 3, "output_tokens": 1, "reasoning_tokens": 1}
    assert ask(model(server), QUESTION) == (["Hi"], Completion("Hi", "m-1", usage))


# --- servers that speak it a little differently ----------------------------------------------------------------------


def test_a_server_that_counts_nothing_gives_no_usage(server):
    server.then(Reply(usage=None))
    assert ask(model(server), QUESTION)[1].usage == {}


def test_a_server_that_refuses_to_count_is_asked_once_without_and_from_then_on(server):
    server.unknown = {"stream_options": "Unrecognized request argument supplied: stream_options"}
    asked = model(server)
    for _ in range(2):
        assert ask(asked, QUESTION)[1].text == "С 9 до 18."
    assert ["stream_options" in request.body for request in server.requests] == [True, False, False]


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ("max_tokens", "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."),
        ("max_completion_tokens", "body.max_completion_tokens: Extra inputs are not permitted"),
    ],
)  # fmt: skip
def test_the_limit_of_an_answer_goes_by_the_name_that_the_server_knows(server, sent, words):
    server.unknown = {sent: words}
    other = ({"max_tokens", "max_completion_tokens"} - {sent}).pop()
    asked = model(server)
    for _ in range(2):
        ask(asked, asking("Hi", **{sent: 50}))
    found = [{name: value for name, value in request.body.items() if "max" in name} for request in server.requests]
    assert found == [{sent: 50}, {other: 50}, {other: 50}]


def test_a_limit_that_is_too_large_is_refused_and_not_renamed(server):
    words = "max_tokens is too large: 99999. This model supports at most 16384 completion tokens"
    server.then(refusal(400, words, param="max_tokens", code="invalid_value"))
    assert words in refused(model(server), asking("Hi", max_tokens=99999))
    assert len(server.requests) == 1


def test_a_server_that_refuses_to_stream_to_this_organisation_is_asked_for_the_whole(server):
    server.unknown = {"stream": "Your organization must be verified to stream this model."}
    asked = model(server)
    for _ in range(2):
        pieces, whole = ask(asked, QUESTION)
        assert (pieces, whole.usage["output_tokens"]) == (["С 9 до 18."], 7)
    assert [request.body["stream"] for request in server.requests] == [True, False, False]


def test_a_server_can_need_all_of_that_at_once(server):
    server.unknown = {
        "stream_options": "stream_options: unknown field",
        "max_tokens": "'max_tokens' is not supported, use 'max_completion_tokens'",
        "stream": "streaming is not available here",
    }
    assert ask(model(server), asking("Hi", max_tokens=5))[1].text == "С 9 до 18."
    assert len(server.requests) == 4


def test_a_server_that_sends_the_whole_although_a_stream_was_asked_for_is_understood(server):
    body = {"model": "m", "choices": [{"message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}]}
    server.then(Reply(raw=json.dumps(body).encode()))
    assert ask(model(server), QUESTION) == (["Hi"], Completion("Hi", "m"))


# --- trouble ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 529])
def test_trouble_that_passes_is_waited_out(server, status):
    server.then(*[refusal(status, "overloaded", retry_after_ms="5")] * 3)
    assert ask(model(server, retries=3), QUESTION)[1].text == "С 9 до 18."
    assert len(server.requests) == 4


def test_trouble_that_stays_is_said_after_the_last_try(server):
    server.then(*[refusal(503, "The engine is overloaded,\n please try again", retry_after_ms="5")] * 3)
    words = unavailable(model(server, retries=2))
    assert words == f"openai:gpt-x at 127.0.0.1:{server.port}: HTTP 503: The engine is overloaded, please try again"
    assert len(server.requests) == 3


def waits(server):
    """Tells the seconds between the requests that come from here on."""
    times = []
    answer = server.answer

    def note(request):
        times.append(time.monotonic())
        return answer(request)

    server.answer = note
    return times


@pytest.mark.parametrize(
    "headers",
    [
        {"retry-after": "0.3"},
        {"retry-after-ms": "300", "retry-after": "9"},
        {"retry-after": "soon"},
        {"retry-after": "0"},
        {"retry-after": "inf"},
        {"retry-after": "-5"},
        {},
    ],
    ids=str,
)
def test_the_server_says_when_to_come_again_and_otherwise_it_is_a_moment(server, headers):
    replies = iter([Reply(status=429, error={"message": "slow down"}, headers=headers), Reply()])
    server.answer = lambda _request: next(replies)
    times = waits(server)
    ask(model(server, retries=1), QUESTION)
    assert times[1] - times[0] > 0.24


def test_a_date_to_come_again_is_waited_for(server):
    soon = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=1)
    replies = iter([refusal(429, "slow down", retry_after=format_datetime(soon, usegmt=True)), Reply()])
    server.answer = lambda _request: next(replies)
    ask(model(server, retries=1), QUESTION)
    assert datetime.now(UTC) >= soon


def test_a_server_that_asks_for_more_patience_than_the_settings_have_is_not_waited_for(server):
    server.then(refusal(429, "Rate limit reached", retry_after="3600"))
    assert unavailable(model(server, timeout=30)).endswith("Rate limit reached; it may be asked again in 3,600 s")
    assert len(server.requests) == 1


def test_a_server_that_says_not_to_come_again_is_not_asked_again(server):
    server.then(refusal(500, "broken for good", x_should_retry="false"))
    assert "broken for good" in unavailable(model(server))
    assert len(server.requests) == 1


def test_no_retries_means_one_request(server):
    server.then(refusal(500, "oh"))
    unavailable(model(server, retries=0))
    assert len(server.requests) == 1


def test_a_server_that_is_not_there_is_a_clear_error():
    with ChatServer() as gone:
        address = gone.url
    words = unavailable(model(address, retries=0))
    assert words.startswith(f"openai:gpt-x at {address[7:-3]}: no connection")


@pytest.mark.parametrize(
    "reply",
    [Reply(delay=30), Reply(hang=0), Reply(hang=2), Reply(finish=None, usage=None, hang=5)],
    ids=["before-headers", "before-chunks", "between-pieces", "before-the-end"],
)
def test_silence_is_given_up_after_the_timeout(server, reply):
    server.then(reply)
    assert unavailable(model(server, retries=0, timeout=0.2)).endswith(": no sign of life for 0.2 s")


def test_a_slow_answer_that_gives_signs_of_life_is_waited_for(server):
    server.then(Reply("a b c d e f g h", pause=0.1))
    assert ask(model(server, retries=0, timeout=0.5), QUESTION)[1].text == "a b c d e f g h"


@pytest.mark.parametrize("reply", [Reply(stop=0), Reply(stop=1), Reply(hang=0), Reply(lines=[]), Reply(lines=["{"])])
def test_a_stream_that_breaks_before_its_first_word_is_asked_for_again(server, reply):
    server.then(reply)
    assert ask(model(server, retries=1, timeout=0.5), QUESTION)[1].text == "С 9 до 18."
    assert len(server.requests) == 2


@pytest.mark.parametrize("end", [{"stop": 3}, {"finish": None, "usage": None}], ids=["cut", "ended"])
def test_an_answer_that_breaks_off_is_an_error_and_never_asked_for_twice(server, end):
    server.then(Reply("С 9 до 18.", **end))
    asked = model(server)
    heard_so_far = []

    async def run():
        try:
            async for piece in asked.stream(QUESTION):
                heard_so_far.append(piece)  # noqa: PERF401 - what came before the error is looked at
        finally:
            await asked.close()

    with pytest.raises(ModelUnavailableError, match=r"the answer broke off after \d+ characters$"):
        asyncio.run(run())
    assert "С 9 до 18.".startswith("".join(heard_so_far))
    assert heard_so_far
    assert len(server.requests) == 1


@pytest.mark.parametrize("end", [{"stop": 6}, {"hang": 6}], ids=["cut", "silent"])
def test_an_answer_whose_usage_is_lost_is_an_answer(server, end):
    """Five chunks of words and the one that ends it; the counts would be the seventh."""
    server.then(Reply("С 9 до 18.", **end))
    assert ask(model(server, timeout=0.3), QUESTION)[1] == Completion("С 9 до 18.", "gpt-x")


@pytest.mark.parametrize(
    "line", ["[1]", "null", '"x"', "{bad", '{"choices": 5}', '{"choices": [{"delta": "x"}]}', '{"choices": [5]}',
             '{"choices": [{"delta": {"content": 5}}]}']
)  # fmt: skip
def test_nonsense_is_an_error_of_the_server(server, line):
    server.then(Reply(lines=[line]))
    words = unavailable(model(server, retries=0))
    assert words.endswith(": what it sends is no chat completion")


@pytest.mark.parametrize(
    "reply",
    [
        Reply(raw=b"{"),
        Reply(raw=b"<html>", content_type="text/html"),
        Reply(raw=b"\xff\n\n", content_type="text/event-stream"),
    ],
)
def test_a_body_that_is_no_completion_is_an_error_of_the_server(server, reply):
    server.then(reply)
    unavailable(model(server, retries=0))


@pytest.mark.parametrize(
    ("broken", "kind"),
    [
        ({"message": "overloaded", "code": 503}, ModelUnavailableError),
        ({"message": "slow down", "code": "rate_limit_exceeded"}, ModelUnavailableError),
        ("boom", ModelUnavailableError),
        ({"message": "too long", "code": "context_length_exceeded"}, ModelRefusedError),
        ({"message": "no such thing", "code": 404}, ModelRefusedError),
        ({"message": "bad", "type": "invalid_request_error"}, ModelRefusedError),
    ],
    ids=str,
)
def test_an_error_inside_a_stream_means_what_it_would_outside(server, broken, kind):
    server.then(Reply(lines=[json.dumps({"error": broken})]))
    found = error(model(server, retries=0))
    assert type(found) is kind
    assert (broken if isinstance(broken, str) else broken["message"]) in str(found)


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (refusal(400, "This model's maximum context length is 8192 tokens.", code="context_length_exceeded"), "HTTP 400: This model's maximum context length is 8192 tokens."),
        (refusal(403, "Country not supported"), "HTTP 403: Country not supported"),
        (refusal(429, "You exceeded your current quota, check your plan", code="insufficient_quota"), "HTTP 429: You exceeded your current quota, check your plan"),
        (Reply(status=402, error="Insufficient balance"), "HTTP 402: Insufficient balance"),
        (Reply(status=422, error='{"detail": [{"msg": "bad"}]}'), 'HTTP 422: {"detail": [{"msg": "bad"}]}'),
        (Reply(status=404, error='{"error": "model not found, try pulling it"}'), "HTTP 404: model not found, try pulling it"),
        (Reply(status=404, error='{"detail": "Not Found"}'), "HTTP 404: Not Found"),
        (Reply(status=413, error="<html><h1>413 Too Large</h1>\n</html>"), "HTTP 413: 413 Too Large"),
        (Reply(status=418, error=""), "HTTP 418: I'm a Teapot"),
    ],
)  # fmt: skip
def test_a_refusal_gives_the_providers_words_at_once(server, reply, words):
    server.then(reply)
    assert refused(model(server)).casefold().endswith(f": {words}".casefold())
    assert len(server.requests) == 1


def test_an_unknown_model_is_refused_by_its_server(server):
    server.models = ("llama3.2",)
    assert refused(model(server)).endswith("HTTP 404: The model `gpt-x` does not exist")
    assert ask(model(server, name="llama3.2"), QUESTION)[1].text


def test_an_address_without_its_end_is_suspected(server):
    assert refused(model(server.url.removesuffix("/v1"))).endswith(
        "page not found; is the address complete? Most end in /v1"
    )


def test_long_words_of_a_provider_are_cut_to_one_line(server):
    server.then(refusal(400, "очень\nдлинно " * 500))
    words = refused(model(server))
    assert len(words) < 400
    assert words.endswith("…")


# --- keys ------------------------------------------------------------------------------------------------------------


def test_the_key_goes_to_the_server_and_a_server_without_one_gets_none(server):
    ask(model(server, key=f" {SECRET}\n"), QUESTION)
    ask(model(server), QUESTION)
    assert [request.headers.get("authorization") for request in server.requests] == [f"Bearer {SECRET}", None]


def test_the_keys_of_the_environment_are_not_taken_past_the_workspace(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setenv("OPENAI_ADMIN_KEY", SECRET)
    ask(model(server), QUESTION)
    assert SECRET not in str(server.requests)


@pytest.mark.parametrize(
    "echo",
    [
        SECRET,
        f"'{SECRET}'",
        f"Bearer {SECRET}.",
        f"{SECRET[:8]}***{SECRET[-4:]}",
        f"{SECRET[:12]}...",
        f"...{SECRET[-8:]}",
        "sk-other12345678",
        f"({SECRET[4:20]})",
    ],
)
def test_a_key_that_a_server_repeats_is_hidden(server, echo):
    for reply in (refusal(401, f"Incorrect API key provided: {echo}, see the docs"), refusal(500, f"boom {echo}")):
        server.then(reply)
        words = str(error(model(server, key=SECRET, retries=0)))
        assert "[hidden]" in words
        assert "sk-" not in words


def test_a_wrong_key_is_refused_and_not_shown(server):
    server.key = "sk-right-key-0000000000"
    assert "HTTP 401: Incorrect API key provided: [hidden]. See the docs." in refused(model(server, key=SECRET))
    assert refused(model(server)).endswith("; no key was sent: put OPENAI_API_KEY into the environment or .env")


def test_no_log_has_the_key(server, caplog):
    caplog.set_level(logging.DEBUG)
    server.then(refusal(500, "boom", retry_after_ms="1"))
    ask(model(server, key=SECRET), QUESTION)
    server.then(refusal(401, f"wrong: {SECRET}"))
    refused(model(server, key=SECRET))
    assert caplog.records
    ours = [record for record in caplog.records if record.name.startswith("trainerlib")]
    assert SECRET not in caplog.text
    assert not ours


def test_openai_itself_is_not_asked_without_a_key():
    words = refused(OpenAIModel("gpt-x", OpenAISettings(), lambda _name: None))
    assert words == "openai:gpt-x: there is no key; put OPENAI_API_KEY into the environment or .env"


@pytest.mark.parametrize("key", ["sk-ключ", "sk a", "sk\x00a"])
def test_a_key_that_no_header_could_carry_is_refused_without_being_shown(server, key):
    assert refused(model(server, key=key)) == "openai:gpt-x: OPENAI_API_KEY holds characters that no key has"


@given(st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=8, max_size=60), st.data())
def test_no_part_of_a_key_stays_in_a_text(key, data):
    start = data.draw(st.integers(0, len(key) - 6))
    stop = data.draw(st.integers(start + 6, len(key)))
    before, after = data.draw(st.sampled_from([("", ""), ("x", "..."), ("'", "'"), ("Bearer ", ","), ("key=", "&b=1")]))
    assert (
        key[start:stop]
        not in without_secrets(f"Ошибка: {before}{key[start:stop]}{after} Конец", key).split("Ошибка")[1]
    )


@pytest.mark.parametrize(
    ("key", "text", "left"),
    [
        ("ab:cd=ef,gh", "no such key: ab:cd=ef,gh.", "no such key: [hidden]."),
        ("x", "Index x does not exist", "Index [hidden] does not exist"),
        ("", "Index x does not exist", "Index x does not exist"),
        ("ollama", "try: ollama pull", "try: [hidden] pull"),
    ],
)
def test_keys_of_unusual_form_are_hidden_too(key, text, left):
    assert without_secrets(text, key) == left


@given(st.text(st.sampled_from("абвгд .,!?"), max_size=60))
def test_words_without_a_key_stay_as_they_are(text):
    assert without_secrets(text, SECRET) == text


# --- addresses -------------------------------------------------------------------------------------------------------


def test_the_address_is_that_of_the_settings_then_that_of_the_environment(server):
    known = {"OPENAI_BASE_URL": server.url}
    ask(OpenAIModel("gpt-x", OpenAISettings(), known.get), QUESTION)
    with ChatServer() as other:
        ask(OpenAIModel("gpt-x", OpenAISettings(base_url=other.url), known.get), QUESTION)
        assert (len(server.requests), len(other.requests)) == (1, 1)
    assert repr(OpenAIModel("gpt-x", OpenAISettings(), {}.get)) == "OpenAIModel('gpt-x' at api.openai.com)"


@pytest.mark.parametrize(
    "address", ["localhost:11434", "ftp://a/v1", "http://", "http://a:99999999", "http://[::1", "/v1"]
)
def test_an_address_that_is_none_is_refused_with_what_would_be_right(address):
    with pytest.raises(SettingsError, match=r'^openai\.base_url cannot be .*; an address such as "http://localhost'):
        model(address)


def test_a_password_in_an_address_is_not_shown():
    assert repr(model("http://anna:geheim@shop.example:8000/v1")) == "OpenAIModel('gpt-x' at shop.example:8000)"
    with pytest.raises(SettingsError) as caught:
        model("ftp://anna:geheim@shop.example/v1")
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_proxy_is_not_asked_for_a_server_on_this_machine(server, monkeypatch, host):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert ask(model(f"http://{host}:{server.port}/v1", retries=0), QUESTION)[1].text


# --- many at once, and early ends ------------------------------------------------------------------------------------


def test_closing_the_answer_early_ends_the_stream_at_the_server(server):
    server.then(Reply("a b c ", endless=True))
    asked = model(server)

    async def run():
        answer = asked.stream(QUESTION)
        first = await anext(answer)
        await answer.aclose()
        closed = await asyncio.to_thread(server.hung_up.wait, 5)
        await asked.close()
        return first, closed

    assert asyncio.run(run()) == ("a ", True)


def test_a_cancelled_task_ends_the_stream_at_the_server(server):
    server.then(Reply("a b c ", endless=True))
    asked = model(server)

    async def run():
        begun = asyncio.Event()

        async def listen():
            async for _ in asked.stream(QUESTION):
                begun.set()

        task = asyncio.create_task(listen())
        await begun.wait()
        task.cancel()
        ended = await asyncio.gather(task, return_exceptions=True)
        closed = await asyncio.to_thread(server.hung_up.wait, 5)
        await asked.close()
        return type(ended[0]), closed

    assert asyncio.run(run()) == (asyncio.CancelledError, True)


def test_many_answers_come_at_once_each_to_its_own_question(server):
    server.answer = lambda request: Reply(f"ответ на {request.question} — да, это он", pause=0.001)
    asked = model(server)
    server.then(*[refusal(429, "slow down", retry_after_ms="20")] * 10)

    async def run():
        try:
            return await asyncio.gather(*(heard(asked, asking(f"вопрос {number}")) for number in range(60)))
        finally:
            await asked.close()

    answers = asyncio.run(run())
    assert [whole.text for _, whole in answers] == [f"ответ на вопрос {number} — да, это он" for number in range(60)]
    assert len(server.requests) == 70


def test_many_at_once_learn_together_what_the_server_does_not_take(server):
    server.unknown = {
        "stream_options": "no stream_options",
        "max_tokens": "unsupported: max_tokens; use max_completion_tokens",
    }
    asked = model(server)

    async def run():
        try:
            return await asyncio.gather(*(complete(asked, asking(f"{number}", max_tokens=9)) for number in range(20)))
        finally:
            await asked.close()

    assert {answer.text for answer in asyncio.run(run())} == {"С 9 до 18."}


def test_a_model_answers_in_one_event_loop_after_another(server):
    asked = model(server)
    assert [ask(asked, QUESTION)[1].text for _ in range(3)] == ["С 9 до 18."] * 3


def test_a_model_that_was_never_asked_can_be_closed(server):
    asyncio.run(model(server).close())


def test_without_the_package_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(ModelError, match=r"^openai:gpt-x needs a package: pip install 'trainerlib\[openai\]'$"):
        model("http://localhost/v1")
