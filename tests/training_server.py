"""A server on loopback that speaks the fine-tuning part of OpenAI's API, and breaks when it is told to.

Facts it keeps to: lists are newest first and paged by `after` and `limit`; files go by multipart; an upload has parts
and is complete once all its bytes are there; a job needs a file that is there.
"""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

Json = dict[str, Any]

_LARGE = 4_000_000
STAGES = ("validating_files", "queued", "running", "succeeded")


@dataclass
class Fault:
    """What goes wrong with a request.

    Attributes:
        status: HTTP status of the refusal; 0 for none.
        message: words of the refusal.
        code: its code.
        headers: its headers.
        accept: do first what was asked for.
        silent: never answer.
        drop: close the connection in place of an answer.
        kill: SIGKILL the client, by the process id it gives as its project.
        page: answer with this: an HTML page, or what is sent as JSON.
        times: for how many requests.
    """

    status: int = 0
    message: str = "The server had an error"
    code: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    accept: bool = False
    silent: bool = False
    drop: bool = False
    kill: bool = False
    page: str = ""
    times: int = 1


class TrainingServer:
    """The server, its files and its jobs, for the tests to look at and to change.

    Attributes:
        files: what was uploaded, oldest first, each with its `content`.
        jobs: oldest first.
        events: of each job, by id, oldest first.
        checkpoints: likewise.
        stages: states that a job takes one after the other, one each time it is looked at.
        requests: `METHOD path` of every request, in order.
        keep: keep the content of files.
        received: bytes of all requests.
        lag: looks at the list of jobs that still do not show a job.
        page: rows of a page at most.
    """

    def __init__(self) -> None:
        self.files: list[Json] = []
        self.uploads: dict[str, Json] = {}
        self.jobs: list[Json] = []
        self.events: dict[str, list[Json]] = {}
        self.checkpoints: dict[str, list[Json]] = {}
        self.stages: tuple[str, ...] = STAGES
        self.requests: list[str] = []
        self.keep = True
        self.received = 0
        self.lag = 0
        self.page = 100
        self.on_request: Callable[[int, str], Fault | None] | None = None
        self._faults: list[tuple[re.Pattern[str], Fault]] = []
        self._lock = threading.RLock()
        self._stop = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                """Say nothing."""

            def _answer(self) -> None:
                server._handle(self)

            do_GET = do_POST = do_DELETE = _answer  # noqa: N815 - the names http.server asks for

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._http.shutdown()
        self._http.server_close()

    def fail(self, request: str, fault: Fault) -> None:
        """Have the next requests that fit an expression, such as `POST .*/jobs`, go wrong."""
        self._faults.append((re.compile(request), fault))

    def made(self, job: str) -> list[Json]:
        """The jobs that carry an id of ours."""
        return [one for one in self.jobs if (one["metadata"] or {}).get("trainerlib_job") == job]

    def say(self, job: Json, message: str, **data: float) -> None:
        """Add an event to a job."""
        events = self.events[job["id"]]
        events.append(
            {
                "id": f"ftevent-{job['id']}-{len(events)}",
                "object": "fine_tuning.job.event",
                "created_at": 1_790_000_000 + len(events),
                "level": "info",
                "message": message,
                "type": "metrics" if data else "message",
                "data": data or None,
            }
        )

    # --- answering ---------------------------------------------------------------------------------------------------

    def _fault(self, request: str) -> Fault | None:
        with self._lock:
            self.requests.append(request)
            if self.on_request is not None:
                fault = self.on_request(len(self.requests), request)
                if fault is not None:
                    return fault
            for entry in self._faults:
                pattern, fault = entry
                if pattern.fullmatch(request):
                    fault.times -= 1
                    if fault.times <= 0:
                        self._faults.remove(entry)
                    return fault
        return None

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        body = _read(handler, keep=self.keep)
        self.received += int(handler.headers.get("content-length") or 0)
        address = urlsplit(handler.path)
        query = {name: values[-1] for name, values in parse_qs(address.query).items()}
        request = f"{handler.command} {address.path.removeprefix('/v1')}"
        fault = self._fault(request)
        answer: tuple[int, Json] = (200, {})
        if fault is None or fault.accept:
            with self._lock:
                answer = self._do(request, query, body, handler.headers)
        if fault is not None:
            if fault.kill:
                os.kill(int(handler.headers["openai-project"]), signal.SIGKILL)
            if fault.silent:
                self._stop.wait(30)
            if fault.silent or fault.drop or fault.kill:
                handler.close_connection = True
                return
            if fault.page:
                kind = "text/html" if fault.page.startswith("<") else "application/json"
                _send(handler, 200, fault.page.encode(), {"content-type": kind})
                return
            if fault.status:
                error = {"message": fault.message, "type": "error", "param": None, "code": fault.code}
                _send(handler, fault.status, json.dumps({"error": error}).encode(), fault.headers)
                return
        _send(handler, answer[0], json.dumps(answer[1]).encode(), {})

    def _do(self, request: str, query: Json, body: bytes, headers: Message) -> tuple[int, Json]:
        if request == "POST /files" and not self.keep:
            return 200, self._add_file("", b"")
        if request == "POST /files":
            fields = _multipart(headers, body)
            return 200, self._add_file(fields["file"][0], fields["file"][1])
        if request == "GET /files":
            return 200, self._listed([_shown(file) for file in reversed(self.files)], query)
        if request == "POST /uploads":
            made = {"id": f"upload_{len(self.uploads) + 1}", "object": "upload", "status": "pending", "created_at": 1,
                    "expires_at": 2, "parts": {}, **json.loads(body)}  # fmt: skip
            self.uploads[made["id"]] = made
            return 200, _shown(made)
        if match := re.fullmatch(r"POST /uploads/([^/]+)/(parts|complete|cancel)", request):
            return self._upload(match[1], match[2], body, headers)
        if request == "POST /fine_tuning/jobs":
            return self._add_job(json.loads(body))
        if request == "GET /fine_tuning/jobs":
            for job in self.jobs:
                job["looks"] += 1
            return 200, self._listed([_shown(job) for job in reversed(self.jobs) if job["looks"] > job["lag"]], query)
        if match := re.fullmatch(r"(GET|POST) /fine_tuning/jobs/([^/]+)(?:/(\w+))?", request):
            job = next((job for job in self.jobs if job["id"] == match[2]), None)
            if job is not None:
                return self._job(job, match[1], match[3] or "", query)
        return _refused(404, f"no such thing: {request}")

    def _upload(self, upload: str, what: str, body: bytes, headers: Message) -> tuple[int, Json]:
        made = self.uploads.get(upload)
        if made is None or made["status"] != "pending":
            return _refused(400, "the upload is not pending")
        if what == "parts":
            part = f"part_{len(made['parts']) + 1}"
            made["parts"][part] = _multipart(headers, body)["data"][1]
            return 200, {"id": part, "object": "upload.part", "created_at": 1, "upload_id": upload}
        made["status"] = "completed" if what == "complete" else "cancelled"
        if what == "complete":
            content = b"".join(made["parts"][part] for part in json.loads(body)["part_ids"])
            if len(content) != made["bytes"]:
                return _refused(400, "the parts do not add up to the size of the upload")
            made["file"] = self._add_file(made["filename"], content)
        return 200, _shown(made)

    def _add_file(self, name: str, content: bytes) -> Json:
        file = {"id": f"file-{len(self.files) + 1}", "object": "file", "bytes": len(content), "status": "processed",
                "created_at": int(time.time()), "filename": name, "purpose": "fine-tune", "content": content}  # fmt: skip
        self.files.append(file)
        return _shown(file)

    def _add_job(self, asked: Json) -> tuple[int, Json]:
        if asked["training_file"] not in [file["id"] for file in self.files]:
            return _refused(400, f"invalid training_file: {asked['training_file']}", "invalid_training_file")
        job = {
            "id": f"ftjob-{len(self.jobs) + 1}", "object": "fine_tuning.job", "created_at": int(time.time()),
            "organization_id": "org-x", "result_files": [], "seed": 7, "status": self.stages[0], "hyperparameters": {},
            "fine_tuned_model": None, "finished_at": None, "trained_tokens": None, "error": None,
            "validation_file": None, "metadata": None, **asked, "looks": 0, "lag": self.lag, "stage": 0,
        }  # fmt: skip
        self.jobs.append(job)
        self.events[job["id"]] = []
        self.checkpoints[job["id"]] = []
        self.say(job, f"Created fine-tuning job: {job['id']}")
        return 200, _shown(job)

    def _job(self, job: Json, method: str, what: str, query: Json) -> tuple[int, Json]:
        if method == "GET" and not what:
            self._go_on(job)
            return 200, _shown(job)
        if method == "GET":
            rows = self.events if what == "events" else self.checkpoints
            return 200, self._listed(rows[job["id"]][::-1], query)
        if job["status"] in ("succeeded", "failed", "cancelled"):
            return _refused(400, f"Job has already completed: {job['status']}", "invalid_request_error")
        job["status"] = {"cancel": "cancelled", "pause": "paused", "resume": "running"}[what]
        job["held"] = what == "pause"
        return 200, _shown(job)

    def _go_on(self, job: Json) -> None:
        if job.get("held") or job["status"] in ("succeeded", "failed", "cancelled"):
            return
        if job["stage"] == len(self.stages) - 1:
            return
        job["stage"] += 1
        job["status"] = self.stages[job["stage"]]
        if job["status"] == "running":
            for step in (1, 2, 3):
                self.say(job, f"Step {step}/3: training loss={3 / step:.2f}", step=step, total_steps=3,
                         train_loss=3 / step, train_mean_token_accuracy=step / 4)  # fmt: skip
        if job["status"] == "succeeded":
            model = f"ft:{job['model']}:shop:{job.get('suffix') or ''}:a{job['id'][6:]}"
            job |= {"fine_tuned_model": model, "trained_tokens": 4_200}
            self.checkpoints[job["id"]].append(
                {
                    "id": "ftckpt-1",
                    "object": "fine_tuning.job.checkpoint",
                    "created_at": 1,
                    "step_number": 2,
                    "fine_tuned_model_checkpoint": f"{model}:ckpt-step-2",
                    "fine_tuning_job_id": job["id"],
                    "metrics": {"step": 2, "train_loss": 1.5, "valid_loss": None},
                }
            )
            self.say(job, "The job has successfully completed")
        if job["status"] == "failed":
            job["error"] = {"code": "invalid_training_file", "message": "The file has a bad line", "param": None}

    def _listed(self, rows: list[Json], query: Json) -> Json:
        names = [row["id"] for row in rows]
        start = names.index(query["after"]) + 1 if "after" in query else 0
        stop = start + min(int(query.get("limit", 20)), self.page)
        return {"object": "list", "data": rows[start:stop], "has_more": stop < len(rows)}


