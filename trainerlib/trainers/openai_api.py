"""The `openai` trainer: fine-tuning jobs of OpenAI, or of a server that speaks its API.

A job is paid for, so one that was asked for once is made once, whatever breaks. Before the request that makes it is
sent, the log says so, and the client repeats it never. When the answer does not come (a 5xx, a timeout, a lost
connection, a kill), the trainer's own list says whether the job is there: it has our id in its metadata, and trains on
a file that no other job has. Only when it is still not in the list after `[openai] patience` is it asked for again: by
default as long as the `openai` package waits for an answer, so that no server still works on it.

Facts on the API: its reference (Files, Uploads, Fine-tuning), and the types of the `openai` package.
"""

from __future__ import annotations

import difflib
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from math import isfinite
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import urlsplit

from trainerlib.checks import FEWEST_ROWS
from trainerlib.errors import TrainingError
from trainerlib.events import (
    Event,
    TrainingAttempted,
    TrainingCancelled,
    TrainingCheckpointed,
    TrainingFailed,
    TrainingFileUploaded,
    TrainingProgressed,
    TrainingRequested,
    TrainingSubmitted,
    TrainingSucceeded,
)
from trainerlib.openai_servers import ADDRESS, KEY, OFFICIAL, without_secrets
from trainerlib.trainers.openai_answers import hint, id_of, never_sent, passes, refuse_other_than_json, retry_after
from trainerlib.trainers.openai_files import PAGE, PART, WHOLE, PartSender, send_whole
from trainerlib.trainers.port import Work, Workshop
from trainerlib.trainers.webhooks import SECRET as WEBHOOK_SECRET

if TYPE_CHECKING:
    from openai import APIError, OpenAI
    from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent

METADATA = "trainerlib_job"
"""Key of our id in the metadata of a job."""

SOONEST = 2.0
"""Seconds between two looks at a job that has news."""

LATEST = 60.0
"""Seconds between two looks at a job that has none for long."""

RAREST = 1800.0
"""Seconds between two requests that make a job, at most: a limit of jobs a day is not reached by asking every minute."""

_FAR = 10**11
_LONGEST = 2_000
_LONGEST_SUFFIX = 64
_LARGEST_SEED = 2**31 - 1
_METHODS = {"sft": "supervised", "dpo": "dpo"}
_UNMADE = (400, 425, 429)
_NO_SUCH_LIST = (404, 405, 501)
_SERVER = "server.txt"
_GIVEN = TypeVar("_GIVEN")
_log = logging.getLogger(__name__)

_NUMBERS: dict[str, tuple[type, float, float]] = {
    "n_epochs": (int, 1, 50),
    "batch_size": (int, 1, 256),
    "learning_rate_multiplier": (float, 0, 1_000),
    "beta": (float, 0, 100),
}


