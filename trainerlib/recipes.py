"""Recipes: everything that decides which examples a dataset has, as one value that compares, prints and is stored.

>>> recipe = Recipe(targets="corrected", context_turns=8, split=Split(train=0.9, test=0.1, seed=7))
>>> recipe.split.validation
0.0
>>> Recipe.from_toml('''
... [targets]
... replies = "corected"
... ''')
Traceback (most recent call last):
trainerlib.errors.RecipeError: recipe, line 3: targets.replies cannot be 'corected'; one of all, approved, corrected,
corrected-or-approved
"""

from __future__ import annotations

import difflib
import tomllib
from datetime import UTC, date, datetime, time
from typing import Any, Literal, get_args

import msgspec

from trainerlib.errors import RecipeError
from trainerlib.events import JsonObject
from trainerlib.quality import Quality
from trainerlib.redaction import KINDS, Redactor
from trainerlib.toml_lines import line_of

Targets = Literal["all", "approved", "corrected", "corrected-or-approved"]

SPLITS = ("train", "validation", "test")


class Split(msgspec.Struct, frozen=True):
    """Which share of the conversations goes into each split; a hash of the conversation's id decides.

    Give all three, or some: the others are 0. Without any: 0.90, 0.05 and 0.05.

    Attributes:
        train: share of conversations to train on, 0 to 1.
        validation: share to watch during training.
        test: share held out for evaluation.
        seed: another seed deals the conversations another way.

    Raises:
        RecipeError: a share is outside 0 to 1, or they do not add up to 1.
    """

    train: float = 0.0
    validation: float = 0.0
    test: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        _check_types(self)
        if not any((self.train, self.validation, self.test)):
            for name, share in (("train", 0.9), ("validation", 0.05), ("test", 0.05)):
                msgspec.structs.force_setattr(self, name, share)
        for name in SPLITS:
            if not 0 <= getattr(self, name) <= 1:
                raise RecipeError(f"split.{name} cannot be {getattr(self, name)}; a share from 0 to 1")
        total = self.train + self.validation + self.test
        if abs(total - 1) > 1e-9:
            raise RecipeError(f"split: train + validation + test make {total:g}, not 1")

    def shares(self) -> list[tuple[str, float]]:
        """`(name, share)` of each split that gets anything."""
        return [(name, getattr(self, name)) for name in SPLITS if getattr(self, name) > 0]


