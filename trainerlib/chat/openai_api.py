"""Chat models behind OpenAI's Chat Completions API, at OpenAI or any server that speaks it.

Azure, vLLM, Ollama, llama.cpp and others are a `base_url` each. The requests are those of the `openai` package; what it
would repeat is repeated here instead, for three things it cannot know: that a used-up quota does not come back in
seconds, that a stream which broke before its first word may be asked for again, and how much patience the settings
have with `Retry-After`.

>>> from trainerlib.settings import OpenAISettings
>>> local = OpenAISettings(base_url="http://localhost:11434/v1")
>>> OpenAIModel("llama3.2", local, secret=lambda name: None)
OpenAIModel('llama3.2' at localhost:11434)
"""

from __future__ import annotations

import asyncio
import random
import re
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import msgspec

from trainerlib.chat.port import Completion, Prompt
from trainerlib.errors import ModelError, ModelRefusedError, ModelUnavailableError, SettingsError
from trainerlib.events import JsonObject
from trainerlib.openai_servers import ADDRESS, KEY, OFFICIAL, waiting_time, without_secrets
from trainerlib.settings import OpenAISettings

_OURS = frozenset({"model", "messages", "stream", "stream_options", "n", "tools", "tool_choice", "functions"})
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 8.0
_WORDS = 300
_AGAIN = frozenset({408, 409, 429})
_UNPAID = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
_NEVER = _UNPAID | {
    "context_length_exceeded", "content_filter", "invalid_request_error", "invalid_api_key", "model_not_found",
}  # fmt: skip
_UNKNOWN = re.compile(
    r"unsupported|not supported|unknown|unrecogni[sz]ed|not permitted|extra|unexpected|does not exist"
)
_COUNTS = (
    ("", "prompt_tokens", "input_tokens"),
    ("", "completion_tokens", "output_tokens"),
    ("prompt_tokens_details", "cached_tokens", "cached_tokens"),
    ("completion_tokens_details", "reasoning_tokens", "reasoning_tokens"),
)


class _Said(msgspec.Struct):
    """The part of a message or of a delta that is text."""

    content: str | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct):
    delta: _Said | None = None
    message: _Said | None = None
    finish_reason: str | None = None


class _Payload(msgspec.Struct):
    """A whole completion, or a chunk of one."""

    choices: list[_Choice] | None = None
    model: str | None = None
    usage: Any = None


class _Failure(msgspec.Struct, frozen=True):
    """What an error means.

    Attributes:
        error: what to raise.
        again: the same request may be answered later.
        wait: seconds that the server asks to wait before.
        of_the_body: something in the request is not as the server wants it.
    """

    error: ModelError
    again: bool = False
    wait: float | None = None
    of_the_body: bool = False


