"""Pictures of a dataset, drawn with matplotlib (`pip install 'trainerlib[plots]'`).

A figure needs no display, looks the same whatever style the caller has set, and is saved as the same bytes each time.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from io import BytesIO
from math import ceil, floor, log10, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from trainerlib.cards import Facts, Histogram
from trainerlib.errors import DatasetError, NotFoundError
from trainerlib.events import DatasetBuilt, from_microseconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BLUE, _PALE, _ORANGE = "#3f6e9f", "#a9c3dc", "#d07f2c"
_INK, _GREY, _LINE = "#22303c", "#66727d", "#d3dae0"

_STYLE: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": _LINE,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.family": "DejaVu Sans",  # comes with matplotlib, and knows Cyrillic
    "font.size": 9,
    "grid.color": _LINE,
    "grid.linewidth": 0.6,
    "savefig.dpi": 150,
    "svg.hashsalt": "trainerlib",  # else the ids in an SVG are random
    "text.color": _INK,
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "xtick.color": _LINE,
    "xtick.labelcolor": _GREY,
    "ytick.color": _LINE,
    "ytick.labelcolor": _GREY,
    "ytick.major.size": 0,
}

# Inches: a letter of an axis, the page, its margin, the words over a plot, a plot, the room from one to the next.
_LETTER, _WIDTH, _MARGIN, _HEAD, _PLOT, _FOOT = 0.072, 11.0, 0.45, 0.55, 1.75, 0.65

_MOST_BARS, _LEAST_BARS = 24, 8
_MOST_PERIODS = 40
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

Period = Literal["day", "week", "month", "year"]


class _Bar(msgspec.Struct, frozen=True):
    """How many values are from `first` to `last`; without a `last`, from `first` on."""

    first: int
    last: int | None
    count: int


def dataset_figure(facts: Facts, built: DatasetBuilt, ratings: Iterable[tuple[int, int]] = ()) -> Figure:
    """One picture of a dataset: splits, turns, lengths of replies, ratings over time, what was left out and why.

    Args:
        facts: of its examples.
        built: what was recorded when it was built.
        ratings: `(microseconds since 1970, rating)` of each rating; above 0 is up, below 0 down.

    Raises:
        DatasetError: matplotlib is not installed.
    """
    up, down = _by_day(ratings)
    # Each reason needs its line; what is empty needs no room.
    beneath = max(_PLOT if up or down else 0.3, 0.25 * len(built.excluded))
    first = 1.15
    second = first + _HEAD + _PLOT + _FOOT
    with _styled():
        page = _Page(second + _HEAD + beneath + _FOOT)
        page.write(_MARGIN, 0.5, f"{built.name} v{built.dataset_version}", fontsize=16, fontweight="bold")
        left_out = sum(built.excluded.values())
        counted = f"{built.candidates:,} candidates = {built.examples:,} examples + {left_out:,} left out"
        page.write(_MARGIN, 0.78, counted, fontsize=10.5, color=_GREY)
        _splits(_Panel(page, _MARGIN, first, 2.85, _PLOT), built)
        _histogram(_Panel(page, 3.75, first, 3.05, _PLOT), "Turns before the reply", facts.turns)
        _histogram(_Panel(page, 7.25, first, 3.3, _PLOT), "Characters of the reply", facts.reply_characters)
        _ratings(_Panel(page, _MARGIN, second, 5.3, min(beneath, 1.4 * _PLOT)), up, down)
        _left_out(_Panel(page, 6.2, second, 4.35, beneath), built)
    return page.figure


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG or SVG, whichever the file's name ends with; the same figure gives the same bytes.

    Raises:
        DatasetError: the name ends with something else.
        NotFoundError: the directory does not exist.
    """
    path = Path(path)
    kind = path.suffix.lower().removeprefix(".")
    if kind not in ("png", "svg"):
        raise DatasetError(f"{path}: a picture is .png or .svg")
    if not path.parent.is_dir():
        raise NotFoundError(f"{path.parent}: no such directory")
    path.write_bytes(_drawn(figure, kind))


