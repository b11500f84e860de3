"""A server on loopback that speaks OpenAI's Chat Completions API, and fails in every way a test asks for.

It answers each request with the next of what was put on its list with `then`, and when the list is empty with
`ChatServer.answer`. What is asked is kept in `requests`.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

USAGE = {
    "prompt_tokens": 20,
    "completion_tokens": 7,
    "total_tokens": 27,
    "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0},
}


@dataclass
class Reply:
    """What one request is answered with.

    Attributes:
        text: what the model says.
        refusal: what it says in place of that.
        finish: why it ends; `None` says nothing about it.
        usage: counts that are sent where they are asked for; `None` for a server that does not count.
        model: the dated model.
        pause: seconds before each piece.
        delay: seconds before anything is sent.
        stop: pieces after which the connection is cut.
        hang: pieces after which nothing more comes.
        endless: the pieces never end.
        status: HTTP status; from 400 on `error` is sent.
        error: the object of the error, or a text that is sent as it is.
        headers: more headers.
        lines: data lines of the stream in place of its chunks.
        raw: bytes of the body in place of everything.
        content_type: of `raw`.
    """

    text: str = "С 9 до 18."
    refusal: str = ""
    finish: str | None = "stop"
    usage: dict[str, Any] | None = field(default_factory=lambda: dict(USAGE))
    model: str = ""
    pause: float = 0.0
    delay: float = 0.0
    stop: int | None = None
    hang: int | None = None
    endless: bool = False
    status: int = 200
    error: dict[str, Any] | str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    lines: list[str] | None = None
    raw: bytes | None = None
    content_type: str = "application/json"


@dataclass(frozen=True)
class Request:
    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def question(self) -> str:
        return str(self.body["messages"][-1]["content"])


def refusal(status: int, message: str, *, param: str | None = None, code: str | None = None, **headers: str) -> Reply:
    """A refusal in the form of OpenAI; headers have `_` for `-`."""
    kind = "invalid_request_error" if status < 429 else "server_error" if status >= 500 else "requests"
    error = {"message": message, "type": kind, "param": param, "code": code}
    return Reply(status=status, error=error, headers={name.replace("_", "-"): value for name, value in headers.items()})


class ChatServer:
    """The server; use it in a `with`.

    Args:
        key: the key that requests must carry; empty for a server that needs none.
        models: the models there are; empty for any.
        unknown: parameters that are refused, with what is said of them.

    Attributes:
        answer: answers a request when the list is empty.
        requests: what was asked, in order.
        hung_up: is set when a client goes away in the middle of an answer.
    """

    def __init__(self, *, key: str = "", models: tuple[str, ...] = (), unknown: dict[str, str] | None = None) -> None:
        self.key = key
        self.models = models
        self.unknown = unknown or {}
        self.answer: Callable[[Request], Reply] = lambda _request: Reply()
        self.requests: list[Request] = []
        self.hung_up = threading.Event()
        self.closing = threading.Event()
        self._next: deque[Reply] = deque()
        self._lock = threading.Lock()

    def then(self, *replies: Reply) -> Self:
        """Put what the next requests are answered with on the list."""
        self._next.extend(replies)
        return self

    def __enter__(self) -> Self:
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def port(self) -> int:
        return int(self._server.server_port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def reply(self, request: Request) -> Reply:
        with self._lock:
            self.requests.append(request)
            if self.key and request.headers.get("authorization") != f"Bearer {self.key}":
                sent = request.headers.get("authorization", "Bearer ").removeprefix("Bearer ")
                return refusal(401, f"Incorrect API key provided: {sent}. See the docs.", code="invalid_api_key")
            if not request.path.startswith("/v1/chat/completions"):
                return Reply(status=404, error="404 page not found")
            model = request.body["model"]
            if self.models and model not in self.models:
                return refusal(404, f"The model `{model}` does not exist", code="model_not_found")
            for name, words in self.unknown.items():
                if request.body.get(name):
                    return refusal(400, words, param=name, code="unsupported_parameter")
            return self._next.popleft() if self._next else self.answer(request)


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no error of the server."""


