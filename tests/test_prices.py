"""Prices: the longest name that fits counts, the user's word goes first, and what is not known is said."""

from __future__ import annotations

import tomllib
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainerlib.errors import SettingsError
from trainerlib.prices import TABLE, Price, chat_cost, chat_price, no_price, parse_prices, price, training_cost

amounts = st.floats(0, 1_000_000)


@pytest.mark.parametrize(
    ("model", "entry"),
    [
        ("gpt-4o-mini", "gpt-4o-mini"),
        ("gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("gpt-4.1-2025-04-14", "gpt-4.1"),
        ("gpt-4.1-mini-2025-04-14", "gpt-4.1-mini"),
        ("ft:gpt-4.1-nano-2025-04-14:shop:support:a1", "gpt-4.1-nano"),
        ("ft:gpt-4o-mini", "gpt-4o-mini"),
    ],
)
def test_a_version_and_a_tuned_model_have_the_price_of_their_model(model, entry):
    assert price(model) == TABLE[entry]


@pytest.mark.parametrize(
    "model", ["", "gpt", "gpt-4", "gpt-4o-audio-preview", "gpt-4.10", "gpt-4o-minimal", "llama-3", "ft:"]
)
def test_a_model_that_is_not_in_the_table_has_no_price(model):
    assert price(model) is None


def test_every_built_in_price_is_whole_and_has_its_day():
    for entry in TABLE.values():
        assert date.fromisoformat(entry.as_of) > date(2026, 1, 1)
        assert 0 < entry.input < entry.output
        assert entry.input < entry.training


def test_the_users_word_goes_first_and_the_table_fills_what_it_leaves_open():
    own = parse_prices(tomllib.loads('"gpt-4o-mini" = { training = 2.5 }\n"my-llama" = { training = 0, output = 1 }'))
    assert price("gpt-4o-mini-2024-07-18", own) == Price(training=2.5, input=0.3, output=1.2)
    assert price("my-llama", own) == Price(training=0, output=1)
    assert price("gpt-4o", own) == TABLE["gpt-4o"]


def test_of_the_users_entries_the_longest_that_fits_counts():
    own = {
        "gpt-9": Price(training=1.0),
        "gpt-9-2027-01-01": Price(training=2.0),
        "ft:gpt-9:shop::a1": Price(training=3.0),
    }
    models = [
        "gpt-9",
        "gpt-9-2027-02-02",
        "gpt-9-2027-01-01",
        "ft:gpt-9-2027-01-01:x::y",
        "ft:gpt-9:shop::a1",
        "gpt-9-latest",
    ]
    assert [price(model, own).training for model in models] == [1, 1, 2, 2, 3, 1]


@given(st.sampled_from(sorted(TABLE)), st.dates(), amounts)
def test_an_override_of_a_model_holds_for_each_of_its_versions(model, day, amount):
    assert price(f"{model}-{day}", {model: Price(training=amount)}).training == amount


@given(st.integers(0, 10**9), st.integers(1, 50), amounts)
def test_the_cost_grows_with_tokens_and_epochs(tokens, epochs, amount):
    known = Price(training=amount)
    cost = training_cost(tokens, epochs, known)
    assert cost == pytest.approx(epochs * training_cost(tokens, 1, known))
    assert 0 <= cost <= training_cost(tokens + 1, epochs + 1, known)


def test_a_million_tokens_seen_once_cost_the_price():
    assert training_cost(1_000_000, 1, TABLE["gpt-4o"]) == TABLE["gpt-4o"].training


@pytest.mark.parametrize("known", [None, Price(), Price(input=1.0)])
def test_without_a_price_there_is_no_cost(known):
    assert training_cost(1000, 3, known) is None


def test_an_unknown_model_is_named_with_what_to_write_and_that_is_right():
    words = no_price("my-llama")
    assert words.startswith("no price known for my-llama; add it under [prices] of workspace.toml: ")
    assert parse_prices(tomllib.loads(words.split(": ", 1)[1])) == {"my-llama": Price(training=3.0)}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('"gpt-9" = 3.0', r'prices\."gpt-9" cannot be 3\.0; write "gpt-9" = \{ training = 3\.0 \}'),
        ('"gpt-9" = {}', r'prices\."gpt-9" cannot be \{\}; write'),
        ('"gpt-9" = { trainig = 3 }', r"has no key 'trainig'; did you mean 'training'\?"),
        ('"gpt-9" = { epochs = 3 }', "has no key 'epochs'; there is training, input, output, cached"),
        ('"gpt-9" = { training = "3" }', r'prices\."gpt-9"\.training cannot be \'3\'; US dollars per million tokens'),
        ('"gpt-9" = { training = -1 }', "cannot be -1; .* from 0 to 1,000,000"),
        ('"gpt-9" = { input = nan }', "cannot be nan; "),
        ('"gpt-9" = { output = inf }', "cannot be inf; "),
        ('"gpt-9" = { output = true }', "cannot be True; "),
        (f'"gpt-9" = {{ output = 1{"0" * 400} }}', "cannot be 1000"),
        ("gpt-9.1 = { training = 3 }", r'no key \'1\'; put the name of the model in quotes: "gpt-9\.1"'),
    ],
)
def test_nonsense_is_refused_with_the_model_and_what_would_be_right(text, error):
    with pytest.raises(SettingsError, match=error):
        parse_prices(tomllib.loads(text))


