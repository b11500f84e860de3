"""What the tests share: histories, exports as the platforms write them, logs to compare, and processes to kill."""

from __future__ import annotations

import json
import random
import re
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import trainerlib
from trainerlib.codec import CODEC

BEGIN = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
BOT = "Shop bot"
BOT_ID = "user500"


README = Path(__file__).resolve().parent.parent / "README.md"


def readme_block(language: str) -> str:
    """The one block of code in a language that the README has."""
    [block] = re.findall(rf"^```{language}\n(.*?)^```$", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return str(block)


def log(workspace: trainerlib.Workspace) -> list[tuple[Any, ...]]:
    """Every event of a log as (position, stream, version, type, data, key): all of it but when it was recorded."""
    return [
        (
            recorded.position,
            recorded.stream,
            recorded.version,
            recorded.event.wire_name,
            CODEC.encode(recorded.event)[2],
            recorded.key,
        )
        for recorded in workspace.store.read_all()
    ]


def types(workspace: trainerlib.Workspace, *, after: int = 0) -> list[str]:
    """The wire names of the events after a position."""
    return [recorded.event.wire_name for recorded in workspace.store.read_all(after=after)]


def said(
    number: int, text: str, *, by: str = "Olga", person: str = "user7", minutes: float = 0, **more: Any
) -> dict[str, Any]:
    """A message of a Telegram export, so many minutes after `BEGIN`."""
    at = BEGIN + timedelta(minutes=minutes or number)
    return {
        "id": number,
        "type": "message",
        "date": at.strftime("%Y-%m-%dT%H:%M:%S"),
        "date_unixtime": str(int(at.timestamp())),
        "from": by,
        "from_id": person,
        "text": text,
        **more,
    }


def replied(number: int, text: str, **more: Any) -> dict[str, Any]:
    """A message of the bot in a Telegram export."""
    return said(number, text, **{"by": BOT, "person": BOT_ID, **more})


def reaction(emoji: str, *people: str) -> dict[str, Any]:
    """A reaction on a message of a Telegram export."""
    recent = [{"from": person, "from_id": person, "date": "2026-03-02T12:00:00"} for person in people]
    return {"type": "emoji", "count": len(people), "emoji": emoji, "recent": recent}


def telegram(messages: list[dict[str, Any]], *, chat: int = 42, name: str = "Flower shop") -> dict[str, Any]:
    """A Telegram export of one chat."""
    return {"name": name, "type": "personal_chat", "id": chat, "messages": messages}


def write(path: Path, content: Any) -> Path:
    """Write an export: rows as lines, text as it is, anything else as JSON."""
    if isinstance(content, list):
        content = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in content)
    elif not isinstance(content, str):
        content = json.dumps(content, ensure_ascii=False, indent=1)
    path.write_text(content, encoding="utf-8")
    return path


def row(name: str, *texts: str, **more: Any) -> dict[str, Any]:
    """A conversation of the interchange form: question, reply, question, ..."""
    roles = ("user", "assistant")
    messages = [{"role": roles[index % 2], "content": text} for index, text in enumerate(texts)]
    return {"id": name, "messages": messages, **more}


def begun(script: str, *arguments: object) -> subprocess.Popen[str]:
    """A Python process that runs a script, once it has printed `begin`."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begin\n"
    return process


def finish(process: subprocess.Popen[str]) -> float:
    """Let a process run to its end; how many seconds that took."""
    began = time.monotonic()
    process.communicate(timeout=60)
    assert process.returncode == 0
    return time.monotonic() - began


def kill(process: subprocess.Popen[str], seconds: float) -> bool:
    """SIGKILL at a random moment of so many seconds; False when it had ended before."""
    time.sleep(random.random() * seconds)
    process.kill()
    process.communicate(timeout=60)
    return process.returncode == -signal.SIGKILL
