"""A shop that trains: what it has to train on, and a trainer that does not wait."""

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


def hurried(workspace, **options):
    """Have a workspace train without the waiting that a real server needs."""
    workspace.jobs.use(OpenAITrainer(workspace.jobs.workshop, **{"patience": 0.5, "soonest": 0.01, **options}))
    return workspace
