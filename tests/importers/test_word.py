"""The text of Word documents: everything a reader sees, in the order they read it, whatever wrote the file."""

from __future__ import annotations

import io
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainerlib.errors import DocumentError, ImportError_
from trainerlib.importers import documents, word

TRANSITIONAL = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
STRICT = "http://purl.oclc.org/ooxml/wordprocessingml/main"
RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def packed(members, method=zipfile.ZIP_DEFLATED):
    """A file with these members."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    content.seek(0)
    return content


def part(body, root="document", space=TRANSITIONAL):
    math = "http://schemas.openxmlformats.org/officeDocument/2006/math"
    other = "http://schemas.openxmlformats.org/markup-compatibility/2006"
    return f'<w:{root} xmlns:w="{space}" xmlns:m="{math}" xmlns:mc="{other}">{body}</w:{root}>'


def document(body, **options):
    """A document with nothing but its body."""
    return packed({"word/document.xml": part(f"<w:body>{body}</w:body>", **options)})


def relations(**targets):
    found = "".join(
        f'<Relationship Id="{kind}" Type="{RELATIONS}/{kind.rstrip("0123456789")}" Target="{target}"/>'
        for kind, target in targets.items()
    )
    return (
        f'<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">{found}</Relationships>'
    )


def p(*texts):
    return "<w:p>" + "".join(f"<w:r><w:t>{text}</w:t></w:r>" for text in texts) + "</w:p>"


def table(*rows):
    cells = ["".join(f"<w:tc>{cell}</w:tc>" for cell in row) for row in rows]
    return "<w:tbl>" + "".join(f"<w:tr>{row}</w:tr>" for row in cells) + "</w:tbl>"


# --- what is in it ----------------------------------------------------------------------------------------------------


def test_what_the_usual_library_writes_is_read_as_it_was_written(tmp_path):
    docx = pytest.importorskip("docx", reason="writes the document: pip install python-docx")
    written = docx.Document()
    written.sections[0].header.paragraphs[0].text = "Цветочный магазин"
    written.sections[0].footer.paragraphs[0].text = "ул. Садовая, 3"
    written.add_heading("Прайс-лист", 1)
    written.add_paragraph("Розы & тюльпаны <сезон>").add_run(" — каждый день").bold = True
    cells = written.add_table(2, 2)
    for number, text in enumerate(("Роза", "150", "Tulip", "60")):
        cells.cell(*divmod(number, 2)).text = text
    written.add_paragraph("One\ttab\nand a line", style="List Bullet")
    written.add_page_break()
    written.add_paragraph("Конец")
    written.save(tmp_path / "a.docx")
    assert documents.read(tmp_path / "a.docx", "docx").text.splitlines() == [
        "Цветочный магазин",
        "Прайс-лист",
        "Розы & тюльпаны <сезон> — каждый день",
        "Роза | 150",
        "Tulip | 60",
        "One\ttab",
        "and a line",
        "",
        "",
        "Конец",
        "ул. Садовая, 3",
    ]


@pytest.mark.parametrize("space", [TRANSITIONAL, STRICT])
def test_both_forms_of_the_standard_are_read(space):
    assert word.read(document(p("Когда ", "вы открыты?") + p("С 9 до 18."), space=space)) == (
        "Когда вы открыты?\nС 9 до 18."
    )


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_the_encoding_of_a_part_is_the_one_it_states(encoding):
    text = f'<?xml version="1.0" encoding="{encoding}"?>{part(p("Роза"))}'
    assert word.read(packed({"word/document.xml": text.encode(encoding)})) == "Роза"


def test_a_table_is_read_by_row_and_one_within_another_in_its_place():
    inner = table([p("a"), p("b")])
    text = word.read(document(p("before") + table([p("1") + p("2"), inner + p("c")], ["", p("d")]) + p("after")))
    assert text == "before\n1 2 | a | b c\n | d\nafter"


def test_what_was_inserted_is_in_and_what_was_deleted_or_moved_away_is_not():
    body = (
        "<w:p><w:pPr><w:rPr><w:del/></w:rPr></w:pPr><w:ins><w:r><w:t>new</w:t></w:r></w:ins>"
        "<w:del><w:r><w:delText>old</w:delText><w:t>old</w:t></w:r></w:del>"
        "<w:moveFrom><w:r><w:t>there</w:t></w:r></w:moveFrom><w:moveTo><w:r><w:t> here</w:t></w:r></w:moveTo></w:p>"
    )
    assert word.read(document(body)) == "new here"


def test_forms_links_formulas_and_text_boxes_have_text_and_fields_and_tab_stops_have_none():
    body = (
        f"<w:sdt><w:sdtContent>{p('form')}</w:sdtContent></w:sdt>"
        "<w:p><w:hyperlink><w:r><w:t>link</w:t></w:r></w:hyperlink><w:r><w:instrText>PAGE</w:instrText></w:r></w:p>"
        "<w:p><w:pPr><w:tabs><w:tab/><w:tab/></w:tabs></w:pPr><w:r><w:t>x</w:t><w:tab/><w:t>y</w:t></w:r></w:p>"
        "<w:p><m:oMath><m:r><m:t>a+b</m:t></m:r></m:oMath></w:p>"
        "<w:p><w:r><w:t>around</w:t><mc:AlternateContent>"
        f"<mc:Choice><w:txbxContent>{p('box')}</w:txbxContent></mc:Choice>"
        f"<mc:Fallback><w:txbxContent>{p('box')}</w:txbxContent></mc:Fallback>"
        "</mc:AlternateContent></w:r></w:p>"
    )
    assert word.read(document(body)) == "form\nlink\nx\ty\na+b\nbox\naround"


def test_headers_come_first_and_notes_and_footers_last_each_once():
    members = {
        "_rels/.rels": relations(officeDocument="/text/main.xml"),
        "text/main.xml": part(f"<w:body>{p('body')}</w:body>"),
        "text/_rels/main.xml.rels": relations(
            footer1="footer1.xml", header1="header1.xml", header2="../text/header2.xml", header3="header3.xml",
            footnotes="notes.xml", image="media/a.png", header4="nowhere/../header1.xml",
        ),
        "text/header1.xml": part(p() + p("head"), "hdr"),
        "text/header2.xml": part(p("head"), "hdr"),
        "text/header3.xml": part(p("other head"), "hdr"),
        "text/footer1.xml": part(p("foot") + p(""), "ftr"),
        "text/notes.xml": part(f"<w:footnote>{p(' ')}</w:footnote><w:footnote>{p('note')}</w:footnote>", "footnotes"),
    }  # fmt: skip
    assert word.read(packed(members)) == "head\nother head\nbody\nnote\nfoot"


def test_enough_is_enough(tmp_path):
    path = tmp_path / "a.docx"
    path.write_bytes(document(p("Роза " * 10) * 100_000).getvalue())
    text = documents.read(path, "docx", characters=1_000).text
    assert 1_000 < len(text) < 100_000
    assert text.startswith("Роза Роза")


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters="<&>|"), min_size=1)


@given(st.lists(TEXTS | st.lists(st.lists(TEXTS, min_size=1), min_size=1), min_size=1))
def test_all_words_are_read_in_their_order(blocks):
    body = "".join(
        p(block) if isinstance(block, str) else table(*[[p(cell) for cell in row] for row in block]) for block in blocks
    )
    lines = [
        line for block in blocks for line in ([block] if isinstance(block, str) else [" | ".join(row) for row in block])
    ]
    assert word.read(document(body)).split("\n") == lines


# --- what is wrong with it --------------------------------------------------------------------------------------------


def refused(file):
    with pytest.raises(DocumentError) as error:
        word.read(file)
    return error.value


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04",
        b"no archive at all",
        packed({}).getvalue(),
        packed({"a.txt": "x"}).getvalue(),
        packed({"word/document.xml": "<w:p>"}).getvalue(),
        packed({"word/document.xml": ""}).getvalue(),
        packed({"word/document.xml": part("<w:p>&nothing;</w:p>")}).getvalue(),
        packed({"_rels/.rels": relations(officeDocument="../../etc/passwd")}).getvalue(),
        document(p("Роза")).getvalue()[:-30],
        packed({"word/document.xml": part(p("Роза"))}, zipfile.ZIP_STORED).getvalue().replace(b"<w:t>", b"<w:p>"),
        packed({"word/document.xml": part(p("rose"))}, zipfile.ZIP_STORED).getvalue().replace(b"rose", b"lily"),
    ],
)
def test_a_damaged_document_is_refused(content):
    assert refused(io.BytesIO(content)).reason == "damaged"


@pytest.mark.parametrize(
    "declaration",
    [
        '<!DOCTYPE x [<!ENTITY a "Роза"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>',
        '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd">',
        '<!DOCTYPE x [<!ENTITY % a SYSTEM "file:///etc/passwd"> %a;]>',
    ],
)
def test_entities_are_not_even_looked_at(declaration):
    error = refused(packed({"word/document.xml": declaration + part(p("&a;"))}))
    assert error.reason == "damaged"
    assert "declares a document type" in str(error)


def test_a_bomb_is_given_up_when_it_has_given_too_much(monkeypatch):
    monkeypatch.setattr(word, "LIMIT", 1_000_000)
    bomb = document(p(" " * 2_000_000))
    assert len(bomb.getvalue()) < 10_000
    assert refused(bomb).reason == "large"


def test_a_bomb_that_lies_about_its_size_is_no_larger_than_it_says():
    """The size in the directory of the archive is made 1,000 bytes; what is unpacked beyond is never kept."""
    content = bytearray(document(p("x" * 50_000_000)).getvalue())
    at = content.rindex(b"PK\x01\x02")
    content[at + 24 : at + 28] = (1_000).to_bytes(4, "little")
    assert refused(io.BytesIO(content)).reason == "damaged"


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_ways_of_packing_that_take_any_amount_of_memory_are_refused(method):
    assert refused(packed({"word/document.xml": part(p("Роза"))}, method)).reason == "damaged"


def test_a_part_with_a_password_says_so():
    content = bytearray(document(p("Роза")).getvalue())
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    error = refused(io.BytesIO(content))
    assert (error.reason, str(error)) == ("password", "it has a password; save it without one")


def test_macros_and_pictures_are_not_unpacked():
    members = {"word/document.xml": part(p("Роза")), "word/vbaProject.bin": b"macro", "word/media/a.png": b"picture"}
    content = packed(members, zipfile.ZIP_STORED).getvalue()
    for inside in (b"macro", b"picture"):
        assert content.count(inside) == 1
        content = content.replace(inside, b"#" * len(inside))
    assert word.read(io.BytesIO(content)) == "Роза"


@given(st.data())
def test_a_document_with_any_byte_changed_is_read_or_refused(data):
    content = bytearray(document(p("Когда вы открыты?") + table([p("9"), p("18")])).getvalue())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    try:
        assert isinstance(word.read(io.BytesIO(content)), str)
    except DocumentError as error:
        assert error.reason in {"damaged", "password", "large"}  # noqa: PT017 - either is fine


# --- a directory of them ----------------------------------------------------------------------------------------------


def test_a_dialogue_in_a_word_document_is_learned_from(tmp_path):
    path = tmp_path / "a.docx"
    path.write_bytes(document(p("Вопрос: Когда вы открыты?") + p("Ответ: С 9 до 18.")).getvalue())
    [found] = documents.read(path, "docx").records("x")
    assert [(message.role, message.text) for message in found.messages] == [
        ("user", "Когда вы открыты?"),
        ("assistant", "С 9 до 18."),
    ]


def test_a_document_without_words_and_one_that_is_gone_are_refused(tmp_path):
    path = tmp_path / "a.docx"
    path.write_bytes(document(p(" ")).getvalue())
    with pytest.raises(DocumentError, match="no text in it"):
        documents.read(path, "docx")
    with pytest.raises(ImportError_, match="cannot be read"):
        documents.read(tmp_path, "docx")
