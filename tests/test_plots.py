"""Pictures of a dataset: complete, readable whatever the figures are, and the same bytes each time."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainerlib.cards import Facts, Histogram
from trainerlib.datasets import EXCLUSIONS
from trainerlib.errors import DatasetError, NotFoundError
from trainerlib.events import DatasetBuilt
from trainerlib.examples import Example, Turn
from trainerlib.plots import _bars, _periods, dataset_figure, save

DAY = 86_400_000_000
BEGIN = 1_772_352_000_000_000


def facts_of(*sizes, split="train"):
    """Facts of examples with so many turns before the reply and so many characters in it."""
    turn = Turn("user", "Привет")
    return Facts(
        Example(f"chat:{number}", number, split, (turn,) * turns, "я" * characters)
        for number, (turns, characters) in enumerate(sizes)
    )


def built(facts, name="support", **excluded):
    splits = {split: facts.splits[split] for split in ("train", "validation", "test")}
    excluded = {reason.replace("_", "-"): count for reason, count in excluded.items()}
    candidates = facts.splits.total() + sum(excluded.values())
    return DatasetBuilt(name, 1, {}, 817, candidates, facts.splits.total(), excluded, splits, {})


def drawn(case):
    facts, record, ratings = CASES[case]
    return dataset_figure(facts, record, ratings)


FEW = facts_of((1, 11), (3, 2), (1, 30))
MANY = facts_of(*[(1 + 2 * (number % 5), 10 + number % 200) for number in range(2_000)], (2_000, 90_000))
NONE = facts_of()
CASES = {
    "three examples": (FEW, built(FEW, "цветы"), []),
    "no examples": (NONE, built(NONE, not_corrected=12), []),
    "one rating": (FEW, built(FEW), [(BEGIN, -1)]),
    "every reason": (
        MANY,
        built(MANY, "поддержка-магазина", **{reason: 10 ** (number % 7) for number, reason in enumerate(EXCLUSIONS)}),
        [(BEGIN + number * DAY // 9, (-1, 5, 1, 0)[number % 4]) for number in range(9_000)],
    ),
    "a millions": (
        FEW,
        DatasetBuilt(
            "m", 12, {}, 9, 2_345_678, 1_234_567, {"no-question": 1_111_111},
            {"train": 1_111_110, "validation": 61_728, "test": 61_729}, {},
        ),
        [(BEGIN + number % 8 * DAY, 1) for number in range(80)],
    ),
}  # fmt: skip


# --- without matplotlib ----------------------------------------------------------------------------------------------


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(DatasetError, match=r"pip install 'trainerlib\[plots\]'"):
        dataset_figure(FEW, built(FEW))


@given(st.lists(st.integers(0, 3_000) | st.integers(0, 20), min_size=1, max_size=60))
def test_every_value_is_in_one_bar(values):
    bars = _bars(Histogram(values))
    assert sum(bar.count for bar in bars) == len(values)
    for bar in bars:
        last = max(values) if bar.last is None else bar.last
        assert bar.count == sum(bar.first <= value <= last for value in values)
    assert [bar.first for bar in bars[1:]] == [bar.last + 1 for bar in bars[:-1]]
    assert len(bars) <= 26


@given(st.lists(st.integers(1, 12), min_size=100, max_size=110), st.integers(1_000, 10**6))
def test_one_far_out_value_does_not_press_the_rest_together(values, far):
    bars = _bars(Histogram([*values, far]))
    assert bars[-1].last is None
    assert bars[-1].first <= 25
    assert bars[-1].count == 1


days = st.dates(date(1970, 1, 1), date(2100, 1, 1))


@given(days, st.integers(0, 12_000))
def test_periods_cover_all_days_without_a_gap(first, length):
    last = min(first + timedelta(days=length), date(2100, 1, 1))
    period, starts = _periods(first, last)
    assert starts[0] <= first < starts[0] + timedelta(days=366)
    assert starts[-1] <= last
    longest = {"day": 1, "week": 7, "month": 31, "year": 366}[period]
    assert all(timedelta(0) < after - before <= timedelta(days=longest) for before, after in zip(starts, starts[1:]))  # noqa: B905, RUF007 - neighbours
    assert len(starts) <= 43


# --- with it ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def text():
    return pytest.importorskip("matplotlib.text").Text


def words(figure, text):
    return [item for item in figure.findobj(text) if item.get_visible() and item.get_text().strip()]


@pytest.mark.parametrize("case", CASES)
def test_no_words_lie_on_others_or_outside(case, text):
    """Also with Cyrillic names, none of whose letters is missing from the font."""
    figure = drawn(case)
    backend = pytest.importorskip("matplotlib.backends.backend_agg")
    canvas = backend.FigureCanvasAgg(figure)
    canvas.draw()
    boxes = [(item.get_text(), item.get_window_extent(canvas.get_renderer())) for item in words(figure, text)]
    assert len(boxes) > 10
    for number, (one, box) in enumerate(boxes):
        assert 0 <= box.x0 <= box.x1 <= figure.bbox.x1, one
        assert 0 <= box.y0 <= box.y1 <= figure.bbox.y1, one
        for other, taken in boxes[:number]:
            apart = box.x0 >= taken.x1 or taken.x0 >= box.x1 or box.y0 >= taken.y1 or taken.y0 >= box.y1
            assert apart, (one, other)


def test_every_reason_is_shown_with_its_count(text):
    facts, record, ratings = CASES["every reason"]
    shown = [item.get_text() for item in words(dataset_figure(facts, record, ratings), text)]
    assert {*EXCLUSIONS} <= {*shown}
    for count in record.excluded.values():
        assert f"{count:,}" in shown


def test_candidates_examples_and_ratings_are_counted(text):
    shown = [item.get_text().strip() for item in words(drawn("every reason"), text)]
    excluded = sum(CASES["every reason"][1].excluded.values())
    assert f"{2_001 + excluded:,} candidates = 2,001 examples + {excluded:,} left out" in shown
    assert {"4,500 up", "2,250 down", "by month"} <= {*shown}


def test_what_is_far_out_is_named(text):
    shown = [item.get_text() for item in words(drawn("every reason"), text)]
    assert "median 5 · 95% up to 9 · most 2,000" in shown
    assert sum(word.startswith("≥ ") for word in shown) == 2


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("three examples", {"цветы v1", "No ratings yet.", "Nothing was left out."}),
        ("no examples", {"No ratings yet.", "No examples.", "not-corrected"}),
    ],
)
def test_what_is_not_there_is_said(case, said, text):
    assert said <= {item.get_text() for item in words(drawn(case), text)}


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_the_same_dataset_gives_the_same_bytes(kind, tmp_path):
    """Also after the caller chose another style, and neither the time nor a version is in the file."""
    matplotlib = pytest.importorskip("matplotlib")
    style = pytest.importorskip("matplotlib.style")
    save(drawn("one rating"), tmp_path / f"one.{kind}")
    with style.context(["dark_background", {"font.size": 20, "svg.hashsalt": "other", "savefig.dpi": 30}]):
        before = dict(matplotlib.rcParams)
        save(drawn("one rating"), str(tmp_path / f"two.{kind.upper()}"))
        assert dict(matplotlib.rcParams) == before
    content = (tmp_path / f"one.{kind}").read_bytes()
    assert content == (tmp_path / f"two.{kind.upper()}").read_bytes()
    assert content.startswith({"png": b"\x89PNG", "svg": b"<?xml"}[kind])
    assert not any(word in content for word in (b"dc:date", b"Software", b"matplotlib.org"))


SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from test_plots import drawn
from trainerlib.plots import save
save(drawn("three examples"), sys.argv[2])
"""


