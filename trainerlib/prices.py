"""What training and chatting costs: a small table of prices, which `[prices]` of `workspace.toml` goes over.

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
        input: for reading them: in `TABLE` by the model that came out of a training, in the user's own entry by the
            model of that name, so that `gpt-x` and `ft:gpt-x` can have prices of their own.
        output: for writing them, likewise.
        as_of: the day on which this was so, `YYYY-MM-DD`; empty where it is the user's own word.
        cached: for reading those that the provider still had from a request before; as `input` where it is not known.
    """

    training: float | None = None
    input: float | None = None
    output: float | None = None
    as_of: str = ""
    cached: float | None = None


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
_KEYS = ("training", "input", "output", "cached")


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
        cached=known.cached if own.cached is None else own.cached,
    )


def chat_price(model: str, overrides: Mapping[str, Price] | None = None) -> Price | None:
    """What is known of the price of asking a model, `None` when nothing is.

    The built-in table has what tuned models take, so it says nothing of their base models: for those only an entry of
    the user counts. A tuned model (`ft:gpt-4o-mini-2024-07-18:shop::a1`) has the price of the user's entry for it
    (`ft:gpt-4o-mini`, or its whole name), what that leaves open from the table, and only for a model that the table
    does not have, from the user's entry for its base model.

    Args:
        model: name of the model, as its provider calls it, or with `openai:` before it.
        overrides: the user's own prices, as `parse_prices` gives them.

    >>> chat_price("gpt-4o-mini") is None, chat_price("ft:gpt-4o-mini:shop::a1").output
    (True, 1.2)
    >>> own = parse_prices({"gpt-4o-mini": {"input": 0.15, "output": 0.6}, "ft:gpt-4o-mini": {"output": 1.0}})
    >>> [chat_price(model, own).output for model in ("openai:gpt-4o-mini-2024-07-18", "ft:gpt-4o-mini:shop::a1")]
    [0.6, 1.0]
    """
    name = model.removeprefix("openai:")
    own = overrides or {}
    if not name.startswith("ft:"):
        return _fitting(name, own)
    tuned = _fitting(name, {entry: price for entry, price in own.items() if entry.startswith("ft:")})
    known = _fitting(name, TABLE)
    if tuned is None or known is None:
        return tuned or known or _fitting(name, own)
    return Price(
        input=known.input if tuned.input is None else tuned.input,
        output=known.output if tuned.output is None else tuned.output,
        cached=tuned.cached,
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


def chat_cost(usage: Mapping[str, int], price: Price | None) -> float | None:
    """US dollars that an answer cost; `None` where the tokens were not counted or their price is not known.

    `(input_tokens - cached_tokens) * price.input + cached_tokens * price.cached + output_tokens * price.output`, divided
    by 1,000,000. Where no price of cached tokens is known they count as others do, so the cost is at most this.

    Args:
        usage: `input_tokens`, `output_tokens` and, where there were any, `cached_tokens`, as a `Completion` has them.
        price: of the model, as `chat_price` gives it.

    >>> usage = {"input_tokens": 3_000, "output_tokens": 500, "cached_tokens": 2_000}
    >>> chat_cost(usage, Price(input=1.0, output=4.0)), chat_cost(usage, Price(input=1.0, output=4.0, cached=0.5))
    (0.005, 0.004)
    >>> chat_cost(usage, None), chat_cost({}, Price(input=1.0, output=4.0)), chat_cost(usage, Price(input=1.0))
    (None, None, None)
    """
    read, written = usage.get("input_tokens"), usage.get("output_tokens")
    if price is None or price.input is None or price.output is None or read is None or written is None:
        return None
    cached = min(usage.get("cached_tokens", 0), read)
    saved = 0.0 if price.cached is None else cached * (price.input - price.cached)
    return (read * price.input - saved + written * price.output) / 1_000_000


def parse_prices(table: Mapping[str, Any]) -> dict[str, Price]:
    """The user's own prices, from the section `[prices]`: for each model a table with `training`, `input`, `output`, `cached`.

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
    return Price(**{key: entry[key] for key in _KEYS if key in entry})


def _fitting(model: str, prices: Mapping[str, Price]) -> Price | None:
    """The price of the longest name that fits a model."""
    base = _tuned_from(model)
    names = (model, base) if base == model else (model, base, f"ft:{base}")
    fitting: Iterable[str] = (entry for entry in prices if any(_fits(entry, name) for name in names))
    best = max(fitting, key=len, default=None)
    return None if best is None else prices[best]


def _fits(entry: str, name: str) -> bool:
    return name.startswith(entry) and _VERSION.fullmatch(name, len(entry)) is not None


def _tuned_from(model: str) -> str:
    """The model that a fine-tuned one of OpenAI was made from: `ft:<model>:<organisation>:<name>:<id>`."""
    return model.split(":")[1] if model.startswith("ft:") else model
