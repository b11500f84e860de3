"""Metrics count what happened in a workspace and its bot, and say nothing of people."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from urllib.error import URLError
from urllib.request import urlopen

import pytest

pytest.importorskip("prometheus_client", reason="needs the extra: pip install 'trainerlib[metrics]'")

from answering import Echo, Failing, Saying, ask, using, whole
from ports import free_port
from prometheus_client.parser import text_string_to_metric_families

import trainerlib
from bots.metrics import Metrics, measured
from trainerlib.chat.port import Completion
from trainerlib.errors import ModelRefusedError, SettingsError


@pytest.fixture
def ws(tmp_path):
    with trainerlib.open(tmp_path / "shop") as workspace:
        yield workspace


def shown(metrics):
    """What Prometheus is shown: a value by the name and the labels."""
    return {
        (sample.name.removeprefix("trainerlib_"), *sample.labels.values()): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def test_replies_are_counted_by_model_and_outcome(ws):
    metrics = Metrics(ws, waiting=lambda: 0)
    chat = ws.conversation("telegram:42")
    using(ws, Echo("echo"))
    ask(ws, chat, "When are you open?")
    ask(ws, chat, "Когда вы открыты?")
    using(ws, Saying("I do not know.", Completion("I do not know.", known=False)))
    ask(ws, chat)
    using(ws, Failing(ModelRefusedError("no")))
    with pytest.raises(ModelRefusedError):
        ask(ws, chat)

    async def stopped():
        using(ws, Echo("slow", asyncio.Event()))
        answer = ws.reply(chat, to=chat.record("user", "one two"))
        async for _ in answer:
            await answer.stop()

    asyncio.run(stopped())
    found = shown(metrics)
    assert found["replies_total", "echo", "answered"] == 2
    assert found["replies_total", "saying", "unknown"] == 1
    assert found["replies_total", "slow", "stopped"] == 1
    assert [value for name, value in found.items() if name[-1] == "failed"] == [1]
    assert found["model_latency_seconds_count", "echo"] == 2
    assert shown(metrics) == found


def test_corrections_and_feedback_are_counted(ws):
    chat = ws.conversation("telegram:42")
    before = ask(ws, chat)
    ws.correct(before.id, "Never.", by="telegram:1")
    metrics = Metrics(ws, waiting=lambda: 0)
    correction = ws.correct(before.id, "9 to 18.", by="telegram:2")
    ws.withdraw_correction(correction.id)
    for rating, person in ((5, 3), (-1, 4), (0, 5), (None, 6)):
        given = ws.give_feedback(before.id, rating=rating, text="" if rating else "Hm.", by=f"telegram:{person}")
    ws.withdraw_feedback(given.id)
    found = shown(metrics)
    assert (found["corrections_total", "given"], found["corrections_total", "withdrawn"]) == (1, 1)
    assert {name[1]: value for name, value in found.items() if name[0] == "feedback_total"} == {
        "good": 1,
        "bad": 1,
        "neutral": 1,
        "words": 1,
        "withdrawn": 1,
    }


def test_updates_are_counted_by_kind_and_what_waits_is_shown(ws):
    waiting = [3]
    metrics = Metrics(ws, waiting=lambda: waiting[0])
    metrics.took("message")
    metrics.took("message")
    metrics.took("tap")
    assert shown(metrics)["waiting_updates",] == 3
    waiting[0] = 0
    found = shown(metrics)
    assert (found["updates_total", "message"], found["updates_total", "tap"], found["waiting_updates",]) == (2, 1, 0)


def test_the_overhead_of_an_answer_is_less_what_the_model_took(ws):
    class Thinking(Echo):
        async def stream(self, prompt):
            await asyncio.sleep(0.02)
            async for piece in super().stream(prompt):
                yield piece

    metrics = Metrics(ws, waiting=lambda: 0)
    using(ws, Thinking())
    reply = ask(ws, ws.conversation("telegram:42"))
    latency = ws.store.at(reply.id).event.latency
    metrics.showed(reply, latency + 0.5)
    assert shown(metrics)["answer_overhead_seconds_sum",] == pytest.approx(0.5)


def test_nobody_and_nothing_that_was_said_is_shown(ws, tmp_path):
    metrics = Metrics(ws, waiting=lambda: 0)
    using(ws, Echo())
    chat = ws.conversation("telegram:42004200420042", title="Лютик")
    question = chat.record("user", "secret words", author="telegram:77700077700", name="Ольга")
    reply = asyncio.run(whole(ws, chat, question))
    ws.correct(reply.id, "other words", by="telegram:77800077800")
    ws.give_feedback(reply.id, rating=-1, text="bad words", by="telegram:77700077700")
    from prometheus_client import generate_latest

    page = generate_latest(metrics.registry).decode()
    assert "trainerlib_replies_total" in page
    for word in ("42004200420042", "Лютик", "77700077700", "77800077800", "Ольга", "words", str(tmp_path)):
        assert word not in page.replace('outcome="words"', "").replace("given or withdrawn", ""), word


def test_prometheus_finds_them_at_their_address_while_the_bot_runs(ws):
    address = f"127.0.0.1:{free_port()}"
    using(ws, Echo())
    with measured(ws, address, waiting=lambda: 0) as meter:
        meter.took("message")
        ask(ws, ws.conversation("telegram:42"))
        with urlopen(f"http://{address}/metrics") as answer:
            page = answer.read().decode()
    families = {family.name for family in text_string_to_metric_families(page)}
    assert {"trainerlib_updates", "trainerlib_replies", "trainerlib_waiting_updates"} <= families
    assert 'trainerlib_replies_total{model="echo",outcome="answered"} 1.0' in page
    with pytest.raises(URLError):
        urlopen(f"http://{address}/metrics")


def test_an_address_that_is_taken_is_named(ws):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(SettingsError, match=address), measured(ws, address, waiting=lambda: 0):
            pass


def test_without_the_package_it_is_said_how_to_install_it(ws, monkeypatch):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with (
        pytest.raises(SettingsError, match=r"prometheus_client: pip install 'trainerlib\[metrics\]'"),
        measured(ws, "127.0.0.1:0", waiting=lambda: 0),
    ):
        pass


def test_nothing_is_loaded_and_nothing_counted_where_they_are_off(tmp_path):
    code = """
import sys
import trainerlib
from bots.metrics import Meter, measured
with trainerlib.open(sys.argv[1]) as ws, measured(ws, "", waiting=lambda: 0) as meter:
    assert type(meter) is Meter
    meter.took("message")
assert "prometheus_client" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "shop")], check=True, timeout=60)