class Recipe(msgspec.Struct, frozen=True):
    """Which conversations are taken, which replies are targets, what each example shows, and how they are split.

    Attributes:
        platforms: only conversations of these platforms; empty for all.
        tags: only conversations with at least one of these tags.
        languages: only conversations in these languages, `en` or `ru`.
        authors: only conversations in which one of these people speaks.
        since: only conversations that began at or after this time.
        until: only conversations that began before this time.
        targets: which replies to learn: `corrected`, `approved` (rated at least `min_rating`), either, or `all`
            (every reply, corrected ones as corrected, those rated down left out).
        raters: whose word counts: the `latest`, the `majority`, or only the people listed (the latest of them).
        min_rating: the rating from which a reply is approved, 1 to 5.
        rated_down: a reply rated below 0 and not corrected is left out (`exclude`) or becomes an example with only a
            rejected side (`reject`), which KTO learns from.
        context_turns: most turns before the reply.
        context_tokens: most tokens of instruction, context and reply together, by the estimate of
            `trainerlib.tokens.estimate_tokens`; older turns are dropped to fit.
        context_replies: earlier replies are shown `as-sent` or `corrected`.
        system: the instruction: `as-recorded` (what was in force at the time), `none`, or a text of its own.
        merge_seconds: consecutive messages of one author this close together are one turn; 0 to keep them apart.
        duplicates: examples with the same context and sides are kept once (`exclude`) or each time (`keep`).
        bases: what allows training beside the consent of everybody who speaks: any basis that was `recorded` with an
            import, `none`, or only bases that begin with one of these words, such as `licence`.
        redact: kinds of values that are replaced by placeholders, of `trainerlib.redaction.KINDS`; `all` for each.
        patterns: regular expressions of the workspace's own values to replace, by name.
        names: people and companies to replace.
        near_duplicates: word-pair (Jaccard) similarity, above 0 and at most 1, from which two conversations are
            near-duplicates and belong in one split; 0 to deal every conversation by itself.
        quality: what a reply must be like.
        split: how conversations are dealt into train, validation and test.

    Raises:
        RecipeError: an impossible value or a contradiction.
    """

    platforms: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    authors: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    targets: Targets = "all"
    raters: Literal["latest", "majority"] | tuple[str, ...] = "latest"
    min_rating: int = 1
    rated_down: Literal["exclude", "reject"] = "exclude"
    context_turns: int = 12
    context_tokens: int = 4096
    context_replies: Literal["as-sent", "corrected"] = "as-sent"
    system: str = "as-recorded"
    merge_seconds: float = 300.0
    duplicates: Literal["exclude", "keep"] = "exclude"
    bases: Literal["recorded", "none"] | tuple[str, ...] = "recorded"
    redact: tuple[str, ...] = ()
    patterns: dict[str, str] = msgspec.field(default_factory=dict)
    names: tuple[str, ...] = ()
    near_duplicates: float = 0.0
    quality: Quality = msgspec.field(default_factory=Quality)
    split: Split = msgspec.field(default_factory=Split)

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            msgspec.structs.force_setattr(self, name, _plain(getattr(self, name)))
        if self.redact in ("all", ("all",)):
            # Written out: a kind that a later version adds must not change what this recipe gives.
            msgspec.structs.force_setattr(self, "redact", tuple(KINDS))
        _check_types(self)
        Redactor(self.redact, patterns=self.patterns, names=self.names)
        for name, allowed in _CHOICES.items():
            value = getattr(self, name)
            if isinstance(value, str) and value not in allowed:
                raise RecipeError(f"{_TOML_NAME[name]} cannot be {value!r}; one of {', '.join(allowed)}")
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise RecipeError("select.until is not after select.since: no conversation can be taken")
        if not 1 <= self.min_rating <= 5:
            raise RecipeError(f"targets.min_rating cannot be {self.min_rating}; from 1 to 5")
        for name, least in (("context_turns", 1), ("context_tokens", 16), ("merge_seconds", 0)):
            if getattr(self, name) < least:
                raise RecipeError(f"{_TOML_NAME[name]} cannot be {getattr(self, name)}; {least} or more")
        if not 0 <= self.near_duplicates <= 1:
            raise RecipeError(f"clean.near_duplicates cannot be {self.near_duplicates}; a similarity from 0 (off) to 1")
        if not self.system.strip():
            raise RecipeError('context.system cannot be empty; "as-recorded", "none" or a text of its own')
        unknown = [code for code in self.languages if code not in ("en", "ru", "und")]
        if unknown:
            raise RecipeError(f"select.languages cannot have {unknown[0]!r}; en, ru or und")
        if self.rated_down == "reject" and self.targets != "all":
            raise RecipeError('targets.rated_down = "reject" needs targets.replies = "all": it adds bad replies')

    def to_json(self) -> JsonObject:
        """The recipe as the JSON object that is stored in `DatasetBuilt`."""
        return msgspec.to_builtins(self, builtin_types=())  # type: ignore[no-any-return]

    @classmethod
    def from_json(cls, fields: JsonObject) -> Recipe:
        """The recipe of `to_json`.

        Raises:
            RecipeError: a newer trainerlib stored something this one does not know.
        """
        unknown = [name for name in fields if name not in cls.__struct_fields__]
        if unknown:
            raise RecipeError(f"the recipe has {unknown[0]!r}, which this trainerlib does not know")
        try:
            return msgspec.convert(fields, cls)
        except msgspec.ValidationError as error:
            raise RecipeError(f"the recipe does not read: {error}") from error

    @classmethod
    def from_toml(cls, text: str, *, name: str = "recipe") -> Recipe:
        """The recipe a TOML file describes, in its sections `select`, `targets`, `context`, `consent`,
        `clean`, `quality` and `split`.

        Args:
            text: content of the file.
            name: what to call it in errors.

        Raises:
            RecipeError: bad TOML, an unknown key, an impossible value, each with its line and what would be right.
        """
        try:
            document = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise RecipeError(f"{name}: {error}") from error
        fields: dict[str, Any] = {}
        for section, content in document.items():
            if section not in SECTIONS:
                raise _unknown(name, text, None, section, list(SECTIONS))
            if not isinstance(content, dict):
                where = _line(text, section)
                raise RecipeError(f"{name}, line {where}: {section} is a section; write [{section}], its keys below")
            for key, value in content.items():
                field = SECTIONS[section].get(key)
                if field is None:
                    raise _unknown(name, text, section, key, list(SECTIONS[section]))
                _put(fields, section, field, value)
        return _converted(fields, name, text)


