"""What a finder is made of: a cheap look, an expression, and what a match of it becomes."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

import msgspec

Place = Callable[[str], str]
"""Gives the placeholder of a value in its normal form."""

Rewrite = Callable[[re.Match[str], Place], str]
"""What a match becomes: itself where it is no value after all."""

SPACE = " \u00a0\u2009\u202f"
"""Characters of a set: spaces that people and spreadsheets put into numbers."""

DASH = r"\-\u2010-\u2015\u2212"
"""Characters of a set: hyphens, dashes and the minus."""

GAP = rf"[{SPACE}{DASH}()]{{0,3}}+"
"""What may stand between two digits of a phone number."""

LONG_RUN = "[0-9](?<![0-9][0-9])(?:[A-Za-z0-9_-]{10}|(?<=[A-Za-z0-9_-]{10}[0-9]))"
"""The first digit of some with ten characters of a token on one side of it, as in every token of twenty with a digit."""


class Finder(msgspec.Struct, frozen=True):
    """Finds values of a kind.

    Attributes:
        kind: the kind.
        possible: a cheap look that says no where nothing can be found.
        replace: a text with a placeholder in place of each value.
    """

    kind: str
    possible: Callable[[str], object]
    replace: Callable[[str, Place], str]


@cache
def pattern(expression: str) -> re.Pattern[str]:
    """A verbose expression, compiled when it is first needed: who only imports trainerlib pays nothing."""
    return re.compile(expression, re.VERBOSE)


def replacing(expression: str, rewrite: Rewrite, *, found_by: str = "", back: int = 0) -> Callable[[str, Place], str]:
    """What rewrites each match of an expression.

    Args:
        expression: what to look for.
        rewrite: what a match becomes.
        found_by: an expression that begins with one character or a set of them, and is in every match: the search for
            a set runs in C, where one that begins with what must not stand before tries everything at every character.
        back: how many characters of the match stand before that.
    """
    if not found_by:
        return lambda text, place: pattern(expression).sub(lambda match: rewrite(match, place), text)

    def replace(text: str, place: Place) -> str:
        compiled = pattern(expression)
        parts, done = [], 0
        for hint in pattern(found_by).finditer(text):
            start = hint.start() - back
            match = compiled.match(text, start) if start >= done else None
            if match is not None:
                parts += [text[done : match.start()], rewrite(match, place)]
                done = match.end()
        return "".join([*parts, text[done:]])

    return replace


def before(match: re.Match[str], size: int) -> str:
    """The characters right before a match, in lower case."""
    start = match.start()
    return match.string[max(0, start - size) : start].lower()


def digits_of(text: str) -> str:
    """The digits of a text."""
    return "".join(filter(str.isdigit, text))
