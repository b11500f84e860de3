r"""Quality signals of a reply: length, language, repetition, refusals; each a filter that a recipe may switch on.

A filter is a plain function of the context and the reply, and says whether to keep it. What it leaves out is counted
under its reason code. Profanity and the like are left to a function of the user's own.

>>> from trainerlib.examples import Turn
>>> question = (Turn("user", "Когда вы открыты?"),)
>>> active = filters(Quality(min_chars=2, refusals="exclude", same_language=True))
>>> [reason for reason, _ in active]
['too-short', 'other-language', 'refusal']
>>> def reasons(reply):
...     return [reason for reason, keeps in active if not keeps(question, reply)]
>>> reasons("С 9 до 18, без выходных."), reasons("I'm sorry, but I can't help with that.")
([], ['other-language', 'refusal'])
"""

from __future__ import annotations

import importlib
import re
from collections import Counter
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Literal, TypeAlias

import msgspec

from trainerlib.errors import DatasetError, RecipeError
from trainerlib.examples import Turn
from trainerlib.language import language, letters
from trainerlib.refusals import refuses

Filter: TypeAlias = Callable[[Sequence[Turn], str], bool]
"""Whether to keep an example: called with its context, the question last, and its reply."""

EXCLUSIONS: dict[str, str] = {
    "too-short": "the reply has fewer characters than the recipe's quality.min_chars",
    "too-long": "the reply has more characters than the recipe's quality.max_chars",
    "reply-language": "the reply is not in one of the recipe's quality.reply_languages",
    "other-language": "the reply is not in the language of the question",
    "repetitive": "the reply repeats itself more than the recipe's quality.max_repetition",
    "refusal": "the reply declines to help",
}
"""Every reason of a built-in filter, in the order in which the filters run, and what it means."""

_LANGUAGES = ("en", "ru", "und")
_REFUSALS = ("keep", "exclude")
_PATH = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*(?:\.[^\W\d]\w*)*")


