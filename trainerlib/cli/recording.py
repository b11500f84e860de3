"""`record`, `correct`, `feedback`: one message, one better reply, one opinion."""

from __future__ import annotations

import sys
from typing import Annotated, Any, get_args

import typer

from trainerlib.cli.failures import misuse
from trainerlib.cli.output import clean, emit, one_line, say
from trainerlib.cli.session import Session, person
from trainerlib.events import Role

MessageId = Annotated[
    str, typer.Argument(metavar="MESSAGE_ID", help="Id of the reply, as `show` and `search` print it.")
]
By = Annotated[str | None, typer.Option("--by", metavar="PERSON", help="Person id of who says it.", show_default=False)]


def record(
    session: Session,
    conversation: Annotated[
        str, typer.Argument(metavar="CONVERSATION", help="Id of the conversation, such as telegram:42.")
    ],
    role: Annotated[str, typer.Argument(metavar="ROLE", help="Who speaks: user, assistant, system or tool.")],
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The words; - reads them from standard input.")],
    *,
    author: Annotated[str, typer.Option(metavar="PERSON", help="Person id, such as telegram:7.")] = "",
    reply_to: Annotated[str | None, typer.Option(metavar="ID", help="The message it answers.")] = None,
    model: Annotated[str, typer.Option(help="The model that wrote it.")] = "",
    key: Annotated[str | None, typer.Option(help="Its natural key: the same key is recorded once.")] = None,
) -> None:
    """Record one message of a conversation."""
    if role not in get_args(Role):
        raise misuse(f"unknown role {role!r}; one of {', '.join(get_args(Role))}")
    words = _words(text)
    answered = None if reply_to is None else number(reply_to)
    with session.open(create=True) as workspace:
        before = workspace.store.position
        chat = workspace.conversation(conversation)
        message = chat.record(role, words, author=author, in_reply_to=answered, model=model, key=key)  # type: ignore[arg-type]
        new = message.id > before
    if session.json:
        emit({"id": message.id, "conversation": conversation, "role": message.role, "new": new})
    elif new:
        say(f"#{message.id} recorded in {conversation}: {message.role} says {one_line(words, 60)!r}")
    else:
        say(f"nothing changed: this was recorded before, as #{message.id}")


def correct(
    session: Session,
    message: MessageId,
    text: Annotated[
        str, typer.Argument(metavar="TEXT", help="What it should have said; - reads it from standard input.")
    ],
    by: By = None,
    note: Annotated[str, typer.Option(help="Why.")] = "",
) -> None:
    """Say what a reply should have been."""
    better, who, reply = _words(text), by if by is not None else person(), number(message)
    with session.open() as workspace:
        was = workspace.message(reply)
        standing = next((item for item in was.corrections if item.by == who and item.text == better), None)
        given = standing or workspace.correct(reply, better, by=who, note=note)
    if session.json:
        emit({"id": given.id, "message": reply, "text": better, "by": who, "new": standing is None})
    elif standing:
        say(f"nothing changed: {who} has said so before")
    else:
        say(f"#{reply} corrected by {who}")
        say(f"  was        {one_line(was.content, 100)}")
        say(f"  should be  {one_line(better, 100)}")


def feedback(
    session: Session,
    message: MessageId,
    *,
    rating: Annotated[int | None, typer.Option(help="-5 to 5; above 0 is good.", show_default=False)] = None,
    text: Annotated[str, typer.Option(help="What you think of it.")] = "",
    reason: Annotated[str, typer.Option(help="A short code, such as wrong-fact.")] = "",
    by: By = None,
) -> None:
    """Rate a reply, or say something about it."""
    who, reply = by if by is not None else person(), number(message)
    if rating is None and not text.strip() and not reason:
        raise misuse("say something: --rating, --text or both")
    with session.open() as workspace:
        said = (who, rating, text, reason)
        standing = next(
            (
                item
                for item in workspace.message(reply).feedback
                if (item.by, item.rating, item.text, item.reason) == said
            ),
            None,
        )
        given = standing or workspace.give_feedback(reply, by=who, rating=rating, text=text, reason=reason)
    if session.json:
        emit({"id": given.id, "message": reply, "rating": rating, "text": text, "by": who, "new": standing is None})
    elif standing:
        say(f"nothing changed: {who} has said so before")
    else:
        say(f"#{reply} {'commented on' if rating is None else f'rated {rating:+d}'} by {who}")


def number(text: str) -> int:
    """The id of a message, with or without the `#` it is printed with."""
    digits = text.removeprefix("#")
    if not digits.isascii() or not digits.isdigit() or len(digits) > 18:
        raise misuse(f"{clean(text)!r} is no message id; `trainerlib show` and `search` print them")
    return int(digits)


def _words(text: str) -> str:
    """The text itself, or what is on standard input (without its last line end) for `-`."""
    if text != "-":
        return text
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise misuse(f"standard input is not UTF-8 (byte {error.start + 1})") from error


def listed(items: Any) -> list[dict[str, Any]]:
    """Corrections or feedback for JSON, without what is of use inside the log only."""
    return [{name: getattr(item, name) for name in item.__struct_fields__ if name != "version"} for item in items]