_CHOICES: dict[str, tuple[str, ...]] = {
    "targets": get_args(Targets),
    "raters": ("latest", "majority"),
    "bases": ("recorded", "none"),
    "rated_down": ("exclude", "reject"),
    "context_replies": ("as-sent", "corrected"),
    "duplicates": ("exclude", "keep"),
}

SECTIONS: dict[str, dict[str, str]] = {
    "select": {name: name for name in ("platforms", "tags", "languages", "authors", "since", "until")},
    "targets": {"replies": "targets", "raters": "raters", "min_rating": "min_rating", "rated_down": "rated_down"},
    "context": {
        "turns": "context_turns",
        "tokens": "context_tokens",
        "replies": "context_replies",
        "system": "system",
        "merge_seconds": "merge_seconds",
    },
    "consent": {"bases": "bases"},
    "clean": {name: name for name in ("duplicates", "near_duplicates", "redact", "names", "patterns")},
    "quality": {name: name for name in Quality.__struct_fields__},
    "split": {name: name for name in (*SPLITS, "seed")},
}
"""For each section of a recipe file its keys, and the field that each sets."""

_TOML_NAME = {field: f"{section}.{key}" for section, keys in SECTIONS.items() for key, field in keys.items()}


def _put(fields: dict[str, Any], section: str, field: str, value: Any) -> None:
    if section in ("split", "quality"):
        fields.setdefault(section, {})[field] = value
    else:
        fields[field] = value


def _converted(fields: dict[str, Any], name: str, text: str) -> Recipe:
    split, quality = fields.pop("split", {}), fields.pop("quality", {})
    try:
        return Recipe(**fields, split=Split(**split), quality=Quality(**quality))
    except RecipeError as error:
        where = _line(text, str(error).split(" ", 1)[0].rstrip(":"))
        raise RecipeError(f"{name}, line {where}: {error}") from None


def _plain(value: Any) -> Any:
    """A value as recipes compare and store it: lists as tuples, days and times without a zone as UTC."""
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value
    return datetime.combine(value, time(), UTC) if isinstance(value, date) else value


def _check_types(part: Recipe | Split) -> None:
    for field, kind in type(part).__annotations__.items():
        name = _TOML_NAME.get(field, field)
        wrong = _wrong_type(name, kind, getattr(part, field))
        if wrong:
            raise RecipeError(f"{name} {wrong}")


def _wrong_type(name: str, kind: str, value: Any) -> str:
    """What is wrong with a value's type, in a newcomer's words; empty when nothing is."""
    words = isinstance(value, tuple) and all(isinstance(item, str) for item in value)
    if name in ("targets.raters", "consent.bases"):
        of = "person ids" if name == "targets.raters" else "the words that bases begin with"
        return "" if words or isinstance(value, str) else f"is a word or a list of {of}"
    if kind.startswith("dict"):
        right = isinstance(value, dict) and all(isinstance(item, str) for item in value.values())
        return "" if right else "is a table of names and regular expressions"
    if kind.startswith("tuple"):
        return "" if words else 'is a list of words, such as ["telegram"]'
    if kind.startswith("datetime"):
        return "" if value is None or isinstance(value, datetime) else "is a date, such as 2026-01-31, without quotes"
    if kind in ("int", "float"):
        right = isinstance(value, int if kind == "int" else (int, float)) and not isinstance(value, bool)
        return "" if right and abs(value) < 2**63 else f"cannot be {value!r}; a number"
    if kind == "Split":
        return "" if isinstance(value, Split) else "is a Split, such as Split(train=0.9, test=0.1)"
    if kind == "Quality":
        return "" if isinstance(value, Quality) else "is a Quality, such as Quality(min_chars=2)"
    return "" if isinstance(value, str) else f"cannot be {value!r}; a word in quotes"


def _unknown(name: str, text: str, section: str | None, key: str, known: list[str]) -> RecipeError:
    close = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"one of {', '.join(known)}"
    where = _line(text, f"{section}.{key}" if section else key)
    what = f"[{section}] has no key {key!r}" if section else f"there is no section [{key}]"
    return RecipeError(f"{name}, line {where}: {what}; {hint}")


def _line(text: str, dotted: str) -> int:
    section, _, key = dotted.partition(".")
    return line_of(text, section, key)
