"""Near-duplicates are those that exact comparison of every pair gives, whatever else was said, and everywhere the same."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tracemalloc
from array import array
from hashlib import sha256
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainerlib.errors import RecipeError
from trainerlib.near_duplicates import (
    _LONGEST,
    _REMEMBERED,
    _ROOM,
    NearIndex,
    _bands,
    _Remembered,
    fingerprint,
    normalised,
)

PHRASE = """когда вы открыты сегодня завтра розы тюльпаны доставка адрес курьер оплата возврат ещё раз скажите пожалуйста
букет привезут утром вечером спасибо номер заказа цена лента подарок when are you open today tomorrow roses tulips delivery
address courier payment refund once more please tell me the bouquet arrives morning evening thanks order number price"""
WORDS = PHRASE.split()
RUSSIAN, ENGLISH = WORDS[:26], WORDS[26:]


def said(number):
    """A word of its own."""
    return f"слово{number}" if number % 2 else f"word{number}"


def similarity(first, second):
    """Jaccard, by sets."""
    first, second = set(first), set(second)
    return len(first & second) / len(first | second) if first or second else 0.0


def alone(threshold, *documents):
    """For each document the earlier ones under a label of their own that it is near to."""
    index = NearIndex(threshold)
    near = []
    for number, marks in enumerate(documents):
        near.append(index.labels(marks))
        assert index.add(marks, number) == number
    return near


def marks_of(*hashes):
    """A fingerprint of made-up hashes."""
    return array("Q", sorted(set(hashes)))


# --- what a fingerprint is -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [
        ["Ещё раз: когда вы открыты? When?"],
        ["еще раз", "когда вы открыты", "when"],
        ["  ЕЩЁ РАЗ — «когда» вы\u00a0открыты… 🙂 when "],
        ["Еще\tраз\nкогда вы", "", "🙂", "открыты", "ｗｈｅｎ"],
    ],
)
def test_case_punctuation_spaces_and_turns_make_no_difference(other):
    marks = fingerprint(["Еще раз когда вы открыты when"])
    assert fingerprint(other) == marks
    assert len(marks) == 5
    assert normalised(" ".join(other)) == "еще раз когда вы открыты when"


def test_bigrams_are_counted_once_and_are_not_their_reverse():
    assert len(fingerprint(["да нет да нет да нет"])) == 2
    assert not set(fingerprint(["да нет"])) & set(fingerprint(["нет да"]))
    assert not set(fingerprint(["да да"])) & set(fingerprint(["нет нет"]))


def test_a_single_word_is_its_own_fingerprint():
    assert len(fingerprint(["Да!"])) == 1
    assert fingerprint(["Да!"]) == fingerprint(["", "да"])
    assert not set(fingerprint(["да"])) & set(fingerprint(["да да"]))


@pytest.mark.parametrize("texts", [[], [""], ["?!", " — ", "🙂👍"], ["\ud83d"]])
def test_a_document_without_words_has_no_fingerprint_and_is_near_nothing(texts):
    marks = fingerprint(texts)
    assert marks == array("Q")
    index = NearIndex(0.5)
    index.add(marks, 0)
    assert index.add(marks, 0) == 1
    assert index.labels(marks) == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("don't", "don t"),
        ("don’t", "don t"),
        ("e-mail me@shop.example", "e mail me shop example"),
        ("Straße STRASSE", "strasse strasse"),
        ("мои\u0306 мой", "мой мой"),
        ("2½ кг", "21 2 кг"),
        ("order_id 42", "order_id 42"),
        ("a\ud83db", "a b"),
    ],
)
def test_words_are_runs_of_letters_digits_and_underscores(text, words):
    assert normalised(text) == words


@given(st.lists(st.text(), max_size=4))
def test_a_text_and_its_normalised_form_say_the_same(texts):
    assert fingerprint([normalised("\n".join(texts))]) == fingerprint(texts)
    assert normalised(normalised(texts[0])) == normalised(texts[0]) if texts else True


@given(st.lists(st.sampled_from(WORDS), min_size=2, max_size=40), st.data())
def test_a_fingerprint_is_the_set_of_its_bigrams(words, data):
    marks = fingerprint(data.draw(st.sampled_from([words, [" ".join(words)]])))
    assert list(marks) == sorted({number for pair in pairwise(words) for number in fingerprint(pair)})
    assert len(marks) == len({normalised(" ".join(pair)) for pair in pairwise(words)})


def test_a_document_of_many_pieces_is_hashed_as_one():
    words = [said(number % 70_001) for number in range(140_000)]
    marks = fingerprint(words)
    assert len(marks) == 70_001
    parts = [fingerprint(words[start : start + 1_001]) for start in range(0, 140_000, 1_000)]
    assert set(marks) == set().union(*parts)


# --- the same everywhere ---------------------------------------------------------------------------------------------

HASHES = [
    2864940548287113391,
    3204549718739048818,
    3288938146555636595,
    3601057791078392453,
    4305862984246315983,
    4606922228888490185,
]


def test_hashes_are_what_they_always_were():
    assert list(fingerprint(["Когда вы открыты?", "From 9 to 18."])) == HASHES


SCRIPT = """
from trainerlib.near_duplicates import NearIndex, fingerprint
print(list(fingerprint(["Когда вы открыты?", "From 9 to 18."])))
index = NearIndex(0.7)
found = []
for number in range(300):
    marks = fingerprint([f"{one} {number % 7} {(number * one) % 5}" for one in range(25)])
    found.append(index.labels(marks))
    index.add(marks, number % 3)
