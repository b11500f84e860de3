"""Whatever a model writes, Telegram takes it, and every word of it is read."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("telegramify_markdown", reason="needs the extra: pip install 'trainerlib[telegram]'")

from hypothesis import example, given
from hypothesis import strategies as st

from bots.telegram import formatting
from bots.telegram.formatting import LIMIT, pieces

STYLES = {"bold", "italic", "underline", "strikethrough"}
EMPTY = re.compile(
    "[ \n\u00a0\u1680\u180e\u2000-\u200f\u202e\u202f\u205f\u2800\u3000\ufeff\ufffc\U000e0000-\U000e007f]*"
)


def read(text):
    """What of a text is seen."""
    return "".join(character for character in text if not EMPTY.fullmatch(character))


def units(text):
    return len(text.encode("utf-16-le")) // 2


def part(text, entity):
    """The words of an entity; an offset inside a character is no text."""
    data = text.encode("utf-16-le")
    return data[2 * entity.offset : 2 * (entity.offset + entity.length)].decode("utf-16-le")


def refusals(piece, limit=LIMIT):
    """What Telegram would refuse, change or not show of a message: its rules, written down a second time."""
    found = []
    text, entities = piece.text, piece.entities
    if units(text) > limit or EMPTY.fullmatch(text):
        found.append("length")
    if re.search("[\x00-\x09\x0b-\x1f\u2028-\u202e]", text):
        found.append("control characters")
    if len(entities) > 100 or sum(len((one.url or "").encode()) for one in entities) > 9_000:
        found.append("too many")
    for number, one in enumerate(entities):
        if one.type not in STYLES | {"pre", "code", "blockquote", "text_link"}:
            found.append(f"type {one.type}")
        if one.offset < 0 or one.length <= 0 or one.offset + one.length > units(text):
            found.append("outside")
            continue
        words = part(text, one)
        if words != words.strip():
            found.append("blank around")
        if (one.type == "text_link") != (one.url is not None):
            found.append("url")
        if one.url is not None and not re.fullmatch(r"https?://[\w-]+(\.[\w-]+)+(:\d+)?([/?#]\S*)?", one.url):
            found.append(f"url {one.url}")
        for other in entities[number + 1 :]:
            first, last = one.offset, one.offset + one.length
            if other.offset < first:
                found.append("order")
            if other.offset >= last:
                continue
            if other.offset + other.length > last:
                found.append("crossing")
            if one.type == other.type or one.type in ("pre", "code"):
                found.append(f"{other.type} in {one.type}")
            if other.type in ("pre", "code") and one.type != "blockquote":
                found.append(f"{other.type} in {one.type}")
            if other.type == "blockquote":
                found.append(f"{other.type} in {one.type}")
    return found


def look(text, **options):
    """The only message of a text, with the words of its entities."""
    [piece] = pieces(text, **options)
    assert refusals(piece) == []
    return piece.text, [(one.type, part(piece.text, one)) for one in piece.entities]


# --- what Markdown says ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("markdown", "text", "looks"),
    [
        ("Open **now**", "Open now", [("bold", "now")]),
        ("# Часы\nС 9 до 18", "Часы\nС 9 до 18", [("bold", "Часы"), ("underline", "Часы")]),
        ("- a\n- b\n  - c", "• a\n• b\n  • c", []),
        ("1. раз\n2. два", "1. раз\n2. два", []),
        ("> so\n> it is", "so\nit is", [("blockquote", "so\nit is")]),
        ("**bold `code` bold**", "bold code bold", [("bold", "bold"), ("code", "code"), ("bold", "bold")]),
        ("[here](https://example.com/a?b=1)", "here", [("text_link", "here")]),
        ("[`f()`](https://example.com)", "f()", [("text_link", "f()")]),
        ("~~no~~ ~maybe~", "no ~maybe~", [("strikethrough", "no")]),
        ("It costs $5 or $10", "It costs $5 or $10", []),
        (r"\(x^2\) and \(not math\)", "x^2 and (not math)", [("code", "x^2")]),
        ("- [x] done\n- [ ] open", "☑ done\n☐ open", []),
    ],
)
def test_markdown_is_shown_as_it_is_meant(markdown, text, looks):
    assert look(markdown) == (text, looks)


@pytest.mark.parametrize(
    ("markdown", "text"),
    [
        ("Use List<String> here", "Use List<String> here"),
        ("<div>\n**bold**\n</div>", "<div>\nbold\n</div>"),
        ("a<br>b", "a b"),
        ("<!-- note -->\ntext", "<!-- note -->\ntext"),
        ("if a || b || c", "if a || b || c"),
        ("[Anna]: hello\n[Anna]: bye", "[Anna]: hello\n[Anna]: bye"),
        ("See [docs](docs/a_b.md)", "See docs (docs/a_b.md)"),
        ("[write](mailto:a@b.org) or <c@d.org>", "write (a@b.org) or c@d.org"),
        ("[run](javascript:alert(1))", "run (javascript:alert(1))"),
        ("[me](tg://user?id=1)", "me (tg://user?id=1)"),
    ],
)
def test_what_is_no_markdown_or_no_link_is_shown_and_not_dropped(markdown, text):
    assert look(markdown)[0] == text


@pytest.mark.parametrize("inside", ["<b>", "a || b", r"\(x^2\)", "[a]: b", "$1 and $2", "*a* _b_ ~~c~~"])
def test_what_stands_in_code_stays_as_it_is(inside):
    assert look(f"```py\n{inside}\n```") == (inside, [("pre", inside)])
    assert look(f"Say `{inside}` now")[1] == [("code", inside)]


def test_code_inside_html_is_code():
    assert look("<details>\n```\nif a < b\n```\n</details>")[1] == [("pre", "if a < b")]


def test_a_table_is_in_columns():
    text, looks = look("| Day | Hours |\n|---|---|\n| Monday | 9–18 |")
    assert text == "Day    | Hours\n-------+------\nMonday | 9–18"
    assert looks == [("pre", text)]


@pytest.mark.parametrize(
    "table",
    [
        "|a|\n|-|\n|b|dropped|",
        "|a|b|\n|-|-|\n|[link](https://example.com)|c|",
        "|a|b|\n|-|-|\n|$x$|c|",
        "|a|b|\n|-|-|\n|" + "x" * 5000 + "|c|\n" + "|d|e|\n" * 500,
    ],
    ids=["cells too many", "links", "formulas", "one wide cell"],
)
def test_a_table_that_columns_would_spoil_is_lines_of_text(table):
    messages = pieces(table)
    assert [refusals(piece) for piece in messages] == [[]] * len(messages)
    shown = "".join(piece.text for piece in messages)
    assert len(shown) < 2 * len(table)
    assert re.findall(r"\w+", shown.replace("https://example.com", "")) == re.findall(
        r"\w+", table.replace("https://example.com", "")
    )


def test_plain_text_stays_as_it_is():
    assert look("*a* <b> `c` [d](e)", plain=True) == ("*a* <b> `c` [d](e)", [])


@pytest.mark.parametrize("text", ["", " \n\t ", "\u200b⁠", "⠀", "\x00"])
def test_what_nobody_can_read_is_no_message(text):
    assert pieces(text) == pieces(text, plain=True) == []


def test_an_empty_code_block_is_no_message():
    assert pieces("```\n```") == []


# --- where messages end ----------------------------------------------------------------------------------------------


def cut(text, limit, **options):
    messages = pieces(text, limit=limit, **options)
    assert [refusals(piece, limit) for piece in messages] == [[]] * len(messages)
    return [piece.text for piece in messages]


def test_a_message_ends_after_a_paragraph_then_a_line_then_a_word():
    assert cut("one two\n\nthree four", 14) == ["one two", "three four"]
    assert cut("one two\nthree four", 14) == ["one two", "three four"]
    assert cut("раз два три", 8) == ["раз два", "три"]
    assert cut("x" * 9, 4) == ["xxxx", "xxxx", "x"]


def test_a_code_block_that_fits_in_a_message_is_in_one():
    code = "```py\n" + "x = 1\n" * 5 + "```"
    messages = pieces(f"{'word ' * 8}\n\n{code}\n\nafter", limit=50)
    [block] = [piece for piece in messages if any(one.type == "pre" for one in piece.entities)]
    assert block.text.startswith("x = 1\n" * 4 + "x = 1")


def test_a_code_block_that_fits_in_none_is_cut_at_its_lines_and_stays_code():
    lines = [f"x{number:02} = {number}" for number in range(40)]
    messages = pieces("Look:\n\n```py\n" + "\n".join(lines) + "\n```\n\nThat is all.", limit=100)
    code = [piece for piece in messages if piece.entities]
    assert [one.language for piece in code for one in piece.entities] == ["py"] * len(code)
    assert "\n".join(part(piece.text, piece.entities[0]) for piece in code) == "\n".join(lines)


def test_a_part_of_a_code_block_begins_with_a_line_that_is_not_indented():
    block = "def f():\n    return 1\n"
    messages = pieces("```py\n" + block * 6 + "```", limit=50)
    assert len(messages) > 1
    assert {piece.text.split("\n")[0] for piece in messages} == {"def f():"}


@pytest.mark.parametrize("character", ["👨‍👩‍👧", "👍🏽", "🇷🇺", "е́", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "❤️"])
def test_what_is_seen_as_one_character_is_not_cut(character):
    limit = 3 * units(character) + 1
    assert cut(character * 10, limit) == [character * 3] * 3 + [character]


def test_bold_that_is_cut_is_bold_in_both_messages():
    messages = pieces("**one two three four**", limit=10)
    assert [[one.type for one in piece.entities] for piece in messages] == [["bold"]] * len(messages)
    assert len(messages) > 1


# --- hostile ---------------------------------------------------------------------------------------------------------


def repeated(unit):
    return (unit * (20_000 // len(unit) + 1))[:20_000]


UNITS = [
    "- ", "> ", "* ", "1. ", "> - ", "**a", "*a ", "_", "`", "```\n", "``` \n", "[", "[a](", "![", "~~a", "$", "$a$1 ", "||",
    "|a\n", "<", "<a>", "<div>\n", "<tg-spoiler>", "# a\n", "\\", "&amp;", "&#13;", "***a", "[a]: b\n", "```\n<a\n", "~a~",
    "[a](b)", "|a|\n|-|\n", "👍🏽", "\u202e", "е\u0301", "**a**`b`", "[a](https://example.com/" + "x" * 300 + ")",
]  # fmt: skip


@pytest.mark.parametrize("unit", UNITS)
def test_twenty_thousand_hostile_characters_are_taken(unit):
    messages = pieces(repeated(unit))
    assert [refusals(piece) for piece in messages] == [[]] * len(messages)
    assert sum(len(piece.text) for piece in messages) <= 50_000


def test_a_parser_that_fails_leaves_the_words(monkeypatch):
    """No text is known that makes it fail; the next version may have one."""

    def fails(*_, **__):
        raise RuntimeError("no")

    monkeypatch.setattr("telegramify_markdown.convert", fails)
    assert [piece.text for piece in pieces("Open **now**")] == ["Open **now**"]


MARKS = st.sampled_from(
    [*"*_`~|[]()<>#!-+=\\$&;:.\n \t", "**", "```", "```py\n", "\n\n", "    ", "> ", "- ", "1. ", "||", "~~", "](", "![", "|-|\n",
     "<b>", "<div>", "https://example.com", "tg://user?id=1", "&lt;", "\ud83d", "\ude00", "👍", "👨‍👩‍👧", "\u200d", "\x00", "\r\n", "\u202e",
     "\u2028", "\ufeff", "слово", "word", "שלום"]
)  # fmt: skip
MARKDOWN = st.one_of(st.text(), st.lists(MARKS, max_size=60).map("".join))


@given(MARKDOWN, st.booleans(), st.sampled_from([2, 5, 16, 100, 1024, LIMIT]))
@example("```\n  a\n\n\n  b```", False, 5)
@example("> ```\n>   a", False, 16)
def test_telegram_takes_whatever_it_is(text, plain, limit):
    messages = pieces(text, plain=plain, limit=limit)
    assert [refusals(piece, limit) for piece in messages] == [[]] * len(messages)


@given(st.lists(MARKS, max_size=60).map("".join), st.sampled_from([16, 100, LIMIT]))
def test_a_plain_text_loses_nothing_but_blanks(text, limit):
    kept = "".join(piece.text for piece in pieces(text, plain=True, limit=limit))
    whole = "".join(piece.text for piece in pieces(text, plain=True, limit=10**6))
    assert read(kept) == read(whole)


@st.composite
def documents(draw):
    """Markdown with numbered words in all the places where words can be, and how many there are."""
    count = 0

    def words(most=4):
        nonlocal count
        number = draw(st.integers(1, most))
        count += number
        said = [f"w{one}w" for one in range(count - number, count)]
        return " ".join(draw(st.sampled_from(LOOKS)).format(one) for one in said)

    def block():
        kind = draw(st.sampled_from(["text", "heading", "list", "quote", "code", "table", "html", "steps"]))
        if kind == "text":
            return words(30)
        if kind == "heading":
            return "#" * draw(st.integers(1, 6)) + " " + words()
        if kind == "list":
            return "\n".join("  " * (number % 2) + f"- {words()}" for number in range(draw(st.integers(1, 4))))
        if kind == "steps":
            return "\n".join(f"{number}. {words()}\n\n   {words()}" for number in range(1, draw(st.integers(2, 4))))
        if kind == "quote":
            return "> " + words() + "\n> " + words()
        if kind == "code":
            return f"```{draw(st.sampled_from(['', 'py', 'c++']))}\n{words(20)}\n    {words()}\n```"
        if kind == "html":
            return f"<p>\n{words()}\n</p>"
        return f"| {words()} | {words()} |\n|---|:-:|\n| {words()} | {words()} |\n| {words()} |"

    return "\n\n".join(block() for _ in range(draw(st.integers(1, 6)))), lambda: count


LOOKS = [
    "{}",
    "{}",
    "**{}**",
    "_{}_",
    "`{}`",
    "~~{}~~",
    "[{}](https://example.com/)",
    "[{}](a.md)",
    "<{}>",
    "(||{}||)",
    "***{}***",
]


@given(documents(), st.sampled_from([16, 60, LIMIT]))
def test_every_word_is_there_once_and_in_order(document, limit):
    markdown, count = document
    shown = " ".join(piece.text for piece in pieces(markdown, limit=limit))
    assert re.findall(r"w(\d+)w", shown) == [str(number) for number in range(count())]


@given(st.text(alphabet="аяbz 09.,!?«»—'\"%/;…👍ё", max_size=60))
def test_words_without_marks_are_the_same_whether_they_are_looked_at_or_not(text):
    """The short way for sentences gives what the long way gives."""
    short = pieces(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(formatting, "_SENTENCES", re.compile("(?!)"))
        assert pieces(text) == short
