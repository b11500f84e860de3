"""Text, Markdown, tables and PDF that people wrote by hand: what is a dialogue in them, and what is said when none is."""

from __future__ import annotations

import csv
import gzip
import io
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pages import pdf

from trainerlib.errors import ImportError_
from trainerlib.importers import documents
from trainerlib.importers.dialogues import dialogues
from trainerlib.importers.documents import decoded, is_windows_1251
from trainerlib.importers.records import BadLine, SourceConversation
from trainerlib.importers.tables import table


def said(records):
    """Role and text of each message, conversation by conversation; `(line, reason)` of what is bad."""
    return [
        [(message.role, message.text) for message in record.messages]
        if isinstance(record, SourceConversation)
        else (record.line, record.reason)
        for record in records
    ]


def only(text, **options):
    """What is said in the one dialogue of a text in which nothing is bad."""
    [found] = dialogues(text, "x", **options)
    assert isinstance(found, SourceConversation)
    return [(message.role, message.text) for message in found.messages]


ASKED = [("user", "Когда вы открыты?"), ("assistant", "С 9 до 18.")]


# --- who speaks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "assistant"),
    [
        ("User:", "Assistant:"),
        ("Q:", "A:"),
        ("Question:", "Answer:"),
        ("Prompt:", "Response:"),
        ("Вопрос:", "Ответ:"),
        ("Пользователь:", "Бот:"),
        ("Клиент:", "Ответ:"),
        ("В:", "О:"),
        ("вопрос:", "ответ:"),
        ("USER :", "BOT :"),
        ("Q1:", "A1:"),
        ("Вопрос №12:", "Ответ 12:"),
        ("User：", "Assistant："),
        ("**User:**", "**Assistant:**"),
        ("**Вопрос**:", "**Ответ**:"),
        ("__User:__", "__Bot:__"),
        ("*Q:*", "*A:*"),
        ("***User***:", "***Assistant***:"),
        ("## User:", "## Assistant:"),
        ("- **User:**", "- **Bot:**"),
        ("1. Вопрос:", "2. Ответ:"),
        ("## User\n\n", "## Assistant\n\n"),
        ("### **Вопрос**\n", "### **Ответ**\n"),
        ("**User**\n", "**Assistant**\n"),
        ("User\n===\n", "\nAssistant\n---\n"),
        ("Пользователь\n-----\n", "\nАссистент\n-----\n"),
    ],
)
def test_who_speaks_is_told_in_many_ways(user, assistant):
    text = f"{user} Когда вы открыты?\n{assistant} С 9 до 18.\n"
    assert only(text.replace("\n ", "\n")) == ASKED


def test_a_whole_line_may_be_bold():
    assert only("**User: Когда вы открыты?**\nAssistant: С 9 до 18.".replace("Assistant", "Bot")) == ASKED


def test_a_message_keeps_its_lines_and_loses_only_what_surrounds_it():
    text = "User:\n\n  two spaces,\n\na blank line  \nand a tab\t\n\n\nBot: Yes"
    assert only(text) == [("user", "  two spaces,\n\na blank line  \nand a tab"), ("assistant", "Yes")]


def test_several_messages_of_one_side_stay_apart():
    turns = [("user", "Hi"), ("user", "Есть розы?"), ("assistant", "Да"), ("assistant", "Красные")]
    assert only("User: Hi\nUser: Есть розы?\nBot: Да\nBot: Красные") == turns


@pytest.mark.parametrize("label", ["System:", "Система:", "**System prompt:**"])
def test_an_instruction_stands_before_the_dialogue(label):
    assert only(f"{label} Be short.\nUser: Hi\nAssistant: Yes?\nSystem: 2 of 3 up")[0] == ("system", "Be short.")
    assert only(f"{label} Be short.\nUser: Hi\nAssistant: Yes?\nSystem: 2 of 3 up")[-1][1] == "Yes?\nSystem: 2 of 3 up"