print(found)
"""


def test_processes_with_other_hash_seeds_find_the_same():
    runs = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "4242")
    }
    [output] = runs
    assert output.startswith(f"{HASHES}\n")


def test_every_python_sees_the_same_words_in_every_character():
    """Python 3.11 knows the characters of Unicode 14, Python 3.13 those of 15.1: nobody takes the newer for words."""
    digest = sha256()
    for block in (range(0x3400), range(0x9F00, 0x20000), range(0x2A600, 0x32400), range(0xE0000, 0xE0200)):
        digest.update(normalised("\n".join(f"a{chr(code)}b" for code in block)).encode())
    assert digest.hexdigest() == "e3e2f64d4cc0f489b44ed3715a556d2b55e4e1130da923de1f3fea239bf08624"


# --- what is near ----------------------------------------------------------------------------------------------------


@st.composite
def families(draw):
    """Documents made from a few by changing words here and there."""
    dice = random.Random(draw(st.integers(0, 2**32)))
    bases = [dice.choices(WORDS, k=dice.choice([1, 2, 5, 9, 15, 25, 60])) for _ in range(3)]
    documents = []
    for _ in range(draw(st.integers(2, 25))):
        words = list(dice.choice(bases))
        for _ in range(dice.choice([0, 1, 1, 2, 4])):
            place = dice.randrange(len(words) + 1)
            words[place : place + dice.randint(0, 2)] = dice.choices(WORDS, k=dice.randint(0, 2))
        documents.append(fingerprint(words))
    return documents


@settings(max_examples=150, deadline=None)
@given(families(), st.sampled_from([0.3, 0.5, 0.6, 0.7, 0.85, 0.9, 1.0]))
def test_what_is_found_is_near_by_exact_comparison_and_of_short_documents_all_of_it(documents, threshold):
    short = 2 * _bands(threshold).number
    for number, (marks, near) in enumerate(zip(documents, alone(threshold, *documents), strict=True)):
        expected = {
            other: other for other in range(number) if similarity(marks, documents[other]) >= threshold and marks
        }
        assert near.items() <= expected.items()
        if len(marks) <= short:
            assert {other for other in expected if len(documents[other]) <= short} <= near.keys()


@settings(max_examples=60, deadline=None)
@given(families(), st.sampled_from([0.5, 0.7, 0.85, 1.0]), st.integers(1, 3))
def test_each_label_tells_its_earliest_near_duplicate(documents, threshold, labels):
    index = NearIndex(threshold)
    for number, (marks, near) in enumerate(zip(documents, alone(threshold, *documents), strict=True)):
        expected = {}
        for other in sorted(near):
            expected.setdefault(other % labels, other)
        assert index.labels(marks) == expected
        assert index.labels(marks) == expected
        index.add(marks, number % labels)


@pytest.mark.parametrize("threshold", [0.6, 0.7, 0.85, 0.9, 0.95])
def test_thousands_of_pairs_at_the_threshold_are_all_found(threshold):
    """As few shared hashes as it takes, in documents of 10 to 400, each among the pairs before it."""
    dice = random.Random(17)
    index = NearIndex(threshold)
    number = 0
    for _ in range(1_500):
        union = [1 << 61 | dice.getrandbits(61) for _ in range(dice.randint(10, 400))]
        only = int(len(union) * (1 - threshold) + 1e-9)
        left = dice.randint(0, only)
        first, second = marks_of(*union[left:]), marks_of(*union[:left], *union[only:])
        assert similarity(first, second) >= threshold
        assert index.labels(first) == {}
        number = index.add(first, 0)
        assert index.labels(second) == {0: number}
    assert index.comparisons < 3_100


@pytest.mark.parametrize("threshold", [0.6, 0.7, 0.85, 0.9, 0.95, 1.0])
def test_one_shared_hash_less_is_not_near(threshold):
    dice = random.Random(18)
    for size in range(2, 300, 7):
        union = [1 << 61 | dice.getrandbits(61) for _ in range(size)]
        only = int(size * (1 - threshold) + 1e-9) + 1
        first, second = marks_of(*union[only:]), marks_of(*union)
        assert alone(threshold, first, second) == [{}, {}]


@pytest.mark.parametrize(("shared", "others", "threshold"), [(17, 3, 0.85), (7, 3, 0.7), (9, 1, 0.9), (19, 1, 0.95)])
def test_a_similarity_that_is_the_threshold_as_a_decimal_reaches_it(shared, others, threshold):
    """0.85 is no binary fraction."""
    hashes = [1 << 61 | number << 50 for number in range(shared + others)]
    assert alone(threshold, marks_of(*hashes[:shared]), marks_of(*hashes))[1] == {0: 0}


def test_at_one_only_equal_fingerprints_are_near():
    index = NearIndex(1.0)
    words = [said(number) for number in range(200)]
    index.add(fingerprint(words), 4)
    index.add(fingerprint(words[:-1]), 5)
    assert index.labels(fingerprint([" ".join(words).upper() + "!"])) == {4: 0}
    assert index.labels(fingerprint(words[1:])) == {}


def test_what_was_looked_up_but_not_added_is_unknown():
    index = NearIndex(0.85)
    marks = fingerprint(RUSSIAN)
    assert [index.labels(marks) for _ in range(2)] == [{}, {}]
    assert index.add(marks, 3) == 0
    assert index.labels(marks) == {3: 0}


def test_a_fingerprint_changed_in_place_is_looked_up_anew():
    index = NearIndex(0.85)
    marks = fingerprint(RUSSIAN)
    index.add(marks, 0)
    marks[:] = fingerprint(ENGLISH)
    assert index.labels(marks) == {}


@pytest.mark.parametrize("threshold", [0, -0.5, 1.01, float("nan")])
def test_a_threshold_that_cannot_be_is_refused(threshold):
    with pytest.raises(RecipeError, match="above 0 and at most 1"):
        NearIndex(threshold)


@pytest.mark.parametrize("threshold", [1e-9, 0.001, 0.05, 0.999999])
def test_thresholds_at_the_ends_work(threshold):
    first, second = fingerprint(RUSSIAN), fingerprint([*RUSSIAN, "и", "всё"])
    assert alone(threshold, first, second)[1] == ({0: 0} if threshold < 0.9 else {})
    assert alone(threshold, first, first)[1] == {0: 0}


# --- crowds ----------------------------------------------------------------------------------------------------------

PHRASES = [
    "hello how may i help you today", "thank you very much for your help", "is there anything else i can do for you",
    "no that is all for now goodbye", "have a great day and see you soon", "здравствуйте чем могу помочь",
    "спасибо большое за помощь", "могу ли я ещё чем нибудь помочь", "нет это всё до свидания", "хорошего вам дня",
]  # fmt: skip


def test_phrases_that_everybody_uses_make_nobody_a_candidate():
    """Half of each of 5,000 documents is what all of them say."""
    dice = random.Random(3)
    index = NearIndex(0.85)
    for number in range(5_000):
        own = [" ".join(said(dice.randrange(20_000)) for _ in range(5)) for _ in PHRASES]
        marks = fingerprint([text for pair in zip(PHRASES, own, strict=True) for text in pair])
        assert index.labels(marks) == {}
        index.add(marks, number % 3)
    assert index.comparisons < 5_000


def form(dice, own):
    """A template filled in: 200 hashes of it, and some of one's own."""
    template = [1 << 61 | number * 0x9E3779B97F4A7C15 & (1 << 61) - 1 for number in range(200)]
    return [*template, *(1 << 61 | dice.getrandbits(61) for _ in range(own))]


