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