def test_words_that_speak_elsewhere_are_content_where_others_speak():
    """`Answer:`, `Q:` and `A:` begin messages in other dialogues."""
    reply = "Steps.\nAnswer: 42\nA: one\nB: two\nQ: more?"
    assert only(f"User: 6 by 7?\nAssistant: {reply}")[1] == ("assistant", reply)


def test_the_side_that_answers_is_called_as_goes_with_the_side_that_asks():
    text = "User: Use this form\nAnswer: a number\nAssistant: 42"
    assert only(text) == [("user", "Use this form\nAnswer: a number"), ("assistant", "42")]


def test_a_third_who_speaks_is_content_and_is_reported():
    found = said(dialogues("Клиент: Алло\nБот: Да?\nОператор: Я тут", "x"))
    assert found == [
        [("user", "Алло"), ("assistant", "Да?\nОператор: Я тут")],
        (3, "'оператор' speaks in a dialogue of 'клиент' and 'бот', kept as words of the message before"),
    ]


@pytest.mark.parametrize(
    "line", ["Userland: no", "The user: no", "a: no" * 3, "http://user: no", "User", "# User guide"]
)
def test_what_only_looks_like_somebody_is_content(line):
    assert only(f"User: Hi\nAssistant: Yes\n{line}")[1] == ("assistant", f"Yes\n{line}")


def test_the_assistant_may_be_called_by_name():
    text = "Клиент: Привет\nАнна (магазин): Здравствуйте!"
    assert only(text, assistant="анна (магазин)") == [("user", "Привет"), ("assistant", "Здравствуйте!")]
    [(line, reason)] = said(dialogues(text, "x"))
    assert (line, reason.startswith("nobody answers")) == (1, True)


@pytest.mark.parametrize("fence", ["```", "~~~~", "```python"])
def test_what_stands_in_a_fence_is_content(fence):
    inside = "User: root\n---\n===\n# Assistant\n** Bot:"
    reply = f"{fence}\n{inside}\n{fence.rstrip('python')}\nDone"
    assert only(f"User: How?\nAssistant: {reply}") == [("user", "How?"), ("assistant", reply)]


def test_a_fence_that_is_never_closed_is_none():
    text = "User: How?\nBot: ```\nthis\n---\nUser: And?\nBot: that"
    assert len(list(dialogues(text, "x"))) == 2


# --- several dialogues ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", ["---", "===", "-----", "==========", "  ---  "])
def test_a_line_of_dashes_or_equal_signs_parts_dialogues(line):
    one = "User: Hi\nBot: Yes?"
    assert len(list(dialogues(f"{line}\n{one}\n{line}\n{line}\n\n{one}\n{line}\n", "x"))) == 2


@pytest.mark.parametrize("last", ["Call the\nbot", "- Bot", "The answer:\n\nA", "Бот"])
def test_a_reply_may_end_with_the_word_for_somebody(last):
    one = f"User: Who?\nAssistant: {last}"
    [first, second] = dialogues(f"{one}\n---\n{one}", "x")
    assert first.messages[1].text == second.messages[1].text == last


def test_conversations_are_called_after_the_file_and_their_line():
    found = dialogues("\nUser: Hi\nBot: Yes?\n---\n\nUser: Hi\nBot: Yes?", "9f2c")
    assert [(one.id, one.platform, one.line) for one in found] == [
        ("9f2c/2", "directory", 2),
        ("9f2c/6", "directory", 6),
    ]


def test_a_heading_before_anybody_speaks_is_the_title():
    [first, second] = dialogues("# Часы #\n\nВ: Когда?\nО: В 9\n---\nВ: Где?\nО: Тут", "x")
    assert (first.title, second.title) == ("Часы", "")


def test_text_before_anybody_speaks_is_reported():
    assert said(dialogues("Checked by Anna.\nTwice.\nUser: Hi\nBot: Yes?", "x"))[0] == (
        1,
        "text before anybody speaks, left out",
    )