def test_thousands_of_filled_in_forms_cost_a_few_comparisons_each_and_copies_among_them_are_found():
    """Any two have a similarity of 0.8; a copy that differs in 6 % of its hashes has 0.89."""
    dice = random.Random(5)
    index = NearIndex(0.85)
    forms = [form(dice, 25) for _ in range(1_500)]
    for hashes in forms:
        assert index.labels(marks_of(*hashes)) == {}
        index.add(marks_of(*hashes), 0)
    found = 0
    for hashes in forms:
        for place in dice.sample(range(len(hashes)), 13):
            hashes[place] = 1 << 61 | dice.getrandbits(61)
        found += bool(index.labels(marks_of(*hashes)))
    assert found >= 1_485
    assert index.comparisons < 20 * 3_000


def test_thousands_that_are_all_near_each_other_are_found_with_one_comparison_each():
    dice = random.Random(6)
    index = NearIndex(0.85)
    for number in range(1_500):
        marks = marks_of(*form(dice, 12))
        assert index.labels(marks).keys() == ({0} if number else set())
        index.add(marks, 0)
    assert index.comparisons < 1_600


def test_documents_that_say_the_same_are_kept_once():
    index = NearIndex(0.85)
    marks = fingerprint(["Спасибо, до свидания!"])
    for number in range(3_000):
        assert index.labels(marks) == ({0: 0} if number else {})
        assert index.add(marks, 0) == number
    assert index.comparisons == 0
    assert len(index._shelves[0].fingerprints) == 1


