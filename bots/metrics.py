"""Metrics of a bot for Prometheus, where the settings ask for them.

What was answered, corrected and rated is read in the log of the workspace when somebody looks, from where it stood at the
start: it counts whoever did it, a bot or the command line. Only what is in no log is told here: the updates that came, and
how long people waited. Labels are names of kinds, models and outcomes; never of people or chats.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from trainerlib import Message, Workspace
from trainerlib.errors import SettingsError
from trainerlib.events import (
    Corrected,
    CorrectionWithdrawn,
    FeedbackGiven,
    FeedbackWithdrawn,
    RecordedEvent,
    ReplyFailed,
    ReplyGenerated,
)

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

_OVERHEAD = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_LATENCY = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0)
"""Upper bounds of the histograms' buckets, in seconds."""


class Meter:
    """Told what a bot does. This one takes no notice."""

    def took(self, kind: str) -> None:
        """An update came that is for the bot.

        Args:
            kind: what was done: `message`, `command`, `tap` and the like.
        """

    def showed(self, reply: Message, seconds: float) -> None:
        """The first message of an answer was shown.

        Args:
            reply: it.
            seconds: since its question came, or its turn.
        """


class Metrics(Meter):
    """Counts what happens in a workspace and its bot.

    Args:
        workspace: it.
        waiting: how many updates wait; called in any thread.

    Attributes:
        registry: what Prometheus is shown.

    Raises:
        SettingsError: prometheus-client is not installed.
    """

    def __init__(self, workspace: Workspace, *, waiting: Callable[[], int]) -> None:
        try:
            from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
        except ModuleNotFoundError as error:
            raise SettingsError(f"metrics need {error.name}: pip install 'trainerlib[metrics]'") from None
        self._workspace = workspace
        self._position = workspace.store.position
        self._reading = threading.Lock()
        self.registry: CollectorRegistry = CollectorRegistry(auto_describe=False)
        # Asked first: what it reads counts in the same look.
        self.registry.register(_Reading(self._read))

        def made(kind: Any, name: str, words: str, labels: Sequence[str] = (), **more: Any) -> Any:
            return kind(f"trainerlib_{name}", words, labels, registry=self.registry, **more)

        self._updates = made(Counter, "updates", "Updates that came for the bot.", ["kind"])
        self._replies = made(Counter, "replies", "Questions that were answered, or failed.", ["model", "outcome"])
        self._latency = made(
            Histogram, "model_latency_seconds", "From request to last word of a model.", ["model"], buckets=_LATENCY
        )
        self._overhead = made(
            Histogram,
            "answer_overhead_seconds",
            "From a message to the first message of its answer, less what the model took.",
            buckets=_OVERHEAD,
        )
        self._corrections = made(Counter, "corrections", "Corrections that were given or withdrawn.", ["outcome"])
        self._feedback = made(Counter, "feedback", "Feedback that was given or withdrawn.", ["outcome"])
        made(Gauge, "waiting_updates", "Updates that are not done yet.").set_function(waiting)

    def took(self, kind: str) -> None:
        """An update came that is for the bot; as `Meter.took`."""
        self._updates.labels(kind).inc()

    def showed(self, reply: Message, seconds: float) -> None:
        """The first message of an answer was shown; as `Meter.showed`."""
        recorded = self._workspace.store.at(reply.id)
        if recorded is not None and isinstance(recorded.event, ReplyGenerated):
            self._overhead.observe(max(0.0, seconds - (recorded.event.latency or 0.0)))

    def _read(self) -> None:
        """Count what came to the log since the last time."""
        with self._reading:
            for recorded in self._workspace.store.read_all(after=self._position):
                self._position = recorded.position
                self._count(recorded)

    def _count(self, recorded: RecordedEvent) -> None:
        match recorded.event:
            case ReplyGenerated(model=model, latency=latency) as reply:
                self._replies.labels(model, _outcome(reply)).inc()
                if latency is not None:
                    self._latency.labels(model).observe(latency)
            case ReplyFailed():
                conversation = recorded.stream.partition("/")[2]
                self._replies.labels(self._workspace.models.answering(conversation), "failed").inc()
            case Corrected():
                self._corrections.labels("given").inc()
            case CorrectionWithdrawn():
                self._corrections.labels("withdrawn").inc()
            case FeedbackGiven(rating=rating):
                self._feedback.labels("words" if rating is None else _judged(rating)).inc()
            case FeedbackWithdrawn():
                self._feedback.labels("withdrawn").inc()


def _outcome(reply: ReplyGenerated) -> str:
    if reply.parameters.get("stopped"):
        return "stopped"
    return "unknown" if reply.parameters.get("known") is False else "answered"


def _judged(rating: int) -> str:
    return "good" if rating > 0 else "bad" if rating < 0 else "neutral"


class _Reading:
    """Reads the log before anything is shown; it shows nothing itself."""

    def __init__(self, read: Callable[[], None]) -> None:
        self._read = read

    def collect(self) -> Iterator[Any]:
        """Called by the registry."""
        self._read()
        return iter(())


@contextmanager
def measured(workspace: Workspace, address: str, *, waiting: Callable[[], int]) -> Iterator[Meter]:
    """What a bot tells what it does; Prometheus finds its metrics at an address as long as the `with` lasts.

    Args:
        workspace: whose bot it is.
        address: host and port, `127.0.0.1:9090`; empty for no metrics.
        waiting: how many updates wait; called in any thread.

    Raises:
        SettingsError: prometheus-client is not installed, or nobody may listen there.
    """
    if not address:
        yield Meter()
        return
    metrics = Metrics(workspace, waiting=waiting)
    from prometheus_client import start_http_server

    host, _, port = address.rpartition(":")
    try:
        server, thread = start_http_server(int(port), host.strip("[]"), metrics.registry)
    except OSError as error:
        raise SettingsError(f"metrics cannot be had at {address}: {error.strerror}") from None
    try:
        yield metrics
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