def test_the_settings_of_a_markdown_file_are_no_dialogue():
    assert only("---\ntitle: Часы\ntags:\n  - a\n---\nUser: Hi\nBot: Yes?") == [("user", "Hi"), ("assistant", "Yes?")]
    found = said(dialogues("---\nChecked by Anna\n---\nUser: Hi\nBot: Yes?", "x"))
    assert found[0] == (2, "nobody speaks here, left out: a message begins with who says it")


@pytest.mark.parametrize(
    ("bad", "line", "reason"),
    [
        ("User: Hi", 4, "nobody answers, dialogue skipped"),
        ("Ответ: Да", 4, "nobody asks, dialogue skipped"),
        ("User: Hi\nBot:\n\n", 5, "'bot' says nothing, dialogue skipped"),
        ("User:\nBot: Yes?", 4, "'user' says nothing, dialogue skipped"),
        ("Roses are red", 4, "nobody speaks here"),
        ("System: Be short.", 4, "nobody speaks here"),
    ],
)
def test_half_a_dialogue_is_reported_and_the_others_are_taken(bad, line, reason):
    good = "В: Когда?\nО: В 9"
    first, found, last = said(dialogues(f"{good}\n---\n{bad}\n---\n{good}", "x"))
    assert first == last == [("user", "Когда?"), ("assistant", "В 9")]
    assert found[0] == line
    assert found[1].startswith(reason)


@pytest.mark.parametrize("text", ["Roses are red.\n\nViolets: blue.", "# Цены\n\n- Роза: 150\n---\nи так далее"])
def test_a_document_in_which_nobody_speaks_is_refused(tmp_path, text):
    path = tmp_path / "text.md"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ImportError_, match=r"no dialogue in it: each message begins .* is no example of a reply"):
        list(documents.read(path, "markdown").records("x"))


def test_a_document_in_which_nobody_answers_is_refused_with_its_first_reason(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("Вопрос: Когда?\n---\nВопрос: Где?", encoding="utf-8")
    with pytest.raises(ImportError_, match="no dialogue in it; line 1: nobody answers"):
        list(documents.read(path, "text").records("x"))


WORDS = st.text(st.sampled_from("абвгдеёжз ABCdef.,!?*_#-«»🌷\t"), min_size=1).map(str.strip).filter(bool)
STYLES = st.sampled_from(
    [("User: ", "Assistant: "), ("**Вопрос:** ", "**Ответ:** "), ("## User\n", "## Bot\n"), ("В:", "О:")]
)


def is_content(text):
    """It is no line that parts dialogues."""
    return bool(text.strip("-="))


@given(st.lists(st.lists(st.tuples(st.booleans(), WORDS.filter(is_content)), min_size=1), min_size=1), STYLES)
def test_what_is_written_as_dialogues_is_read_as_said(talks, style):
    """Whoever speaks, in any order, as often as they like, as long as somebody asks and somebody answers."""
    talks = [[*talk, (False, "Да?"), (True, "Да")] for talk in talks]
    text = "\n---\n".join("\n".join(f"{style[answers]}{words}" for answers, words in talk) for talk in talks)
    expected = [[(("user", "assistant")[answers], words) for answers, words in talk] for talk in talks]
    assert said(dialogues(text, "x")) == expected


@given(st.text(st.sampled_from("QA:ВО *_#-=`~\n1.?xж\r\"',;\t")) | st.text())
def test_any_text_is_read_or_refused_with_a_reason(text):
    """Nothing else is raised, every line is in the text, and ids are not given twice."""
    for read in (dialogues, table):
        try:
            found = list(read(text, "x"))
        except ImportError_:
            continue
        assert all(1 <= record.line <= text.count("\n") + 1 for record in found)
        names = [record.id for record in found if isinstance(record, SourceConversation)]
        assert len(names) == len(set(names))


# --- encodings --------------------------------------------------------------------------------------------------------

RUSSIAN = "Вопрос: Когда вы открыты — и «где»?\nОтвет: С 9 до 18, ул. Садовая, 3."


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1251"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("compressed", [False, True])
def test_the_encoding_is_told_from_the_bytes(tmp_path, encoding, end, compressed):
    content = RUSSIAN.replace("\n", end).encode(encoding)
    if encoding == "utf-16-le":
        content = b"\xff\xfe" + content
    path = tmp_path / "text"
    path.write_bytes(gzip.compress(content) if compressed else content)
    document = documents.read(path, "text")
    assert (document.text, document.lost, document.damage) == (RUSSIAN, (), "")


@pytest.mark.parametrize("encoding", ["koi8-r", "cp866", "iso8859-5", "mac-cyrillic"])
def test_other_encodings_are_refused_rather_than_guessed(encoding):
    content = RUSSIAN.translate({ord("«"): '"', ord("»"): '"', ord("—"): "-"}).encode(encoding)
    assert not is_windows_1251(content)
    with pytest.raises(ImportError_, match="in no encoding that can be told; save it as UTF-8"):
        decoded(content)


@pytest.mark.parametrize("text", ["Un café déjà fermé", "Grüße aus München", "Mañana será otro día", "naïve", "À Noël"])
def test_western_bytes_are_not_taken_for_russian(text):
    with pytest.raises(ImportError_, match="in no encoding"):
        decoded(text.encode("cp1252"))


def test_a_few_broken_bytes_are_replaced_and_located():
    content = RUSSIAN.encode().replace("Садовая".encode(), b"\xd0\xa1\xff\xd0\xb0")
    text, lost = decoded(content)
    assert text == RUSSIAN.replace("Садовая", "С\ufffdа")
    assert lost == (BadLine(2, "not valid UTF-8, kept as U+FFFD"),)


@given(st.text(st.characters(codec="cp1251", exclude_characters="\r\0")))
def test_what_is_taken_for_windows_1251_is_it_or_utf_8(text):
    """A text comes back as it was, in a form that reads the same, or is refused; UTF-8 is never mistaken."""
    try:
        assert decoded(text.encode())[0] == text
        assert is_windows_1251(text.encode("cp1251")) is False or decoded(text.encode("cp1251"))[0]
    except ImportError_:
        assert not text.strip()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b" \n\t\n", "empty"),
        (b"User: Hi\0Bot: Yes", "NUL"),
        ("Вопрос: да".encode("utf-16-be"), "NUL"),
        (b"\x89PNG\r\n\x1a\n\0\0\xff", "no encoding|NUL"),
    ],
)
def test_what_is_no_text_is_refused(content, reason):
    with pytest.raises(ImportError_, match=reason):
        decoded(content)


