"""Redaction: values that belong to people or open doors, replaced by placeholders when a dataset is built.

What is found is exact where it can be: card numbers pass the Luhn check, IBANs their remainder, addresses their grammar;
a price, a date, an order or version number stays. One value has one placeholder in a conversation, whoever writes it and
however, so a model still learns that the number in the answer is the number in the question.

>>> redact = Redactor(["email", "phone"], names=["Анна"]).conversation()
>>> redact("Анна, мой номер 8 (916) 123-45-67, почта anna@example.com")
'<name_1>, мой номер <phone_1>, почта <email_1>'
>>> redact("Напишу Анне на ANNA@example.com или позвоню на +79161234567")
'Напишу <name_1> на <email_1> или позвоню на <phone_1>'
>>> redact("Заказ 89161234567 на 1 200 000 рублей, версия 1.2.3.4")
'Заказ 89161234567 на 1 200 000 рублей, версия 1.2.3.4'
>>> sorted(redact.counts.items())
[('email', 2), ('name', 2), ('phone', 2)]

Every expression takes time linear in the text: what repeats is bounded, or possessive and kept from beginning again
inside its own match.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from types import MappingProxyType

from trainerlib.errors import RecipeError
from trainerlib.redaction import accounts, addresses, credentials, phones, presidio
from trainerlib.redaction.finding import Finder
from trainerlib.redaction.names import Names
from trainerlib.redaction.traces import is_suspect, traces_of

__all__ = ["KINDS", "PRESIDIO", "Redaction", "Redactor"]

KINDS: dict[str, str] = {
    "email": "e-mail addresses, in any alphabet",
    "phone": "phone numbers: Russian, US, international ones that begin with +, others that the words before ask for",
    "card": "payment card numbers that pass the Luhn check",
    "iban": "bank accounts as IBAN whose check digits are right",
    "ip": "IPv4 and IPv6 addresses",
    "handle": "@names, t.me links, Discord mentions and tags",
    "secret": "passwords, PINs, API keys, bot tokens, JWTs and private keys",
    "url": "links with a password or a token in them, replaced whole",
}
"""What can be found, by the name of its kind and placeholder."""

PRESIDIO = "presidio"
"""The kind that asks Microsoft Presidio as well; no `all` has it, as it needs a package and a model."""

_PLACEHOLDER = re.compile(r"<[^\W\d_]\w{0,39}_[1-9][0-9]{0,5}>")
_PATTERN_NAME = re.compile(r"[^\W\d_]\w{0,39}")
_SAMPLE = "Ab 12, ёж\n№3"
"""Letters, digits, signs and edges of words and lines: where a pattern that needs nothing matches nothing."""


class Redactor:
    """Finds values of some kinds, and those that a workspace describes itself.

    Args:
        kinds: of `KINDS`, or `presidio`.
        patterns: regular expressions of the workspace's own values, by the name of their placeholder; what one matches
            is replaced whole, before anything else is looked for.
        names: people and companies: whole words in any case of letters and, for Russian, any grammatical case. Names
            that are forms of one another are one.

    Raises:
        RecipeError: an unknown kind, a pattern that does not compile, can match nothing or is called like a kind, a name
            without a letter.

    >>> redact = Redactor(["url"], patterns={"order": "ORD-[0-9]+"}).conversation()
    >>> redact("ORD-7 and ORD-8, see https://ann:rose@example.com; ORD-7 first")
    '<order_1> and <order_2>, see <url_1>; <order_1> first'
    >>> Redactor(["mail"])
    Traceback (most recent call last):
    trainerlib.errors.RecipeError: clean.redact cannot have 'mail'; one of email, phone, card, iban, ip, handle, secret,
    url, presidio
    """

    def __init__(
        self, kinds: Sequence[str], *, patterns: Mapping[str, str] = MappingProxyType({}), names: Sequence[str] = ()
    ) -> None:
        unknown = [kind for kind in kinds if kind not in KINDS and kind != PRESIDIO]
        if unknown:
            raise RecipeError(f"clean.redact cannot have {unknown[0]!r}; one of {', '.join(KINDS)}, {PRESIDIO}")
        self._kinds = frozenset(kinds)
        self._patterns = tuple((name, _compiled(name, pattern)) for name, pattern in patterns.items())
        self._names = Names(names) if names else None

    def conversation(self) -> Redaction:
        """What redacts one conversation, its texts given in order.

        Raises:
            RecipeError: `presidio` was asked for and is not installed, or has no language model.
        """
        entities = presidio.entities() if PRESIDIO in self._kinds else None
        return Redaction(_finders(self._kinds), self._patterns, self._names, entities)


class Redaction:
    """Redacts the texts of one conversation; a value keeps the placeholder that it got first.

    Redacting what was redacted changes nothing. A placeholder that stands in a text already is left there, and its
    number is given to no value found later. A secret that was found once is found again without its label.

    Attributes:
        counts: values replaced so far, by kind; `name` for names, a pattern's own name for what it matched.
        thorough: every text is looked at, whatever its traces: for a name, say, or a secret that was found before.

    >>> redact = Redactor(["email", "secret"]).conversation()
    >>> redact("<email_1> wrote to a@example.com"), redact("a@example.com wrote back")
    ('<email_1> wrote to <email_2>', '<email_2> wrote back')
    >>> redact("password: rose2024"), redact("rose2024 does not work")
    ('password: <secret_1>', '<secret_1> does not work')
    """

    __slots__ = (
        "_entities",
        "_finders",
        "_known",
        "_last",
        "_names",
        "_patterns",
        "_placeholders",
        "_taken",
        "counts",
        "thorough",
    )

    def __init__(
        self,
        finders: tuple[Finder, ...],
        patterns: tuple[tuple[str, re.Pattern[str]], ...],
        names: Names | None,
        entities: presidio.Entities | None,
    ) -> None:
        self.counts: dict[str, int] = {}
        self._finders = finders
        self._patterns = patterns
        self._names = names
        self._entities = entities
        self.thorough = bool(patterns or names or entities)
        self._placeholders: dict[tuple[str, str], str] = {}
        self._last: dict[str, int] = {}
        self._taken: set[str] = set()
        self._known: list[str] = []

    def __call__(self, text: str, traces: bytes | None = None) -> str:
        """`text` with placeholders in place of the values in it.

        Args:
            text: the text.
            traces: its `traces_of`, where they are known: without any, and where it is not `thorough`, nothing is replaced.
        """
        if traces is None:
            traces = traces_of([text])[0]
        if not traces and not self.thorough:
            return text
        if b"<" in traces:
            self._taken.update(_PLACEHOLDER.findall(text))
        suspect = is_suspect(text, traces)
        return self._redacted(text, suspect=suspect) if suspect or self.thorough else text

    def _redacted(self, text: str, *, suspect: bool) -> str:
        while True:
            before = text
            for name, pattern in self._patterns:
                text = self._replace_own(name, pattern, text)
            if suspect:
                for finder in self._finders:
                    if finder.possible(text):
                        text = finder.replace(text, partial(self._placeholder, finder.kind))
            if self._known:
                text = self._replace_known(text)
            if self._names is not None:
                text = self._names.replace(text, partial(self._placeholder, "name"))
            if text == before:
                break
            # A replacement may bare what it hid. Each round leaves less that is no placeholder, so this ends.
            suspect = is_suspect(text, traces_of([text])[0])
        return text if self._entities is None else self._replace_entities(self._entities, text)

    def _placeholder(self, kind: str, value: str) -> str:
        """The placeholder of a value, a new one when it is new; counted."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        found = self._placeholders.get((kind, value))
        if found is None:
            while found is None or found in self._taken:
                number = self._last[kind] = self._last.get(kind, 0) + 1
                found = f"<{kind}_{number}>"
            self._placeholders[kind, value] = found
            if kind == "secret" and len(value) >= 6 and not value.isalpha():
                self._known.append(value)
                self.thorough = True
        return found

    def _replace_known(self, text: str) -> str:
        """Secrets found before, where no label stands."""
        for value in self._known:
            if value in text:
                whole = re.compile(rf"(?<!\w){re.escape(value)}(?!\w)")
                text = whole.sub(lambda match: self._placeholder("secret", match[0]), text)
        return text

    def _replace_own(self, name: str, pattern: re.Pattern[str], text: str) -> str:
        outside = _outside_placeholders(text)
        return pattern.sub(
            lambda match: self._placeholder(name, match[0]) if match[0] and outside(*match.span()) else match[0], text
        )

    def _replace_entities(self, entities: presidio.Entities, text: str) -> str:
        outside = _outside_placeholders(text)
        parts, done = [], 0
        for start, end, kind in entities(text):
            if start >= done and outside(start, end):
                parts += [text[done:start], self._placeholder(kind, text[start:end].casefold())]
                done = end
        return "".join([*parts, text[done:]])


