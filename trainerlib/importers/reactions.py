"""Emoji reactions as ratings."""

from __future__ import annotations

from collections.abc import Iterable

from trainerlib.importers.records import SourceRating

_GOOD = frozenset(
    [
        "👍",
        "❤",
        "❤\u200d🔥",
        "🔥",
        "🥰",
        "😍",
        "🤩",
        "👏",
        "🎉",
        "🙏",
        "👌",
        "💯",
        "🏆",
        "🤝",
        "😘",
        "🤗",
        "💘",
        "🆒",
        "⚡",
        "✅",
        "💪",
        "💖",
        "💙",
        "💚",
        "💛",
        "💜",
        "🧡",
        "♥",
    ]
)
_BAD = frozenset(["👎", "💩", "🤮", "🤬", "😡", "🖕", "🤢", "😠", "❌", "💔"])
# Presentation selectors and skin tones do not change what is meant.
_DRESS = dict.fromkeys([0xFE0E, 0xFE0F, *range(0x1F3FB, 0x1F400)])
_MOST = 10_000


def ratings(emoji: str, by: Iterable[str], count: int) -> tuple[SourceRating, ...]:
    """One rating for each person who reacted, or none when the emoji is neither praise nor blame.

    Args:
        emoji: the reaction.
        by: person ids of those who are known.
        count: how many reacted, the known ones among them; counted up to ten thousand.

    >>> [(rating.rating, rating.by) for rating in ratings("❤️", ["telegram:user7"], 2)]
    [(1, 'telegram:user7'), (1, '')]
    >>> ratings("🤔", ["telegram:user7"], 1)
    ()
    """
    bare = emoji.translate(_DRESS)
    if bare not in _GOOD and bare not in _BAD:
        return ()
    people = [person for person in by if person]
    rating = 1 if bare in _GOOD else -1
    anonymous = max(0, min(count, _MOST) - len(people))
    return tuple(SourceRating(rating, person) for person in (*people, *[""] * anonymous))