def test_a_compressed_file_that_is_cut_says_so(tmp_path):
    path = tmp_path / "text.txt.gz"
    path.write_bytes(gzip.compress((RUSSIAN + "\n---\nUser: Hi\nBot: Yes").encode(), mtime=0)[:-9])
    assert said(documents.read(path, "text").records("x"))[-1][1] == "the compressed file ends too early"


def test_a_document_that_outgrows_memory_is_refused(tmp_path, monkeypatch):
    """Also one that is small on the disk."""
    monkeypatch.setattr(documents, "LIMIT", 1_000_000)
    path = tmp_path / "text.txt.gz"
    path.write_bytes(gzip.compress(b"User: Hi\n" * 200_000))
    with pytest.raises(ImportError_, match="MiB of text"):
        documents.read(path, "text")


# --- tables -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize(
    "names",
    ["question answer", "Prompt Response", "USER Assistant", "Вопрос Ответ", '"вопрос" " ответ: "', "input output"],
)
def test_columns_are_found_by_their_names(delimiter, names):
    head = delimiter.join(names.split(maxsplit=1))
    [row] = table(f"{head}\nКогда вы открыты?{delimiter}С 9 до 18.\n", "x")
    assert [(message.role, message.text) for message in row.messages] == ASKED


def test_other_columns_are_passed_over_and_the_surest_name_counts():
    text = "id,user,question,instruction,answer,date\n1,anna,Hi,no,Yes?,2026\n"
    [row] = table(text, "x")
    assert said([row]) == [[("user", "Hi"), ("assistant", "Yes?")]]