class _Answer:
    """What has come of an answer so far."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.model = ""
        self.usage: dict[str, int] = {}
        self.finish = ""
        self.refused = False

    def take(self, content: Any) -> str:
        """Take in a completion or a chunk of one; gives the text that it adds."""
        payload = msgspec.convert(content, _Payload)
        self.model = payload.model or self.model
        self.usage = _normalised(payload.usage) or self.usage
        said = ""
        for choice in payload.choices or ():
            self.finish = choice.finish_reason or self.finish
            part = choice.delta or choice.message
            if part is not None:
                said += (part.content or "") + (part.refusal or "")
                self.refused = self.refused or bool(part.refusal)
        if said:
            self.pieces.append(said)
        return said

    @property
    def whole(self) -> bool:
        """The server said that it is at its end."""
        return bool(self.finish or self.usage)


class OpenAIModel:
    """A model that a server with OpenAI's Chat Completions API offers.

    An instance may be used from any number of tasks and event loops; each loop has connections of its own, which
    `close` lets go of.

    Args:
        model: its name there.
        settings: where the server is, and how patient to be with it.
        secret: gives the secret of a name, `None` where there is none. What it gives is never shown.

    Attributes:
        name: `openai:` and the model.

    Raises:
        ModelError: the `openai` package is missing.
        SettingsError: the address of the server is none.
    """

    def __init__(self, model: str, settings: OpenAISettings, secret: Callable[[str], str | None]) -> None:
        try:
            import openai  # noqa: F401 - here, so that no first answer waits the second it takes
        except ImportError:
            raise ModelError(f"openai:{model} needs a package: pip install 'trainerlib[openai]'") from None
        self.name = f"openai:{model}"
        self._model = model
        self._settings = settings
        self._secret = secret
        self._address = (settings.base_url or secret(ADDRESS) or OFFICIAL).strip().rstrip("/")
        self._host, self._is_here = _host(self._address)
        self._key = (secret(KEY) or "").strip()
        self._clients: dict[asyncio.AbstractEventLoop, Any] = {}
        # What this server does not take, learned from its refusals.
        self._counts = self._streams = True
        self._limit = ""

    def __repr__(self) -> str:
        return f"OpenAIModel({self._model!r} at {self._host})"

    async def stream(self, prompt: Prompt) -> AsyncGenerator[str | Completion]:
        """Pieces of the answer as the server sends them, then the `Completion`.

        A refusal in words is an answer, its `finish` is `refusal`; one that was cut off by `max_tokens` or a filter
        has the `finish` `length` or `content_filter`. Nothing is asked for again once a piece was given.

        Raises:
            ModelUnavailableError: no connection, no sign of life for `timeout` seconds, a server in trouble or too
                busy after all `retries`, or an answer that is empty or breaks off.
            ModelRefusedError: a wrong key, an unknown model, a bad request, a used-up quota, a filter.
        """
        tried = 0
        while True:
            answer = _Answer()
            body = self._body(prompt)
            try:
                async with aclosing(self._send(body)) as contents:
                    async for content in contents:
                        if piece := answer.take(content):
                            yield piece
                failure = None if answer.whole else _Failure(self._broken(answer), again=True)
            except _errors() as error:
                # What it says may hold the key: it must not be the cause or the context of what is raised below.
                failure = self._failure(error, answer)
                self._learn(failure, error)
                if failure.of_the_body and not answer.pieces and self._body(prompt) != body:
                    continue
            if failure is None or answer.finish:
                break
            wait = failure.wait or _backoff(tried)
            if answer.pieces or not failure.again or tried == self._settings.retries or wait > self._settings.timeout:
                raise failure.error
            tried += 1
            # Up to a tenth later than asked, so that many who were told the same do not come all at once.
            await asyncio.sleep(wait * random.uniform(1.0, 1.1))  # noqa: S311 - no secret
        yield self._completion(answer)

    async def close(self) -> None:
        """Close the connections of the running event loop."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.close()

    # --- asking ------------------------------------------------------------------------------------------------------

    def _body(self, prompt: Prompt) -> JsonObject:
        """What is sent, less what this server was found not to take."""
        ours = sorted(_OURS & prompt.parameters.keys())
        if ours:
            raise ModelRefusedError(f"{self.name}: {', '.join(ours)} cannot be set as a parameter")
        body: JsonObject = {name: value for name, value in prompt.parameters.items() if value is not None}
        for limit in ("max_tokens", "max_completion_tokens"):
            if self._limit and limit in body:
                body[self._limit] = body.pop(limit)
        # The API takes a tool's words only beside a call, and there is none.
        body["messages"] = [
            {"role": "user" if turn.role == "tool" else turn.role, "content": turn.content} for turn in prompt.turns
        ]
        body["stream"] = self._streams
        if self._streams and self._counts:
            body["stream_options"] = {"include_usage": True}
        return body

    async def _send(self, body: JsonObject) -> AsyncGenerator[Any]:
        """Everything that the server sends for a request, decoded."""
        import openai

        client = self._connected()
        answered = await client.chat.completions.create(
            model=self._model,
            messages=body["messages"],
            stream=body["stream"],
            # As they are: servers take parameters that the package does not know.
            extra_body={name: value for name, value in body.items() if name not in ("messages", "stream")},
            extra_headers=None if self._key else {"Authorization": openai.Omit()},
        )
        if not body["stream"]:
            yield _plain(answered)
            return
        async with answered:
            if answered.response.headers.get("content-type", "").startswith("application/json"):
                yield msgspec.json.decode(await answered.response.aread())
                return
            async for chunk in answered:
                yield _plain(chunk)

    def _connected(self) -> Any:
        """The client of the running event loop; connections cannot go from one loop to another."""
        import openai

        if not self._key and self._address == OFFICIAL:
            raise ModelRefusedError(f"{self.name}: there is no key; put {KEY} into the environment or .env")
        if not (self._key.isascii() and self._key.isprintable()) or " " in self._key:
            raise ModelRefusedError(f"{self.name}: {KEY} holds characters that no key has")
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            timeout = self._settings.timeout
            client = openai.AsyncOpenAI(
                # The package insists on one, and would look for it in the environment.
                api_key=self._key or "none",
                organization=self._secret("OPENAI_ORG_ID"),
                project=self._secret("OPENAI_PROJECT_ID"),
                base_url=self._address,
                max_retries=0,
                timeout=openai.Timeout(timeout, connect=min(timeout, 10.0)),
                # A proxy leads away from this machine.
                http_client=openai.DefaultAsyncHttpxClient(trust_env=False) if self._is_here else None,
            )
            self._clients = {one: kept for one, kept in self._clients.items() if not one.is_closed()} | {loop: client}
        return client

    # --- what went wrong ---------------------------------------------------------------------------------------------

    def _learn(self, failure: _Failure, error: Any) -> None:
        """Note what the server does not take, if this is what it says."""
        if not failure.of_the_body:
            return
        words = error.response.text.casefold()
        if "stream_options" in words or "include_usage" in words:
            self._counts = False
        elif error.param == "stream" or ("streaming" in words and _UNKNOWN.search(words)):
            self._streams = False
        elif "max_completion_tokens" in words and _UNKNOWN.search(words) and not self._limit:
            # Both names are in the words of a server that wants the new one, only the new one in those of an old one.
            wants_new = re.search(r"\bmax_tokens\b", words) is not None
            self._limit = "max_completion_tokens" if wants_new else "max_tokens"

    def _failure(self, error: Exception, answer: _Answer) -> _Failure:
        """What an error of the package or of its connections means."""
        import openai

        if isinstance(error, openai.APIStatusError):
            return self._status(error)
        if isinstance(error, (openai.APITimeoutError, *_connection_errors("TimeoutException"))):
            silence = f"no sign of life for {self._settings.timeout:g} s"
            return _Failure(self._unavailable(silence), again=True)
        if isinstance(error, (openai.APIConnectionError, *_connection_errors("HTTPError"))):
            if answer.pieces:
                return _Failure(self._broken(answer))
            cause = self._clean(str(error.__cause__ or error))
            return _Failure(self._unavailable(f"no connection{f': {cause}' if cause else ''}"), again=True)
        if isinstance(error, openai.APIError):
            code = str(error.code or "")
            number = int(code) if code.isdecimal() else 0
            if _is_one_of(_NEVER, error) or (400 <= number < 500 and number not in _AGAIN):
                return _Failure(self._refused(self._words(error)))
            return _Failure(self._unavailable(self._words(error)), again=True)
        if isinstance(error, UnicodeEncodeError):
            return _Failure(self._refused("the prompt holds half a surrogate pair, which cannot be sent"))
        return _Failure(self._unavailable("what it sends is no chat completion"), again=True)

    def _status(self, error: Any) -> _Failure:
        """What an answer with a status of 400 or more means."""
        status, headers = int(error.status_code), error.response.headers
        words = f"HTTP {status}: {self._words(error)}"
        again = status in _AGAIN or status >= 500
        if not again or _is_one_of(_UNPAID, error):
            return _Failure(self._refused(words + self._advice(status)), of_the_body=status in (400, 422))
        wait = waiting_time(headers)
        if wait is not None and wait > self._settings.timeout:
            words += f"; it may be asked again in {wait:,.0f} s"
        return _Failure(self._unavailable(words), headers.get("x-should-retry") != "false", wait)

    def _advice(self, status: int) -> str:
        """What may be behind a refusal that its words do not say."""
        if status == 401 and not self._key:
            return f"; no key was sent: put {KEY} into the environment or .env"
        if status == 404 and not urlsplit(self._address).path.strip("/"):
            return "; is the address complete? Most end in /v1"
        return ""

    def _words(self, error: Any) -> str:
        """What the provider says, in one line and without secrets."""
        body = error.body
        found = ""
        if isinstance(body, Mapping):
            found = next((body[name] for name in ("message", "detail", "error") if isinstance(body.get(name), str)), "")
        elif isinstance(body, str):
            found = re.sub(r"<[^>]*>", " ", body)
        if not found and (response := getattr(error, "response", None)) is not None:
            found = response.text or response.reason_phrase
        return self._clean(found or str(error)) or "no reason given"

    def _clean(self, text: str) -> str:
        line = without_secrets(" ".join(text.split()), self._key)
        return line if len(line) <= _WORDS else f"{line[: _WORDS - 1]}…"

    def _broken(self, answer: _Answer) -> ModelUnavailableError:
        if not answer.pieces:
            return self._unavailable("the answer ended before it began")
        return self._unavailable(f"the answer broke off after {sum(map(len, answer.pieces)):,} characters")

    def _unavailable(self, words: str) -> ModelUnavailableError:
        return ModelUnavailableError(f"{self._place}: {words}")

    def _refused(self, words: str) -> ModelRefusedError:
        return ModelRefusedError(f"{self._place}: {words}")

    @property
    def _place(self) -> str:
        return self.name if self._address == OFFICIAL else f"{self.name} at {self._host}"

    def _completion(self, answer: _Answer) -> Completion:
        text = "".join(answer.pieces)
        if not text.strip():
            if answer.finish == "content_filter":
                raise self._refused("the provider's filter withheld the answer")
            if answer.finish == "length":
                raise self._refused("all tokens were used before the first word; allow more with max_tokens")
            raise self._unavailable("the answer is empty")
        finish = answer.finish or "stop"
        return Completion(
            text,
            model=answer.model or self._model,
            usage=answer.usage,
            finish="refusal" if answer.refused and finish == "stop" else finish,
        )


