r"""Dataset cards: what a dataset has, what was left out and why, and how to make it again, as one Markdown page.

The page begins with the front matter of a Hugging Face dataset card, so that beside the dataset's files, as
`README.md`, it makes a repository that `datasets.load_dataset` reads. The same dataset gives the same bytes: nothing
in it is of today. Words of strangers (names, instructions, licences) are escaped wherever they stand.

>>> from trainerlib.examples import Example, Turn
>>> facts = Facts([Example("telegram:42", 3, "train", (Turn("user", "Когда вы открыты?"),), "С 9 до 18.", "В 10.")])
>>> dict(facts.splits), dict(facts.languages), dict(facts.sides)
({'train': 1}, {'ru': 1}, {'pair': 1})
>>> built = DatasetBuilt("support", 1, Recipe(targets="corrected").to_json(), 4, 2, 1, {"not-corrected": 1},
...                      {"train": 1, "test": 0}, {"train.jsonl": "9f2c", "test.jsonl": "e3b0", "excluded.jsonl": "11aa"})
>>> print(card(built, facts, licence="CC-BY-4.0"))
---
language:
- ru
license: cc-by-4.0
...
2 candidates = 1 example + 1 excluded
...
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from math import ceil
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec import inspect

from trainerlib.datasets import why
from trainerlib.errors import DatasetError
from trainerlib.events import DatasetBuilt
from trainerlib.examples import ConversationExamples, Example
from trainerlib.language import language
from trainerlib.recipes import SECTIONS, Recipe
from trainerlib.tokens import estimate_tokens

_INSTRUCTIONS = 1_000
"""Most different instructions whose examples are counted apart."""

_SHOWN_INSTRUCTIONS = 5
_SHOWN_CHARACTERS = 600

_LANGUAGES = {"en": "English", "ru": "Russian", "und": "undetermined"}
_SIDES = {
    "chosen": "a wanted reply alone",
    "pair": "a wanted and an unwanted reply",
    "rejected": "an unwanted reply alone",
}

_ABOUT_PEOPLE = ("authors", "raters", "names", "patterns")
"""Fields of a recipe that name people, or what of them is replaced: a card goes further than the log does."""

_LICENCES = frozenset({
    "afl-3.0", "agpl-3.0", "apache-2.0", "artistic-2.0", "bsd", "bsd-2-clause", "bsd-3-clause", "bsd-3-clause-clear",
    "bsl-1.0", "c-uda", "cc", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0",
    "cc-by-nc-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0",
    "cc-by-nd-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc0-1.0", "cdla-permissive-1.0", "cdla-permissive-2.0",
    "cdla-sharing-1.0", "ecl-2.0", "epl-1.0", "epl-2.0", "etalab-2.0", "eupl-1.1", "gfdl", "gpl", "gpl-2.0",
    "gpl-3.0", "isc", "lgpl", "lgpl-2.1", "lgpl-3.0", "lgpl-lr", "lppl-1.3c", "mit", "mpl-2.0", "ms-pl", "ncsa",
    "odbl", "odc-by", "ofl-1.1", "openrail", "osl-3.0", "pddl", "postgresql", "unlicense", "wtfpl", "zlib",
})  # fmt: skip
"""Identifiers that https://huggingface.co/docs/hub/repositories-licenses lists for data and code of anybody's."""

# Characters that would end a string, or that YAML, TOML or a reader's eye takes for something else.
_UNSAFE = re.compile(
    '[\x00-\x1f"\\\\\x7f-\xa0\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff0-\ufffc\ufffe\uffff]'
)
_SHORT = {"\n": "\\n", "\t": "\\t", "\r": "\\r", '"': '\\"', "\\": "\\\\"}
_INVISIBLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]+")
_MARKUP = re.compile(r"[\\`*_{}\[\]<>|~&#!$^]")


