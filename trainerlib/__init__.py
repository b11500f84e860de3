"""trainerlib: every message, correction and rating of your bot as an event, and fine-tuning datasets built from them.

>>> import trainerlib
>>> ws = trainerlib.open(tmp / "workspace")
>>> chat = ws.conversation("telegram:42")
>>> question = chat.record("user", "When are you open?", author="telegram:7")
>>> answer = chat.record("assistant", "At 10.", in_reply_to=question)
>>> correction = ws.correct(answer.id, "9 to 18, every day.", by="telegram:1")
>>> ws.person("telegram:7").give_consent(wording="2026-11")
>>> ws.datasets.build("support", trainerlib.Recipe(targets="corrected")).examples
1
>>> ws.close()
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainerlib.chats import Chat
    from trainerlib.checks import check
    from trainerlib.conversations import Conversation, Correction, Feedback, Message
    from trainerlib.diffs import DatasetDiff
    from trainerlib.errors import TrainerlibError
    from trainerlib.events import Attachment
    from trainerlib.examples import Example, Turn
    from trainerlib.exports import ExportReport
    from trainerlib.imports import ImportReport
    from trainerlib.pending import Pending
    from trainerlib.recipes import Recipe, Split
    from trainerlib.registry import Datasets
    from trainerlib.replies import Answer
    from trainerlib.store.eventstore import EventStore
    from trainerlib.versions import Dataset
    from trainerlib.workspace import Stats, Workspace, load_recipe
    from trainerlib.workspace import open_workspace as open  # noqa: A004 - trainerlib.open reads as intended

__version__ = "0.1.0"

_WHERE = {
    "Answer": "trainerlib.replies",
    "Attachment": "trainerlib.events",
    "Chat": "trainerlib.chats",
    "Conversation": "trainerlib.conversations",
    "Correction": "trainerlib.conversations",
    "Dataset": "trainerlib.versions",
    "DatasetDiff": "trainerlib.diffs",
    "Datasets": "trainerlib.registry",
    "EventStore": "trainerlib.store.eventstore",
    "Example": "trainerlib.examples",
    "ExportReport": "trainerlib.exports",
    "Feedback": "trainerlib.conversations",
    "ImportReport": "trainerlib.imports",
    "Message": "trainerlib.conversations",
    "Pending": "trainerlib.pending",
    "Recipe": "trainerlib.recipes",
    "Split": "trainerlib.recipes",
    "Stats": "trainerlib.workspace",
    "TrainerlibError": "trainerlib.errors",
    "Turn": "trainerlib.examples",
    "Workspace": "trainerlib.workspace",
    "check": "trainerlib.checks",
    "load_recipe": "trainerlib.workspace",
    "open": "trainerlib.workspace",
}

__all__ = [
    "Answer",
    "Attachment",
    "Chat",
    "Conversation",
    "Correction",
    "Dataset",
    "DatasetDiff",
    "Datasets",
    "EventStore",
    "Example",
    "ExportReport",
    "Feedback",
    "ImportReport",
    "Message",
    "Pending",
    "Recipe",
    "Split",
    "Stats",
    "TrainerlibError",
    "Turn",
    "Workspace",
    "check",
    "load_recipe",
    "open",
]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used, so that `import trainerlib` stays quick."""
    where = _WHERE.get(name)
    if where is None:
        raise AttributeError(f"module 'trainerlib' has no attribute {name!r}")
    value = getattr(import_module(where), "open_workspace" if name == "open" else name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, "__version__"})
