"""Recipes: every impossible value is refused where it stands, and what is stored is what was meant."""

import json
from datetime import UTC, date, datetime, timedelta, timezone

import msgspec
import pytest
from histories import readme_block
from hypothesis import given
from hypothesis import strategies as st

import trainerlib
from trainerlib.datasets import split_of
from trainerlib.errors import NotFoundError, RecipeError
from trainerlib.recipes import SPLITS, Recipe, Split

# field of Recipe or Split: section and key of the file, values as Python and as TOML, what the error says would be right
IMPOSSIBLE = {
    "platforms": ("select.platforms", [("telegram", '"telegram"'), ((3,), "[3]")], "a list of words"),
    "tags": ("select.tags", [("vip", '"vip"'), (7, "7")], "a list of words"),
    "languages": ("select.languages", [(("de",), '["de"]'), (("RU",), '["RU"]')], "en, ru or und"),
    "authors": ("select.authors", [("telegram:7", '"telegram:7"')], "a list of words"),
    "since": ("select.since", [("2026-01-01", '"2026-01-01"'), (2026, "2026")], "2026-01-31, without quotes"),
    "until": ("select.until", [("tomorrow", '"tomorrow"'), (True, "true")], "2026-01-31, without quotes"),
    "targets": ("targets.replies", [("corected", '"corected"'), ("", '""')], "corrected-or-approved"),
    "raters": ("targets.raters", [("best", '"best"'), ((1, 2), "[1, 2]"), (3, "3")], "latest|list of person ids"),
    "min_rating": ("targets.min_rating", [(0, "0"), (6, "6"), (-1, "-1")], "from 1 to 5"),
    "rated_down": ("targets.rated_down", [("keep", '"keep"'), ("", '""')], "exclude, reject"),
    "context_turns": ("context.turns", [(0, "0"), (-3, "-3")], "1 or more"),
    "context_tokens": ("context.tokens", [(15, "15"), (-1, "-1")], "16 or more"),
    "context_replies": ("context.replies", [("best", '"best"')], "as-sent, corrected"),
    "system": ("context.system", [("", '""'), (" \n", '" \\n"')], "as-recorded"),
    "merge_seconds": ("context.merge_seconds", [(-1, "-1"), (-0.5, "-0.5")], "0 or more"),
    "duplicates": ("clean.duplicates", [("drop", '"drop"')], "exclude, keep"),
    "bases": ("consent.bases", [("any", '"any"'), ((3,), "[3]")], "recorded, none|a list of the words"),
    "redact": ("clean.redact", [(("mail",), '["mail"]'), ("mail", '"mail"')], "email|a list of words"),
    "patterns": ("clean.patterns", [({"order": "["}, '{order = "["}'), ({"order": 3}, "{order = 3}")], "expression"),
    "names": ("clean.names", [("Анна", '"Анна"')], "a list of words"),
    "near_duplicates": ("clean.near_duplicates", [(1.5, "1.5"), (-0.1, "-0.1")], "from 0 \\(off\\) to 1"),
    "train": ("split.train", [(1.5, "1.5"), (-0.1, "-0.1")], "from 0 to 1"),
    "validation": ("split.validation", [(1.0001, "1.0001"), (-1, "-1")], "from 0 to 1"),
    "test": ("split.test", [(2, "2"), (-0.0001, "-0.0001")], "from 0 to 1"),
    "seed": ("split.seed", [(1.5, "1.5"), ("seven", '"seven"')], "a number"),
}
NUMBERS = (
    "min_rating",
    "context_turns",
    "context_tokens",
    "merge_seconds",
    "near_duplicates",
    "train",
    "validation",
    "test",
    "seed",
)
CASES = [(field, *value, right) for field, (_, values, right) in IMPOSSIBLE.items() for value in values]
CASES += [(field, *value, "a number") for field in NUMBERS for value in [("8", '"8"'), (True, "true")]]
CASES += [(field, float(word), word, "a number") for field in NUMBERS for word in ("nan", "inf")]


def make(field, value):
    """A recipe with one field given, through Python."""
    return Recipe(split=Split(**{field: value})) if field in Split.__struct_fields__ else Recipe(**{field: value})


def test_the_table_above_names_every_field():
    """No field of a recipe is without its impossible values."""
    assert set(IMPOSSIBLE) == {*Recipe.__struct_fields__, *Split.__struct_fields__} - {"split", "quality"}


@pytest.mark.parametrize(("field", "value", "_toml", "right"), CASES)
def test_an_impossible_value_is_refused_in_python(field, value, _toml, right):
    """The error names the setting as the file calls it, and what would be right."""
    with pytest.raises(RecipeError, match=f"^{IMPOSSIBLE[field][0]}:? .*({right})"):
        make(field, value)