class Histogram:
    """How often each value occurred: exact, in the memory of its different values.

    Attributes:
        counts: how often each value occurred.

    >>> lengths = Histogram([5, 1, 1, 9])
    >>> lengths.min, lengths.quantile(0.5), lengths.quantile(0.95), lengths.max, lengths.total
    (1, 1, 9, 9, 16)
    """

    __slots__ = ("counts",)

    def __init__(self, values: Iterable[int] = ()) -> None:
        self.counts: Counter[int] = Counter(values)

    def add(self, value: int) -> None:
        """Count a value."""
        self.counts[value] += 1

    @property
    def number(self) -> int:
        """How many values there are."""
        return self.counts.total()

    @property
    def total(self) -> int:
        """Their sum."""
        return sum(value * count for value, count in self.counts.items())

    @property
    def min(self) -> int:
        """The least value; 0 when there is none."""
        return min(self.counts, default=0)

    @property
    def max(self) -> int:
        """The greatest value; 0 when there is none."""
        return max(self.counts, default=0)

    def quantile(self, share: float) -> int:
        """The least value that at least this share of all values does not exceed; 0 when there is none.

        The inverse of the empirical distribution function: definition 1 of Hyndman and Fan, "Sample quantiles in
        statistical packages", 1996.

        Args:
            share: above 0, at most 1; 0.5 is the median.
        """
        wanted = ceil(share * self.number)
        for value in sorted(self.counts):
            wanted -= self.counts[value]
            if wanted <= 0:
                return value
        return 0


class Facts:
    """What one pass over the examples of a dataset tells about them, in memory that does not grow with their number.

    The reply of an example is the wanted one, or the unwanted one where only that is known.

    Args:
        examples: counted at once; those of one conversation together, as `Dataset.read` gives them.

    Attributes:
        splits: examples in each split.
        conversations: conversations with examples in each split.
        sides: examples with a wanted reply alone (`chosen`), both (`pair`), an unwanted one alone (`rejected`).
        languages: examples by the language of the reply, `en`, `ru` or `und`.
        turns: turns before the reply, without the instruction.
        context_characters: characters of everything before the reply, instruction included.
        context_tokens: its tokens, by `trainerlib.tokens.estimate_tokens`.
        reply_characters: characters of the reply.
        reply_tokens: its tokens, likewise.
        instructions: examples with each instruction, of the first 1,000 different ones.
        other_instructions: examples with yet another instruction.
    """

    def __init__(self, examples: Iterable[Example] = ()) -> None:
        self.splits: Counter[str] = Counter()
        self.conversations: Counter[str] = Counter()
        self.sides: Counter[str] = Counter()
        self.languages: Counter[str] = Counter()
        self.turns = Histogram()
        self.context_characters = Histogram()
        self.context_tokens = Histogram()
        self.reply_characters = Histogram()
        self.reply_tokens = Histogram()
        self.instructions: Counter[str] = Counter()
        self.other_instructions = 0
        self._last = ("", "")
        for example in examples:
            self.add(example)

    def add(self, example: Example) -> None:
        """Count an example."""
        split, context = example.split, example.context
        self.splits[split] += 1
        if self._last != (split, example.conversation):
            self._last = (split, example.conversation)
            self.conversations[split] += 1
        chosen, rejected = example.chosen, example.rejected
        self.sides["rejected" if chosen is None else "chosen" if rejected is None else "pair"] += 1
        reply = chosen if chosen is not None else rejected or ""
        self.languages[language(reply)] += 1
        characters = tokens = instructions = 0
        for turn in context:
            characters += len(turn.content)
            tokens += estimate_tokens(turn.content)
            if turn.role == "system":
                instructions += 1
                self._instruct(turn.content)
        self.turns.add(len(context) - instructions)
        self.context_characters.add(characters)
        self.context_tokens.add(tokens)
        self.reply_characters.add(len(reply))
        self.reply_tokens.add(estimate_tokens(reply))

    def _instruct(self, text: str) -> None:
        if text in self.instructions or len(self.instructions) < _INSTRUCTIONS:
            self.instructions[text] += 1
        else:
            self.other_instructions += 1

    @property
    def tokens(self) -> int:
        """About how many tokens one pass over all examples takes."""
        return self.context_tokens.total + self.reply_tokens.total


