"""Names of people and companies that a workspace lists, found in any grammatical case."""

from __future__ import annotations

import re
from collections.abc import Sequence

from trainerlib.errors import RecipeError
from trainerlib.redaction.finding import Place

_WORD = re.compile(r"\w+")
_JOINT = re.compile(r"[^\w\n<>]{1,4}")
"""What may stand between two words of a name."""

_CYRILLIC = re.compile(r"[а-я]")
_DECLENSIONS = (
    (("ский", "цкий", "кий", "ый", "ой", "ская", "цкая"), 2, "ий ый ой ая ого ому им ым ом ую ою ие ые их ых ими ыми"),
    (("ова", "ева", "ина", "ына"), 1, "- а у ой ою е ы ым ом ых ыми"),
    (("ов", "ев", "ин", "ын"), 0, "- а у ой ою е ы ым ом ых ыми"),
    (("ия",), 1, "я и ю ей ею"),
    (("ая",), 2, "ая ой ую ою ий ый ого ому им ым ом аи ае аю аей"),
    (("я",), 1, "я и е ю ей ею"),
    (("а",), 1, "а ы и е у ой ою ей ею"),
    (("ий",), 1, "й я ю ем и"),
    (("й",), 1, "й я ю ем е"),
    (("ь",), 1, "ь я ю ем е и ью"),
    (("о", "е", "и", "у", "ю", "э", "ы"), 0, "-"),
    (("",), 0, "- а у ом ем е ы и"),
)
"""How a Russian name declines: how it may end, letters to cut off, endings to put on (- for none). Surnames take the forms
of both sexes; a form too many does no harm, as nobody writes it."""


def forms(word: str) -> frozenset[str]:
    """A folded word in its grammatical cases; only itself when it is not Russian.

    >>> {"анны", "анне", "анну", "анной"} <= forms("анна"), {"павла", "павлом"} <= forms("павел")
    (True, True)
    >>> {"петрова", "петровой", "петровым"} <= forms("петров"), forms("anna")
    (True, frozenset({'anna'}))
    """
    if not _CYRILLIC.search(word):
        return frozenset((word,))
    cut, endings = next(
        (cut, endings)
        for ends, cut, endings in _DECLENSIONS
        if any(word.endswith(end) and len(word) > len(end) for end in ends)
    )
    stems = [word[: len(word) - cut]]
    if word == "лев":
        stems.append("льв")
    elif word.endswith(("ел", "ец", "ок", "ек")) and len(word) > 4:
        # A vowel that only the nominative has: Павел, Павла.
        stems.append(word[:-2] + word[-1])
    return frozenset((word, *(stem + ending.strip("-") for stem in stems for ending in endings.split())))


def folded(word: str) -> str:
    """A word without the difference of case, and of е and ё.

    >>> folded("Семён")
    'семен'
    """
    return word.casefold().replace("ё", "е")


class Names:
    """People and companies, found as whole words in any form.

    Args:
        names: as they were given, in any form; those that are forms of one another are one.

    Raises:
        RecipeError: a name has no letter.

    >>> Names(["Анна", "Flower Shop"]).replace("Анне из FLOWER shop, не Анечке", lambda name: f"[{name}]")
    '[Анна] из [Flower Shop], не Анечке'
    """

    def __init__(self, names: Sequence[str]) -> None:
        words = [tuple(map(folded, _WORD.findall(name))) for name in names]
        for name, parts in zip(names, words, strict=True):
            if not any(char.isalpha() for part in parts for char in part):
                raise RecipeError(f"clean.names cannot have {name!r}; a name has letters")
        self._by_first: dict[str, list[tuple[tuple[frozenset[str], ...], int]]] = {}
        for number, parts in enumerate(words):
            rest = tuple(map(forms, parts[1:]))
            for form in forms(parts[0]):
                self._by_first.setdefault(form, []).append((rest, number))
        for entries in self._by_first.values():
            # The longest name that fits goes first.
            entries.sort(key=lambda entry: -len(entry[0]))
        self._names = tuple(names)
        self._same = list(range(len(names)))
        for number, parts in enumerate(words):
            for rest, other in self._by_first[parts[0]]:
                if len(rest) == len(parts) - 1 and all(
                    part in cases for part, cases in zip(parts[1:], rest, strict=True)
                ):
                    one, two = sorted((self._root(number), self._root(other)))
                    self._same[two] = one

    def _root(self, number: int) -> int:
        while self._same[number] != number:
            number = self._same[number]
        return number

    def replace(self, text: str, place: Place) -> str:
        """A text with `place(name)` for every name in it, by the first of its forms that was listed."""
        if self._by_first.keys().isdisjoint(map(folded, _WORD.findall(text))):
            return text
        words = list(_WORD.finditer(text))
        parts, done, at = [], 0, 0
        while at < len(words):
            length, number = self._found(text, words, at)
            if length:
                parts += [text[done : words[at].start()], place(self._names[self._root(number)])]
                done = words[at + length - 1].end()
            at += length or 1
        return "".join([*parts, text[done:]])

    def _found(self, text: str, words: list[re.Match[str]], at: int) -> tuple[int, int]:
        """`(words, number)` of the longest name that begins with a word; no words when none does."""
        for rest, number in self._by_first.get(folded(words[at][0]), ()):
            ahead = words[at : at + 1 + len(rest)]
            if len(ahead) == 1 + len(rest) and all(
                folded(word[0]) in cases and _JOINT.fullmatch(text, last.end(), word.start())
                for last, word, cases in zip(ahead, ahead[1:], rest, strict=False)
            ):
                return len(ahead), number
        return 0, 0