@pytest.mark.parametrize(("field", "_value", "toml", "right"), CASES)
def test_an_impossible_value_is_refused_in_a_file_with_its_line(field, _value, toml, right):
    """The error names the file and the line, wherever the section stands."""
    section, key = IMPOSSIBLE[field][0].split(".")
    other = "select" if section == "clean" else "clean"
    text = f"# what to learn\n\n[{other}]\n\n[{section}]\n# {key}: see below\n{key} = {toml}\n"
    with pytest.raises(RecipeError, match=rf"^support\.toml, line 7: {section}\.{key}:? .*({right})"):
        Recipe.from_toml(text, name="support.toml")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[selekt]\n", r"line 1: there is no section \[selekt\]; did you mean 'select'\?"),
        ("\n[select]\nplatform = []\n", r"line 3: \[select\] has no key 'platform'; did you mean 'platforms'\?"),
        ("[clean]\nredakt = ['email']\n", r"line 2: \[clean\] has no key 'redakt'; did you mean 'redact'\?"),
        ("targets = 'all'\n", r"line 1: targets is a section; write \[targets\]"),
        ("[select]\nsince =\n", r"recipe: .*line 2"),
        ("[split]\ntrain = 0.5\ntest = 0.4\n", "line 1: split: train .* make 0.9, not 1"),
    ],
)
def test_a_file_that_says_something_else_is_refused_with_its_line(text, error):
    """Unknown sections and keys, bad TOML and shares that do not add up are found, with the nearest right name."""
    with pytest.raises(RecipeError, match=error):
        Recipe.from_toml(text)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"since": datetime(2026, 2, 1, tzinfo=UTC), "until": datetime(2026, 2, 1, tzinfo=UTC)}, "not after"),
        ({"since": date(2026, 2, 2), "until": date(2026, 2, 1)}, "not after"),
        ({"rated_down": "reject", "targets": "corrected"}, 'needs targets.replies = "all"'),
        ({"rated_down": "reject", "targets": "approved"}, 'needs targets.replies = "all"'),
        ({"split": {"train": 1.0}}, "is a Split"),
    ],
)
def test_a_contradiction_is_refused(fields, error):
    """A recipe that could take nothing, or asks for two things at once, is no recipe."""
    with pytest.raises(RecipeError, match=error):
        Recipe(**fields)


def test_a_contradiction_in_a_file_has_a_line():
    """The line of the setting that has to give way is named."""
    with pytest.raises(RecipeError, match=r"line 3: select\.until is not after"):
        Recipe.from_toml("[select]\nsince = 2026-02-01\nuntil = 2026-01-01\n")


def test_a_whole_file_means_what_it_says():
    """Every key of a recipe file arrives in its field."""
    recipe = Recipe.from_toml("""
        [select]
        platforms = ["telegram", "discord"]
        tags = ["vip"]
        languages = ["ru", "en"]
        authors = ["telegram:7"]
        since = 2026-01-01
        until = 2026-02-01T12:30:00+03:00

        [targets]
        replies = "all"
        raters = ["telegram:1", "telegram:2"]
        min_rating = 2
        rated_down = "reject"

        [context]
        turns = 8
        tokens = 2048
        replies = "corrected"
        system = "Отвечай кратко."
        merge_seconds = 60

        [clean]
        duplicates = "keep"

        [split]
        train = 0.8
        test = 0.2
        seed = 7
    """)
    assert recipe == Recipe(
        platforms=("telegram", "discord"),
        tags=("vip",),
        languages=("ru", "en"),
        authors=("telegram:7",),
        since=datetime(2026, 1, 1, tzinfo=UTC),
        until=datetime(2026, 2, 1, 9, 30, tzinfo=UTC),
        targets="all",
        raters=("telegram:1", "telegram:2"),
        min_rating=2,
        rated_down="reject",
        context_turns=8,
        context_tokens=2048,
        context_replies="corrected",
        system="Отвечай кратко.",
        merge_seconds=60.0,
        duplicates="keep",
        split=Split(train=0.8, test=0.2, seed=7),
    )


def test_the_recipe_of_the_readme_is_one():
    """What a newcomer copies is accepted."""
    assert Recipe.from_toml(readme_block("toml")).targets == "corrected-or-approved"


def test_an_empty_file_is_the_default_recipe():
    """Everything has a default."""
    assert Recipe.from_toml("") == Recipe() == Recipe.from_toml("[select]\n[targets]\n[context]\n[clean]\n[split]\n")


def test_lists_days_and_times_without_a_zone_mean_the_same_as_the_stored_form():
    """A recipe written loosely in Python equals the one that is read back, so a dataset is not built twice."""
    loose = Recipe(platforms=["telegram"], raters=["telegram:1"], since=date(2026, 1, 1), until=datetime(2026, 2, 1))  # noqa: DTZ001 - on purpose
    assert loose == Recipe(
        platforms=("telegram",),
        raters=("telegram:1",),
        since=datetime(2026, 1, 1, tzinfo=UTC),
        until=datetime(2026, 2, 1, tzinfo=UTC),
    )
    assert loose == Recipe.from_json(loose.to_json())


words = st.lists(st.text(max_size=8), max_size=3).map(tuple)
moments = st.datetimes(
    datetime(1990, 1, 1), datetime(2080, 1, 1), timezones=st.just(UTC) | st.just(timezone(timedelta(hours=3)))  # noqa: DTZ001 - the zone comes with it
)  # fmt: skip