def recipe_toml(recipe: Recipe, *, withheld: Collection[str] = ()) -> str:
    """The recipe as the TOML that `Recipe.from_toml` reads back to the same value.

    Every setting is written out, also where it is the default, so that a later trainerlib with other defaults reads
    the same recipe.

    Args:
        recipe: what to write.
        withheld: fields of the recipe whose lists and tables are only counted, in a comment.

    >>> recipe = Recipe(targets="corrected", authors=("telegram:7",))
    >>> Recipe.from_toml(recipe_toml(recipe)) == recipe
    True
    >>> print(recipe_toml(recipe, withheld=["authors"]))
    [select]
    platforms = []
    tags = []
    languages = []
    # authors: 1 value, not shown here
    ...
    """
    lines: list[str] = []
    for section, keys in SECTIONS.items():
        lines.append(f"\n[{section}]")
        part = getattr(recipe, section, None)
        for key, field in keys.items():
            value = getattr(part if isinstance(part, msgspec.Struct) else recipe, field)
            if value and field in withheld and isinstance(value, (tuple, dict)):
                lines.append(f"# {key}: {_counted(len(value), 'value')}, not shown here")
            elif value is not None:
                lines.append(f"{key} = {_toml(value)}")
    return "\n".join(lines).lstrip() + "\n"


def card(
    built: DatasetBuilt,
    facts: Facts,
    *,
    licence: str = "",
    raters: Mapping[str, int] | None = None,
    plots: Sequence[str] = (),
) -> str:
    """The card of a dataset: Markdown that begins with the front matter of a Hugging Face dataset card.

    What names people in the recipe (authors, raters, names and patterns to replace) is counted there, not shown.

    Args:
        built: what was recorded when the dataset was built.
        facts: of its examples.
        licence: an identifier such as `cc-by-4.0`, or words of one's own; empty when nobody said.
        raters: corrections and ratings of each person who judged, by an id that may be shown.
        plots: where its pictures are, relative to the card.

    Raises:
        DatasetError: the facts are those of other examples.
    """
    counted = {name: facts.splits[name] for name in (*built.splits, *facts.splits)}
    if counted != built.splits:
        raise DatasetError(f"these facts are not of dataset {built.name} v{built.dataset_version}: other splits")
    title = f"{built.name} v{built.dataset_version}"
    paragraphs = [
        "\n".join(["---", *_front_matter(built, facts, title, licence), "---"]),
        f"# {_text(title)}",
        *_summary(built, facts, plots),
        *_left_out(built),
        *_contents(facts),
        *_people(built, raters or {}),
        "## Licence",
        _text(licence) or "Nobody stated a licence.",
        *_origin(built),
    ]
    return "\n\n".join(paragraphs) + "\n"


def _front_matter(built: DatasetBuilt, facts: Facts, title: str, licence: str) -> Iterator[str]:
    """Lines of https://github.com/huggingface/hub-docs/blob/main/datasetcard.md."""
    spoken = sorted(code for code in facts.languages if code != "und")
    if spoken:
        yield "language:"
        yield from (f"- {code}" for code in spoken)
    known = licence.strip().lower()
    if known in _LICENCES:
        yield f"license: {known}"
    elif not known:
        yield "license: unknown"
    else:
        yield "license: other"
        yield f"license_name: {_quoted(re.sub(r'[^a-z0-9.]+', '-', known).strip('-.') or 'custom')}"
    yield "task_categories:"
    yield "- text-generation"
    yield "size_categories:"
    yield f"- {_size_category(built.examples)}"
    yield f"pretty_name: {_quoted(title)}"
    yield "tags:"
    yield "- trainerlib"
    # A split without examples is left out: `datasets` refuses an empty file.
    filled = [name for name, count in built.splits.items() if count]
    if filled:
        yield "configs:"
        yield "- config_name: default"
        yield "  data_files:"
        for name in filled:
            yield f"  - split: {name}"
            yield f"    path: {name}.jsonl"
        # Without them a reader guesses from what the first rows have, and stumbles over the first that has more.
        yield "dataset_info:"
        yield "  features:"
        yield from _features(inspect.type_info(ConversationExamples), "  ")


