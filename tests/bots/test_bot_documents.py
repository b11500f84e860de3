"""The text of what people send, and one plain sentence when there is none."""

from __future__ import annotations

import gzip
import io
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from importers.pages import pdf

from bots import documents
from bots.documents import CUT, text_of
from trainerlib.errors import UploadRefusedError

RUSSIAN = "Когда вы открыты?\nС 9 до 18 — и «по записи», каждый день."


@pytest.fixture
def sent(tmp_path):
    """Reads a file with this content, kept under a name that says nothing."""

    def read(content, name="", **options):
        path = tmp_path / "9f2c"
        path.write_bytes(content)
        return text_of(path, name=name, **options)

    return read


@pytest.fixture
def refused(sent):
    """What is said when a file gives no text."""

    def read(content, name="", **options):
        with pytest.raises(UploadRefusedError) as error:
            sent(content, name, **options)
        said = str(error.value)
        assert said in documents._SENTENCES.values()
        return said

    return read


def docx(*paragraphs):
    space = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    body = "".join(f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>" for text in paragraphs)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", f'<w:document xmlns:w="{space}"><w:body>{body}</w:body></w:document>')
    return content.getvalue()


# --- text -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1251"])
@pytest.mark.parametrize("name", ["часы.txt", "hours.md", "hours.csv", "hours.log", "", "hours"])
def test_text_is_read_in_the_encodings_people_use(sent, encoding, name):
    assert sent(RUSSIAN.replace("\n", "\r\n").encode(encoding), name) == RUSSIAN
    assert sent(b"When are you open?", name) == "When are you open?"


def test_compressed_text_is_text(sent):
    assert sent(gzip.compress(RUSSIAN.encode()), "часы.txt.gz") == RUSSIAN


def test_a_table_is_kept_as_it_is(sent):
    assert sent('вопрос;ответ\nКогда?;"С 9\nдо 18"\n'.encode("cp1251"), "a.csv") == 'вопрос;ответ\nКогда?;"С 9\nдо 18"'


@pytest.mark.parametrize(("name", "mime"), [("a.json", ""), ("a.jsonl", ""), ("", "application/json")])
def test_letters_that_json_holds_as_numbers_are_read_as_letters(sent, name, mime):
    rows = [{"вопрос": "Когда 🌷?", "n": 1.50}, {"ответ": 'с "9"\n\\u0041', "нет": "\x00\x1f\u2028\ud800"}]
    content = "\n".join(map(json.dumps, rows))
    text = sent(content.encode(), name, mime=mime)
    assert '{"вопрос": "Когда 🌷?", "n": 1.5}\n{"ответ": "с \\"9\\"\\n\\\\u0041", "нет": "\\u0000\\u001f\\u2028' in text
    assert [json.loads(line) for line in text.split("\n")] == rows


@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=5,
    )
)
def test_json_that_is_read_means_the_same(value):
    text = documents._ESCAPES.sub(documents._unescaped, json.dumps(value))
    assert json.loads(text) == value


def test_other_files_keep_their_backslashes(sent):
    assert sent(rb"path = C:\u0434\new", "a.txt") == r"path = C:\u0434\new"


def test_what_nobody_can_see_is_left_out(sent):
    assert sent(b"\n\n one\x1b[0m \x07two\x0cthree\t\n\n", "a.txt") == "one [0m  two\nthree"


# --- length -----------------------------------------------------------------------------------------------------------


def test_a_long_text_is_cut_and_says_so(sent):
    text = sent(("слово " * 10_000).encode(), "a.txt")
    assert len(text) <= 20_000
    assert text.endswith(CUT)
    assert ("слово " * 10_000).startswith(text.removesuffix(CUT))
    assert sent(b"x" * 20_000, "a.txt") == "x" * 20_000
    assert sent(b"x" * 20_001, "a.txt") == "x" * (20_000 - len(CUT)) + CUT