class OpenAITrainer:
    """Fine-tunes through OpenAI's API, or that of any server that speaks it.

    Args:
        workshop: the workspace: `[openai]` of its settings, and the secret `OPENAI_API_KEY`.
        patience: seconds until a request that made a job, as far as anybody knows, may be repeated; by default
            `[openai] patience`.
        whole: bytes up to which a file is sent in one request.
        part: bytes of each part of a larger one.
        soonest: seconds between two looks at a job that has news.

    Attributes:
        name: `openai`.
        formats: the export format it takes, by method.
    """

    name = "openai"
    formats: Mapping[str, str] = {"sft": "openai-chat", "dpo": "openai-preference"}

    def __init__(
        self,
        workshop: Workshop,
        *,
        patience: float | None = None,
        whole: int = WHOLE,
        part: int = PART,
        soonest: float = SOONEST,
    ) -> None:
        self._workshop = workshop
        # While a request is under way nobody may think that it came to nothing.
        configured = workshop.settings.openai
        self._patience = max(configured.patience if patience is None else patience, configured.timeout)
        self._whole = whole
        self._parts = PartSender(part)
        self._soonest = soonest
        self._made: OpenAI | None = None
        self._quiet: dict[str, int] = {}
        self._seen: dict[str, set[str]] = {}
        self._unmade: dict[str, int] = {}
        self._since: dict[tuple[str, int], float] = {}

    # --- before ------------------------------------------------------------------------------------------------------

    def check(self, request: TrainingRequested) -> None:
        """Refuse what can be seen to fail: too few rows, a hyperparameter that cannot be, a missing key."""
        _ = self._server
        _ = self._client
        rows = request.rows.get("train", 0)
        if rows < FEWEST_ROWS:
            raise TrainingError(f"OpenAI refuses fewer than {FEWEST_ROWS} rows to train on; there are {rows}")
        if len(request.suffix) > _LONGEST_SUFFIX:
            raise TrainingError(f"a suffix has {_LONGEST_SUFFIX} characters at most, not {len(request.suffix)}")
        if request.seed is not None and not 0 <= request.seed <= _LARGEST_SEED:
            raise TrainingError(f"a seed is from 0 to {_LARGEST_SEED}, not {request.seed}")
        known = [name for name in _NUMBERS if request.method == "dpo" or name != "beta"]
        for name, value in request.hyperparameters.items():
            if name in known:
                _check_number(name, value)
            elif self._official:
                close = difflib.get_close_matches(name, known, n=1)
                meant = f"did you mean {close[0]!r}?" if close else f"there is {', '.join(known)}"
                raise TrainingError(f"OpenAI has no hyperparameter {name!r} for {request.method}; {meant}")

    @property
    def _base_url(self) -> str:
        told = self._workshop.settings.openai.base_url or self._workshop.secret(ADDRESS)
        return (told or OFFICIAL).rstrip("/")

    @property
    def _server(self) -> str:
        """The address without what is nobody's business."""
        try:
            address = urlsplit(self._base_url)
            port = f":{address.port}" if address.port else ""
        except ValueError:
            raise TrainingError("[openai] base_url is no address; it is one such as https://host:8000/v1") from None
        if address.scheme not in ("http", "https") or not address.hostname:
            raise TrainingError("[openai] base_url is an address that begins with https:// or http://")
        return f"{address.scheme}://{address.hostname}{port}{address.path}"

    @property
    def _official(self) -> bool:
        return self._base_url == OFFICIAL

    @property
    def _client(self) -> OpenAI:
        """The client; made once, and it never repeats a request of its own accord."""
        if self._made is None:
            try:
                from openai import DefaultHttpxClient, OpenAI
            except ImportError as error:
                raise TrainingError("trainer openai needs its package: pip install 'trainerlib[openai]'") from error
            key = self._workshop.secret(KEY)
            if not key and self._official:
                raise TrainingError(f"trainer openai needs a key: put {KEY}=... into .env, or into the environment")
            if key and not (key.isascii() and key.isprintable()):
                raise TrainingError(f"{KEY} holds a character that no key has; copy it again")
            self._made = OpenAI(
                # A server on one's own machine often wants none, the client always does.
                api_key=key or "none",
                organization=self._workshop.secret("OPENAI_ORG_ID"),
                project=self._workshop.secret("OPENAI_PROJECT_ID"),
                base_url=self._base_url,
                timeout=self._workshop.settings.openai.timeout,
                max_retries=0,
                # Looks are seconds apart: a connection kept in between is a stale one, over which a request may get lost.
                default_headers={"Connection": "close"},
                http_client=DefaultHttpxClient(event_hooks={"response": [refuse_other_than_json]}),
            )
        return self._made

    # --- one step ----------------------------------------------------------------------------------------------------

    def advance(self, work: Work) -> float | None:
        """Take the next step of a job: send a file or a part of one, make the job, or look at it."""
        from openai import APIError

        self._refuse_other_server(work)
        try:
            if work.job.remote:
                return self._look(work)
            if work.job.attempts:
                return self._find(work)
            for split in work.job.request.sha256:
                if split not in work.job.uploads:
                    return self._send(work, split)
            return self._make(work)
        except APIError as error:
            return self._failed(work, error)

    def _failed(self, work: Work, error: APIError) -> float | None:
        """What an answer that is none means: wait and try again, or the end of the job."""
        if passes(error):
            return self._wait(work, error)
        words, code, advice = self._told(error)
        if work.job.remote or work.job.attempts:
            # The job is there, or may be: that it cannot be seen just now is not its end.
            raise TrainingError(f"job {work.job.id} cannot be followed: {words} ({code}); {advice}") from None
        work.record([TrainingFailed(words, code, refused=True, advice=advice)])
        return None

    def _wait(self, work: Work, error: APIError | None = None) -> float:
        """Seconds until the next look: more of them each time there is nothing new, and as many as the server asks."""
        looks = self._quiet.get(work.job.id, 0)
        self._quiet[work.job.id] = looks + 1
        delay = min(LATEST, self._soonest * 2.0 ** min(looks, 16))
        if error is not None:
            delay = max(delay, retry_after(error))
            _log.warning("job %s: %s; again in %.0f s", work.job.id, self._told(error)[0], delay)
        return delay

    def _refuse_other_server(self, work: Work) -> None:
        """A job that one server may have is not looked for at another one."""
        here = self._server
        kept = work.directory / _SERVER
        if not kept.is_file():
            kept.write_text(f"{here}\n", encoding="utf-8")
        elif (there := kept.read_text(encoding="utf-8").strip()) != here:
            raise TrainingError(
                f"job {work.job.id} was begun at {there}, not at {here}; set [openai] base_url back, or cancel it there"
            )

    def _send(self, work: Work, split: str) -> float | None:
        """Send the file of a split, or the next part of it."""
        try:
            path = work.file(split)
        except TrainingError as error:
            advice = "build the dataset again, and start a new job"
            work.record([TrainingFailed(self._clean(str(error)), "files", refused=True, advice=advice)])
            return None
        size = path.stat().st_size
        name = f"{work.job.id}-{split}.jsonl"
        begun = work.directory / f"{split}.upload.json"
        if size > self._whole:
            file = self._parts.send(self._client, path, name, begun)
            if file is None:
                return 0.0
        else:
            file = send_whole(self._client, path, name)
            if file is None:
                return self._wait(work)
        digest = work.job.request.sha256[split]
        work.record([TrainingFileUploaded(split, file, digest, size)], [f"training:{work.job.id}:file:{split}"])
        begun.unlink(missing_ok=True)
        return 0.0

    # --- the request that makes the job ------------------------------------------------------------------------------

    def _make(self, work: Work) -> float | None:
        """Make the job: the only request that costs anything, and never repeated by the client."""
        from openai import APIError

        job, request = work.job, work.job.request
        attempt = job.attempts + 1
        method = _METHODS[request.method]
        told = {"hyperparameters": request.hyperparameters} if request.hyperparameters else {}
        optional: dict[str, Any] = {"seed": request.seed, "suffix": request.suffix or None}
        optional["validation_file"] = job.uploads["validation"].file if "validation" in job.uploads else None
        # Without a key: should another process have recorded it meanwhile, this one must not go on.
        work.record([TrainingAttempted(attempt)])
        try:
            made = self._client.fine_tuning.jobs.create(
                model=request.model,
                training_file=job.uploads["train"].file,
                method={"type": method, method: told},
                metadata={METADATA: job.id, "trainerlib_dataset": f"{request.dataset} v{request.dataset_version}"},
                **{name: value for name, value in optional.items() if value is not None},
            )
        except APIError as error:
            if not passes(error):
                words, code, advice = self._told(error)
                work.record([TrainingFailed(words, code, refused=True, advice=advice)])
                return None
            if getattr(error, "status_code", None) in _UNMADE or never_sent(error):
                self._unmade[job.id] = attempt
            return max(self._wait(work, error), min(RAREST, self._soonest * 2.0 ** min(attempt, 16)))
        # An answer without an id is none: the list will say.
        if id_of(made) is None:
            return self._wait(work)
        self._submitted(work, made, found=False)
        return 0.0

    def _find(self, work: Work) -> float | None:
        """Look whether the job that nobody answered for is there; make it when it is certain that it is not."""
        found = self._mine(work)
        if found is not None:
            self._submitted(work, found, found=True)
            return 0.0
        left = self._uncertain_for(work)
        return self._make(work) if left <= 0 else min(left, self._wait(work))

    def _uncertain_for(self, work: Work) -> float:
        """Seconds until a job that is not in the list does not exist."""
        if self._unmade.get(work.job.id) == work.job.attempts:
            return 0.0
        # The log's clock may have been put back meanwhile, that of this process never is.
        since = self._since.setdefault((work.job.id, work.job.attempts), time.monotonic())
        left = min(work.job.attempted_us / 1e6 - time.time(), since - time.monotonic())
        return left + self._patience

    def _mine(self, work: Work) -> FineTuningJob | None:
        """The job at the trainer's, by our id or by the file that no other job trains on.

        The whole list is read: its order and its times are the server's, and a job that is missed is paid for twice.
        """
        files = {upload.file for upload in work.job.uploads.values()}
        for job in self._client.fine_tuning.jobs.list(limit=PAGE):
            if (job.metadata or {}).get(METADATA) == work.job.id or getattr(job, "training_file", None) in files:
                return job
        return None

    def _submitted(self, work: Work, job: FineTuningJob, *, found: bool) -> None:
        self._unmade.pop(work.job.id, None)
        event = TrainingSubmitted(job.id, self._state(job), found)
        work.record([event], [f"training:{work.job.id}:submitted"])

    # --- following ---------------------------------------------------------------------------------------------------

    def _look(self, work: Work) -> float | None:
        """Record what is new of a job: its events, checkpoints and state, and its end after all of these."""
        job = work.job
        remote = self._client.fine_tuning.jobs.retrieve(job.remote)
        seen = self._seen.setdefault(job.id, set())
        said = self._new_events(job.remote, seen)
        outcome = self._outcome(remote)
        events: list[Event] = [self._progress(event) for event in said.values()]
        keys: list[str | None] = [f"training:{job.id}:{self._clean(name)}" for name in said]
        for checkpoint in self._checkpoints(job.remote) if said or outcome else []:
            events.append(checkpoint[1])
            keys.append(f"training:{job.id}:{self._clean(checkpoint[0])}")
        state = self._state(remote)
        if state and state != job.remote_state:
            events.append(TrainingProgressed(state=state))
            keys.append(None)
        if outcome is not None:
            events.append(outcome)
            keys.append(None)
        work.record(events, keys)
        seen.update(said)
        if outcome is not None:
            self._quiet.pop(job.id, None)
            self._seen.pop(job.id, None)
            return None
        if events:
            self._quiet.pop(job.id, None)
        return self._wait(work)

    def _new_events(self, remote: str, seen: set[str]) -> dict[str, FineTuningJobEvent]:
        """Events not seen yet, by id, oldest first. The list begins with the newest: a page without new ones is the last."""
        from openai import APIStatusError

        new: dict[str, FineTuningJobEvent] = {}
        try:
            page = self._client.fine_tuning.jobs.list_events(remote, limit=PAGE)
            while True:
                # Two pages overlap when something was said between the two requests.
                fresh = {name: event for event in page.data or [] if (name := _name_of(event)) not in seen}
                new |= fresh
                if not fresh or not page.has_next_page():
                    return dict(reversed(new.items()))
                page = page.get_next_page()
        except APIStatusError as error:
            if error.status_code not in _NO_SUCH_LIST:
                raise
            return {}

    def _progress(self, event: FineTuningJobEvent) -> TrainingProgressed:
        data = event.data if isinstance(event.data, Mapping) else {}
        metrics = {self._clean(str(name)): float(value) for name, value in data.items() if _is_number(value)}
        step, steps = metrics.pop("step", None), metrics.pop("total_steps", None)
        at = getattr(event, "created_at", None)
        return TrainingProgressed(
            step=None if step is None else int(step),
            steps=None if steps is None else int(steps),
            epoch=metrics.pop("epoch", None),
            metrics=metrics,
            message=self._clean(getattr(event, "message", None) or ""),
            level=self._clean(getattr(event, "level", None) or "info"),
            at=datetime.fromtimestamp(at, UTC) if isinstance(at, (int, float)) and 0 <= at < _FAR else None,
        )

    def _checkpoints(self, remote: str) -> Iterable[tuple[str, TrainingCheckpointed]]:
        """`(id, event)` of every checkpoint, oldest first; none where the server keeps no list of them."""
        from openai import APIStatusError

        try:
            found = list(self._client.fine_tuning.jobs.checkpoints.list(remote, limit=PAGE))
        except APIStatusError as error:
            if error.status_code not in _NO_SUCH_LIST:
                raise
            return []
        kept = []
        for one in reversed(found):
            told = one.to_dict()
            name, step, measured = map(told.get, ("fine_tuned_model_checkpoint", "step_number", "metrics"))
            metrics = {
                self._clean(metric): float(value)
                for metric, value in (measured if isinstance(measured, dict) else {}).items()
                if _is_number(value) and metric != "step"
            }
            event = TrainingCheckpointed(self._clean(str(name)), int(step) if _is_number(step) else 0, metrics)
            kept.append((id_of(one) or event.checkpoint, event))
        return kept

    def _outcome(self, remote: FineTuningJob) -> Event | None:
        status = self._state(remote)
        if status == "succeeded" and remote.fine_tuned_model:
            return TrainingSucceeded(f"openai:{self._clean(remote.fine_tuned_model)}", remote.trained_tokens)
        if status == "failed":
            words = self._clean((remote.error and remote.error.message) or "OpenAI does not say why it failed")
            code = self._clean((remote.error and remote.error.code) or "")
            return TrainingFailed(words, code, advice=hint(code, 0, words, official=self._official))
        return TrainingCancelled() if status in ("cancelled", "canceled") else None

    # --- changing ----------------------------------------------------------------------------------------------------

    def cancel(self, work: Work) -> None:
        """End the job; one that nobody answered for is looked for first."""
        if work.job.attempts:
            self._refuse_other_server(work)
        if not work.job.remote and work.job.attempts:
            found = self._asked(work, lambda: self._mine(work))
            if found is not None:
                self._submitted(work, found, found=True)
            elif (left := self._uncertain_for(work)) > 0:
                raise TrainingError(
                    f"nobody knows yet whether job {work.job.id} was begun, and what does not exist cannot be "
                    f"cancelled; try again in {left:.0f} s"
                )
        if not work.job.remote:
            work.record([TrainingCancelled()])
            return
        jobs = self._client.fine_tuning.jobs
        changed = self._asked(work, lambda: jobs.cancel(work.job.remote))
        # What was said until then, and whether it ended by this or before.
        self._changed(work, changed)

    def pause(self, work: Work) -> None:
        """Hold the job, where the server can."""
        jobs = self._client.fine_tuning.jobs
        self._changed(work, self._asked(work, lambda: jobs.pause(self._remote(work))))

    def resume(self, work: Work) -> None:
        """Let a paused job go on."""
        jobs = self._client.fine_tuning.jobs
        self._changed(work, self._asked(work, lambda: jobs.resume(self._remote(work))))

    def _remote(self, work: Work) -> str:
        if not work.job.remote:
            raise TrainingError(f"job {work.job.id} has not begun at OpenAI yet")
        return work.job.remote

    def _changed(self, work: Work, remote: FineTuningJob) -> None:
        """Record what a job became by our own doing."""
        from openai import APIError

        self._quiet.pop(work.job.id, None)
        state = self._state(remote)
        try:
            if self._outcome(remote) is not None:
                # Its last events come before its end.
                self._look(work)
        except APIError:
            # The change was made; what else there is to know, the next look records.
            pass
        if state and state != work.job.remote_state and not work.job.ended:
            work.record([TrainingProgressed(state=state)])

    def _state(self, remote: FineTuningJob) -> str:
        return self._clean(getattr(remote, "status", None) or "")

    def _asked(self, work: Work, request: Callable[[], _GIVEN]) -> _GIVEN:
        """What a request gives, or why it does not."""
        from openai import APIError

        try:
            return request()
        except APIError as error:
            words, code, _ = self._told(error)
            after = "; what came of it is seen at the next look" if passes(error) else ""
            raise TrainingError(f"job {work.job.id} cannot be changed now: {words} ({code}){after}") from None

    # --- words -------------------------------------------------------------------------------------------------------

    def _told(self, error: APIError) -> tuple[str, str, str]:
        """What a failed request says: the server's words, its code, and what to do."""
        status = getattr(error, "status_code", 0)
        body = error.body if isinstance(error.body, Mapping) else {}
        words = self._clean(str(body.get("message") or error.message), key_like=True)
        code = self._clean(str(error.code or "") or (f"http-{status}" if status else "no-answer"))
        return words, code, hint(code, status, words, official=self._official)

    def _clean(self, text: str, *, key_like: bool = False) -> str:
        """Words of a server as one line, without our secrets."""
        text = text.encode(errors="replace").decode().replace("\0", " ")
        secrets = [self._workshop.secret(name) or "" for name in (KEY, WEBHOOK_SECRET)]
        return " ".join(without_secrets(text, *secrets, key_like=key_like).split())[:_LONGEST]


def _name_of(event: FineTuningJobEvent) -> str:
    """What an event is recorded once by: its id, or what it says where a server gives none."""
    return id_of(event) or f"said:{sha256(repr(event.to_dict()).encode(errors='replace')).hexdigest()[:24]}"


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value)


def _check_number(name: str, value: object) -> None:
    kind, low, high = _NUMBERS[name]
    right = isinstance(value, int) or (kind is float and isinstance(value, float))
    if value != "auto" and not (right and not isinstance(value, bool) and value and low <= cast(float, value) <= high):
        what = "a whole number" if kind is int else "a number above 0"
        bounds = f"from {low:g} to {high:g}" if kind is int else f"to {high:g}"
        raise TrainingError(f"{name} cannot be {value!r}; {what} {bounds}, or auto")