def _features(kind: inspect.Type, indent: str) -> Iterator[str]:
    """The fields of a struct as the features of a table."""
    if not isinstance(kind, inspect.StructType):
        return
    for field in kind.fields:
        of = field.type
        yield f"{indent}- name: {field.encode_name}"
        if not isinstance(of, inspect.VarTupleType):
            yield f"{indent}  dtype: {_dtype(of)}"
        elif isinstance(of.item_type, inspect.StructType):
            yield f"{indent}  list:"
            yield from _features(of.item_type, f"{indent}  ")
        else:
            yield f"{indent}  sequence: {_dtype(of.item_type)}"


def _dtype(kind: inspect.Type) -> str:
    return {inspect.IntType: "int64", inspect.BoolType: "bool"}.get(type(kind), "string")


def _summary(built: DatasetBuilt, facts: Facts, plots: Sequence[str]) -> Iterator[str]:
    conversations = _counted(sum(facts.conversations.values()), "conversation")
    yield (
        f"{_counted(built.examples, 'example')} from {conversations} with a bot, for fine-tuning: each is a context and"
        f" the reply that is wanted after it, the reply that is not, or both. About {facts.tokens:,} tokens (estimate)."
        f" Made by trainerlib from its event log, up to position {built.position:,}."
    )
    yield _table(
        ("split", "#examples", "#share", "#conversations"),
        [
            (name, count, _share(count, built.examples), facts.conversations[name])
            for name, count in built.splits.items()
        ],
    )
    for plot in plots:
        yield f"![{_text(_stem(plot))}](<{quote(plot, safe='/.-_~')}>)"


def _stem(plot: str) -> str:
    """What to call a picture, by its file: `plots/turns.png` is `turns`."""
    return plot.rpartition("/")[2].rpartition(".")[0] or plot


def _left_out(built: DatasetBuilt) -> Iterator[str]:
    yield "## What was left out"
    yield (
        "Every reply of the bot that was recorded is a candidate, and becomes an example or is left out for one reason:"
    )
    excluded = sum(built.excluded.values())
    yield f"{built.candidates:,} candidates = {_counted(built.examples, 'example')} + {excluded:,} excluded"
    if built.excluded:
        yield _table(
            ("reason", "#replies", "meaning"),
            [(reason, count, why(reason)) for reason, count in _most_first(built.excluded)],
        )


def _contents(facts: Facts) -> Iterator[str]:
    examples = facts.splits.total()
    yield "## What the examples are"
    yield _table(
        ("they have", "#examples", "#share"),
        [(words, facts.sides[side], _share(facts.sides[side], examples)) for side, words in _SIDES.items()],
    )
    yield _table(
        ("language of the reply", "#examples", "#share"),
        [
            (f"{_LANGUAGES.get(code, code)} ({code})", count, _share(count, examples))
            for code, count in _most_first(facts.languages)
        ],
    )
    measured = (
        ("turns before the reply", facts.turns),
        ("characters before the reply", facts.context_characters),
        ("characters of the reply", facts.reply_characters),
        ("tokens before the reply (estimate)", facts.context_tokens),
        ("tokens of the reply (estimate)", facts.reply_tokens),
    )
    yield _table(
        ("", "#least", "#median", "#95%", "#most"),
        [(words, of.min, of.quantile(0.5), of.quantile(0.95), of.max) for words, of in measured],
    )
    yield "## Instructions"
    yield from _instructions(facts)


def _instructions(facts: Facts) -> Iterator[str]:
    examples = facts.splits.total()
    most_used = _most_first(facts.instructions)
    without = examples - facts.instructions.total() - facts.other_instructions
    if not most_used:
        yield "No example has one."
        return
    different = f"more than {_INSTRUCTIONS:,}" if facts.other_instructions else f"{len(most_used):,}"
    yield f"{different} different, in {examples - without:,} of {_counted(examples, 'example')}."
    for text, count in most_used[:_SHOWN_INSTRUCTIONS]:
        shown = text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
        yield f"In {_counted(count, 'example')}:"
        yield _fenced(shown, "text")
    if len(most_used) > _SHOWN_INSTRUCTIONS:
        yield f"The {len(most_used) - _SHOWN_INSTRUCTIONS:,} less used are not shown."