def _outside_placeholders(text: str) -> Callable[[int, int], bool]:
    """Tells whether a span of `text` has nothing of a placeholder in it."""
    spans = [match.span() for match in _PLACEHOLDER.finditer(text)] if "<" in text else []
    ends = [end for _, end in spans]

    def outside(start: int, end: int) -> bool:
        at = bisect_right(ends, start)
        return at == len(spans) or spans[at][0] >= end

    return outside


@cache
def _finders(kinds: frozenset[str]) -> tuple[Finder, ...]:
    """The finders of some kinds, in the order in which they look: a value that two could find goes to the surer one."""
    every = (*credentials.finders(), *addresses.finders(), *accounts.finders(), *phones.finders())
    # The address of a machine looks like a number with dots.
    order = ("url", "secret", "email", "handle", "iban", "card", "ip", "phone")
    return tuple(
        sorted((finder for finder in every if finder.kind in kinds), key=lambda finder: order.index(finder.kind))
    )


def _compiled(name: str, pattern: str) -> re.Pattern[str]:
    if not _PATTERN_NAME.fullmatch(name):
        raise RecipeError(f"clean.patterns cannot have {name!r}; a name is a word of letters, digits and _")
    if name in KINDS or name in ("name", PRESIDIO):
        raise RecipeError(f"clean.patterns cannot have {name!r}; that is a kind of its own")
    try:
        compiled = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise RecipeError(f"clean.patterns has {name!r}, which is no regular expression: {error}") from error
    if compiled.search("") or not all(match[0] for match in compiled.finditer(_SAMPLE)):
        raise RecipeError(
            f"clean.patterns has {name!r}, which can match nothing; make some part of {pattern!r} necessary"
        )
    return compiled
