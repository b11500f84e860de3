"""Quality: what each filter keeps, how well refusals are told, and which filters of the user's own can be rebuilt."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainerlib import refusals
from trainerlib.errors import DatasetError, RecipeError
from trainerlib.examples import Turn
from trainerlib.language import language
from trainerlib.quality import EXCLUSIONS, Quality, _language, filters, repetition
from trainerlib.refusals import refuses

FIXTURES = Path(__file__).parent / "fixtures" / "quality"

EVERYTHING = Quality(
    min_chars=2, max_chars=200, max_repetition=0.5, refusals="exclude", reply_languages=("en", "ru"), same_language=True
)

# Letters of both languages, of others that are written with them, and what has no language.
mixed = st.text(st.sampled_from("aZзЯёЁїЎқѳÀüßαכ中 \n.,!1🌸«»—\u0301\ud800"), max_size=40)


def replies(name):
    return [json.loads(line) for line in (FIXTURES / name).read_text("utf-8").splitlines()]


def asked(text):
    return (Turn("system", "Отвечай кратко."), Turn("user", text))


def left_out_by(quality, reply, question="When are you open?"):
    return [reason for reason, keeps in filters(quality) if not keeps(asked(question), reply)]


def test_a_quality_without_wishes_has_no_filters():
    assert filters(Quality()) == []


def test_filters_have_the_reasons_that_are_explained_in_that_order():
    assert [reason for reason, _ in filters(EVERYTHING)] == list(EXCLUSIONS)


@pytest.mark.parametrize(("question", "reply"), [("Open?", "From 9 to 18."), ("Открыты?", "С 9 до 18."), ("Да?", "42")])
def test_an_ordinary_reply_passes_every_filter(question, reply):
    quality = Quality(1, 200, 0.5, "exclude", ("en", "ru", "und"), same_language=True)
    assert left_out_by(quality, reply, question) == []


@pytest.mark.parametrize(
    ("quality", "passes", "fails", "reason"),
    [
        (Quality(min_chars=3), "Yes", "Да", "too-short"),
        (Quality(min_chars=3), " Yes\n", " Да \n\n", "too-short"),
        (Quality(max_chars=3), "Да!", "Yes!", "too-long"),
        (Quality(max_chars=3), "\nYes  ", "Да  !", "too-long"),
        (Quality(reply_languages=("ru",)), "Да, «Лютик» — это мы 🌸", "Yes", "reply-language"),
        (Quality(reply_languages=("en",)), "Yes — at 9", "Да", "reply-language"),
        (Quality(reply_languages=("ru", "und")), "👍", "Yes", "reply-language"),
        (Quality(same_language=True), "Yes, сэр", "Да, сэр", "other-language"),
        (
            Quality(max_repetition=0.5),
            "Да, да, да.",
            "Да, конечно. Да, конечно. Да, конечно. Да, конечно.",
            "repetitive",
        ),
        (Quality(refusals="exclude"), "Sorry, we are closed.", "Sorry, I can't help with that.", "refusal"),
        (Quality(refusals="exclude"), "Извините, закрыто.", "Извините, я не могу с этим помочь.", "refusal"),
    ],
)
def test_a_filter_leaves_out_what_it_is_for(quality, passes, fails, reason):
    assert left_out_by(quality, passes) == []
    assert left_out_by(quality, fails) == [reason]


def test_a_reply_to_nothing_is_in_the_right_language():
    ((_, keeps),) = filters(Quality(same_language=True))
    assert keeps((), "Да")


@given(mixed)
def test_the_quick_way_to_tell_a_language_tells_the_same(text):
    assert _language(text) == language(text)


@given(mixed, mixed)
def test_two_languages_differ_when_one_is_english_and_the_other_russian(question, reply):
    ((_, keeps),) = filters(Quality(same_language=True))
    assert keeps(asked(question), reply) == ({language(question), language(reply)} != {"en", "ru"})


def plain_repetition(text):
    """The definition without its short cuts."""
    words = text.split()
    run = "".join(words)
    if words and len(text) / len(words) > 16:
        parts = [run[start : start + 10] for start in range(len(run) - 9)]
    else:
        parts = [tuple(words[start : start + 4]) for start in range(len(words) - 3)]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return max(1 - len(set(found)) / len(found) if found else 0 for found in (parts, lines))


@given(st.text(st.sampled_from("аб \n"), max_size=60) | st.lists(st.sampled_from(["да", "нет", "yes\n"])).map(" ".join))
def test_repetition_is_the_share_its_definition_says(text):
    assert repetition(text) == plain_repetition(text)


@given(st.text(max_size=200))
def test_repetition_is_a_share_of_any_text(text):
    assert 0 <= repetition(text) < 1


@given(st.lists(st.integers(), unique=True, max_size=30))
def test_different_words_are_no_repetition(numbers):
    assert repetition(" ".join(map(str, numbers))) == 0


@pytest.mark.parametrize(
    "loop", ["Мы открыты с девяти до восемнадцати. ", "We are open from nine to six. ", "ха", "!", "the ", "- розы\n"]
)
def test_a_loop_is_repetitive_the_more_the_longer(loop):
    shares = [repetition(loop * times) for times in (20, 40, 80)]
    assert 0.5 < shares[0] < shares[1] < shares[2]


@pytest.mark.parametrize(
    ("name", "code", "precision", "recall"),
    [
        ("refusals.jsonl", "en", 1.0, 1.0),
        ("refusals.jsonl", "ru", 1.0, 1.0),
        ("refusals_unseen.jsonl", "en", 0.96, 0.96),
        ("refusals_unseen.jsonl", "ru", 0.96, 0.90),
    ],
)
def test_refusals_are_told_as_well_as_documented(name, code, precision, recall):
    """The patterns were written with the first file at hand; the second was written before, and nothing fitted to it."""
    labelled = [row for row in replies(name) if row["language"] == code]
    told = [row for row in labelled if refuses(row["text"])]
    right = sum(row["refusal"] for row in told)
    assert len(labelled) >= 60
    assert right >= precision * len(told)
    assert right >= recall * sum(row["refusal"] for row in labelled)


@pytest.mark.parametrize("name", ["refusals.jsonl", "refusals_unseen.jsonl", "tokens.jsonl"])
@pytest.mark.parametrize("change", [str, str.lower, str.upper, str.capitalize, "⚠️ «{}»".format])
def test_looking_at_the_beginning_first_hides_no_refusal(name, change, monkeypatch):
    """A reply that is passed over for its first characters is one that the patterns do not match either."""
    texts = [change(row["text"]) for row in replies(name)]
    told = [refuses(text) for text in texts]
    monkeypatch.setattr(refusals, "_BEGINNINGS", Everything())
    assert told == [refuses(text.lstrip("⚠️ «")) for text in texts]


class Everything:
    def __contains__(self, item):
        return True


@pytest.mark.parametrize(
    "text",
    [
        "I’m sorry, but I can’t help with that.",
        "**I'm sorry**, I can't help with that.",
        " - Я НЕ МОГУ С ЭТИМ ПОМОЧЬ",
        "Извините! Я, к сожалению, не могу с этим помочь.",
    ],
)
def test_how_a_refusal_is_typed_does_not_matter(text):
    assert refuses(text)


@pytest.mark.parametrize("text", ["", " ", "42", "👍", "…", "I", "Я", "Sorry", "\ud800"])
def test_a_reply_that_says_hardly_anything_is_no_refusal(text):
    assert not refuses(text)


def test_a_refusal_later_in_a_reply_is_none():
    assert not refuses("We open at 9. I'm sorry, but I can't help with that.")
    assert not refuses("Открываемся в 9. Извините, я не могу с этим помочь.")


@pytest.mark.parametrize(
    "text", ["thanks " * 40, "no, " * 60, "sorry, " * 40, "к сожалению, " * 20, "i understand " * 20]
)
def test_a_long_beginning_is_read_once(text):
    """Each of these took minutes when the patterns could read it in many ways."""
    assert not refuses(text)


IMPOSSIBLE = {
    "min_chars": ([-1, 1.5, "8", True, 2**63], "a number, 0 or more"),
    "max_chars": ([-1, 1.5, "8", True], "a number, 0 or more"),
    "max_repetition": ([-0.1, 1.1, float("nan"), "half", True], "a share from 0 to 1"),
    "refusals": (["drop", "", True, ["keep"]], "one of keep, exclude"),
    "reply_languages": (["ru", ("de",), ("RU",), (3,)], "en, ru or und|a list of words"),
    "same_language": (["yes", 1, None], "true or false"),
    "callables": (
        ["shop:polite", (3,), ("polite",), ("shop:",), ("shop polite:is",)],
        "a list of words|package.module:function",
    ),
}


def test_the_table_above_names_every_field():
    assert set(IMPOSSIBLE) == set(Quality.__struct_fields__)


@pytest.mark.parametrize(
    ("field", "value", "right"),
    [(field, value, right) for field, (values, right) in IMPOSSIBLE.items() for value in values],
)
def test_an_impossible_value_is_refused_with_what_would_be_right(field, value, right):
    with pytest.raises(RecipeError, match=rf"^quality\.{field} .*({right})"):
        Quality(**{field: value})


def test_a_limit_below_the_least_is_refused():
    with pytest.raises(RecipeError, match=r"quality\.max_chars cannot be 10; .* at least quality\.min_chars, 20"):
        Quality(min_chars=20, max_chars=10)


def test_a_quality_comes_back_from_json_as_it_was():
    quality = Quality(2, 400, 1, "exclude", ["ru"], same_language=True, callables=["shop.filters:is_polite"])
    assert msgspec.json.decode(msgspec.json.encode(quality), type=Quality) == quality
    assert quality.reply_languages == ("ru",)


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A module of the user's, where Python finds it."""
    (tmp_path / "flower_shop.py").write_text(
        "def is_polite(context, reply):\n    return 'дурак' not in reply\n"
        "def answers(context, reply):\n    return reply if context[-1].content.endswith('?') else ''\n"
        "def breaks(context, reply):\n    return 1 / 0\n"
        "class Rules:\n    @staticmethod\n    def is_polite(context, reply):\n        return True\n"
        "number = 3\n"
    )
    (tmp_path / "broken_shop.py").write_text("raise OSError('no list of words')\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("flower_shop", None)


@pytest.mark.usefixtures("shop")
def test_a_filter_of_the_users_own_decides():
    quality = Quality(min_chars=3, callables=("flower_shop:is_polite", "flower_shop:answers"))
    assert left_out_by(quality, "Сам дурак") == ["filter:is_polite"]
    assert left_out_by(quality, "Да", question="Привет.") == ["too-short", "filter:answers"]


@pytest.mark.usefixtures("shop")
def test_two_filters_of_one_name_are_told_apart():
    quality = Quality(callables=("flower_shop:is_polite", "flower_shop:Rules.is_polite", "flower_shop:answers"))
    assert [reason for reason, _ in filters(quality)] == [
        "filter:is_polite",
        "filter:Rules.is_polite",
        "filter:answers",
    ]
    other = Quality(callables=("flower_shop:is_polite", "flower_shop:is_polite"))
    assert [reason for reason, _ in filters(other)] == ["filter:flower_shop:is_polite"] * 2


@pytest.mark.usefixtures("shop")
def test_a_function_stands_for_its_path():
    import flower_shop

    assert Quality(callables=[flower_shop.is_polite]).callables == ("flower_shop:is_polite",)


@pytest.mark.usefixtures("shop")
def test_a_filter_that_fails_is_named_and_the_reply_is_not_shown():
    ((_, keeps),) = filters(Quality(callables=("flower_shop:breaks",)))
    with pytest.raises(DatasetError, match=r"^filter flower_shop:breaks failed: ZeroDivisionError: division by zero$"):
        keeps(asked("Open?"), "Yes")


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("no_such_shop:polite", "no_such_shop cannot be imported .*PYTHONPATH"),
        ("flower_shop:is_rude", "there is no is_rude in flower_shop"),
        ("flower_shop:number", "number is no function but int"),
        ("broken_shop:is_polite", r"broken_shop cannot be imported \(OSError: no list of words\)"),
    ],
)
def test_a_filter_that_cannot_be_imported_is_refused(path, error):
    quality = Quality(callables=(path,))
    with pytest.raises(RecipeError, match=rf"^quality\.callables cannot have '{path}'; {error}"):
        filters(quality)


