"""Real files from elsewhere, where the checkout has them beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainerlib import importers
from trainerlib.importers.records import BadLine, SourceConversation, SourceMessage

SHARED = Path(__file__).resolve().parents[3] / "shared"
SAMPLES = {
    "chatgpt/convoviz_fixtures_conversations.json": ("chatgpt", 7, 0),
    "discord/discordchatexporter_general.json": ("discord", 5, 0),
    "openai/openai_chat_finetune.jsonl": ("openai-chat", 6, 0),
    "telegram/langchain_result.json": ("telegram", 4, 0),
    "telegram/personal_chat.json": ("telegram", 4, 0),
    "telegram/telegram_control_char_invalid_json.json": ("telegram", 1, 1),
    "telegram/telegram_edge_result.json": ("telegram", 5, 1),
    "whatsapp/langchain_chat.txt": ("whatsapp", 11, 0),
    "whatsapp/test_ddmmyy_24hrs.txt": ("whatsapp", 7, 0),
}
CORPORA = {
    "sgd_en": (17193, 312250, 0, 0),
    "oasst_pairs": (754, 2148, 754, 0),
    "topical_rated": (2156, 46903, 0, 21364),
}


def present(path):
    if not path.exists():
        pytest.skip(f"{path.name} is not beside this checkout")
    return path


@pytest.mark.parametrize("name", SAMPLES)
def test_samples(name):
    """Each sample is recognised and gives all its messages."""
    path = present(SHARED / "samples" / name)
    form, messages, bad = SAMPLES[name]
    assert importers.detect(path) == form
    records = list(importers.read(path))
    spoken = [record for record in records if isinstance(record, SourceMessage)]
    spoken += [message for record in records if isinstance(record, SourceConversation) for message in record.messages]
    assert len(spoken) == messages
    assert sum(isinstance(record, BadLine) for record in records) == bad


@pytest.mark.parametrize("name", CORPORA)
def test_corpora(name):
    """Each corpus is in the interchange form and is read to the last correction and rating."""
    path = present(SHARED / "corpora" / f"{name}.jsonl.gz")
    assert importers.detect(path) == "interchange"
    counts = [0, 0, 0, 0]
    for record in importers.read(path):
        assert isinstance(record, SourceConversation)
        counts[0] += 1
        counts[1] += len(record.messages)
        counts[2] += sum(len(message.corrections) for message in record.messages)
        counts[3] += sum(len(message.ratings) for message in record.messages)
    assert tuple(counts) == CORPORA[name]