@st.composite
def splits(draw):
    shares = sorted(draw(st.lists(st.integers(0, 100), min_size=2, max_size=2)))
    train, validation, test = shares[0] / 100, (shares[1] - shares[0]) / 100, (100 - shares[1]) / 100
    return Split(train, validation, test, draw(st.integers(-(2**63) + 1, 2**63 - 1)))


@st.composite
def recipes(draw):
    """Any recipe that is one."""
    targets = draw(st.sampled_from(["all", "approved", "corrected", "corrected-or-approved"]))
    since, until = draw(st.none() | moments), draw(st.none() | moments)
    if since is not None and until is not None and since >= until:
        until = since + timedelta(days=1)
    return Recipe(
        draw(words),
        draw(words),
        draw(st.sampled_from([(), ("ru",), ("en", "ru"), ("und",)])),
        draw(words),
        since,
        until,
        targets,
        draw(st.sampled_from(["latest", "majority"]) | words),
        draw(st.integers(1, 5)),
        draw(st.sampled_from(["exclude", "reject"] if targets == "all" else ["exclude"])),
        draw(st.integers(1, 10**6)),
        draw(st.integers(16, 10**6)),
        draw(st.sampled_from(["as-sent", "corrected"])),
        draw(st.sampled_from(["as-recorded", "none"]) | st.text(min_size=1).filter(str.strip)),
        draw(st.integers(0, 10**6) | st.floats(0, 1e6)),
        draw(st.sampled_from(["exclude", "keep"])),
        draw(st.sampled_from(["recorded", "none"]) | words),
        draw(st.sampled_from([(), ("email",), ("phone", "email"), "all"])),
        draw(st.sampled_from([{}, {"order": r"\bORD-\d+"}])),
        draw(st.sampled_from([(), ("Анна", "Shop bot")])),
        draw(st.floats(0, 1)),
        split=draw(splits()),
    )


@given(recipes())
def test_a_recipe_survives_being_stored(recipe):
    """What `DatasetBuilt` stores as JSON reads back as an equal recipe."""
    assert Recipe.from_json(json.loads(msgspec.json.encode(recipe.to_json()))) == recipe


@pytest.mark.parametrize("fields", [{"shuffled": True}, {"targets": "best"}, {"context_turns": "8"}])
def test_a_stored_recipe_of_a_newer_version_is_refused_by_name(fields):
    """A field or value that is not known here is an error of ours, never a silent default."""
    with pytest.raises(RecipeError, match=next(iter(fields)) if "targets" not in fields else "best"):
        Recipe.from_json(Recipe().to_json() | fields)


@pytest.mark.parametrize(
    ("split", "shares"),
    [
        (Split(), {"train": 0.9, "validation": 0.05, "test": 0.05}),
        (Split(seed=7), {"train": 0.9, "validation": 0.05, "test": 0.05}),
        (Split(train=1), {"train": 1}),
        (Split(train=0.8, test=0.2), {"train": 0.8, "test": 0.2}),
        (Split(train=0.7, validation=0.2, test=0.1), {"train": 0.7, "validation": 0.2, "test": 0.1}),
    ],
)
def test_shares_that_are_not_given_are_nothing_unless_none_is(split, shares):
    """Without any share the default deal applies; with some, the others are 0 and get no file."""
    assert dict(split.shares()) == shares


@pytest.mark.parametrize("shares", [{"train": 0.9}, {"train": 0.5, "test": 0.6}, {"validation": 0.05, "test": 0.05}])
def test_shares_that_do_not_make_a_whole_are_refused(shares):
    """The error says what they make."""
    total = sum(shares.values())
    with pytest.raises(RecipeError, match=f"make {total:g}, not 1"):
        Split(**shares)


@given(split=splits(), conversation=st.text())
def test_a_conversation_is_dealt_into_a_split_that_exists(split, conversation):
    """Whatever the shares, rounding never deals a conversation into a split without one."""
    assert split_of(conversation, split) in [name for name in SPLITS if getattr(split, name) > 0]


def test_a_recipe_file_that_is_not_there_is_an_error_of_ours(tmp_path):
    """A missing file is named."""
    with pytest.raises(NotFoundError, match=r"support\.toml"):
        trainerlib.load_recipe(tmp_path / "support.toml")


def test_a_recipe_file_may_carry_a_byte_order_mark(tmp_path):
    """What Windows editors write reads as any other file."""
    path = tmp_path / "support.toml"
    path.write_bytes(b"\xef\xbb\xbf[context]\r\nturns = 3\r\n")
    assert trainerlib.load_recipe(path).context_turns == 3


def test_a_recipe_file_that_is_not_utf_8_is_an_error_of_ours(tmp_path):
    """Bytes of another encoding are refused with the name of the file."""
    path = tmp_path / "support.toml"
    path.write_bytes('[context]\nsystem = "Отвечай"\n'.encode("cp1251"))
    with pytest.raises(RecipeError, match=r"support\.toml: .*UTF-8"):
        trainerlib.load_recipe(path)