def test_another_process_gives_the_same_bytes(tmp_path):
    pytest.importorskip("matplotlib")
    save(drawn("three examples"), tmp_path / "here.svg")
    environment = {**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}
    command = [sys.executable, "-c", SCRIPT, os.path.dirname(__file__), tmp_path / "there.svg"]  # noqa: PTH120 - one word
    subprocess.run(command, env=environment, check=True)
    assert (tmp_path / "there.svg").read_bytes() == (tmp_path / "here.svg").read_bytes()


def test_a_notebook_can_show_a_figure():
    """By itself, without pyplot."""
    pytest.importorskip("matplotlib")
    assert drawn("one rating")._repr_png_().startswith(b"\x89PNG")


def test_a_name_in_letters_the_font_lacks_is_drawn_all_the_same(tmp_path):
    pytest.importorskip("matplotlib")
    save(dataset_figure(FEW, built(FEW, "花$x_y$")), tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size > 10_000


def test_a_picture_is_saved_as_png_or_svg_in_a_directory_that_is_there(tmp_path):
    pytest.importorskip("matplotlib")
    with pytest.raises(DatasetError, match=r"a\.pdf: a picture is \.png or \.svg"):
        save(drawn("one rating"), tmp_path / "a.pdf")
    with pytest.raises(NotFoundError, match="no such directory"):
        save(drawn("one rating"), tmp_path / "none" / "a.png")
