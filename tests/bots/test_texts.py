"""What the bots say: every language has every sentence, with the same things to fill in, and no file is needed but one."""

from __future__ import annotations

import ast
import re
import shutil
import string
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bots
from bots.texts import Catalogues, best, languages, speaker
from trainerlib.errors import SettingsError

pytest.importorskip("babel", reason="needs the extra: pip install 'trainerlib[telegram]'")

from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

SOURCES = Path(bots.__file__).parent
LOCALES = SOURCES / "locales"
KEYWORDS = {"_": None, "N_": None, "plural": (1, 2)}
FILES = sorted(path.stem for path in LOCALES.glob("*.po"))


def calls():
    """`(place, arguments)` of each call in the source that looks a sentence up or marks one."""
    for path in sorted(SOURCES.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                is_direct = isinstance(node.func, ast.Call) and ast.unparse(node.func.func) == "speaker"
                name = "_" if is_direct else getattr(node.func, "attr", getattr(node.func, "id", ""))
                if name in KEYWORDS:
                    yield f"{path.relative_to(SOURCES)}:{node.lineno}", node.args[: 2 if name == "plural" else 1]


def said():
    """Every sentence in the source, or `(one, many)`, with a place where it is."""
    found = {}
    for place, arguments in calls():
        if arguments and all(isinstance(argument, ast.Constant) for argument in arguments):
            words = tuple(argument.value for argument in arguments)
            found[words if len(words) == 2 else words[0]] = place
    return found


def translated(language):
    """Every entry of a language's file but its head, by its key."""
    with (LOCALES / f"{language}.po").open("rb") as file:
        return {message.id: message for message in read_po(file, abort_invalid=True) if message.id}


def forms(value):
    return (value,) if isinstance(value, str) else tuple(value)


def marks(text):
    """What a translation has to keep: things to fill in, commands, code and bold, and how it begins and ends."""
    fields = sorted({name for _, name, _, _ in string.Formatter().parse(text) if name is not None})
    commands = sorted(set(re.findall(r"(?<![\w/<])/[a-z_]+", text)))
    return (
        fields,
        commands,
        text.count("`"),
        text.count("**"),
        text[: len(text) - len(text.lstrip())],
        text.endswith("\n"),
    )


# --- the catalogues ---------------------------------------------------------------------------------------------------


def test_russian_is_spoken():
    """There is a file for it."""
    assert "ru" in FILES
    assert languages() == ("en", *FILES)


@pytest.mark.parametrize("language", FILES)
def test_every_sentence_is_translated(language):
    """In the form its source has it, plural or not, and marked as settled."""
    entries = translated(language)
    source = said()
    assert [(sentence, source[sentence]) for sentence in source if sentence not in entries] == []
    assert [key for key, entry in entries.items() if entry.fuzzy or not all(map(str.strip, forms(entry.string)))] == []


@pytest.mark.parametrize("language", FILES)
def test_no_sentence_is_translated_that_nobody_says(language):
    """What was taken out of the source is taken out of the file."""
    assert sorted(map(str, translated(language).keys() - said().keys())) == []
    assert "#~" not in (LOCALES / f"{language}.po").read_text(encoding="utf-8")


@pytest.mark.parametrize("language", FILES)
def test_a_translation_keeps_what_is_filled_in(language):
    """Its placeholders, commands and marks are those of the sentence; each form of a plural has those of the English one."""
    wrong = []
    for key, entry in translated(language).items():
        wanted = marks(forms(key)[-1])
        wrong += [(key, form) for form in forms(entry.string) if form and marks(form) != wanted]
    assert wrong == []


def test_a_sentence_is_looked_up_before_it_is_filled_in():
    """No f-string, sum or `.format(...)` inside the call: no translation could fit it."""
    wrong = []
    for place, arguments in calls():
        for argument in arguments:
            is_filled = isinstance(argument, ast.Call) and getattr(argument.func, "attr", "") == "format"
            if isinstance(argument, ast.JoinedStr | ast.BinOp) or is_filled:
                wrong.append(place)
    assert wrong == []


def test_a_sentence_is_looked_up_by_a_name_that_the_extractor_knows():
    """`_ = speaker(language)` first, then `_(...)`: it does not see `speaker(language)(...)`."""
    wrong = [
        f"{path.relative_to(SOURCES)}:{node.lineno}"
        for path in sorted(SOURCES.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Call) and ast.unparse(node.func.func) == "speaker"
    ]
    assert wrong == []


def test_every_sentence_is_seen_by_the_extractor():
    """What `pybabel` finds is what is said; before Python 3.12 it sees no call inside an f-string."""
    found = {message for _, _, message, _, _ in extract_from_dir(SOURCES, keywords=KEYWORDS)}
    missed = said().keys() - found
    assert found <= said().keys()
    assert not missed or sys.version_info < (3, 12)


# --- speaking ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "found"),
    [("ru", "ru"), ("RU", "ru"), ("ru-RU", "ru"), ("ru_RU", "ru"), ("ru-Cyrl-RU", "ru"),
     ("en", "en"), ("en-GB", "en"), ("uk", "en"), ("", "en"), ("русский", "en"), ("-", "en"), ("ruthenian", "en")],
)  # fmt: skip
def test_the_nearest_language_is_spoken(wanted, found):
    """Itself, the one it is a kind of, or else English; always by the same speaker."""
    assert (best(wanted), speaker(wanted).language) == (found, found)
    assert speaker(wanted) is speaker(found)