def of_main(context, reply):
    return bool(context and reply)


@pytest.mark.parametrize(
    ("function", "error"),
    [
        (
            lambda _context, _reply: True,
            "a lambda cannot be imported for a rebuild; write it as a function of a module",
        ),
        ("__main__:is_polite", "move it into a module of its own"),
        ("shop:polite.<locals>.inner", "a function inside another cannot be imported"),
    ],
)
def test_a_function_that_no_rebuild_could_import_is_refused_at_once(function, error):
    with pytest.raises(RecipeError, match=error):
        Quality(callables=(function,))


def test_a_function_typed_into_a_notebook_is_refused_at_once(monkeypatch):
    monkeypatch.setattr(of_main, "__module__", "__main__")
    with pytest.raises(RecipeError, match=r"'__main__:of_main'; .* move it into a module of its own"):
        Quality(callables=(of_main,))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from(["red", "roses", "for", "Ann", "и", "тюльпаны"]), max_size=40),
    st.lists(st.sampled_from([" ", " ", " ", "\n", "\r", "\x0b", "\x85", "\u2028"]), min_size=40, max_size=40),
    st.sampled_from([0.0, 0.1, 0.25, 0.3, 1 / 3, 0.5, 0.9]),
)
def test_the_filter_leaves_out_just_what_repeats_itself_more_than_the_limit(words, between, limit):
    text = "".join(map("".join, zip(words, between, strict=False)))
    [(_, keeps)] = filters(Quality(max_repetition=limit))
    assert keeps((), text) == (repetition(text) <= limit)
