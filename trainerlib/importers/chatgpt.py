"""ChatGPT's data export, `conversations.json`: a list of conversations, each a tree of messages.

The branch that was on the screen is read: from `current_node` up to the root. What only the machinery saw (hidden
nodes, the model's own thoughts, the user's standing profile) is not a message and is passed over.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from trainerlib.events import Attachment, Role
from trainerlib.importers.fields import integer, mapping, mappings, moment, string
from trainerlib.importers.jsonstream import JsonStream
from trainerlib.importers.records import BadLine, Record, SourceConversation, SourceMessage
from trainerlib.importers.source import Source

_ROLES: dict[Any, Role] = {"system": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
_MACHINERY = frozenset({"thoughts", "reasoning_recap", "user_editable_context", "model_editable_context"})


class _Conversation(msgspec.Struct):
    mapping: dict[str, Any]
    title: Any = None
    id: Any = None
    conversation_id: Any = None
    current_node: Any = None


def read(source: Source) -> Iterator[Record]:
    """The conversations that have messages."""
    stream = JsonStream(source.read)
    for item in stream.documents(msgspec.json.Decoder(_Conversation).decode, "conversation"):
        if isinstance(item, BadLine):
            yield item
        else:
            yield from _conversation(*item)


def _conversation(line: int, raw: _Conversation) -> Iterator[Record]:
    messages: list[SourceMessage] = []
    branch = _branch(raw)
    if branch and not _is_root(branch[0][1]):
        yield BadLine(line, f"the conversation breaks off above message {branch[0][0]}")
    for name, node in branch:
        # The root has a message too, which is null.
        content = node.get("message", {})
        message = None if content is None else _message(line, name, content, messages[-1].id if messages else None)
        if isinstance(message, BadLine):
            yield message
        elif message is not None:
            messages.append(message)
    if messages:
        identity = string(raw.conversation_id) or string(raw.id)
        yield SourceConversation(identity, "chatgpt", tuple(messages), title=string(raw.title), line=line)


def _branch(raw: _Conversation) -> list[tuple[str, dict[str, Any]]]:
    """Nodes and their ids, from the root to the current node, or to the last leaf where none is named."""
    node = raw.current_node
    if not isinstance(node, str) or node not in raw.mapping:
        leaves = [name for name, one in raw.mapping.items() if not mapping(one).get("children")]
        node = leaves[-1] if leaves else None
    found: dict[str, dict[str, Any]] = {}
    while isinstance(node, str) and node in raw.mapping and node not in found:
        found[node] = mapping(raw.mapping[node])
        node = found[node].get("parent")
    return list(reversed(found.items()))


def _is_root(node: dict[str, Any]) -> bool:
    return node.get("parent") is None and ("parent" in node or node.get("message") is None)


def _message(line: int, node: str, node_message: Any, previous: str | None) -> SourceMessage | BadLine | None:
    raw = mapping(node_message)
    metadata, content = mapping(raw.get("metadata")), mapping(raw.get("content"))
    kind = content.get("content_type")
    if metadata.get("is_visually_hidden_from_conversation") or kind in _MACHINERY:
        return None
    name = mapping(raw.get("author")).get("role")
    role = _ROLES.get(name) if isinstance(name, str) else None
    if role is None:
        return BadLine(line, f"message {node} has the unknown role {name!r}, skipped")
    parts = content.get("parts")
    if not isinstance(parts, list):
        parts = [text for key in ("text", "result") if isinstance(text := content.get(key), str)]
        if not parts:
            return BadLine(line, f"message {node} has content of the unknown type {kind!r}, skipped")
    text = "\n\n".join(part for part in map(_text, parts) if part is not None)
    attachments = _attachments(parts, metadata)
    if role == "system" and not text and not attachments:
        return None
    return SourceMessage(
        node,
        text,
        role=role,
        name=string(mapping(raw.get("author")).get("name")),
        sent_at=moment(raw.get("create_time")),
        in_reply_to=previous,
        attachments=attachments,
        model=string(metadata.get("model_slug")) if role == "assistant" else "",
        weight=0 if raw.get("weight") == 0 else None,
        line=line,
    )


def _text(part: Any) -> str | None:
    """The words of a part; a transcript of speech has them too, a picture has none."""
    words = mapping(part).get("text") if isinstance(part, dict) else part
    return words if isinstance(words, str) else None


def _attachments(parts: list[Any], metadata: dict[str, Any]) -> tuple[Attachment, ...]:
    found = []
    for part in mappings(parts):
        pointer, kind = string(part.get("asset_pointer")), string(part.get("content_type"))
        if pointer:
            found.append(
                Attachment(
                    "photo" if kind.startswith("image") else "voice" if kind.startswith("audio") else "other",
                    file=pointer,
                    size=integer(part.get("size_bytes")),
                )
            )
    found += [
        Attachment(
            "document",
            file=string(file.get("id")),
            name=string(file.get("name")),
            media_type=string(file.get("mime_type")),
            size=integer(file.get("size")),
        )
        for file in mappings(metadata.get("attachments"))
        # Pictures are listed here a second time.
        if not string(file.get("mime_type")).startswith("image/")
    ]
    return tuple(found)