def test_a_rejected_answer_is_the_reply_and_the_good_one_corrects_it():
    """As a row of preferences is recorded."""
    [row] = table("вопрос;ответ;плохой ответ;система\nКогда?;В 9.;Не знаю.;Отвечай коротко.", "9f2c")
    assert said([row]) == [[("system", "Отвечай коротко."), ("user", "Когда?"), ("assistant", "Не знаю.")]]
    reply = row.messages[-1]
    assert [(one.text, one.by) for one in reply.corrections] == [("В 9.", "import")]
    assert reply.ratings == ()


def test_a_rejected_answer_alone_is_rated_down():
    first, second = table("question,bad answer,answer\nHi,Go away,\nHi,,Hello", "x")
    assert [(one.rating, one.by) for one in first.messages[-1].ratings] == [(-1, "import")]
    assert second.messages[-1].ratings == ()


@pytest.mark.parametrize(
    ("cell", "rating"), [("5", 5), ("+1", 1), ("-1", -1), ("1.0", 1), ("-2,0", -2), ("0", 0), ("", None)]
)
def test_a_rating_is_a_whole_number(cell, rating):
    [row] = table(f"question;answer;rating\nHi;Hello;{cell}\n", "x")
    assert [one.rating for one in row.messages[-1].ratings] == ([] if rating is None else [rating])


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("Hi;Hello;;6", "the rating '6' is none from -5 to 5, row skipped"),
        ("Hi;Hello;;good", "the rating 'good' is none from -5 to 5, row skipped"),
        ("Hi;Hello;;nan", "the rating 'nan' is none from -5 to 5, row skipped"),
        ("Hi;Hello;Go away;1", "a good rating beside a rejected answer, row skipped"),
        ("Hi;Hello;Hello;", "the answer and the rejected one are the same, row skipped"),
        ("Hi; ;;", "no answer, row skipped"),
        ("Hi", "no answer, row skipped"),
        (";Hello", "no question, row skipped"),
        (
            "Hi;Hello; and welcome;;;good",
            "6 cells under 4 names: a text with a semicolon in it needs quotes, row skipped",
        ),
        ('Hi;"Hello" there', "something follows a closing quote (a quote within quotes is doubled), row skipped"),
        ('Hi;"Hello', "a quote opens here and is not closed within 131,072 characters, row skipped"),
    ],
)
def test_a_row_that_cannot_be_taken_is_located(row, reason):
    text = f'question;answer;rejected;rating\nA;"two\nlines";;\n\n{row}\nЕсть розы?;Да;;;;\n'
    before, bad, after = said(table(text, "x"))
    assert before == [("user", "A"), ("assistant", "two\nlines")]
    assert bad == (5, reason)
    assert after == [("user", "Есть розы?"), ("assistant", "Да")]


def test_a_row_is_called_after_its_first_line():
    found = table('sep=;\nquestion;answer\n"a\nb";c\nd;e\n', "9f2c")
    assert [(one.id, one.line) for one in found] == [("9f2c/3", 3), ("9f2c/5", 5)]


@pytest.mark.parametrize(
    "text",
    [
        "name;price\nroza;150\n",
        "question\nHi\n",
        "answer,rating\nHi,1",
        "Hi,Hello\nBye,See you",
        "question|answer\na|b",
    ],
)
def test_a_table_without_question_and_answer_is_refused_with_the_names_that_fit(text):
    with pytest.raises(ImportError_, match=r"\(question, вопрос, prompt, .*\(answer, ответ, .*\(rejected, bad answer"):
        list(table(text, "x"))


def test_a_table_of_names_alone_is_refused():
    with pytest.raises(ImportError_, match="no row below"):
        list(table("question,answer\n\n", "x"))


def test_a_table_without_a_row_to_take_is_refused_with_its_first_reason(tmp_path):
    path = tmp_path / "faq.csv"
    path.write_text("question,answer\nHi\nBye\n", encoding="utf-8")
    with pytest.raises(ImportError_, match="no dialogue in it; line 2: no answer"):
        list(documents.read(path, "csv").records("x"))


