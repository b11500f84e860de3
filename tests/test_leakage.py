"""Splits kept apart: what says the same is together or left out, and nothing that was placed ever moves."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import trainerlib
from trainerlib import Recipe, Split
from trainerlib.conversations import Conversation, Message
from trainerlib.datasets import Pipeline, split_of
from trainerlib.leakage import Leakage, leakage

HALVES = Split(train=0.5, validation=0.25, test=0.25, seed=7)
WORDS = [
    "когда",
    "вы",
    "открыты",
    "сегодня",
    "завтра",
    "розы",
    "тюльпаны",
    "доставка",
    "адрес",
    "курьер",
    "оплата",
    "возврат",
    "when",
    "open",
    "today",
    "tomorrow",
    "roses",
    "tulips",
    "delivery",
    "address",
    "courier",
    "payment",
    "refund",
    "card",
    "order",
    "number",
    "please",
    "thanks",
    "Saturday",
    "Sunday",
    "price",
    "cheap",
]


def talk(name, position, *texts):
    """A conversation told from its question on."""
    messages = tuple(
        Message(position + number, number, "assistant" if number % 2 == 0 else "user", text)
        for number, text in enumerate(texts, 1)
    )
    return Conversation(name, len(texts), position, "rows", messages=messages)


def made(recipe, conversations):
    """`(split, line)` of each conversation that is in the dataset, and the pipeline."""
    pipeline = Pipeline(recipe)
    taken = [pipeline.take(conversation) for conversation in conversations]
    assert pipeline.candidates == pipeline.examples + pipeline.excluded.total()
    return [(one.split, one.examples) for one in taken if one.examples is not None], pipeline


def sentence(dice, words=30):
    return " ".join(dice.choice(WORDS) for _ in range(words))


def in_split(split, begin=0):
    """The first name `c<number>` that is dealt into a split."""
    return next(name for number in range(begin, 10_000) if split_of(name := f"c{number}", HALVES) == split)


LONG = sentence(random.Random(1), 60)
NEARLY = LONG.replace("розы", "пионы", 1)
RECIPE = Recipe(near_duplicates=0.85, split=HALVES)


def test_a_conversation_follows_its_earliest_near_duplicate():
    first, second = in_split("test"), in_split("train")
    lines, _ = made(RECIPE, [talk(first, 1, LONG, "Да, открыты."), talk(second, 9, NEARLY, "Да, мы открыты.")])
    assert [(split, line.conversation) for split, line in lines] == [("test", first), ("test", second)]


def test_without_looking_for_them_near_duplicates_are_dealt_like_any():
    first, second = in_split("test"), in_split("train")
    recipe = Recipe(split=HALVES)
    lines, _ = made(recipe, [talk(first, 1, LONG, "Да, открыты."), talk(second, 9, NEARLY, "Да, мы открыты.")])
    assert [split for split, _ in lines] == ["test", "train"]
    assert leakage(lines, 0.85).near_duplicates == 1


def test_one_that_is_near_to_two_splits_is_left_out():
    """Between two conversations that are not near each other."""
    middle = sentence(random.Random(3), 100)
    left, right = (" ".join([*[f"{side}{n}" for n in range(7)], middle]) for side in ("слева", "right"))
    recipe = Recipe(near_duplicates=0.9, split=HALVES)
    conversations = [
        talk(in_split("test"), 1, left, "Да."),
        talk(in_split("train"), 11, right, "Да."),
        talk(in_split("train", 500), 21, middle, "Да."),
    ]
    lines, pipeline = made(recipe, conversations)
    assert [split for split, _ in lines] == ["test", "train"]
    assert pipeline.excluded == {"near-both": 1}


def test_an_example_that_is_said_in_another_split_is_left_out_and_the_rest_stays():
    """But for case and punctuation the first exchange is the same; the conversations are not."""
    dice = random.Random(5)
    first, second = in_split("test"), in_split("train")
    conversations = [
        talk(first, 1, "Есть розы?", "Да!", sentence(dice), "В 10."),
        talk(second, 11, "есть розы", "да", sentence(dice), "Завтра."),
    ]
    lines, pipeline = made(RECIPE, conversations)
    assert [(split, len(line.examples)) for split, line in lines] == [("test", 2), ("train", 1)]
    assert pipeline.excluded == {"said-elsewhere": 1}
    assert leakage(lines, 0.85) == Leakage()


def test_what_is_left_out_is_repeated_by_nobody():
    """An example identical to a left out one takes its place when it may."""
    dice = random.Random(5)
    first, second, third = in_split("test"), in_split("train"), in_split("test", 800)
    conversations = [
        talk(first, 1, "Есть розы?", "Да!", sentence(dice), "В 10."),
        talk(second, 11, "есть розы", "да", sentence(dice), "Завтра."),
        talk(third, 21, "есть розы", "да", sentence(dice), "Послезавтра."),
    ]
    lines, pipeline = made(RECIPE, conversations)
    assert [len(line.examples) for _, line in lines] == [2, 1, 2]
    assert pipeline.excluded == {"said-elsewhere": 1}


# --- the invariant ---------------------------------------------------------------------------------------------------


@st.composite
def logs(draw):
    """Conversations of which many are nearly others: a word more, a word less, other case, one exchange shared."""
    dice = random.Random(draw(st.integers(0, 2**32)))
    bases = [[sentence(dice, dice.randint(2, 25)) for _ in range(dice.choice([2, 4, 6]))] for _ in range(4)]
    conversations = []
    for number in range(draw(st.integers(2, 25))):
        texts = list(dice.choice(bases)) if dice.random() < 0.8 else [sentence(dice, 8) for _ in range(4)]
        for index in range(len(texts)):
            change = dice.random()
            if change < 0.2:
                texts[index] = texts[index].upper() + "!"
            elif change < 0.3:
                texts[index] = " ".join(texts[index].split()[1:]) or "x"
            elif change < 0.35:
                texts[index] = sentence(dice, 5)
        conversations.append(talk(f"c{number}", 1 + 20 * number, *texts))
    return conversations


@settings(max_examples=80, deadline=None)
@given(logs(), st.sampled_from([0.5, 0.7, 0.85, 1.0]), st.integers(0, 3), st.data())
def test_nothing_of_one_split_is_in_another_and_nothing_placed_moves(conversations, threshold, seed, data):
    recipe = Recipe(
        near_duplicates=threshold,
        duplicates=data.draw(st.sampled_from(["exclude", "keep"])),
        split=Split(train=0.4, validation=0.3, test=0.3, seed=seed),
    )
    lines, _ = made(recipe, conversations)
    assert leakage(lines, threshold) == Leakage()
    fewer = data.draw(st.integers(0, len(conversations)))
    assert made(recipe, conversations[:fewer])[0] == lines[: len(made(recipe, conversations[:fewer])[0])]


def test_two_thousand_planted_near_duplicates_leak_nothing(tmp_path):
    """Copies with a word changed, spread over a log of conversations; the report is made anew from the files."""
    dice = random.Random(11)
    originals = [[sentence(dice, 20) for _ in range(4)] for _ in range(1_000)]
    rows = list(originals)
    for _ in range(2_000):
        copy = list(dice.choice(originals))
        words = copy[2].split()
        words[dice.randrange(len(words))] = dice.choice(WORDS)
        copy[2] = " ".join(words)
        rows.append(copy)
    dice.shuffle(rows)
    with trainerlib.open(tmp_path / "log") as ws:
        for number, texts in enumerate(rows):
            ws.store.append_batch([_appended(f"rows:{number}", texts)])
        apart = ws.datasets.build("apart", Recipe(near_duplicates=0.85, split=HALVES))
        assert apart.leakage() == Leakage()
        assert apart.examples > 1_900
        together = ws.datasets.build("together", Recipe(split=HALVES))
        assert together.leakage().near_duplicates > 500


def _appended(name, texts):
    from trainerlib.events import ConversationStarted, MessageRecorded
    from trainerlib.store.eventstore import Append

    said = [MessageRecorded("assistant" if index % 2 else "user", text) for index, text in enumerate(texts)]
    return Append(f"conversation/{name}", [ConversationStarted("rows"), *said])


def test_a_leakage_report_counts_what_leaks():
    lines, _ = made(Recipe(split=HALVES), [talk(in_split("test"), 1, LONG, "Да.")])
    [(_, line)] = lines
    assert leakage([("test", line), ("train", line)], 0.85) == Leakage(conversations=1, texts=1, near_duplicates=1)
    assert leakage([("test", line), ("test", line)], 0.85) == Leakage()


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_find_the_same_near_duplicates(tmp_path, workers):
    """Fingerprints made in other processes are the same."""
    dice = random.Random(2)
    base = [sentence(dice, 20) for _ in range(4)]
    with trainerlib.open(tmp_path / "log") as ws:
        for number in range(300):
            texts = [f"{text} {number if dice.random() < 0.5 else ''}" for text in base]
            ws.store.append_batch([_appended(f"rows:{number}", texts)])
        dataset = ws.datasets.build("d", Recipe(near_duplicates=0.8, split=HALVES), workers=workers)
        assert Counter(bool(count) for count in dataset.splits.values()) == {True: 1, False: 2}
