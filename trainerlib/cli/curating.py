"""`dataset tag`, `note`, `select`, `card`: what is said about a version of a dataset."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from trainerlib.cli.datasets import Which, find, label, summary
from trainerlib.cli.output import counted, emit, note, one_line, say
from trainerlib.cli.session import Session


def tag(
    session: Session,
    name: Which,
    tags: Annotated[list[str], typer.Argument(metavar="TAG...", help="Labels to put on it.", show_default=False)],
    remove: Annotated[bool, typer.Option("--remove", help="Take them off instead.")] = False,
) -> None:
    """Put labels on a version of a dataset, or take them off."""
    with session.open() as workspace:
        dataset = find(workspace, name)
        if remove:
            dataset.tag(remove=tags)
        else:
            dataset.tag(*tags)
        if session.json:
            emit(summary(dataset))
        else:
            say(f"  {label(dataset)}: {', '.join(dataset.tags) or 'no tags'}")


def write_note(
    session: Session,
    name: Which,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The note; an empty one takes the old one back.")],
) -> None:
    """Write a note about a version of a dataset."""
    with session.open() as workspace:
        dataset = find(workspace, name)
        dataset.write_note(text)
        if session.json:
            emit(summary(dataset))
        else:
            say(f"  {label(dataset)}: {one_line(text, 200) or 'no note'}")


def select(
    session: Session,
    name: Which,
    negative: Annotated[
        bool, typer.Option("--negative/--positive", help="Its replies are to be avoided, not learned.")
    ] = False,
) -> None:
    """Choose the version that the next training uses."""
    with session.open() as workspace:
        dataset = find(workspace, name)
        before = dataset.selected
        dataset.select("negative" if negative else "positive")
        if session.json:
            emit(summary(dataset))
        else:
            again = " already was" if before == dataset.selected else " is now"
            say(f"  {label(dataset)}{again} what the next training uses as {dataset.selected} examples")


def card(
    session: Session,
    name: Which,
    *,
    output: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where to; beside its files by default.", show_default=False)
    ] = None,
    licence: Annotated[str, typer.Option(help="An identifier such as cc-by-4.0, or words of your own.")] = "",
    pictures: Annotated[
        bool | None,
        typer.Option(
            "--pictures/--no-pictures",
            help="Draw the picture too; by default when matplotlib is there.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write the card of a dataset, README.md, and its picture as PNG and SVG."""
    draws = pictures if pictures is not None else find_spec("matplotlib") is not None
    with session.open() as workspace:
        dataset = find(workspace, name)
        written = dataset.write_card(None if output is None else output.expanduser(), licence=licence, pictures=draws)
    if session.json:
        emit(written)
    else:
        for path in written:
            say(f"  {path}")
        if pictures is None and not draws:
            note("  without its picture: pip install 'trainerlib[plots]'")


def cost(
    session: Session,
    name: Which,
    *,
    model: Annotated[str, typer.Option(help="The model to train, such as gpt-4.1-mini.")] = "",
    epochs: Annotated[float, typer.Option(min=0.0, help="How often it sees each example.")] = 3.0,
    vocabulary: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A tiktoken vocabulary, for exact counts.", show_default=False),
    ] = None,
) -> None:
    """Count a dataset's tokens and say what training on them costs, before anything is spent."""
    from trainerlib.prices import no_price, price, training_cost
    from trainerlib.vocabularies import tokenizer

    bare = model.removeprefix("openai:")
    counter = tokenizer(bare, vocabulary=vocabulary)
    with session.open() as workspace:
        dataset = find(workspace, name)
        tokens = dataset.count_tokens(counter)
        known = price(bare, workspace.settings.prices) if bare else None
    dollars = training_cost(tokens, epochs, known)
    if session.json:
        emit(
            {
                "examples": dataset.examples,
                "tokens": tokens,
                "exact": counter.exact,
                "tokenizer": counter.name,
                "epochs": epochs,
                "model": bare,
                "price": known,
                "dollars": dollars,
            }
        )
        return
    about = "" if counter.exact else "about "
    say(f"  {counted(dataset.examples, 'example')}, {about}{tokens:,} tokens by {counter.name}")
    if dollars is not None and known is not None:
        dated = f" (price as of {known.as_of})" if known.as_of else ""
        say(f"  {about}${dollars:,.2f} at {epochs:g} epochs of {bare}{dated}")
    elif bare:
        say(f"  {no_price(bare)}")
    else:
        note("  --model NAME says what training on them costs")
