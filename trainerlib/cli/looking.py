"""`conversations`, `show`, `search`, `stats`: reading what was recorded."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trainerlib.cli.failures import misuse
from trainerlib.cli.output import clean, emit, moment, one_line, say, styled, table, wrapped
from trainerlib.cli.recording import listed
from trainerlib.cli.session import Session
from trainerlib.errors import NotFoundError

if TYPE_CHECKING:
    from trainerlib.conversations import Conversation, Feedback, Message
    from trainerlib.workspace import Workspace

_MARKS = {1: "👍", -1: "👎"}


def conversations(
    session: Session,
    *,
    platform: Annotated[str | None, typer.Option(help="Only those of a platform, such as telegram.")] = None,
    language: Annotated[str | None, typer.Option(help="Only those in a language: en, ru or und.")] = None,
    tag: Annotated[str | None, typer.Option(help="Only those with a label.")] = None,
    rated: Annotated[str | None, typer.Option(help="Only those with a rating: up or down.")] = None,
    corrected: Annotated[
        bool | None,
        typer.Option(
            "--corrected/--uncorrected", help="Only those with, or without, a correction.", show_default=False
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
) -> None:
    """List conversations, the latest first."""
    for name, value, allowed in (("--rated", rated, ("up", "down")), ("--language", language, ("en", "ru", "und"))):
        if value is not None and value not in allowed:
            raise misuse(f"{name} cannot be {value!r}; one of {', '.join(allowed)}")
    with session.open() as workspace:
        found = workspace.conversations(
            platform=platform, language=language, tag=tag, rated=rated, corrected=corrected, limit=limit + 1
        )
    more, found = len(found) > limit, found[:limit]
    if session.json:
        emit(found)
        return
    if not found:
        say(
            "  no conversations"
            + (" like that" if any((platform, language, tag, rated, corrected is not None)) else " yet")
        )
        return
    columns = ("conversation", "title", "", "last message", "#messages", "#corrected", "#👍", "#👎")
    rows = [
        (
            item.id,
            one_line(item.title, 32),
            item.language,
            item.last_at,
            item.messages,
            item.corrections,
            item.up,
            item.down,
        )
        for item in found
    ]
    table(columns, rows)
    if more:
        say(f"  and more: --limit {limit * 5}")


def show(
    session: Session,
    conversation: Annotated[
        str, typer.Argument(metavar="CONVERSATION", help="Id of the conversation, or of a message in it.")
    ],
) -> None:
    """Show a conversation as a dialogue, corrections beside what they replace."""
    with session.open() as workspace:
        state = _find(workspace, conversation)
    if session.json:
        emit(_json(state))
        return
    for line, style in dialogue(state):
        styled(line, style)


def search(
    session: Session,
    query: Annotated[list[str], typer.Argument(metavar="QUERY...", help="Words, in any form, in English or Russian.")],
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
) -> None:
    """Find messages by their words, corrections too."""
    words = " ".join(query)
    with session.open() as workspace:
        hits = workspace.search(words, limit=limit)
    if session.json:
        emit([{"conversation": hit.conversation, **_message(hit.message)} for hit in hits])
        return
    if not hits:
        say(f"  nothing found for {clean(words)!r}")
        return
    for hit in hits:
        message = hit.message
        styled(f"  #{message.id}  {hit.conversation}  {moment(message.sent_at)}", "dim")
        styled(wrapped(one_line(message.content, 300), indent="      ", first=f"    {who(message)}: "))
        for correction in message.corrections:
            styled(wrapped(one_line(correction.text, 300), indent="        ", first="      ✎ "), "green")


def stats(session: Session) -> None:
    """Say how much there is."""
    with session.open() as workspace:
        found = workspace.stats()
        title = workspace.settings.workspace.title
        path = workspace.path
    if session.json:
        emit(found)
        return
    say(f"  {title}: {path}" if title else f"  {path}")
    size = f"{found.database_bytes / 1_000_000:,.1f} MB"
    rows = [
        ("conversations", found.conversations, ""),
        ("messages", found.messages, f"{found.replies:,} of them replies"),
        ("corrections", found.corrections, ""),
        ("ratings", found.up + found.down, f"{found.up:,} up · {found.down:,} down"),
        ("datasets", found.datasets, "versions built"),
        ("imports", found.imports, "files"),
        ("events", found.events, size),
    ]
    table(("", "#", ""), [(name, f"{count:,}", detail) for name, count, detail in rows])


def who(message: Message) -> str:
    """Who says a message, as people are called: by name, by id, by role."""
    return one_line(message.name or message.author or message.role, 40)


def dialogue(state: Conversation, *, last: int | None = None) -> Iterator[tuple[str, str]]:
    """The lines of a conversation, each with its style.

    Args:
        state: the conversation.
        last: only so many messages from its end.
    """
    facts = [
        state.id,
        state.title,
        state.language if state.language != "und" else "",
        *(f"#{tag}" for tag in state.tags),
    ]
    yield "  " + " · ".join(one_line(fact) for fact in facts if fact), "bold"
    day = ""
    for message in state.messages[-last:] if last else state.messages:
        sent = moment(message.sent_at)
        if sent[:10] != day:
            day = sent[:10]
            yield f"  {day} (UTC)", "dim"
        yield from _lines(message, sent[11:16])


def _lines(message: Message, time: str) -> Iterator[tuple[str, str]]:
    speaker = (
        f"{who(message)} (assistant)" if message.role == "assistant" and who(message) != "assistant" else who(message)
    )
    notes = [note for note, true in (("edited", message.original is not None), ("deleted", message.deleted)) if true]
    notes += ["not to be learned"] if message.weight == 0 else []
    yield f"  #{message.id}  {time}  {speaker}" + (f"  ({', '.join(notes)})" if notes else ""), _STYLES[message.role]
    text = message.content or "[" + (", ".join(item.name or item.kind for item in message.attachments) or "empty") + "]"
    replaced = bool(message.corrections) or message.deleted
    yield wrapped(text, indent="      "), "dim strike" if replaced else ""
    for correction in message.corrections:
        said = correction.text + (f"  ({correction.note})" if correction.note else "")
        yield wrapped(said, indent="        ", first=f"      ✎ {one_line(correction.by, 40)}: "), "green"
    for item in message.feedback:
        yield (
            wrapped(_opinion(item), indent="         ", first="      "),
            "yellow" if (item.rating or 0) < 0 else "cyan",
        )


_STYLES = {"user": "bold", "assistant": "bold magenta", "system": "dim", "tool": "dim"}


def _opinion(item: Feedback) -> str:
    mark = "💬" if item.rating is None else _MARKS.get(item.rating, f"{item.rating:+d}")
    said = " ".join(part for part in (item.text, f"[{item.reason}]" if item.reason else "") if part)
    return f"{mark} {item.by}" + (f": {said}" if said else "")


def _find(workspace: Workspace, wanted: str) -> Conversation:
    """The conversation with an id, or the one with the message of a number."""
    state = workspace.conversation(wanted).state
    if state.version:
        return state
    digits = wanted.removeprefix("#")
    if digits.isdecimal() and len(digits) <= 18:
        return workspace.conversation(workspace.conversation_of(int(digits))).state
    known = [item.id for item in workspace.conversations(limit=1_000)]
    close = difflib.get_close_matches(wanted, known, n=1)
    hint = f"did you mean {close[0]}?" if close else "`trainerlib conversations` lists them"
    raise NotFoundError(f"no conversation {wanted!r}; {hint}")


def _json(state: Conversation) -> dict[str, Any]:
    return {
        "id": state.id,
        "platform": state.platform,
        "title": state.title,
        "language": state.language,
        "tags": state.tags,
        "sources": state.sources,
        "messages": [_message(message) for message in state.messages],
    }


def _message(message: Message) -> dict[str, Any]:
    return {
        "id": message.id,
        "role": message.role,
        "text": message.text,
        "author": message.author,
        "name": message.name,
        "sent_at": message.sent_at,
        "in_reply_to": message.in_reply_to,
        "attachments": message.attachments,
        "model": message.model,
        "key": message.key,
        "original": message.original,
        "deleted": message.deleted,
        "corrections": listed(message.corrections),
        "feedback": listed(message.feedback),
    }