@given(st.text(st.sampled_from("aж \n🌷"), min_size=1).filter(str.strip), st.integers(len(CUT) + 1, 60))
def test_no_text_is_longer_than_was_asked_for(tmp_path_factory, text, limit):
    path = tmp_path_factory.mktemp("sent") / "a"
    path.write_text(text, encoding="utf-8", newline="")
    read = text_of(path, name="a.txt", limit=limit)
    assert len(read) <= limit
    assert read == text.strip() if len(text.strip()) <= limit else text.strip().startswith(read.removesuffix(CUT))


def test_long_documents_are_cut_as_well(sent):
    pytest.importorskip("pypdf", reason="needs the extra: pip install 'trainerlib[documents]'")
    for content in (pdf(["Роза: 150"] * 30, ["Конец"]), docx(*["Роза: 150"] * 30, "Конец")):
        text = sent(content, "a.docx", limit=100)
        assert text.startswith("Роза: 150\nРоза: 150\n")
        assert text.endswith(CUT)
        assert len(text) <= 100


# --- PDF and Word -----------------------------------------------------------------------------------------------------


def test_a_pdf_is_told_by_what_is_in_it(sent):
    pytest.importorskip("pypdf", reason="needs the extra: pip install 'trainerlib[documents]'")
    for name in ("часы.pdf", "hours.txt"):
        assert sent(pdf(["Когда?", "When?"], ["С 9 до 18."]), name) == "Когда?\nWhen?\nС 9 до 18."


@pytest.mark.parametrize(
    ("name", "mime"),
    [
        ("a.docx", ""),
        ("A.DOCX", ""),
        ("a.docm", ""),
        ("", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ],
)
def test_a_word_document_is_read(sent, name, mime):
    assert sent(docx("Когда вы открыты?", "9 to 18."), name, mime=mime) == "Когда вы открыты?\n9 to 18."


def test_a_document_with_a_password_says_so(refused):
    pypdf = pytest.importorskip("pypdf", reason="needs the extra: pip install 'trainerlib[documents]'")
    writer = pypdf.PdfWriter(io.BytesIO(pdf(["Роза"])))
    writer.encrypt("rose", algorithm="RC4-128")
    content = io.BytesIO()
    writer.write(content)
    said = "The file has a password. Save it without one and send it again."
    assert refused(content.getvalue(), "a.pdf") == said
    # With one, a Word document is a container of the old kind.
    assert refused(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "a.docx") == said


def test_pictures_without_text_say_so(refused):
    pytest.importorskip("pypdf", reason="needs the extra: pip install 'trainerlib[documents]'")
    assert refused(pdf([], []), "scan.pdf") == refused(docx("", " "), "a.docx")
    assert refused(pdf([]), "scan.pdf") == "There is no text in the file, only pictures at most."


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"%PDF-1.4\n", "a.pdf"),
        (b"%PDF-1.4\n" + bytes(range(256)) * 20, "a.pdf"),
        (b"no PDF", "a.pdf"),
        (b"no document", "a.docx"),
        (docx("Роза")[:-9], "a.docx"),
        (b"PK\x03\x04" + bytes(100), "a.docx"),
    ],
)
def test_a_damaged_document_says_so(refused, content, name):
    pytest.importorskip("pypdf", reason="needs the extra: pip install 'trainerlib[documents]'")
    assert refused(content, name) == "The file cannot be read: it is damaged."


KIND = "Files of this kind cannot be read. Send text, Markdown, CSV, JSON, PDF or DOCX."


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)), "a.png"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(range(128, 256)) * 9, "a.txt"),
        (b"\x7fELF\x02\x01\x01\0" + bytes(64), "a"),
        (b"OggS\0\x02" + bytes(range(256)), "a.ogg"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "a.doc"),
        (docx("Роза"), "a.xlsx"),
        (docx("Роза"), "a.zip"),
        (rb"{\rtf1\ansi\ansicpg1251 \'d0\'ee\'e7\'e0}", "a.rtf"),
    ],
)
def test_files_of_another_kind_say_which_are_read(refused, content, name):
    assert refused(content, name) == KIND


