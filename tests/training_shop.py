"""A shop that trains: what it has to train on, the server that it trains with, and a trainer that does not wait."""

from __future__ import annotations

from histories import row

from trainerlib.trainers.openai_api import OpenAITrainer

KEY = "sk-the-key-of-the-shop"


def talks(count=40):
    """Short conversations, each with a correction, so that there are pairs as well."""
    for number in range(count):
        question = f"Сколько стоит букет номер {number}?" if number % 2 else f"How much is bouquet number {number}?"
        corrected = {"message": 1, "text": f"{number * 10 + 90} rubles, вместе с доставкой.", "by": "anna"}
        yield row(f"shop:{number}", question, "I do not know.", corrections=[corrected])


def without_environment(monkeypatch):
    """No proxy and no key but those of the test."""
    for name in (
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "OPENAI_API_KEY",
        "OPENAI_BASE_URL",
        "OPENAI_WEBHOOK_SECRET",
    ):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def train_with(server, place, *, timeout):
    """Set a workspace to train with a server."""
    settings = f'[openai]\nbase_url = "{server.url}"\ntimeout = {timeout}\n\n[prices]\n"gpt-x" = {{ training = 3.0 }}\n'
    (place / "workspace.toml").write_text(settings, encoding="utf-8")
    (place / ".env").write_text(f"OPENAI_API_KEY={KEY}\n", encoding="utf-8")


def hurried(workspace, **options):
    """Have a workspace train without the waiting that a real server needs."""
    workspace.jobs.use(OpenAITrainer(workspace.jobs.workshop, **{"patience": 0.5, "soonest": 0.01, **options}))
    return workspace