@pytest.mark.parametrize(
    ("wanted", "default", "found"),
    [("uk", "ru", "ru"), ("en-GB", "ru", "en"), ("ru", "en", "ru"), ("uk", "ru-RU", "ru"), ("uk", "ja", "en")],
)
def test_what_is_not_spoken_falls_back_to_a_default(wanted, default, found):
    """To the workspace's own language, say."""
    assert best(wanted, default) == found


@given(st.text())
def test_any_name_of_a_language_has_somebody_who_speaks(wanted):
    """Whatever a platform says."""
    assert best(wanted) in languages()
    assert speaker(wanted).language in languages()


def test_what_nobody_translated_is_said_in_english():
    """And nothing is nothing, not the head of the file."""
    assert speaker("ru")("No such sentence.") == "No such sentence."
    assert speaker("ru").plural("{count} x", "{count} xs", 2) == "{count} xs"
    assert speaker("ru")("") == speaker("en")("") == ""


def test_english_has_two_forms():
    """One, and any other number."""
    say = speaker("en").plural
    assert [say("{count} case", "{count} cases", count).format(count=count) for count in (0, 1, 2)] == [
        "0 cases", "1 case", "2 cases",
    ]  # fmt: skip


# --- another language -------------------------------------------------------------------------------------------------

CASES = """
msgid "{count} case"
msgid_plural "{count} cases"
msgstr[0] "{count} случай"
msgstr[1] "{count} случая"
msgstr[2] "{count} случаев"
"""


@pytest.fixture
def folder(tmp_path):
    """A folder with the Russian file as two other languages, and what is no language."""
    for name in ("xx.po", "pt_BR.po", "notes.txt"):
        shutil.copy(LOCALES / "ru.po", tmp_path / name)
    return tmp_path


@pytest.fixture(scope="module")
def counting(tmp_path_factory):
    """Who speaks Russian with its rule for plurals, and knows a word to count."""
    folder = tmp_path_factory.mktemp("counting")
    head = (LOCALES / "ru.po").read_text(encoding="utf-8").partition("\n\n")[0]
    (folder / "ru.po").write_text(f"{head}\n{CASES}", encoding="utf-8")
    return Catalogues(folder).speaker("ru")


def test_a_new_file_is_a_new_language(folder):
    """One file, and it is spoken."""
    found = Catalogues(folder)
    assert found.languages() == ("en", "pt_BR", "xx")
    assert found.speaker("xx")("Only an owner gives roles.") == "Роли назначает только владелец."
    assert found.best("pt-br") == found.best("PT_BR") == found.best("pt-BR-x-y") == "pt_BR"
    assert found.best("pt") == "en"


@given(count=st.integers(0, 10**6))
def test_russian_has_three_forms(counting, count):
    """1, 21, 101; 2 to 4, 22; the rest, 11 to 14 among them."""
    last, teens = count % 10, 10 < count % 100 < 20
    word = "случай" if last == 1 and not teens else "случая" if 2 <= last <= 4 and not teens else "случаев"
    assert counting.plural("{count} case", "{count} cases", count).format(count=count) == f"{count} {word}"


@pytest.mark.parametrize("content", [b"hello\n", 'msgid "Stop"\nmsgstr "Стоп"\n'.encode("cp1251")])
def test_a_file_that_does_not_read_is_named(folder, content):
    """Whatever is wrong with it."""
    (folder / "xx.po").write_bytes(content)
    with pytest.raises(SettingsError, match=r"xx\.po does not read"):
        Catalogues(folder).speaker("xx")


def test_without_babel_english_is_spoken_and_the_rest_says_what_to_install(monkeypatch):
    """One line, with the command."""
    monkeypatch.setitem(sys.modules, "babel.messages.pofile", None)
    found = Catalogues(LOCALES)
    assert found.speaker("en")("Only an owner gives roles.") == "Only an owner gives roles."
    with pytest.raises(SettingsError, match=r"pip install 'trainerlib\[telegram\]'"):
        found.speaker("ru")