def test_a_fingerprint_is_known_however_crowded_its_keys_are():
    """No form after the first ones is near another, and each is near itself."""
    dice = random.Random(9)
    index = NearIndex(0.95)
    forms = [marks_of(*form(dice, 12)) for _ in range(300)]
    for marks in forms:
        index.add(marks, 0)
    assert [index.labels(marks) for marks in forms] == [{0: number} for number in range(300)]


def test_a_key_keeps_its_first_documents_and_no_more():
    dice = random.Random(7)
    index = NearIndex(0.85)
    for _ in range(200):
        index.add(marks_of(*form(dice, 25)), 0)
    holders = [one for one in index._shelves[0].keys.values() if isinstance(one, list)]
    assert max(map(len, holders)) == _ROOM
    assert all(one == sorted(set(one)) for one in holders)


def test_a_document_of_250_bigrams_takes_about_three_kilobytes():
    dice = random.Random(8)
    documents = [marks_of(*(1 << 61 | dice.getrandbits(61) for _ in range(250))) for _ in range(2_000)]
    tracemalloc.start()
    index = NearIndex(0.85)
    for marks in documents:
        index.labels(marks)
        index.add(marks, 0)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken / len(documents) < 3_300


def test_words_are_remembered_while_they_are_few_and_short():
    lengths = _Remembered(lambda word: b"%d" % len(word))
    for number in range(_REMEMBERED + 10):
        assert lengths[b"%d" % number] == b"%d" % len(str(number))
    assert len(lengths) == 10
    assert lengths[b"x" * (_LONGEST + 1)] == b"65"
    assert len(lengths) == 10