@pytest.mark.parametrize("encoding", ["koi8-r", "cp866"])
def test_an_encoding_that_cannot_be_told_is_not_guessed(refused, encoding):
    assert "UTF-8" in refused("Когда вы открыты? Каждый день.".encode(encoding), "a.txt")


@pytest.mark.parametrize("content", [b"", b" \n\t", b"\xef\xbb\xbf", b"\x01\x02"])
@pytest.mark.parametrize("name", ["a.txt", ""])
def test_an_empty_file_says_so(refused, content, name):
    assert refused(content, name) == "The file is empty."


def test_an_empty_pdf_and_an_empty_word_document_say_so(refused):
    assert refused(b"", "a.pdf") == refused(b"", "a.docx") == "The file is empty."


def test_a_file_that_is_gone_is_an_error_without_its_path(tmp_path):
    for path in (tmp_path / "gone", tmp_path):
        with pytest.raises(UploadRefusedError) as error:
            text_of(path, name="a.txt")
        assert str(tmp_path) not in str(error.value)


def test_a_text_that_unpacks_to_more_than_memory_is_refused(refused):
    assert refused(gzip.compress(bytes(b" " * 60_000_000)), "a.txt.gz") == "There is too much in the file to read it."


def test_a_package_that_is_missing_is_named(refused, tmp_path, monkeypatch):
    """The other process has the paths of this one, so a module of that name that fails is as good as none."""
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "pypdf.py").write_text("raise ImportError('not installed')", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path / "path"))
    assert "pip install 'trainerlib[documents]'" in refused(pdf(["Роза"]), "a.pdf")


# --- a process of its own ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("while True: pass", "It takes too long to read the file."),
        ("import time; time.sleep(600)", "It takes too long to read the file."),
        ("import os, signal; os.kill(os.getpid(), signal.SIGXCPU)", "It takes too long to read the file."),
        ("import os; os.abort()", "The file cannot be read: it is damaged."),
        ("raise MemoryError", "There is too much in the file to read it."),
        ("x = bytearray(1 << 32)", "There is too much in the file to read it."),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="the limits of a process are not the same elsewhere")
def test_a_document_that_takes_all_time_or_memory_or_ends_the_process_is_refused(
    refused, tmp_path, monkeypatch, body, said
):
    """A `pypdf` that does it stands for a file that makes it."""
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "pypdf.py").write_text(f"def PdfReader(file):\n    {body}\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path / "path"))
    monkeypatch.setattr(documents, "PATIENCE", 2 if "while" in body or "sleep" in body else 60)
    assert refused(pdf(["Роза"]), "a.pdf") == said


def test_a_hostile_word_document_does_not_take_the_memory_of_the_bot(refused):
    """Depth that a parser remembers."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", b"<a>" * 1_000_000)
    assert refused(content.getvalue(), "a.docx") in {
        "The file cannot be read: it is damaged.",
        "There is too much in the file to read it.",
    }


def test_reading_text_starts_no_process(sent, monkeypatch):
    monkeypatch.setattr(subprocess, "run", None)
    assert sent(RUSSIAN.encode(), "a.txt") == RUSSIAN


def test_a_frozen_application_reads_in_its_own_process(sent, monkeypatch):
    monkeypatch.setattr(subprocess, "run", None)
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert sent(docx("Роза"), "a.docx") == "Роза"


@given(st.binary(max_size=300) | st.binary(max_size=300).map(b"\xff\xfe".__add__))
def test_any_bytes_give_text_that_can_be_recorded_or_a_sentence(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(content)
    try:
        text = text_of(path, name="a.txt")
    except UploadRefusedError:
        return
    assert text.encode()
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", text)


def test_every_reason_there_is_has_a_sentence():
    sources = [Path(documents.documents.__file__), Path(documents.documents.word.__file__), Path(documents.__file__)]
    raised = {
        reason
        for source in sources
        for reason in re.findall(r'DocumentError\([^)]*?"(\w+)"\s*\)', source.read_text(encoding="utf-8"))
    }
    assert {"damaged", "password", "large"} <= raised <= set(documents._SENTENCES)