def test_a_table_that_is_all_broken_quotes_ends_soon():
    """A thousand rows are tried."""
    found = said(table("question,answer\nHi,Hello\n" + 'x,"y" z\n' * 5_000, "x"))
    assert found[-1] == (1_002, "1,000 broken rows, all that follows is left out")
    assert len(found) == 1_001


CELLS = st.text(st.sampled_from('абв xyz,;\t"\n«»🌷=-'), min_size=1).filter(
    lambda text: text.strip() and text[0] != " "
)


@given(
    st.lists(st.tuples(CELLS, CELLS, st.sampled_from(["", "1", "-1"])), min_size=1),
    st.sampled_from(",;\t"),
    st.sampled_from(["\n", "\r\n"]),
)
def test_what_is_written_as_a_table_is_read_as_said(rows, delimiter, end):
    """Delimiters, quotes and line ends within cells included."""
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=delimiter, lineterminator=end)
    writer.writerows([("question", "answer", "rating"), *rows])
    text, lost = decoded(file.getvalue().encode())
    found = list(table(text, "x"))
    assert lost == ()
    assert said(found) == [[("user", question), ("assistant", answer)] for question, answer, _ in rows]
    assert [[str(one.rating) for one in row.messages[-1].ratings] for row in found] == [
        [rating] if rating else [] for *_, rating in rows
    ]


# --- PDF --------------------------------------------------------------------------------------------------------------


def test_the_text_of_a_pdf_is_read_as_text(tmp_path):
    """A dialogue may go on over the page."""
    pytest.importorskip("pypdf")
    path = tmp_path / "faq.pdf"
    path.write_bytes(
        pdf(["Вопрос: Когда вы открыты?", "Ответ: С 9 до 18,"], ["каждый день.", "---", "Q: Hi", "A: Yes?"])
    )
    assert said(documents.read(path, "pdf").records("x")) == [
        [("user", "Когда вы открыты?"), ("assistant", "С 9 до 18,\nкаждый день.")],
        [("user", "Hi"), ("assistant", "Yes?")],
    ]


def test_what_is_bad_in_a_pdf_is_located_by_its_page(tmp_path):
    pytest.importorskip("pypdf")
    path = tmp_path / "faq.pdf"
    path.write_bytes(pdf(["Q: Hi", "A: Yes?"], ["---", "Q: Есть розы?"], ["---", "Roses are red"]))
    bad = [record for record in documents.read(path, "pdf").records("x") if isinstance(record, BadLine)]
    assert [(one.line, one.reason[:22]) for one in bad] == [
        (4, "page 2: nobody answers"),
        (6, "page 3: nobody speaks "),
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"%PDF-1.4 and nothing else", "no PDF that can be read"),
        (b"Q: Hi\nA: Yes?", "no PDF that can be read"),
        (pdf([]), "no text in it; the pictures of a scan need text recognition first"),
        (pdf(["Roses are red"]), "no dialogue in it"),
    ],
)
def test_a_pdf_without_a_dialogue_is_refused(tmp_path, capfd, content, reason):
    """Nothing is printed about it."""
    pytest.importorskip("pypdf")
    path = tmp_path / "faq.pdf"
    path.write_bytes(content)
    with pytest.raises(ImportError_, match=reason):
        list(documents.read(path, "pdf").records("x"))
    assert capfd.readouterr() == ("", "")


def test_a_pdf_with_a_password_is_refused(tmp_path):
    pypdf = pytest.importorskip("pypdf")
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(pdf(["Q: Hi", "A: Yes?"])))
    writer.encrypt("secret", algorithm="RC4-128")
    path = tmp_path / "faq.pdf"
    writer.write(path)
    with pytest.raises(ImportError_, match="it has a password"):
        documents.read(path, "pdf")


def test_without_pypdf_a_pdf_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pypdf", None)
    path = tmp_path / "faq.pdf"
    path.write_bytes(pdf(["Q: Hi", "A: Yes?"]))
    with pytest.raises(ImportError_, match=r"a PDF needs pypdf: pip install 'trainerlib\[documents\]'"):
        documents.read(path, "pdf")