@given(
    st.dictionaries(
        st.text(min_size=1),
        st.dictionaries(st.sampled_from(["training", "input", "output", "cached"]), amounts, min_size=1),
    )
)
def test_every_table_of_amounts_is_read_as_it_stands(table):
    found = parse_prices(table)
    assert found.keys() == table.keys()
    for model, entry in table.items():
        assert {key: getattr(found[model], key) for key in entry} == entry


TUNED = "ft:gpt-4o-mini-2024-07-18:shop:support:a1"


def test_a_tuned_model_is_asked_at_the_price_of_the_table_and_of_its_base_model_nothing_is_known():
    for model, entry in TABLE.items():
        assert chat_price(f"openai:ft:{model}:shop::a1") == entry
        assert chat_price(model) is None
    assert chat_price("llama-3") is None


def test_a_base_model_and_what_was_tuned_from_it_have_prices_of_their_own():
    own = parse_prices(
        {"gpt-4o-mini": {"input": 0.15, "output": 0.6, "cached": 0.075}, "ft:gpt-4o-mini": {"input": 0.25}}
    )
    assert chat_price("gpt-4o-mini-2024-07-18", own) == Price(input=0.15, output=0.6, cached=0.075)
    assert chat_price(TUNED, own) == Price(input=0.25, output=1.2)
    assert chat_price(TUNED, {"gpt-4o-mini": own["gpt-4o-mini"]}) == TABLE["gpt-4o-mini"]


def test_the_longest_entry_for_a_tuned_model_counts():
    own = {
        "ft:gpt-9": Price(input=1.0),
        "ft:gpt-9-2027-01-01": Price(input=2.0),
        "ft:gpt-9:shop::a1": Price(input=3.0),
        "gpt-9": Price(input=9.0),
    }
    models = ["ft:gpt-9:x::y", "ft:gpt-9-2027-01-01:x::y", "ft:gpt-9:shop::a1", "gpt-9", "ft:gpt-9-2027-02-02:x::y"]
    assert [chat_price(model, own).input for model in models] == [1, 2, 3, 9, 1]


def test_a_tuned_model_that_no_table_has_is_asked_at_the_users_price_of_its_base_model():
    assert chat_price("ft:gpt-9:x::y", {"gpt-9": Price(input=9.0)}) == Price(input=9.0)


tokens = st.integers(0, 10**7)


@given(st.tuples(tokens, tokens, tokens), st.tuples(amounts, amounts, amounts))
def test_an_answer_costs_what_its_tokens_do(counts, prices):
    (read, written, cached), (reading, writing, again) = counts, prices
    usage = {"input_tokens": read + cached, "output_tokens": written, "cached_tokens": cached}
    cost = chat_cost(usage, Price(input=reading, output=writing, cached=again))
    assert cost == pytest.approx((read * reading + cached * again + written * writing) / 1e6, abs=1e-6)
    whole = chat_cost(usage, Price(input=reading, output=writing))
    assert whole == chat_cost({"input_tokens": read + cached, "output_tokens": written}, Price(None, reading, writing))


@pytest.mark.parametrize(
    ("usage", "known"),
    [
        ({}, Price(input=1.0, output=1.0)),
        ({"input_tokens": 5}, Price(input=1.0, output=1.0)),
        ({"input_tokens": 5, "output_tokens": 5}, Price(input=1.0)),
        ({"input_tokens": 5, "output_tokens": 5}, Price(training=1.0)),
        ({"input_tokens": 5, "output_tokens": 5}, None),
    ],
)
def test_what_was_not_counted_or_has_no_price_is_not_said_to_be_free(usage, known):
    assert chat_cost(usage, known) is None
