"""The command line as a test types it: words in, exit status and both outputs back."""

from __future__ import annotations

import io
import json
import os
import sys
from dataclasses import dataclass

import pytest

from trainerlib.cli import main


@dataclass(frozen=True)
class Result:
    status: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)

    @property
    def lines(self):
        return [json.loads(line) for line in self.out.splitlines()]


class CommandLine:
    """Types a command in the test's own directory; `status` is what the command must end with."""

    def __init__(self, capture, monkeypatch):
        self._capture = capture
        self._monkeypatch = monkeypatch

    def __call__(self, *words, status=0, stdin=""):
        content = stdin.encode() if isinstance(stdin, str) else stdin
        self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), encoding="utf-8"))
        self._capture.readouterr()
        ended = main([str(word) for word in words])
        captured = self._capture.readouterr()
        result = Result(ended, captured.out.decode(), captured.err.decode())
        assert ended == status, result
        assert "Traceback" not in result.err
        return result

    def refuse(self, *words, stdin=""):
        """What one line a misuse is answered with; nothing is printed and nobody's directory appears."""
        result = self(*words, status=2, stdin=stdin)
        assert result.out == ""
        assert result.err.startswith("trainerlib: ")
        assert result.err.count("\n") == 1
        return result.err


@pytest.fixture
def cli(tmp_path, monkeypatch, capsysbinary):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("LOGNAME", "anna")
    for name in [name for name in os.environ if name.startswith("TRAINERLIB_")]:
        monkeypatch.delenv(name)
    return CommandLine(capsysbinary, monkeypatch)


@pytest.fixture
def chat_export(tmp_path):
    """A Telegram export of two people of whom none is marked as a bot, with one line nobody can read."""
    said = [
        ("Ivan", "user1", "когда вы открыты?"),
        ("Shop", "user2", "В 10."),
        ("Ivan", "user1", "And on Sunday?"),
        ("Shop", "user2", "Closed\x1b[2J on Sundays."),
    ]
    messages = [
        {
            "id": number,
            "type": "message",
            "date": f"2026-03-01T08:0{number}:00",
            "date_unixtime": str(1_772_352_000 + 60 * number),
            "from": name,
            "from_id": author,
            "text": text,
        }
        for number, (name, author, text) in enumerate(said, 1)
    ]
    path = tmp_path / "result.json"
    chat = {"name": "Flowers", "type": "personal_chat", "id": 42, "messages": messages}
    path.write_text(json.dumps(chat, ensure_ascii=False, indent=1), encoding="utf-8")
    return path


@pytest.fixture
def rows(tmp_path):
    """Twelve training rows, half of them Russian."""
    path = tmp_path / "rows.jsonl"
    lines = []
    for number in range(12):
        question, answer = ("Сколько стоит роза?", "Роза стоит") if number % 2 else ("How much is a rose?", "A rose is")
        turns = [
            {"role": "user", "content": f"{question} {number}"},
            {"role": "assistant", "content": f"{answer} {number} ₽"},
        ]
        lines.append(json.dumps({"messages": turns}, ensure_ascii=False))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
