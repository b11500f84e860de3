"""Real conversations: the corpora beside the repository import, build and export, and every correction becomes a pair.

They are never committed; without them these tests are skipped.
"""

from __future__ import annotations

import gzip
import io
import json
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

import trainerlib
from trainerlib import Recipe
from trainerlib.checks import check
from trainerlib.formats import FORMATS

CORPORA = Path(__file__).resolve().parents[2] / "shared" / "corpora"
LINES = {"sgd_en": 3_000, "oasst_pairs": None, "topical_rated": None}
"""How many conversations of each are taken; the largest would take longer than it teaches here."""

pytestmark = pytest.mark.skipif(not CORPORA.is_dir(), reason="no ../shared/corpora")


def conversations(name):
    """The rows of a corpus, as they stand."""
    with gzip.open(CORPORA / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in islice(file, LINES[name])]


@pytest.fixture(scope="module", params=LINES)
def corpus(request, tmp_path_factory):
    """A workspace with one corpus, its rows, and the report of its import."""
    directory = tmp_path_factory.mktemp(request.param)
    path = directory / f"{request.param}.jsonl.gz"
    with gzip.open(CORPORA / path.name) as file:
        path.write_bytes(gzip.compress(b"".join(islice(file, LINES[request.param])), compresslevel=1))
    with trainerlib.open(directory / "workspace") as ws:
        report = ws.import_file(path, basis="licence: see the corpus")
        yield ws, conversations(request.param), report


def test_a_corpus_is_imported_whole(corpus):
    """Every conversation, message, correction and rating, none bad, and every text is the corpus's."""
    ws, rows, report = corpus
    assert (report.format, report.bad_line_count, report.already) == ("interchange", 0, False)
    assert report.conversations == len(rows) == len(ws.conversations())
    assert report.messages == sum(len(row["messages"]) for row in rows)
    assert report.corrections == sum(len(row.get("corrections", ())) for row in rows)
    assert report.feedback == sum(len(row.get("feedback", ())) for row in rows)
    for row in rows[:: max(1, len(rows) // 50)]:
        messages = ws.conversation(f"interchange:{row['id']}").messages
        assert [(one.role, one.text) for one in messages] == [(one["role"], one["content"]) for one in row["messages"]]


def test_a_corpus_imported_again_adds_nothing(corpus, tmp_path):
    """Neither as the same file nor unpacked as another."""
    ws, rows, report = corpus
    position = ws.store.position
    path = tmp_path / "unpacked.jsonl"
    path.write_text("".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows), encoding="utf-8")
    again = ws.import_file(path)
    assert again.events == 1
    assert ws.store.position == position + 1
    assert (again.conversations, again.messages) == (report.conversations, report.messages)


@pytest.mark.parametrize("targets", ["all", "corrected", "approved"])
def test_every_reply_of_a_corpus_is_accounted_for(corpus, targets):
    """Candidates are examples and exclusions, in the counts and on the disk."""
    ws, rows, _ = corpus
    dataset = ws.datasets.build(targets, Recipe(targets=targets))
    replies = sum(message["role"] == "assistant" for row in rows for message in row["messages"])
    assert dataset.candidates == replies == dataset.examples + sum(dataset.excluded.values())
    assert Counter(one.reason for one in dataset.exclusions()) == dataset.excluded
    messages = [example.message for example in dataset.read()] + [one.message for one in dataset.exclusions()]
    assert len(messages) == len(set(messages)) == replies


@pytest.mark.parametrize("form", FORMATS)
def test_a_corpus_exports_into_every_format_without_a_problem(corpus, form):
    """Whatever has the sides that a format needs becomes rows that pass the check."""
    ws, _, _ = corpus
    dataset = ws.datasets.build("all", Recipe(rated_down="reject"))
    stream = io.BytesIO()
    report = dataset.export(stream, format=form)
    stream.seek(0)
    checked = check(stream, form)
    assert checked.rows == report.rows
    assert [problem for problem in checked.problems if problem.code != "too-few-rows"] == []
    assert report.rows >= 10 or form.endswith("preference")


PAIRS = {
    "openai-preference": lambda row: (
        row["input"]["messages"],
        [message["content"] for message in row["preferred_output"]],
        [message["content"] for message in row["non_preferred_output"]],
    ),
    "trl-preference": lambda row: (
        row["prompt"],
        [message["content"] for message in row["chosen"]],
        [message["content"] for message in row["rejected"]],
    ),
}


@pytest.mark.parametrize("form", PAIRS)
def test_every_correction_of_the_corpus_is_exactly_one_preference_pair(tmp_path, form):
    """Prompt, better and worse reply are the corpus's, byte for byte; nothing is missing and nothing is added."""
    rows = conversations("oasst_pairs")
    with trainerlib.open(tmp_path / "workspace") as ws:
        ws.import_file(CORPORA / "oasst_pairs.jsonl.gz", strict=True)
        stream = io.BytesIO()
        ws.datasets.build("pairs", Recipe(targets="corrected")).export(stream, format=form)
    expected = Counter(
        (
            json.dumps(row["messages"][: correction["message"]]),
            correction["text"],
            row["messages"][correction["message"]]["content"],
        )
        for row in rows
        for correction in row["corrections"]
    )
    found = Counter()
    for line in stream.getvalue().splitlines():
        prompt, [chosen], [rejected] = PAIRS[form](json.loads(line))
        found[json.dumps(prompt), chosen, rejected] += 1
    assert found == expected
    assert found.total() == sum(len(row["corrections"]) for row in rows) > 700
