"""What training costs: a small table of prices, which `[prices]` of `workspace.toml` goes over.

>>> known = price("gpt-4o-mini-2024-07-18")
>>> known.training, known.as_of
(3.0, '2026-08-05')
>>> training_cost(160_000, 3, known)
1.44
>>> own = parse_prices({"gpt-4o-mini": {"training": 2.5}})
>>> price("gpt-4o-mini", own).training, price("llama-3") or no_price("llama-3")
(2.5, 'no price known for llama-3; add it under [prices] of workspace.toml: "llama-3" = { training = 3.0 }')
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from trainerlib.errors import SettingsError


class Price(msgspec.Struct, frozen=True):
    """What a provider takes, in US dollars per million tokens; `None` where that is not known.

    Attributes:
        training: for training on them, once for each epoch.
        input: for reading them, by the model that came out.
        output: for writing them, by that model.
        as_of: the day on which this was so, `YYYY-MM-DD`; empty where it is the user's own word.
    """

    training: float | None = None
    input: float | None = None
    output: float | None = None
    as_of: str = ""


_READ = "2026-08-05"

TABLE: dict[str, Price] = {
    "gpt-4.1": Price(training=25.0, input=3.0, output=12.0, as_of=_READ),
    "gpt-4.1-mini": Price(training=5.0, input=0.8, output=3.2, as_of=_READ),
    "gpt-4.1-nano": Price(training=1.5, input=0.2, output=0.8, as_of=_READ),
    "gpt-4o": Price(training=25.0, input=3.75, output=15.0, as_of=_READ),
    "gpt-4o-mini": Price(training=3.0, input=0.3, output=1.2, as_of=_READ),
}
"""Prices of fine-tuning: section "Fine-tuning" of OpenAI's pricing page, standard processing."""

_VERSION = re.compile(r"(?:-(?:\d[\d-]*|latest))?")
_DEAREST = 1_000_000
_KEYS = ("training", "input", "output")


def price(model: str, overrides: Mapping[str, Price] | None = None) -> Price | None:
    """What is known of a model's price, `None` when nothing is.

    An entry fits its own model and each version of it (`gpt-4o-mini` fits `gpt-4o-mini-2024-07-18`, and is not
    `gpt-4o`), and what was tuned from it (`ft:gpt-4o-mini-2024-07-18:shop::a1`). The longest entry that fits counts,
    first among the user's. What the user's leaves open is as the table says.

    Args:
        model: name of the model, as its provider calls it.
        overrides: the user's own prices, as `parse_prices` gives them.

    >>> price("gpt-4o-audio-preview") is None
    True
    """
    known = _fitting(model, TABLE)
    own = _fitting(model, overrides or {})
    if own is None or known is None:
        return own or known
    return Price(
        training=known.training if own.training is None else own.training,
        input=known.input if own.input is None else own.input,
        output=known.output if own.output is None else own.output,
    )


def no_price(model: str) -> str:
    """What to tell people when `price` knows nothing.

    >>> no_price("llama-3")
    'no price known for llama-3; add it under [prices] of workspace.toml: "llama-3" = { training = 3.0 }'
    """
    return f'no price known for {model}; add it under [prices] of workspace.toml: "{model}" = {{ training = 3.0 }}'


def training_cost(tokens: int, epochs: float, price: Price | None) -> float | None:
    """US dollars that training costs, `tokens * epochs * price.training / 1,000,000`; `None` when no price is known.

    Args:
        tokens: of all examples, seen once, as `trainerlib.tokens.count_chat` counts.
        epochs: how often each is seen.
        price: of the model.

    >>> training_cost(1_000_000, 3, Price(training=25.0)), training_cost(1_000_000, 3, None)
    (75.0, None)
    """
    if price is None or price.training is None:
        return None
    return tokens * epochs * price.training / 1_000_000


def parse_prices(table: Mapping[str, Any]) -> dict[str, Price]:
    """The user's own prices, from the section `[prices]`: for each model a table with `training`, `input`, `output`.

    Args:
        table: the section as TOML reads it.

    Raises:
        SettingsError: something else stands there; the message has the model and what would be right.

    >>> parse_prices({"gpt-4o-mini": {"training": "3"}})
    Traceback (most recent call last):
    trainerlib.errors.SettingsError: prices."gpt-4o-mini".training cannot be '3'; US dollars per million tokens,
    a number from 0 to 1,000,000
    """
    return {model: _parsed(model, entry) for model, entry in table.items()}


def _parsed(model: str, entry: Any) -> Price:
    name = f'prices."{model}"'
    if not isinstance(entry, Mapping) or not entry:
        raise SettingsError(f'{name} cannot be {entry!r}; write "{model}" = {{ training = 3.0 }}')
    for key, value in entry.items():
        if key not in _KEYS and isinstance(value, Mapping):
            # TOML takes a dot in a bare key for a table in a table.
            raise SettingsError(f'{name} has no key {key!r}; put the name of the model in quotes: "{model}.{key}"')
        if key not in _KEYS:
            close = difflib.get_close_matches(key, _KEYS, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there is {', '.join(_KEYS)}"
            raise SettingsError(f"{name} has no key {key!r}; {hint}")
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not 0 <= value <= _DEAREST:
            right = f"US dollars per million tokens, a number from 0 to {_DEAREST:,}"
            raise SettingsError(f"{name}.{key} cannot be {value!r}; {right}")
    return Price(training=entry.get("training"), input=entry.get("input"), output=entry.get("output"))


def _fitting(model: str, prices: Mapping[str, Price]) -> Price | None:
    """The price of the longest name that fits a model."""
    names = (model, _tuned_from(model))
    fitting: Iterable[str] = (entry for entry in prices if any(_fits(entry, name) for name in names))
    best = max(fitting, key=len, default=None)
    return None if best is None else prices[best]


def _fits(entry: str, name: str) -> bool:
    return name.startswith(entry) and _VERSION.fullmatch(name, len(entry)) is not None


def _tuned_from(model: str) -> str:
    """The model that a fine-tuned one of OpenAI was made from: `ft:<model>:<organisation>:<name>:<id>`."""
    return model.split(":")[1] if model.startswith("ft:") else model