def _drawn(figure: Figure, kind: str) -> bytes:
    # Neither the time nor the version of matplotlib belongs into the file.
    metadata = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}[kind]
    content = BytesIO()
    with _styled(), warnings.catch_warnings():
        # A name in letters that the font lacks is shown as boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(content, format=kind, metadata=metadata)
    return content.getvalue()


@contextmanager
def _styled() -> Iterator[None]:
    """Our style instead of the caller's, for as long as it lasts."""
    try:
        from matplotlib import style
    except ImportError as error:
        raise DatasetError("pictures need matplotlib: pip install 'trainerlib[plots]'") from error
    with style.context(["default", _STYLE]):
        yield


class _Page:
    """A figure on which things are placed in inches, from the left and from the top.

    Args:
        height: of the figure, in inches.
    """

    def __init__(self, height: float) -> None:
        from matplotlib.figure import Figure

        # Without pyplot a notebook knows no way to show a figure.
        shown = type("DatasetFigure", (Figure,), {"_repr_png_": lambda figure: _drawn(figure, "png")})
        self.figure: Figure = shown(figsize=(_WIDTH, height))
        self._height = height

    def write(self, left: float, down: float, words: str, **look: Any) -> Any:
        """Words that begin at the left and whose base line is so far down; returns what matplotlib made of them."""
        return self.figure.text(left / _WIDTH, 1 - down / self._height, words, **look)

    def axes(self, left: float, down: float, width: float, height: float) -> Axes:
        """Room for a plot, from its top left corner."""
        place = (left / _WIDTH, 1 - (down + height) / self._height, width / _WIDTH, height / self._height)
        return self.figure.add_axes(place)


class _Panel(msgspec.Struct, frozen=True):
    """A plot with its title over it and the names of its axis before it: where it begins, and how large it is, in inches.

    `height` is that of the plot alone.
    """

    page: _Page
    left: float
    down: float
    width: float
    height: float

    def title(self, title: str, *parts: tuple[str, str]) -> None:
        """A title, and in a smaller line below it words, each with its colour."""
        self.page.write(self.left, self.down + 0.15, title, fontsize=10.5, fontweight="bold")
        before = None
        for words, color in parts:
            if before is None:
                before = self.page.write(self.left, self.down + 0.35, words, fontsize=8.5, color=color)
            else:
                axes = self.page.figure.axes[-1]
                before = axes.annotate(words, (1, 0), xycoords=before, va="bottom", fontsize=8.5, color=color)

    def before(self, names: Iterable[str]) -> float:
        """How wide the names before the plot are."""
        return _LETTER * max(map(len, names), default=0) + 0.1

    def axes(self, names: Iterable[str]) -> Axes:
        """Room for the plot beside the names that stand before it."""
        before = self.before(names)
        return self.page.axes(self.left + before, self.down + _HEAD, self.width - before, self.height)

    def blank(self, words: str) -> None:
        """Words where there is nothing to plot."""
        self.page.write(self.left, self.down + 0.4, words, color=_GREY)


def _splits(panel: _Panel, built: DatasetBuilt) -> None:
    panel.title("Splits", ("examples", _GREY))
    bars = {
        name: (count, f" · {count / built.examples:.0%}" if built.examples else "")
        for name, count in built.splits.items()
    }
    _across(panel, bars, _BLUE, room=4)


def _left_out(panel: _Panel, built: DatasetBuilt) -> None:
    if not built.excluded:
        panel.title("Left out, by reason")
        panel.blank("Nothing was left out.")
        return
    panel.title("Left out, by reason", ("replies", _GREY))
    ordered = sorted(built.excluded.items(), key=lambda item: (-item[1], item[0]))
    _across(panel, {reason: (count, "") for reason, count in ordered}, _GREY, room=int(panel.height / 0.25))