class Quality(msgspec.Struct, frozen=True):
    """What a reply has to be like; without arguments, anything goes.

    Attributes:
        min_chars: fewest characters, white space around the reply not counted.
        max_chars: most characters, counted alike; 0 for no limit.
        max_repetition: most `repetition`, a share from 0 to 1; 1 for no limit, 0.5 leaves out loops.
        refusals: replies that decline to help (`refuses`) are kept (`keep`) or left out (`exclude`).
        reply_languages: only replies in these languages, `en`, `ru` or `und`; empty for all.
        same_language: only replies in the language of the question; `und` goes with any.
        callables: filters of your own as `package.module:function`, or the functions themselves; a dataset is rebuilt
            by importing them again, so each has to stay where it is and to decide from its arguments alone.

    Raises:
        RecipeError: an impossible value, a contradiction, or a function that cannot be imported by a name.

    >>> Quality(min_chars=20, max_chars=10)
    Traceback (most recent call last):
    trainerlib.errors.RecipeError: quality.max_chars cannot be 10; 0 for no limit, or at least quality.min_chars, 20
    """

    min_chars: int = 0
    max_chars: int = 0
    max_repetition: float = 1.0
    refusals: Literal["keep", "exclude"] = "keep"
    reply_languages: tuple[str, ...] = ()
    same_language: bool = False
    callables: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("min_chars", "max_chars"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
                raise RecipeError(f"quality.{name} cannot be {value!r}; a number, 0 or more")
        if 0 < self.max_chars < self.min_chars:
            right = f"0 for no limit, or at least quality.min_chars, {self.min_chars}"
            raise RecipeError(f"quality.max_chars cannot be {self.max_chars}; {right}")
        share = self.max_repetition
        if not isinstance(share, (int, float)) or isinstance(share, bool) or not 0 <= share <= 1:
            raise RecipeError(f"quality.max_repetition cannot be {share!r}; a share from 0 to 1")
        msgspec.structs.force_setattr(self, "max_repetition", float(share))
        if self.refusals not in _REFUSALS:
            raise RecipeError(f"quality.refusals cannot be {self.refusals!r}; one of {', '.join(_REFUSALS)}")
        for code in self._words("reply_languages", 'a list of words, such as ["ru"]'):
            if code not in _LANGUAGES:
                raise RecipeError(f"quality.reply_languages cannot have {code!r}; en, ru or und")
        if not isinstance(self.same_language, bool):
            raise RecipeError(f"quality.same_language cannot be {self.same_language!r}; true or false")
        for path in self._words("callables", 'a list of words, such as ["shop.filters:is_polite"]'):
            _check_path(path)

    def _words(self, name: str, right: str) -> tuple[str, ...]:
        """The words of a field, which becomes a tuple of them; in place of a function stands its path."""
        value = getattr(self, name)
        words = tuple(map(_path_of, value)) if isinstance(value, (list, tuple)) else (None,)
        if not all(isinstance(word, str) for word in words):
            raise RecipeError(f"quality.{name} is {right}")
        msgspec.structs.force_setattr(self, name, words)
        return words


CALLABLE = "filter:"
"""Beginning of the reason code of a filter of the user's own."""


def filters(quality: Quality) -> list[tuple[str, Filter]]:
    """`(reason code, filter)` of everything that is switched on, built-in ones first, always in the same order.

    A filter of the user's own has the reason code `filter:function`, or `filter:package.module:function` where two
    functions have one name.

    Args:
        quality: what replies have to be like.

    Raises:
        RecipeError: a filter of `quality.callables` cannot be imported, or is no function.
    """
    least, most, limit = quality.min_chars, quality.max_chars, quality.max_repetition
    wanted = frozenset(quality.reply_languages)
    found: list[tuple[str, Filter]] = []
    if least:
        found.append(("too-short", lambda _context, reply: len(reply.strip()) >= least))
    if most:
        found.append(("too-long", lambda _context, reply: len(reply) <= most or len(reply.strip()) <= most))
    if wanted:
        found.append(("reply-language", lambda _context, reply: _language(reply) in wanted))
    if quality.same_language:
        found.append(("other-language", _same_language))
    if limit < 1:
        found.append(("repetitive", lambda _context, reply: not _repeats(reply, limit)))
    if quality.refusals == "exclude":
        found.append(("refusal", lambda _context, reply: not refuses(reply)))
    names = Counter(path.partition(":")[2] for path in quality.callables)
    for path in quality.callables:
        name = path.partition(":")[2]
        found.append((f"{CALLABLE}{name if names[name] == 1 else path}", _imported(path)))
    return found


_WORDS = 4
_CHARACTERS = 10
_LONG = 16


def repetition(text: str) -> float:
    r"""The share of a text that repeats what it said before, 0 to 1: the larger one of two shares.

    - Of its sequences of four words, those that occurred earlier in it: `1 - different / all`, the measure seq-rep-4
      of Welleck et al., "Neural Text Generation with Unlikelihood Training", ICLR 2020. Where words are longer than
      16 characters on average there are no words to speak of (`!!!!!!!!`, `hahahaha`, Chinese), and sequences of ten
      characters are taken, as Laurençon et al., "The BigScience ROOTS Corpus", 2022, do.
    - Of its lines that are not blank, those that occurred earlier in it: Rae et al., "Scaling Language Models:
      Methods, Analysis & Insights from Training Gopher", 2021, table A1, who allow 0.3.

    What people say has nearly none: of 138,316 different replies of two dialogue corpora none exceeded 0.3; of 642 long
    answers of an assistant 8 did (songs, exercise plans, code), and one exceeded 0.5. A sentence said three times has
    about 0.6.

    Args:
        text: any text.

    >>> repetition("We are open from 9 to 18, and on Sunday from 10 to 16.")
    0.0
    >>> repetition("Да, конечно. Да, конечно. Да, конечно. Да, конечно."), repetition("- roses\n- roses\n- roses\n- tulips")
    (0.6, 0.5)
    >>> repetition("ха" * 10)
    0.8181818181818181
    """
    words = text.split()
    spaced = len(text) <= _LONG * len(words)
    # Each word of a repeated sequence was said before, so without four such words there is none.
    if len(words) - len(set(words)) < _WORDS and spaced and "\n" not in text:
        return 0.0
    if spaced:
        share = _repeated(list(zip(*(words[start:] for start in range(_WORDS)), strict=False)))
    else:
        run = "".join(words)
        share = _repeated([run[start : start + _CHARACTERS] for start in range(len(run) - _CHARACTERS + 1)])
    return max(share, _repeated([line.strip() for line in text.splitlines() if line and not line.isspace()]))


def _repeats(text: str, limit: float) -> bool:
    """Whether a text has more `repetition` than a limit below 1."""
    words = text.split()
    number = len(words)
    if len(text) <= _LONG * number:
        again = number - len(set(words))
        if again < _WORDS and "\n" not in text:
            return False
        # The words of so many sequences that occurred earlier did so too: three more than there are sequences.
        if again - 3 < limit * (number - 3) - 0.5 and len(text.splitlines()) == 1:
            return False
    return repetition(text) > limit


def _repeated(parts: Sequence[object]) -> float:
    """Which share of the parts occurred earlier among them."""
    return 1 - len(set(parts)) / len(parts) if parts else 0.0


# Every letter that `letters` counts but the Russian ones.
_OTHERS = r"A-Za-z\u0400\u0402-\u040f\u0450\u0452-\u04ff"
_plain_russian = re.compile(rf"(?=[^А-Яа-яЁё]*+[А-Яа-яЁё])[^{_OTHERS}]*+").fullmatch


def _language(text: str) -> str:
    """As `trainerlib.language.language` tells, in a third of the time for plain English or Russian."""
    if text.isascii():
        return "en" if text[:1].isalpha() or text.lower() != text.upper() else "und"
    return "ru" if _plain_russian(text) else language(text)


def _same_language(context: Sequence[Turn], reply: str) -> bool:
    """The reply is in the language of the question, or one of the two is undetermined."""
    question = context[-1].content if context else ""
    if reply.isascii() and question.isascii():
        return True
    if not _has_latin(reply) and not _has_latin(question):
        return True
    (cyrillic, latin), (asked_cyrillic, asked_latin) = letters(reply), letters(question)
    # English needs more Latin letters and Russian more Cyrillic ones, so only these two can be one of each.
    if (cyrillic > latin) == (asked_cyrillic > asked_latin):
        return True
    return {language(reply), language(question)} != {"en", "ru"}


def _has_latin(text: str) -> bool:
    # Case of bytes is case of the English alphabet, so this asks for its letters in C.
    data = text.encode(errors="replace")
    return data != data.swapcase()


def _path_of(item: Any) -> Any:
    """By which path a function can be imported, `package.module:function`; anything else as it is."""
    return f"{getattr(item, '__module__', None)}:{item.__qualname__}" if hasattr(item, "__qualname__") else item


def _check_path(path: str) -> None:
    """Refuse what no rebuild could import."""
    module, _, name = path.partition(":")
    if "<lambda>" in name or "<locals>" in name:
        what = "a lambda" if "<lambda>" in name else "a function inside another"
        raise _unusable(path, f"{what} cannot be imported for a rebuild; write it as a function of a module")
    if module == "__main__":
        raise _unusable(path, "what is typed or run as a script cannot be imported; move it into a module of its own")
    if not _PATH.fullmatch(path):
        raise _unusable(path, 'write it as "package.module:function"')


def _imported(path: str) -> Filter:
    module, _, name = path.partition(":")
    try:
        function = attrgetter(name)(importlib.import_module(module))
    except AttributeError as error:
        raise _unusable(path, f"there is no {name} in {module}") from error
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise _unusable(
            path, f"{module} cannot be imported ({why}); install it, or add its directory to PYTHONPATH"
        ) from error
    if not callable(function):
        raise _unusable(path, f"{name} is no function but {type(function).__name__}")

    def keeps(context: Sequence[Turn], reply: str) -> bool:
        try:
            return bool(function(context, reply))
        except Exception as error:
            raise DatasetError(f"filter {path} failed: {type(error).__name__}: {error}") from error

    return keeps


def _unusable(path: str, why: str) -> RecipeError:
    return RecipeError(f"quality.callables cannot have {path!r}; {why}")