def _people(built: DatasetBuilt, raters: Mapping[str, int]) -> Iterator[str]:
    yield "## Who judged"
    if raters:
        yield _table(("rater", "#corrections and ratings"), _most_first(raters))
    else:
        yield "Nobody who judged is named here."
    yield f"Those who judged do not agree about {built.disagreements:,} of {_counted(built.candidates, 'candidate')}."
    yield "## On what ground"
    if built.bases:
        yield _table(("ground", "#conversations"), _most_first(built.bases))
    else:
        yield "No conversation with a ground on record."
    yield "## What was replaced"
    if built.redacted:
        yield _table(("kind", "#values"), _most_first(built.redacted))
    else:
        yield "No value was replaced by a placeholder."


def _origin(built: DatasetBuilt) -> Iterator[str]:
    recipe = Recipe.from_json(built.recipe)
    yield "## Recipe"
    yield _fenced(recipe_toml(recipe, withheld=_ABOUT_PEOPLE), "toml")
    yield "## Files"
    yield _table(("file", "sha256"), sorted(built.sha256.items()))
    yield "## Build it again"
    yield (
        "A dataset is a recipe and a position in the log: the same two give the same bytes, whatever was recorded later."
        " Only the erasure of a person changes what the log gives."
    )
    yield _fenced(
        f"""import trainerlib

with trainerlib.open("workspace") as ws:
    dataset = ws.datasets.get({_quoted(built.name)}, {built.dataset_version})
    again = ws.datasets.build("again", dataset.recipe, position={built.position})
    assert again.sha256 == dataset.sha256""",
        "python",
    )


def _size_category(examples: int) -> str:
    """The bucket of a dataset's size, in the words of a Hugging Face dataset card.

    >>> _size_category(0), _size_category(999), _size_category(1_000), _size_category(2_500_000)
    ('n<1K', 'n<1K', '1K<n<10K', '1M<n<10M')
    """
    bounds = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T")
    above = sum(examples >= 10**power for power in range(3, 3 + len(bounds)))
    if not above:
        return f"n<{bounds[0]}"
    return f"{bounds[above - 1]}<n<{bounds[above]}" if above < len(bounds) else f"n>{bounds[-1]}"


def _quoted(text: str) -> str:
    r"""A string as YAML, TOML and Python all read it, in double quotes on one line.

    >>> print(_quoted('say "да"\n---'))
    "say \"да\"\n---"
    """
    return f'"{_UNSAFE.sub(_escaped, text)}"'


def _escaped(found: re.Match[str]) -> str:
    return _SHORT.get(found[0]) or f"\\u{ord(found[0]):04x}"


def _toml(value: Any) -> str:
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_quoted(key)} = {_toml(item)}' for key, item in value.items())}}}"
    # TOML writes numbers as Python does; 300 and 300.0 are the same setting.
    return repr(int(value) if value == int(value) else value)


def _text(words: str) -> str:
    r"""Words of strangers within a line of Markdown: they say what they say and mark up nothing."""
    return _MARKUP.sub(r"\\\g<0>", " ".join(_INVISIBLE.sub(" ", words).split()))


def _fenced(text: str, kind: str) -> str:
    """A block of code that nothing in it can end."""
    lines = _INVISIBLE.sub(" ", text.replace("\r\n", "\n").replace("\r", "\n")).strip("\n")
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", lines)), default=0))
    return f"{fence}{kind}\n{lines}\n{fence}"


def _most_first(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _table(columns: Sequence[str], rows: Iterable[Sequence[str | int]]) -> str:
    """A table; columns whose name begins with `#` are numbers, to the right."""
    head = " | ".join(name.removeprefix("#") for name in columns)
    line = " | ".join("---:" if name.startswith("#") else "---" for name in columns)
    body = [f"| {' | '.join(f'{cell:,}' if isinstance(cell, int) else _text(cell) for cell in row)} |" for row in rows]
    return "\n".join([f"| {head} |", f"| {line} |", *body])


def _counted(number: int, one: str) -> str:
    return f"{number:,} {one}" if number == 1 else f"{number:,} {one}s"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else ""