def _across(panel: _Panel, bars: Mapping[str, tuple[int, str]], color: str, *, room: int) -> None:
    """Bars to the right, each with its name before it and its number behind it.

    Args:
        panel: where.
        bars: for each name its number, and what follows it.
        color: of the bars.
        room: how many bars fit, so that few do not become fat.
    """
    before = panel.before(bars)
    width = panel.width - before
    axes = panel.axes(bars)
    for place, (name, (number, more)) in enumerate(bars.items()):
        axes.barh(place, number, height=0.64, color=color)
        axes.annotate(f"{number:,}{more}", (number, place), (4, 0), textcoords="offset points", va="center_baseline")
        axes.text(-before / width, place, name, transform=axes.get_yaxis_transform(), va="center_baseline")
    longest = max(1, *(number for number, _ in bars.values()))
    behind = _LETTER * max(len(f"{number:,}{more}") for number, more in bars.values()) + 0.1
    axes.set(
        xlim=(0, longest * width / (width - behind)), ylim=(max(len(bars), room) - 0.5, -0.5), xticks=[], yticks=[]
    )
    axes.spines["bottom"].set_visible(False)


def _histogram(panel: _Panel, title: str, values: Histogram) -> None:
    if not values.number:
        panel.title(title)
        panel.blank("No examples.")
        return
    middle, high = values.quantile(0.5), values.quantile(0.95)
    panel.title(title, (f"median {middle:,} · 95% up to {high:,} · most {values.max:,}", _GREY))
    bars = _bars(values)
    width = bars[0].last - bars[0].first + 1 if bars[0].last is not None else 1
    upwards = _ticks(0, max(bar.count for bar in bars), 5)
    axes = panel.axes(f"{tick:,}" for tick in upwards)
    ends = bars[0].first + width * max(_LEAST_BARS, len(bars)) - 0.5
    ticks = {float(tick): f"{tick:,}" for tick in _ticks(bars[0].first, int(ends), 6)}
    for bar in bars:
        if bar.last is not None:
            axes.bar(bar.first + width / 2 - 0.5, bar.count, 0.88 * width, color=_BLUE)
            continue
        # What is far out stands apart, so that it does not press the rest together.
        place = bar.first + 1.5 * width
        axes.bar(place, bar.count, 0.88 * width, color=_PALE)
        axes.annotate(
            f"{bar.count:,}", (place, bar.count), (0, 2), textcoords="offset points", ha="center", color=_GREY
        )
        ticks = {tick: name for tick, name in ticks.items() if tick < bar.first - 1.5 * width}
        ticks[place] = f"≥ {bar.first:,}"
        ends = place + width
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.set_xlim(bars[0].first - 0.5 - 0.3 * width, ends)
    _count_upwards(axes, upwards)


def _count_upwards(axes: Axes, ticks: Sequence[int]) -> None:
    """Numbers on the left, without a sign, and lines across."""
    axes.set_yticks(ticks, [f"{abs(tick):,}" for tick in ticks])
    axes.grid(axis="y")


