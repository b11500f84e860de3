"""A model is chosen by its name, and a wrong name is answered with the right ones."""

from __future__ import annotations

import subprocess
import sys

import pytest
from chat_asking import ask, asking

from trainerlib.chat.memory import UNKNOWN
from trainerlib.chat.models import open_model
from trainerlib.errors import ModelError
from trainerlib.settings import OpenAISettings, Settings, WorkspaceSettings


def opened(name, directory, **settings):
    return open_model(name, directory=directory, settings=Settings(**settings), secret=lambda _name: None)


def a_model(directory):
    directory.mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (directory / name).write_text("{}")
    return directory


@pytest.mark.parametrize(
    "name", ["memory", "openai:gpt-x", "openai:ft:gpt-x-2026-08-07:shop::a1", "openai:llama3.2:3b"]
)
def test_a_model_has_the_name_it_was_chosen_by(tmp_path, name):
    pytest.importorskip("openai")
    assert opened(name, tmp_path).name == name


def test_memory_speaks_the_language_of_the_workspace_where_the_question_has_none(tmp_path):
    memory = opened("memory", tmp_path, workspace=WorkspaceSettings(language="ru"))
    assert ask(memory, asking("42"))[1].text == UNKNOWN["ru"]


def test_an_openai_model_is_asked_where_the_settings_say(tmp_path, server):
    pytest.importorskip("openai")
    asked = opened("openai:llama3.2", tmp_path, openai=OpenAISettings(base_url=server.url))
    assert ask(asked, asking("Когда?"))[1].text == "С 9 до 18."
    assert server.requests[0].body["model"] == "llama3.2"


@pytest.mark.parametrize("name", ["local:support-v3", "local:models/support-v3"])
def test_a_model_of_the_workspace_is_one_of_its_directories(tmp_path, name):
    a_model(tmp_path / "models" / "support-v3")
    assert opened(name, tmp_path).name == name


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gpt-x", "there is memory, openai:NAME and local:NAME: did you mean 'openai:gpt-x'?"),
        ("", "there is memory, openai:NAME and local:NAME"),
        ("memory:x", "there is memory, openai:NAME and local:NAME"),
        ("openai:", "there is memory, openai:NAME and local:NAME"),
        ("openai: ", "there is memory, openai:NAME and local:NAME"),
        ("anthropic:x", "there is memory, openai:NAME and local:NAME"),
        ("local:", "there is memory, openai:NAME and local:NAME"),
    ],
)
def test_a_wrong_name_is_answered_with_what_there_is(tmp_path, name, words):
    with pytest.raises(ModelError) as caught:
        opened(name, tmp_path)
    assert str(caught.value) == f"there is no model {name!r}; {words}"


def test_a_model_that_the_workspace_does_not_have_is_answered_with_those_it_has(tmp_path):
    with pytest.raises(ModelError, match=r"^local:support-v4: .*; there is none under models/ yet$"):
        opened("local:support-v4", tmp_path)
    for name in ("support-v3", "support-v2"):
        a_model(tmp_path / "models" / name)
    with pytest.raises(ModelError, match=r"^local:support-v4: .*; there is local:support-v2, local:support-v3$"):
        opened("local:support-v4", tmp_path)


def test_opening_memory_loads_nothing_heavy():
    script = """
import sys
from pathlib import Path
from trainerlib.chat.models import open_model
from trainerlib.settings import Settings
open_model("memory", directory=Path(), settings=Settings(), secret=lambda name: None)
print([name for name in ("openai", "httpx2", "torch", "transformers", "sqlalchemy") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"
