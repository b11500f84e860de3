"""Dataset cards: what they count is right, what strangers wrote cannot break them, and they say how to begin again."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from math import ceil

import pytest
from histories import row, write
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from test_recipes import recipes

import trainerlib
from trainerlib import Recipe, Split
from trainerlib.cards import Facts, Histogram, card, recipe_toml
from trainerlib.datasets import EXCLUSIONS
from trainerlib.errors import DatasetError
from trainerlib.events import DatasetBuilt
from trainerlib.examples import Example, Turn

MARKDOWN = MarkdownIt("commonmark").enable("table")


def example(number=1, *, split="train", conversation="telegram:42", system="", chosen="С 9 до 18.", rejected=None):
    """An example of one question; each number is another reply."""
    context = (Turn("system", system),) * bool(system) + (Turn("user", "Когда вы открыты?"),)
    return Example(conversation, number, split, context, chosen, rejected)


def built(facts, *, name="support", excluded=None, recipe=Recipe(), **more):  # noqa: B008 - a frozen value
    """The record of a dataset with those facts."""
    splits = {split: facts.splits[split] for split in ("train", "validation", "test")}
    examples, excluded = facts.splits.total(), excluded or {}
    files = {f"{split}.jsonl": "9f2c" for split in splits}
    return DatasetBuilt(
        name, 1, recipe.to_json(), 817, examples + sum(excluded.values()), examples, excluded, splits, files, **more
    )


def tables(text):
    """The rows of every table, by the first cell of its head, each cell as a reader sees it."""
    found = {}
    tokens = MARKDOWN.parse(text.partition("\n---\n")[2])
    rows = []
    for index, token in enumerate(tokens):
        if token.type == "table_open":
            rows = []
        elif token.type == "tr_open":
            rows.append([])
        elif token.type in ("th_open", "td_open"):
            rows[-1].append("".join(child.content for child in tokens[index + 1].children))
        elif token.type == "table_close":
            found[rows[0][0]] = rows[1:]
    return found


def shape(text):
    """What blocks a page has, without their words."""
    return [token.type for token in MARKDOWN.parse(text.partition("\n---\n")[2])]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """A dataset of a small bilingual history, built for real, with its workspace and its record in the log."""
    place = tmp_path_factory.mktemp("cards")
    rows = [
        row(f"chat:{number}", f"Есть розы {number}?", "Да", "How much are they?", f"{number} roubles each.")
        for number in range(60)
    ]
    rows += [
        row("chat:c", "Вы открыты?", "Нет", corrections=[{"message": 1, "text": "С 9 до 18.", "by": "anna"}]),
        row("chat:d", "Вы открыты?", "Нет", feedback=[{"message": 1, "rating": -1, "by": "ben"}]),
        row("chat:e", "Hi", " "),
    ]
    with trainerlib.open(place / "workspace") as ws:
        ws.import_file(write(place / "rows.jsonl", rows))
        dataset = ws.datasets.build("support", Recipe(split=Split(train=0.8, test=0.2, seed=7)))
        [record] = [recorded.event for recorded in ws.store.read("dataset/support")]
        yield dataset, record


# --- facts -----------------------------------------------------------------------------------------------------------


@given(values=st.lists(st.integers(0, 50), min_size=1), share=st.sampled_from([0.01, 0.5, 0.95, 1.0]))
def test_a_quantile_is_the_value_at_that_rank(values, share):
    assert Histogram(values).quantile(share) == sorted(values)[ceil(share * len(values)) - 1]


@given(values=st.lists(st.integers(0, 50)))
def test_a_histogram_knows_number_sum_and_ends_of_its_values(values):
    of = Histogram()
    for value in values:
        of.add(value)
    assert (of.number, of.total) == (len(values), sum(values))
    assert (of.min, of.max) == (min(values, default=0), max(values, default=0))


def test_no_values_have_no_quantile():
    assert Histogram().quantile(0.5) == 0


def test_facts_count_every_example_once():
    facts = Facts(
        [
            example(1, system="Отвечай кратко."),
            example(2, chosen="We open at 9.", rejected="At 10."),
            example(3, conversation="telegram:43", chosen=None, rejected="👎"),
            example(4, conversation="telegram:43", split="test", system="Отвечай кратко."),
        ]
    )
    assert facts.splits == {"train": 3, "test": 1}
    assert facts.conversations == {"train": 2, "test": 1}
    assert facts.sides == {"chosen": 2, "pair": 1, "rejected": 1}
    assert facts.languages == {"ru": 2, "en": 1, "und": 1}
    assert facts.turns.counts == {1: 4}
    assert facts.reply_characters.counts == {10: 2, 13: 1, 1: 1}
    assert facts.context_characters.counts == {17: 2, 32: 2}
    assert facts.instructions == {"Отвечай кратко.": 2}


def test_facts_of_a_dataset_agree_with_what_was_recorded_of_it(dataset):
    facts = Facts(dataset[0].read())
    assert dict(facts.splits) == dataset[0].splits
    assert facts.tokens == dataset[0].estimate_tokens()


def test_ever_new_instructions_do_not_fill_the_memory():
    facts = Facts(example(number, system=f"Отвечай кратко, {number}.") for number in range(1_500))
    assert len(facts.instructions) == 1_000
    assert facts.other_instructions == 500
    assert "more than 1,000 different, in 1,500 of 1,500 examples." in card(built(facts), facts)


# --- the recipe ------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(recipes())
def test_a_recipe_written_as_toml_reads_back_as_the_same_recipe(recipe):
    assert Recipe.from_toml(recipe_toml(recipe)) == recipe


@settings(deadline=None)
@given(recipes())
def test_equal_recipes_are_written_in_the_same_words(recipe):
    """Also when one was stored, which brings times to UTC."""
    assert recipe_toml(Recipe.from_json(recipe.to_json())) == recipe_toml(recipe)


def test_one_moment_is_written_in_one_way_whatever_its_zone():
    odd = timezone(timedelta(hours=3, seconds=17))
    for since in (datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 3, 0, 17, tzinfo=odd)):
        assert "\nsince = 2026-01-01T00:00:00+00:00\n" in recipe_toml(Recipe(since=since))


def test_every_setting_is_written_out():
    """So that other defaults of a later version change nothing."""
    said = re.findall(r"^(\w+) = ", recipe_toml(Recipe()), re.MULTILINE)
    fields = [*Recipe.__struct_fields__, *Recipe().quality.__struct_fields__, *Split.__struct_fields__]
    assert len(said) == len(fields) - len(["quality", "split", "since", "until"])


def test_a_card_counts_the_people_in_a_recipe_and_does_not_name_them():
    people = {"names": ("Анна Петрова",), "authors": ("telegram:7", "telegram:8"), "raters": ("telegram:1",)}
    facts = Facts([example()])
    page = card(built(facts, recipe=Recipe(**people, patterns={"order": "PETROV-[0-9]+"})), facts)
    for line in ("# names: 1 value,", "# authors: 2 values,", "# raters: 1 value,", "# patterns: 1 value,"):
        assert f"{line} not shown here\n" in page
    for word in ("Петрова", "telegram:7", "telegram:8", 'telegram:1"', "PETROV"):
        assert word not in page


# --- the card --------------------------------------------------------------------------------------------------------


def test_every_candidate_is_accounted_for():
    facts = Facts([example(number) for number in range(1, 4)])
    excluded = {reason: 1000 + number for number, reason in enumerate(EXCLUSIONS)}
    page = card(built(facts, excluded=excluded), facts)
    left_out = tables(page)["reason"]
    assert {reason: meaning for reason, _, meaning in left_out} == EXCLUSIONS
    counts = [int(count.replace(",", "")) for _, count, _ in left_out]
    assert counts == sorted(counts, reverse=True)
    assert f"{3 + sum(counts):,} candidates = 3 examples + {sum(counts):,} excluded" in page


def test_a_reason_of_a_newer_trainerlib_is_shown_by_its_code():
    facts = Facts([example()])
    assert ["too-loud", "2", "a reason this version of trainerlib does not know"] in tables(
        card(built(facts, excluded={"too-loud": 2}), facts)
    )["reason"]


def test_a_card_tells_what_is_in_the_dataset(dataset):
    built_dataset, record = dataset
    facts = Facts(built_dataset.read())
    page = card(record, facts, raters={"rater 1": 12, "rater 2": 30}, plots=["card.png"])
    found = tables(page)
    assert [(name, int(count)) for name, count, _, _ in found["split"]] == list(built_dataset.splits.items())
    assert dict(found["file"]) == built_dataset.sha256
    assert found["rater"] == [["rater 2", "30"], ["rater 1", "12"]]
    assert [name for name, *_ in found["language of the reply"]] == ["Russian (ru)", "English (en)"]
    assert sum(int(count) for _, count, _ in found["they have"]) == built_dataset.examples
    assert "![card](<card.png>)" in page
    assert f"About {built_dataset.estimate_tokens():,} tokens" in page
    assert f"up to position {built_dataset.position}." in page


def test_grounds_redactions_and_disagreements_are_shown():
    facts = Facts([example()])
    page = card(built(facts, disagreements=1, redacted={"email": 3, "phone": 1200}, bases={"consent": 5, "": 2}), facts)
    assert tables(page)["kind"] == [["phone", "1,200"], ["email", "3"]]
    assert tables(page)["ground"] == [["consent", "5"], ["", "2"]]
    assert "Those who judged do not agree about 1 of 1 candidate." in page


def test_the_same_dataset_gives_the_same_card(dataset):
    built_dataset, record = dataset
    pages = {card(record, Facts(built_dataset.read()), raters={"b": 1, "a": 1}) for _ in range(2)}
    pages.add(card(record, Facts(built_dataset.read()), raters={"a": 1, "b": 1}))
    assert len(pages) == 1


def test_facts_of_another_dataset_are_refused():
    facts = Facts([example()])
    with pytest.raises(DatasetError, match="not of dataset support v1"):
        card(built(facts), Facts([example(), example(2)]))


def test_an_empty_dataset_has_a_card():
    facts = Facts()
    page = card(built(facts, excluded={"no-consent": 3}), facts)
    assert "3 candidates = 0 examples + 3 excluded" in page
    assert "configs:" not in page
    assert "## Instructions\n\nNo example has one.\n" in page


def test_the_way_to_build_it_again_works(dataset, monkeypatch):
    built_dataset, record = dataset
    page = card(record, Facts(built_dataset.read()))
    [code] = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    monkeypatch.chdir(built_dataset.directory.parents[3])
    exec(code, {})


@pytest.mark.parametrize(
    ("licence", "lines"),
    [
        ("", "license: unknown"),
        ("MIT", "license: mit"),
        (" CC-BY-SA-4.0\n", "license: cc-by-sa-4.0"),
        ("Internal use only!", 'license: other\nlicense_name: "internal-use-only"'),
        ("Только для своих", 'license: other\nlicense_name: "custom"'),
    ],
)
def test_a_licence_that_hugging_face_does_not_list_is_another_one(licence, lines):
    facts = Facts([example()])
    page = card(built(facts), facts, licence=licence)
    assert f"\n{lines}\ntask_categories:" in page
    assert f"## Licence\n\n{licence.strip() or 'Nobody stated a licence.'}\n".replace("!", r"\!") in page


NASTY = [
    "|", "`", "```", "~~~", "\n", "\r", "\n\n", "\n---\n", "\n# ", "*", "_", "[x](y)", "![", "<b>", "<!--", "&amp;",
    "\\", '"', "'", ": ", "- ", "1. ", "> ", "    ", "\t", "$", "{{", "%}", "\x00", "\x1b[0m", "\x85", "\u2028",
    "\u202e", "\ufeff", "\ufffe", "👍", "Ж", "x",
]  # fmt: skip
nasty = st.lists(st.sampled_from(NASTY), min_size=1, max_size=8).map("".join)


@settings(deadline=None)
@given(nasty, nasty, nasty, nasty)
def test_words_of_strangers_cannot_break_the_page(rater, licence, ground, instruction):
    """The page has the blocks it has with harmless words, and its tables say what was meant."""
    calm = Facts([example(system="x")])
    wild = Facts([example(system=instruction)])
    page = card(built(wild, bases={ground: 1}), wild, licence=f"x{licence}", raters={rater: 1})
    assert shape(page) == shape(card(built(calm, bases={"x": 1}), calm, licence="x", raters={"x": 1}))
    assert tables(page)["rater"] == [[seen(rater), "1"]]
    assert tables(page)["ground"] == [[seen(ground), "1"]]


def seen(text):
    """Words as a line of a page shows them: invisible characters and line ends are spaces."""
    return " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\ufeff]", " ", text).split())


def test_a_long_instruction_is_shortened_and_the_rare_ones_are_counted():
    facts = Facts(example(number, system=f"{number} " + "Отвечай кратко. " * 100) for number in range(1, 8))
    page = card(built(facts), facts)
    assert page.count("```text\n") == 5
    assert "The 2 less used are not shown." in page
    assert max(map(len, page.splitlines())) < 700


# --- for Hugging Face ------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(nasty, nasty, nasty)
def test_the_front_matter_is_yaml_whatever_the_words(name, licence, instruction):
    yaml = pytest.importorskip("yaml")
    facts = Facts([example(system=instruction)])
    head = card(built(facts, name=name), facts, licence=licence).split("\n---\n")[0]
    front = yaml.safe_load(head.removeprefix("---\n"))
    assert front["pretty_name"] == f"{name} v1"
    assert front["license"] in ("unknown", "other")
    assert front["configs"][0]["data_files"] == [{"split": "train", "path": "train.jsonl"}]


def test_huggingface_hub_reads_the_front_matter(dataset):
    hub = pytest.importorskip("huggingface_hub")
    built_dataset, record = dataset
    page = card(record, Facts(built_dataset.read()), licence="cc-by-4.0")
    data = hub.DatasetCard(page).data
    assert data.to_dict() | {"dataset_info": None} == {
        "language": ["en", "ru"],
        "license": "cc-by-4.0",
        "task_categories": ["text-generation"],
        "size_categories": ["n<1K"],
        "pretty_name": "support v1",
        "tags": ["trainerlib"],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": name, "path": f"{name}.jsonl"} for name in ("train", "test")],
            }
        ],
        "dataset_info": None,
    }
    assert hub.DatasetCard(page).text.lstrip().startswith("# support v1\n")


def test_the_files_with_their_card_are_a_hugging_face_dataset(dataset, tmp_path):
    """Rows of all splits have the same features, also where a key is missing in a whole split."""
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    built_dataset, record = dataset
    for file in built_dataset.directory.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "README.md").write_text(card(record, Facts(built_dataset.read())), encoding="utf-8")
    loaded = datasets.load_dataset(str(tmp_path), cache_dir=str(tmp_path / "cache"))
    assert set(loaded) == {"train", "test"}
    assert loaded["train"].features == loaded["test"].features
    windows = sum(len(line["examples"]) for split in loaded.values() for line in split)
    assert windows == built_dataset.examples
