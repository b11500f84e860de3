"""Servers that speak OpenAI's API, as the chat model and the trainer both meet them: names, secrets, waiting.

>>> waiting_time({"retry-after": "7"}), waiting_time({"retry-after-ms": "250"}), waiting_time({})
(7.0, 0.25, None)
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

KEY = "OPENAI_API_KEY"
"""Name of the secret that holds the key."""

ADDRESS = "OPENAI_BASE_URL"
"""Name of the variable that holds the address where the settings have none."""

OFFICIAL = "https://api.openai.com/v1"
"""The address of OpenAI itself."""

_KEY_LIKE = re.compile(r"\b(?:sk|pk|rk|gsk|hf|nvapi|xai)[-_][\w*.-]{4,}|\*\*|^eyJ[\w-]{8,}")
_WORD = re.compile(r"""[^\s"'`,;:()<>{}\[\]=]+""")
_SHARED = 6
_HIDDEN = "[hidden]"


def without_secrets(text: str, *secrets: str, key_like: bool = True) -> str:
    """A text less every word that holds a part of a secret, or looks like a key.

    Args:
        text: what a server said; some repeat the key they were sent, a part of it, or a masked form.
        secrets: ours; empty for none.
        key_like: hide what only looks like a key too; not in names, which may look so by chance.

    >>> without_secrets("Incorrect API key provided: sk-ab***yz. See the docs.", "sk-abcdefuvwxyz")
    'Incorrect API key provided: [hidden] See the docs.'
    >>> without_secrets("no such token: 'cdefuv...'", "abcdefuvwxyz")
    "no such token: '[hidden]'"
    >>> without_secrets("ft:gpt-x:shop:hf-roses:a1", "sk-abcdefuvwxyz", key_like=False)
    'ft:gpt-x:shop:hf-roses:a1'
    """
    parts: set[str] = set()
    for secret in secrets:
        # A shorter one than its parts is a word that servers which need none are given, and in other words by chance.
        if len(secret) >= _SHARED:
            text = text.replace(secret, _HIDDEN)
            parts |= {secret[at : at + _SHARED] for at in range(len(secret) - _SHARED + 1)}

    def hide(found: re.Match[str]) -> str:
        word = found[0]
        hidden = word in secrets or (key_like and _KEY_LIKE.search(word)) or any(part in word for part in parts)
        return _HIDDEN if hidden else word

    return _WORD.sub(hide, text)


def waiting_time(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to wait: in milliseconds, in seconds, or until a date (RFC 9110, 10.2.3).

    Args:
        headers: of its answer, found by their names in lower case.

    Returns:
        Seconds above 0; `None` when it asks for none.
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            wait = float(headers.get(name, "")) * unit
        except ValueError:
            continue
        return wait if 0 < wait < float("inf") else None
    try:
        wait = parsedate_to_datetime(headers.get("retry-after", "")).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None
    return wait if wait > 0 else None