def _handler(owner: ChatServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 0.05  # an idle connection must not keep the server from ending

        def log_message(self, *_: Any) -> None:
            pass

        def handle_one_request(self) -> None:
            """Wait for the next request of a connection, as long as the server is up."""
            while not owner.closing.is_set():
                try:
                    first = self.connection.recv(1, _PEEK)
                except TimeoutError:
                    continue
                except OSError:
                    first = b""
                if not first:
                    break
                self.connection.settimeout(5)
                super().handle_one_request()
                self.connection.settimeout(self.timeout)
                return
            self.close_connection = True

        def do_POST(self) -> None:
            size = int(self.headers["content-length"])
            body = json.loads(self.rfile.read(size))
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.path, headers, body)
            reply = owner.reply(request)
            try:
                self._send(request, reply)
            except OSError:
                owner.hung_up.set()
                self.close_connection = True

        def _send(self, request: Request, reply: Reply) -> None:
            owner.closing.wait(reply.delay)
            if reply.raw is not None:
                self._whole(200, reply.raw, reply)
            elif reply.status >= 400:
                body = reply.error if isinstance(reply.error, str) else json.dumps({"error": reply.error})
                self._whole(reply.status, body.encode(), reply)
            elif request.body.get("stream"):
                self._stream(request, reply)
            else:
                message = {"role": "assistant", "content": reply.text, "refusal": reply.refusal or None}
                choice = {"index": 0, "message": message, "finish_reason": reply.finish}
                self._whole(200, json.dumps(_part(request, reply, [choice], reply.usage)).encode(), reply)

        def _whole(self, status: int, body: bytes, reply: Reply) -> None:
            self.send_response(status)
            self.send_header("content-type", reply.content_type)
            self.send_header("content-length", str(len(body)))
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def _stream(self, request: Request, reply: Reply) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/event-stream; charset=utf-8")
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for number, line in enumerate(_lines(request, reply)):
                if number == reply.stop:
                    self.close_connection = True
                    return
                if number == reply.hang:
                    owner.closing.wait(10)
                    self.close_connection = True
                    return
                time.sleep(reply.pause)
                data = f"data: {line}\n\n".encode()
                self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
                if owner.closing.is_set():
                    return
            self.wfile.write(b"0\r\n\r\n")

    return Handler


_PEEK = 2
"""`MSG_PEEK` of every platform."""


def _part(request: Request, reply: Reply, choices: list[Any], usage: dict[str, Any] | None) -> dict[str, Any]:
    kind = "chat.completion.chunk" if request.body.get("stream") else "chat.completion"
    model = reply.model or request.body["model"]
    return {"id": "chatcmpl-1", "object": kind, "created": 1, "model": model, "choices": choices, "usage": usage}


def _lines(request: Request, reply: Reply) -> Any:
    """The data lines of a stream."""
    if reply.lines is not None:
        yield from reply.lines
        return

    def chunk(delta: dict[str, Any], finish: str | None = None) -> str:
        return json.dumps(_part(request, reply, [{"index": 0, "delta": delta, "finish_reason": finish}], None))

    yield chunk({"role": "assistant", "content": ""})
    words = re.findall(r"\S+\s*", reply.text)
    while reply.endless:
        yield from (chunk({"content": word}) for word in words)
    yield from (chunk({"refusal": word}) for word in re.findall(r"\S+\s*", reply.refusal))
    if not reply.refusal:
        yield from (chunk({"content": word}) for word in words)
    if reply.finish:
        yield chunk({}, reply.finish)
    if reply.usage is not None and (request.body.get("stream_options") or {}).get("include_usage"):
        yield json.dumps(_part(request, reply, [], reply.usage))
    yield "[DONE]"
