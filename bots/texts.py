"""What the bots say, in the language of whoever they say it to.

The English sentence is the key. `bots/locales/<language>.po` has it in another language; a new file there is a new
language. A sentence with a place to fill in is filled in after it was looked up, so every language puts it where it belongs.

>>> _ = speaker("ru-RU")
>>> _("Only an owner gives roles."), _.language
('Роли назначает только владелец.', 'ru')
>>> speaker("ja")("Only an owner gives roles.")
'Only an owner gives roles.'
>>> languages()
('en', 'ru')
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from gettext import GNUTranslations, NullTranslations
from importlib.resources import files
from importlib.resources.abc import Traversable
from io import BytesIO

from trainerlib.errors import SettingsError

ENGLISH = "en"
"""The language that the sentences are written in; it needs no file."""

_SUFFIX = ".po"


class Speaker:
    """Says sentences in one language. Made by `speaker`.

    Attributes:
        language: which.

    Args:
        language: its name.
        translations: of the sentences.
    """

    def __init__(self, language: str, translations: NullTranslations) -> None:
        self.language = language
        self._translations = translations

    def __call__(self, sentence: str) -> str:
        """A sentence in this language; as it is when nobody translated it."""
        # The empty one is the key of the file's head.
        return self._translations.gettext(sentence) if sentence else ""

    def plural(self, one: str, many: str, count: int) -> str:
        """The form of a sentence that goes with a number, which is not filled in yet.

        >>> _ = speaker("en")
        >>> _.plural("{count} dataset", "{count} datasets", 1).format(count=1)
        '1 dataset'

        Args:
            one: the English sentence for one.
            many: for any other number.
            count: how many.
        """
        return self._translations.ngettext(one, many, count)


class Catalogues:
    """The languages of a folder of `.po` files.

    Args:
        folder: where they are.
    """

    def __init__(self, folder: Traversable) -> None:
        self._folder = folder
        self._speakers: dict[str, Speaker] = {}

    def languages(self) -> tuple[str, ...]:
        """The languages there are, English first."""
        return tuple(self._known.values())

    def best(self, language: str, default: str = ENGLISH) -> str:
        """The language there is that comes nearest to a wanted one: itself, the one it is a kind of, or else the default.

        Args:
            language: its name, as platforms and computers have it: `ru`, `ru-RU`, `pt_BR`.
            default: what to fall back to, likewise; English when there is none such either.
        """
        for wanted in (language, default):
            parts = wanted.replace("_", "-").lower().split("-")
            while parts:
                known = self._known.get("-".join(parts))
                if known is not None:
                    return known
                parts.pop()
        return ENGLISH

    def speaker(self, language: str) -> Speaker:
        """Who says sentences in the language nearest to a wanted one; the same one each time.

        Args:
            language: its name; any other is English.

        Raises:
            SettingsError: its translations do not read, or a package is missing that reads them.
        """
        found = self._speakers.get(language)
        if found is not None:
            return found
        best = self.best(language)
        found = self._speakers.get(best)
        if found is None:
            found = self._speakers[best] = Speaker(best, self._translations(best))
        return found

    @cached_property
    def _known(self) -> dict[str, str]:
        """Each language by its name in small letters with hyphens."""
        names = [entry.name.removesuffix(_SUFFIX) for entry in self._folder.iterdir() if entry.name.endswith(_SUFFIX)]
        return {name.replace("_", "-").lower(): name for name in (ENGLISH, *sorted({*names} - {ENGLISH}))}

    def _translations(self, language: str) -> NullTranslations:
        if language == ENGLISH:
            return NullTranslations()
        try:
            from babel.messages.mofile import write_mo
            from babel.messages.pofile import PoFileError, read_po
        except ImportError as error:
            raise SettingsError(
                f"to speak {language}, a package is missing: pip install 'trainerlib[telegram]'"
            ) from error
        name = f"{language}{_SUFFIX}"
        try:
            with (self._folder / name).open("rb") as file:
                catalogue = read_po(file, charset="utf-8", abort_invalid=True)
        except (PoFileError, UnicodeDecodeError) as error:
            raise SettingsError(f"{name} does not read: {error}") from error
        compiled = BytesIO()
        write_mo(compiled, catalogue)
        compiled.seek(0)
        return GNUTranslations(compiled)


def N_(sentence: str) -> str:  # noqa: N802 - gettext's own word, which tools look for
    """A sentence that is translated later, where it is said: in a table, or as the message of an error.

    >>> N_("Only an owner gives roles.")
    'Only an owner gives roles.'
    """
    return sentence


_catalogues = Catalogues(files(__package__) / "locales")

languages: Callable[[], tuple[str, ...]] = _catalogues.languages
best = _catalogues.best
speaker = _catalogues.speaker
