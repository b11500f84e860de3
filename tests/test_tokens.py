"""Tokens: the estimate is what it says, exact counts need a vocabulary on this machine, and nothing is fetched."""

from __future__ import annotations

import base64
import json
import os
import socket
from hashlib import sha1, sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainerlib import vocabularies
from trainerlib.errors import SettingsError
from trainerlib.examples import Turn
from trainerlib.tokens import ESTIMATE, count_chat, estimate_tokens
from trainerlib.vocabularies import VOCABULARIES, Vocabulary, tokenizer

TEXTS = Path(__file__).parent / "fixtures" / "quality" / "tokens.jsonl"
COUNTED = [json.loads(line) for line in TEXTS.read_text("utf-8").splitlines()]


@given(st.text() | st.text(st.sampled_from("аЯё🌸a\ud800")))
def test_the_estimate_is_a_quarter_of_the_bytes_rounded_up(text):
    assert estimate_tokens(text) == -(-len(text.encode(errors="surrogatepass")) // 4)


@pytest.mark.parametrize(
    ("language", "vocabulary", "least", "most"),
    [
        ("en", "o200k_base", 0.95, 1.19),
        ("ru", "o200k_base", 1.25, 1.63),
        ("en", "cl100k_base", 0.88, 1.18),
        ("ru", "cl100k_base", 0.83, 0.96),
    ],
)
def test_the_estimate_is_as_near_the_true_count_as_documented(language, vocabulary, least, most):
    """The counts in the file are those of tiktoken with the published vocabularies."""
    rows = [row for row in COUNTED if row["language"] == language]
    ratio = sum(estimate_tokens(row["text"]) for row in rows) / sum(row[vocabulary] for row in rows)
    assert least <= ratio <= most


@pytest.mark.parametrize("vocabulary", ["o200k_base", "cl100k_base"])
@pytest.mark.parametrize("language", ["en", "ru"])
def test_a_bill_is_not_larger_than_expected(language, vocabulary):
    """The estimate that costs are told by never has fewer than nine tenths of the true tokens."""
    rows = [row for row in COUNTED if row["language"] == language]
    assert ESTIMATE.count_all(row["text"] for row in rows) >= 0.9 * sum(row[vocabulary] for row in rows)


@given(st.lists(st.text()))
def test_texts_have_the_tokens_of_each_together(texts):
    assert ESTIMATE.count_all(iter(texts)) == sum(map(ESTIMATE.count, texts))


@given(st.lists(st.text(), max_size=5))
def test_a_chat_has_four_tokens_more_for_each_turn_and_three_for_itself(texts):
    turns = [Turn("user", text) for text in texts]
    assert count_chat(turns) == sum(map(ESTIMATE.count, texts)) + 4 * len(texts) + 3


@pytest.fixture
def offline(monkeypatch):
    """Whoever goes to the network fails."""

    def refused(*_):
        raise AssertionError("somebody wants to go to the network")

    monkeypatch.setattr(socket, "socket", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """A small real vocabulary, known under the name `tiny`: every byte, and a few merges."""
    pytest.importorskip("tiktoken")
    tokens = [bytes([byte]) for byte in range(256)] + [b"ab", b"abab", *map(str.encode, ("д", "а", "да"))]
    data = b"".join(base64.b64encode(token) + f" {rank}\n".encode() for rank, token in enumerate(tokens))
    known = Vocabulary("https://flowers.example/tiny", sha256(data).hexdigest(), VOCABULARIES["o200k_base"].pattern)
    monkeypatch.setitem(VOCABULARIES, "tiny", known)
    monkeypatch.setattr(vocabularies, "_encodings", {})
    (tmp_path / "tiny.tiktoken").write_bytes(data)
    return tmp_path / "tiny.tiktoken"


def cached(directory, file):
    """The file as tiktoken keeps it."""
    (directory / sha1(VOCABULARIES["tiny"].url.encode()).hexdigest()).write_bytes(file.read_bytes())
    return directory


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("model", ["", "gpt-4o", "gpt-4.1-mini", "ft:gpt-4o-mini:shop::a1", "o200k_base", "llama-3"])
def test_without_a_vocabulary_there_is_the_estimate_and_nothing_is_fetched(model, tmp_path):
    assert tokenizer(model, environ={"TIKTOKEN_CACHE_DIR": str(tmp_path)}) is ESTIMATE
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("variable", ["TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR"])
def test_a_vocabulary_in_the_cache_counts_exactly(variable, tiny, tmp_path):
    exact = tokenizer("tiny", environ={variable: str(cached(tmp_path, tiny))})
    assert (exact.name, exact.exact) == ("tiny", True)
    assert [exact.count(text) for text in ("", "ab", "abab", "abc", "да", "дада", "<|endoftext|>")] == [
        0,
        1,
        1,
        2,
        1,
        2,
        13,
    ]
    assert exact.count_all(["abab", "да"]) == 2
    assert count_chat([Turn("user", "abab"), Turn("assistant", "да")], exact) == 13


def test_the_cache_named_first_is_the_cache(tiny, tmp_path):
    (tmp_path / "empty").mkdir()
    full, empty = str(cached(tmp_path, tiny)), str(tmp_path / "empty")
    assert tokenizer("tiny", environ={"TIKTOKEN_CACHE_DIR": full, "DATA_GYM_CACHE_DIR": empty}).exact
    assert not tokenizer("tiny", environ={"TIKTOKEN_CACHE_DIR": empty, "DATA_GYM_CACHE_DIR": full}).exact


def test_the_cache_of_nobody_named_is_among_the_temporary_files(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "data-gym-cache").mkdir()
    cached(tmp_path / "data-gym-cache", tiny)
    assert tokenizer("tiny", environ={}).exact
    assert not tokenizer("tiny", environ={"TIKTOKEN_CACHE_DIR": ""}).exact


@pytest.mark.usefixtures("offline")
def test_a_cached_file_of_other_content_is_not_used_and_stays(tiny, tmp_path):
    """tiktoken would delete it and fetch another."""
    file = cached(tmp_path, tiny) / sha1(VOCABULARIES["tiny"].url.encode()).hexdigest()
    file.write_bytes(tiny.read_bytes()[:-20])
    assert tokenizer("tiny", environ={"TIKTOKEN_CACHE_DIR": str(tmp_path)}) is ESTIMATE
    assert file.exists()


def test_a_vocabulary_that_is_given_counts_exactly(tiny):
    assert tokenizer(vocabulary=tiny).count("abab") == 1
    assert tokenizer("llama-3", vocabulary=str(tiny)).name == "tiny"


def test_a_vocabulary_of_another_model_is_refused(tiny):
    with pytest.raises(SettingsError, match="is tiny, but gpt-4o uses o200k_base"):
        tokenizer("gpt-4o", vocabulary=tiny)


def test_a_file_that_is_no_vocabulary_is_refused(tmp_path):
    with pytest.raises(SettingsError, match=r"absent cannot be read: No such file"):
        tokenizer(vocabulary=tmp_path / "absent")
    (tmp_path / "notes.txt").write_text("tulips")
    with pytest.raises(
        SettingsError, match=r"notes\.txt is none of the vocabularies known here: cl100k_base, o200k_base"
    ):
        tokenizer(vocabulary=tmp_path / "notes.txt")


@pytest.mark.parametrize(
    ("model", "vocabulary"),
    [
        ("gpt-4o-mini-2024-07-18", "o200k_base"),
        ("gpt-4.1", "o200k_base"),
        ("ft:gpt-4.1-mini-2025-04-14:shop::a1", "o200k_base"),
        ("ft:gpt-3.5-turbo-0125:shop::a1", "cl100k_base"),
        ("gpt-4-0613", "cl100k_base"),
        ("gpt-oss-20b", "o200k_base"),
        ("gpt2", ""),
        ("llama-3", ""),
    ],
)
def test_a_model_has_its_vocabulary(model, vocabulary):
    pytest.importorskip("tiktoken")
    assert vocabularies._vocabulary_of(model) == vocabulary


@pytest.mark.parametrize("vocabulary", ["cl100k_base", "o200k_base"])
def test_a_published_vocabulary_counts_what_is_in_the_file(vocabulary):
    """Only where the vocabulary lies on the machine."""
    exact = tokenizer(vocabulary, environ=os.environ)
    if not exact.exact:
        pytest.skip(f"{vocabulary} is not on this machine")
    assert [exact.count(row["text"]) for row in COUNTED] == [row[vocabulary] for row in COUNTED]
    assert [exact.count(role) for role in ("system", "user", "assistant", "tool")] == [1, 1, 1, 1]
