"""A Bot API server, and a shop whose bot is on it."""

from __future__ import annotations

import pytest


@pytest.fixture
def server():
    from telegram_server import TelegramServer

    with TelegramServer() as telegram:
        yield telegram


@pytest.fixture
def shop(tmp_path, server):
    from telegram_talk import Shop

    with Shop(tmp_path / "shop", server) as running:
        yield running


@pytest.fixture
def slow(tmp_path, server):
    """A shop whose model waits after its first word, and whose answers are shown from that on."""
    import asyncio

    from answering import Echo
    from telegram_talk import Shop

    from bots.telegram.sending import Tempo

    tempo = Tempo(after=0.0, draft=0.0, edit=0.0)
    with Shop(tmp_path / "shop", server, model=Echo(gate=asyncio.Event()), tempo=tempo) as running:
        yield running
