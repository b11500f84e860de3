"""Chat models by name: `memory`, `openai:NAME`, `local:NAME`.

>>> from trainerlib.settings import Settings
>>> open_model("memory", directory=tmp, settings=Settings(), secret=lambda name: None)
MemoryModel()
>>> open_model("gpt-x", directory=tmp, settings=Settings(), secret=lambda name: None)
Traceback (most recent call last):
trainerlib.errors.ModelError: there is no model 'gpt-x'; there is memory, openai:NAME and local:NAME: did you mean
'openai:gpt-x'?
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from trainerlib.chat.memory import MEMORY, MemoryModel
from trainerlib.chat.port import ChatModel
from trainerlib.errors import ModelError
from trainerlib.settings import Settings


def open_model(name: str, *, directory: Path, settings: Settings, secret: Callable[[str], str | None]) -> ChatModel:
    """The chat model of a name.

    Args:
        name: `memory`, `openai:` and what the server calls it, `local:` and a directory below `models/`.
        directory: the workspace.
        settings: of the workspace.
        secret: gives the secret of a name, `None` where there is none.

    Raises:
        ModelError: there is no such model, or a package that it needs is missing.
        SettingsError: the settings do not let it be reached.
    """
    kind, colon, rest = name.partition(":")
    if name == MEMORY:
        return MemoryModel(settings.workspace.language)
    if kind == "openai" and rest.strip():
        from trainerlib.chat.openai_api import OpenAIModel

        return OpenAIModel(rest.strip(), settings.openai, secret)
    if kind == "local" and rest.strip():
        from trainerlib.chat.local import LocalModel

        return LocalModel(name, _local(name, directory))
    hint = f": did you mean 'openai:{name}'?" if name and not colon else ""
    raise ModelError(f"there is no model {name!r}; there is memory, openai:NAME and local:NAME{hint}")


def _local(name: str, directory: Path) -> Path:
    """Where a model of the workspace lies."""
    from trainerlib.local_models import MODELS, locate

    try:
        return locate(name, directory)
    except ModelError as error:
        found = sorted(file.parent.name for file in (directory / MODELS).glob("*/config.json"))
        there = ", ".join(f"local:{one}" for one in found) or "none under models/ yet"
        raise ModelError(f"{error}; there is {there}") from None