def _shown(row: Json) -> Json:
    return {name: value for name, value in row.items() if name not in ("content", "parts", "looks", "lag", "stage")}


def _refused(status: int, message: str, code: str | None = None) -> tuple[int, Json]:
    return status, {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}


def _read(handler: BaseHTTPRequestHandler, *, keep: bool) -> bytes:
    if handler.headers.get("transfer-encoding") != "chunked":
        left = int(handler.headers.get("content-length") or 0)
        if keep or left < _LARGE:
            return handler.rfile.read(left)
        while left > 0:
            left -= len(handler.rfile.read(min(left, _LARGE)))
        return b""
    body = b""
    while size := int(handler.rfile.readline(), 16):
        body += handler.rfile.read(size)
        handler.rfile.readline()
    handler.rfile.readline()
    return body


def _send(handler: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str]) -> None:
    try:
        handler.send_response(status)
        for name, value in {"content-type": "application/json", "content-length": str(len(body)), **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)
    except OSError:
        # The client has gone away.
        handler.close_connection = True


def _multipart(headers: Message, body: bytes) -> dict[str, tuple[str, bytes]]:
    """`(file name, content)` of each field of a form."""
    boundary = b"--" + headers.get_param("boundary").encode()  # type: ignore[union-attr] # a form has one
    fields = {}
    for piece in body.split(boundary)[1:-1]:
        head, _, content = piece[2:-2].partition(b"\r\n\r\n")
        name = re.search(rb'name="([^"]*)"', head)
        file = re.search(rb'filename="([^"]*)"', head)
        fields[name[1].decode() if name else ""] = (file[1].decode() if file else "", content)
    return fields
