"""The look that most texts end with: a text without certain characters around it has nothing to find.

Builds redact millions of short messages, nearly all of which hold no value; what is done for those is one pass over the
bytes and, for some, one search.
"""

from __future__ import annotations

from collections.abc import Iterable

from trainerlib.redaction.finding import DASH, LONG_RUN, SPACE, pattern

_BETWEEN = b"\xff"
"""Stands between texts: a byte that UTF-8 has not."""

NO_TRACES = bytes(byte for byte in range(256) if byte not in b"0123456789@:=></_#K" + _BETWEEN)
"""The bytes of UTF-8 without which a text still shows what it may hold; `bytes.translate` takes them away in one pass."""

_LABEL_TAIL = "ord|ass|swd|ase|ode|pwd|key|ret|ken|pin|cvv|cvc|vv2|vc2|rer|асс|оль|ово|аза|кен|рет|люч|пин|код|api|апи|упа|[ ]is|это"
"""How a word ends that a secret may follow, three letters each: a lookbehind has one width."""

_QUOTE = rf"""["'`*{SPACE}]"""
_SUSPECT = rf"""
    [0-9@:=>/_\#K]  # searched for as one set; what stands around it is only looked at there
    (?:
        (?<=[0-9])(?<![0-9][0-9])  # the first digit of some
        (?:
            (?:[.(){SPACE}{DASH}]{{0,3}}+[0-9]){{5}}  # phone, card
          | [0-9]{{0,2}}+(?:[.][0-9]{{1,3}}[.][0-9]{{1,3}}[.][0-9]|-[0-9][0-9]-[0-9][0-9])  # IPv4, short phone
          | [A-Za-z0-9_-]{{10}} | (?<=[A-Za-z0-9_-]{{10}}[0-9])  # LONG_RUN
          | (?<=[A-Za-z][A-Za-z][0-9])[0-9][{SPACE}-]?[A-Za-z0-9]{{4}}  # IBAN
          | (?<=[vVcC2nNнНдДeEsSоО{DASH}][{SPACE}][0-9])[0-9]{{2}}  # CVV, PIN
            (?:
                (?<=(?i:cvv|cvc|vv2|vc2|pin|пин|код|ode|[nvce2д][{SPACE}][{DASH}])[{SPACE}]...)
              | (?<=(?i:[nvce2][{SPACE}]is)[{SPACE}]...) | (?<=(?i:[nvce2д][{SPACE}]это)[{SPACE}]...)
            )
        )
      | (?<![0-9])
        (?:
            (?<=[:=>])
            (?:
                //
              | [0-9A-Fa-f]{{0,4}}:[0-9A-Fa-f]  # IPv6
              | (?<=[^\W013-9_].)(?:(?<=(?i:{_LABEL_TAIL}).)|(?<=\b(?i:pw).))
              | (?<={_QUOTE}.)(?:(?<=(?i:{_LABEL_TAIL})..)|(?<=\b(?i:pw)..))
              | (?<={_QUOTE}{_QUOTE}.)(?:(?<=(?i:{_LABEL_TAIL})...)|(?<=\b(?i:pw)...))
            )
          | (?<=@)[^\W_]
          | (?<=[.]me/) | (?<=[.]dog/)
          | (?<=[\w.]\#)[0-9]{{4}}
          | (?<=_)[A-Za-z0-9]{{10}}
          | (?<=AK)IA
        )
    )
    """


def traces_of(texts: Iterable[str]) -> list[bytes]:
    """What `NO_TRACES` leaves of each text.

    >>> traces_of(["I have 2 cats", "Yes.", "mail anna@example.com"])
    [b'2', b'', b'@']
    """
    joined = b"".join([text.encode("utf-8", "surrogatepass") + _BETWEEN for text in texts])
    return joined.translate(None, NO_TRACES).split(_BETWEEN)[:-1]


def is_suspect(text: str, traces: bytes) -> bool:
    """Tells whether a text may hold a value: whatever a finder would replace is suspect, and little else.

    Args:
        text: the text.
        traces: its `traces_of`; with none, nothing is suspect.

    >>> is_suspect("I have 2 cats, open 9:00-18:00", b"29:0018:00"), is_suspect("Мой: 8 916 123-45-67", b":89161234567")
    (False, True)
    """
    if not traces:
        return False
    # A digit or two are a number of things, or part of a token.
    if pattern(LONG_RUN if len(traces) < 3 and traces.isdigit() else _SUSPECT).search(text):
        return True
    lower = text.lower()
    return "passw" in lower or "passc" in lower or (not lower.isascii() and ("парол" in lower or "пин" in lower))