def _host(address: str) -> tuple[str, bool]:
    """The part of an address that names the server, without a password, and whether it is this machine."""
    try:
        parts = urlsplit(address)
        name = parts.hostname if parts.scheme in ("http", "https") and parts.port != 0 else None
    except ValueError:
        name = None
    if not name:
        shown = without_secrets(address.rpartition("@")[2])
        raise SettingsError(f'openai.base_url cannot be {shown!r}; an address such as "http://localhost:11434/v1"')
    try:
        here = ip_address(name).is_loopback or ip_address(name).is_unspecified
    except ValueError:
        here = name == "localhost" or name.endswith(".localhost")
    return parts.netloc.rpartition("@")[2], here


def _errors() -> tuple[type[Exception], ...]:
    """What asking a server may raise."""
    import openai

    return openai.OpenAIError, *_connection_errors("HTTPError", "StreamError"), msgspec.MsgspecError, ValueError


def _connection_errors(*names: str) -> tuple[type[Exception], ...]:
    """Errors of the HTTP package below: by version of `openai` that is `httpx` or `httpx2`, and not all are wrapped."""
    modules = [module for name in ("httpx", "httpx2") if (module := sys.modules.get(name)) is not None]
    return tuple(getattr(module, name) for module in modules for name in names)


def _plain(content: Any) -> Any:
    """An object of the package as JSON has it."""
    return content.to_dict(warnings=False) if hasattr(content, "to_dict") else content


def _normalised(usage: Any) -> dict[str, int]:
    """Token counts under our names; what is not given, and details of none, are left out."""
    counts: dict[str, int] = {}
    for place, theirs, ours in _COUNTS:
        given = usage.get(place) if isinstance(usage, dict) and place else usage
        count = given.get(theirs) if isinstance(given, dict) else None
        if isinstance(count, int) and count >= bool(place):
            counts[ours] = count
    return counts


def _is_one_of(kinds: frozenset[str], error: Any) -> bool:
    """Whether an error is of one of some kinds, by its code or type."""
    return str(error.code) in kinds or str(error.type) in kinds


def _backoff(tried: int) -> float:
    """Seconds before the next try: doubled each time up to a limit, less up to a half."""
    return min(_FIRST_WAIT * 2.0**tried, _LONGEST_WAIT) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