def _bars(values: Histogram) -> list[_Bar]:
    """Bars of one width over the values, and one for what lies far beyond nearly all of them.

    >>> _bars(Histogram([1, 1, 2, 3]))
    [_Bar(first=1, last=1, count=2), _Bar(first=2, last=2, count=1), _Bar(first=3, last=3, count=1)]
    >>> _bars(Histogram([1] * 200 + [3, 2_000]))[-2:]
    [_Bar(first=3, last=3, count=1), _Bar(first=4, last=None, count=1)]
    """
    wanted = min(_MOST_BARS, max(_LEAST_BARS, ceil(2 * sqrt(values.number))))
    near = max(values.quantile(0.99), values.min + wanted - 1)
    top = values.max
    if top - values.min >= 2 * (near - values.min):
        top = max(value for value in values.counts if value <= near)
    width = _round_up((top - values.min + 1) / wanted)
    first = values.min // width * width
    number = (top - first) // width + 1
    counts = [0] * (number + 1)
    for value, count in values.counts.items():
        counts[min((value - first) // width, number)] += count
    bars = [_Bar(first + width * place, first + width * (place + 1) - 1, counts[place]) for place in range(number)]
    return [*bars, _Bar(first + width * number, None, counts[number])] if counts[number] else bars


def _round_up(number: float) -> int:
    """The least of 1, 2, 5, 10, 20, 50 ... that is no less than a number.

    >>> [_round_up(number) for number in (0.3, 1, 1.1, 6, 99)]
    [1, 1, 2, 10, 100]
    """
    if number <= 1:
        return 1
    ten = 10 ** floor(log10(number))
    return int(next(step * ten for step in (1, 2, 5, 10) if step * ten >= number))


def _ticks(first: int, last: int, most: int) -> list[int]:
    """Round numbers from one to another, about so many.

    >>> _ticks(1, 23, 6)
    [5, 10, 15, 20]
    """
    step = _round_up((last - first) / most)
    return list(range(ceil(first / step) * step, last + 1, step))


def _by_day(ratings: Iterable[tuple[int, int]]) -> tuple[Counter[date], Counter[date]]:
    """Ratings up and ratings down on each day, UTC."""
    up: Counter[date] = Counter()
    down: Counter[date] = Counter()
    for at, rating in ratings:
        if rating:
            (up if rating > 0 else down)[from_microseconds(at).date()] += 1
    return up, down


def _ratings(panel: _Panel, up: Counter[date], down: Counter[date]) -> None:
    """Bars up for those who liked a reply and down for those who did not, a day, week, month or year each."""
    title = "Ratings over time"
    days = up.keys() | down.keys()
    if not days:
        panel.title(title)
        panel.blank("No ratings yet.")
        return
    period, starts = _periods(min(days), max(days))
    place = {start: number for number, start in enumerate(starts)}
    ups, downs = [0] * len(starts), [0] * len(starts)
    for counts, heights in ((up, ups), (down, downs)):
        for day, count in counts.items():
            heights[place[_start(day, period)]] += count
    highest, lowest = max(ups), max(downs)
    step = _round_up(max(highest, lowest) / 3)
    ticks = [*range(-(lowest // step * step), 0, step), *range(0, highest + 1, step)]
    axes = panel.axes(f"{abs(tick):,}" for tick in ticks)
    panel.title(
        title, (f"{up.total():,} up", _BLUE), (f"   {down.total():,} down", _ORANGE), (f"   by {period}", _GREY)
    )
    places = range(len(starts))
    axes.bar(places, ups, 0.74, color=_BLUE)
    axes.bar(places, [-height for height in downs], 0.74, color=_ORANGE)
    axes.axhline(0, color=_GREY, linewidth=0.8)
    axes.spines["bottom"].set_visible(False)
    axes.set_xlim(-0.7, max(len(starts), _LEAST_BARS) - 0.3)
    every = ceil(len(starts) / 7)
    shown = starts[::every]
    names = [_named(start, period, before) for start, before in zip(shown, [None, *shown], strict=False)]
    axes.set_xticks(places[::every], names)
    _count_upwards(axes, ticks)


def _periods(first: date, last: date) -> tuple[Period, list[date]]:
    """The shortest period that does not give too many bars, and the beginning of each from the first day to the last.

    >>> _periods(date(2026, 3, 2), date(2026, 3, 4))
    ('day', [datetime.date(2026, 3, 2), datetime.date(2026, 3, 3), datetime.date(2026, 3, 4)])
    """
    steps: dict[Period, int] = {"day": 1, "week": 7, "month": 31, "year": 366}
    days = (last - first).days
    period: Period = next((name for name, step in steps.items() if days < _MOST_PERIODS * step), "year")
    starts = [_start(first, period)]
    while starts[-1] < _start(last, period):
        # As long as the longest of its kind: past the end of this one, and not past the end of the next.
        starts.append(_start(starts[-1] + timedelta(days=steps[period]), period))
    return period, starts


def _start(day: date, period: Period) -> date:
    """The first day of the day, week, month or year a day is in."""
    if period == "week":
        return day - timedelta(days=day.weekday())
    return {"day": day, "month": day.replace(day=1), "year": day.replace(month=1, day=1)}[period]


def _named(start: date, period: Period, before: date | None) -> str:
    """What stands below a bar: the year only where it is another than below the one before."""
    if period == "year":
        return f"{start.year}"
    name = _MONTHS[start.month - 1] if period == "month" else f"{start.day} {_MONTHS[start.month - 1]}"
    return name if before is not None and before.year == start.year else f"{name}\n{start.year}"
