"""The history `trainerlib demo` plays: an invented flower shop, its bot on Telegram, and what two trainers made of it.

`HISTORY` is a Telegram Desktop export of a whole account; the bot is called `ASSISTANT` in it. `TEACHING` has one JSON
object a line that points at one of its replies by `chat` (id of the chat, as text) and `message` (id of the message):
either a `correction`, or a `rating` (1 or -1) with an optional `text` and `reason`; `by` is the person id of who gave it.

>>> HISTORY.name, TEACHING.name
('history.json', 'teaching.jsonl')
"""

from __future__ import annotations

from pathlib import Path

HISTORY = Path(__file__).with_name("history.json")
TEACHING = Path(__file__).with_name("teaching.jsonl")
ASSISTANT = "Buttercup bot"
