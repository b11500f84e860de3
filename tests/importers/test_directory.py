"""A directory of good or bad examples: each file once, its replies rated once, and nothing in it swallowed."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest
from histories import begun, finish, kill, log, types, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pages import pdf

import trainerlib
from trainerlib import Recipe
from trainerlib.errors import ImportError_, NotFoundError
from trainerlib.importers.verdicts import RATER
from trainerlib.imports import import_directory

BOT = "Shop bot"
FILES = Path(__file__).parent.parent / "fixtures" / "directory"


def add(ws, directory, rating=1, **more):
    return import_directory(ws.store, directory, rating=rating, silence=43_200, **more)


@pytest.fixture
def ws(tmp_path):
    with trainerlib.open(tmp_path / "shop") as workspace:
        yield workspace


@pytest.fixture
def good(tmp_path):
    """An empty directory."""
    path = tmp_path / "good"
    path.mkdir()
    return path


def names(files):
    return [file.file for file in files]


def reasons(report):
    return {file.file: (file.reason, file.is_bad) for file in report.skipped}


def judged(ws):
    """What is said of each reply: its standing ratings with who gave them."""
    return {
        message.text: [(one.by, one.rating) for one in message.feedback]
        for summary in ws.conversations()
        for message in ws.conversation(summary.id).messages
        if message.role == "assistant"
    }


def lines(*rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def chat(*texts, **more):
    """A row of questions and replies."""
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[n % 2], "content": text} for n, text in enumerate(texts)], **more}


def said(number, text, by="Olga", minutes=0, **more):
    """A message of a Telegram export."""
    at = str(1_772_442_000 + 60 * int(minutes or number))
    return {"id": number, "type": "message", "date_unixtime": at, "from": by, "from_id": by, "text": text, **more}


def replied(number, text, **more):
    return said(number, text, BOT, **more)


def telegram(*messages):
    return json.dumps({"name": "Shop", "type": "personal_chat", "id": 42, "messages": messages}, ensure_ascii=False)


# --- what becomes of the files ----------------------------------------------------------------------------------------


def test_a_directory_of_good_examples_becomes_conversations_rated_up(ws):
    """Text, Markdown, tables in two encodings and rows, in directories below it too."""
    report = add(ws, FILES / "good")
    assert [(file.file, file.format, file.conversations, file.messages) for file in report.imported] == [
        ("delivery.md", "markdown", 2, 6),
        ("faq.csv", "csv", 2, 4),
        ("hours.txt", "text", 2, 4),
        ("more/pairs.tsv", "csv", 1, 2),
        ("more/rows.jsonl", "openai-chat", 2, 6),
    ]
    assert (report.already, report.skipped, report.bad_lines, report.is_bad) == ((), (), [], False)
    assert (report.conversations, report.messages, report.corrections, report.ratings) == (9, 22, 2, 9)
    assert report.events == len(log(ws))
    assert judged(ws) == {
        "Yes, in two ways:\n\n- by boat, on weekdays\n- by air": [(RATER, 1)],
        "Send us this:\n\n```\nUser: your name\n---\nAssistant: leave empty\n```": [(RATER, 1)],
        "В мае 🌷": [(RATER, 1)],
        "150 рублей;\nбукет дешевле": [("import", 5)],
        "Не знаю.": [],
        "С 9 до 18, каждый день.": [(RATER, 1)],
        "Тоже.\nТолько первого января мы отдыхаем.": [(RATER, 1)],
        "No, I am Anna.": [],
        "Hello!": [(RATER, 1)],
        "Да, красные.": [(RATER, 1)],
        "You are welcome.": [(RATER, 1)],
    }
    assert {tag for one in ws.conversations() for tag in ws.conversation(one.id).state.tags} == {"positive"}
    assert len(ws.conversations(platform="directory")) == 7
    assert ws.verify() == []


def test_good_examples_are_what_an_approving_recipe_takes(ws):
    """Pairs come as corrections, so the recipe that takes both takes all."""
    add(ws, FILES / "good")
    assert ws.datasets.build("approved", Recipe(targets="approved")).examples == 9
    assert ws.datasets.build("both", Recipe(targets="corrected-or-approved")).examples == 11


def test_bad_examples_are_what_a_recipe_rejects(ws, tmp_path):
    """They are learned by none, unless they are asked for as what not to say."""
    report = add(ws, FILES / "bad", -1)
    assert judged(ws) == {"Read the sign.": [(RATER, -1)], "Откуда мне знать.": [(RATER, -1)]}
    assert ws.conversation(ws.conversations()[0].id).state.tags == ("negative",)
    assert (report.rating, report.ratings) == (-1, 2)
    assert ws.datasets.build("none").excluded == {"rated-down": 2}
    rejected = ws.datasets.build("rejected", Recipe(rated_down="reject", split=trainerlib.Split(1, 0, 0)))
    rejected.export(tmp_path / "kto.jsonl", format="trl-kto")
    assert [json.loads(line)["label"] for line in (tmp_path / "kto.jsonl").read_text().splitlines()] == [False] * 2


def test_a_second_run_adds_nothing_and_says_so(ws):
    first = add(ws, FILES / "good", basis="operator: ours")
    before = log(ws)
    for assistant in (None, "Anna"):
        again = add(ws, FILES / "good", basis="operator: ours", assistant=assistant)
        assert (again.imported, names(again.already), again.events) == ((), names(first.imported), 0)
        for count in ("conversations", "messages", "corrections", "ratings", "bad_line_count"):
            assert getattr(again, count) == getattr(first, count)
    assert log(ws) == before


def test_what_is_added_later_is_added_by_the_next_run(ws, good):
    write(good / "b.txt", "Q: Hi\nA: Yes?")
    add(ws, good)
    before = log(ws)
    write(good / "a.txt", "Вопрос: Где?\nОтвет: Тут")
    report = add(ws, good)
    assert (names(report.imported), names(report.already)) == (["a.txt"], ["b.txt"])
    assert log(ws)[: len(before)] == before
    assert report.events == len(log(ws)) - len(before) == 5


def test_a_changed_file_is_a_new_file(ws, good):
    """What it said before stays in the log."""
    path = write(good / "a.txt", "Q: Hi\nA: Yes?")
    add(ws, good)
    write(path, "Q: Hi\nA: Да?")
    assert names(add(ws, good).imported) == ["a.txt"]
    assert judged(ws) == {"Yes?": [(RATER, 1)], "Да?": [(RATER, 1)]}


def test_a_file_under_two_names_is_one_file(ws, good):
    write(good / "a.txt", "Q: Hi\nA: Yes?")
    write(good / "копия.txt", "Q: Hi\nA: Yes?")
    report = add(ws, good)
    assert (names(report.imported), names(report.already), report.conversations) == (["a.txt"], ["копия.txt"], 1)


def test_a_file_under_two_names_that_end_differently_is_one_file(ws, good):
    """What it was called first decides how it is read."""
    write(good / "a.md", "Q: Hi\nA: Yes?")
    write(good / "b.txt", "Q: Hi\nA: Yes?")
    report = add(ws, good)
    assert (names(report.imported), names(report.already)) == (["a.md"], ["b.txt"])
    assert add(ws, good).events == 0


def test_the_basis_is_recorded_with_each_file_and_can_be_added_later(ws, good):
    write(good / "a.txt", "Q: Hi\nA: Yes?")
    add(ws, good)
    report = add(ws, good, basis="operator: our own examples")
    assert (names(report.imported), report.events) == (["a.txt"], 1)
    assert add(ws, good, basis="operator: our own examples").events == add(ws, good).events == 0
    assert [(one.file, one.format, one.basis) for one in ws.imports()] == [
        ("a.txt", "text", "operator: our own examples")
    ]


def test_a_basis_that_was_stated_stands_until_another_is(ws, good):
    """Also when the file is imported by itself first, and rated anew later."""
    path = write(good / "a.jsonl", lines(chat("Hi", "Hello!")))
    ws.import_file(path, basis="operator: ours")
    add(ws, good)
    add(ws, good, -1)
    assert [one.basis for one in ws.imports()] == ["operator: ours"]


def test_a_conversation_knows_its_file(ws, good):
    write(good / "a.txt", "\nQ: Hi\nA: Yes?")
    [report] = add(ws, good).imported
    [summary] = ws.conversations()
    assert summary.id == f"directory:{report.sha256[:24]}/2"
    assert ws.conversation(summary.id).state.sources == (report.sha256,)


def test_a_pdf_is_read_as_text(ws, good):
    pytest.importorskip("pypdf")
    (good / "Прайс.PDF").write_bytes(pdf(["Вопрос: Когда вы открыты?", "Ответ: С 9 до 18."]))
    [report] = add(ws, good).imported
    assert (report.file, report.format) == ("Прайс.PDF", "pdf")
    assert judged(ws) == {"С 9 до 18.": [(RATER, 1)]}


def test_without_pypdf_only_the_pdf_is_left_out(ws, good, monkeypatch):
    monkeypatch.setitem(sys.modules, "pypdf", None)
    (good / "a.pdf").write_bytes(pdf(["Q: Hi", "A: Yes?"]))
    write(good / "b.txt", "Q: Hi\nA: Yes?")
    report = add(ws, good)
    assert names(report.imported) == ["b.txt"]
    assert reasons(report) == {"a.pdf": ("a PDF needs pypdf: pip install 'trainerlib[documents]'", True)}


# --- ratings ----------------------------------------------------------------------------------------------------------


def test_every_reply_to_be_learned_is_rated_and_no_other(ws, good):
    """Not the replies before a pair's, nor those of weight 0, nor what people said."""
    weighted = chat("1", "one", "2", "two")
    weighted["messages"][1]["weight"] = 0
    write(good / "a.jsonl", lines(weighted))
    write(good / "b.jsonl", lines({"instruction": "3", "output": "three", "history": [["0", "zero"]]}))
    report = add(ws, good)
    assert judged(ws) == {"one": [], "two": [(RATER, 1)], "zero": [], "three": [(RATER, 1)]}
    assert report.ratings == 2


@pytest.mark.parametrize("rating", [1, -1])
def test_what_a_file_itself_says_of_a_reply_stands(ws, good, rating):
    """A rejected reply of a pair, a label, a reaction: the directory adds nothing to these."""
    write(good / "a.jsonl", lines({"prompt": "1", "chosen": "good", "rejected": "bad"}))
    write(good / "b.jsonl", lines({"prompt": "2", "completion": "no", "label": False}))
    thumb = [{"type": "emoji", "count": 1, "emoji": "👍", "recent": [{"from_id": "user7"}]}]
    write(good / "c.json", telegram(said(1, "3"), replied(2, "yes", reactions=thumb), replied(3, "ok", minutes=4)))
    report = add(ws, good, rating, assistant=BOT)
    by_file = {"bad": [], "no": [("import", -1)], "yes": [("telegram:user7", 1)]}
    assert judged(ws) == {**by_file, "ok": [(RATER, rating)]}
    assert report.ratings == 3


def test_rows_are_called_as_an_import_calls_them(ws, good):
    """So a file that was imported before is only rated, and one that was added is no news to an import."""
    path = write(
        good / "a.jsonl", lines(chat("Hi", "Hello!", id="w"), chat("Есть розы?", "Да", id="x", tags=["roses"]))
    )
    ws.import_file(path)
    before = log(ws)
    report = add(ws, good, basis="operator: ours")
    assert log(ws)[: len(before)] == before
    assert Counter(types(ws, after=len(before))) == {
        "conversation.tagged": 2,
        "feedback.given": 2,
        "file.imported": 1,
    }
    assert report.events == 5
    assert ws.conversation("interchange:x").state.tags == ("positive", "roses")
    before = log(ws)
    assert ws.import_file(path).already
    assert add(ws, good).events == 0
    assert log(ws) == before


def test_the_same_rows_in_another_file_are_rated_once(ws, good):
    """They are the same conversation."""
    write(good / "a.jsonl", lines(chat("Hi", "Hello!")))
    (good / "b.jsonl.gz").write_bytes(gzip.compress((good / "a.jsonl").read_bytes(), mtime=0))
    report = add(ws, good)
    assert [(file.file, file.events) for file in report.imported] == [("a.jsonl", 5), ("b.jsonl.gz", 1)]
    assert judged(ws) == {"Hello!": [(RATER, 1)]}


def test_a_chat_that_goes_on_is_rated_as_it_goes_on(ws, good):
    """A newer export of a chat edits, adds and rates what is new."""
    write(good / "result.json", telegram(said(1, "Когда?"), replied(2, "В 10.")))
    add(ws, good, assistant=BOT)
    newer = [said(1, "Когда?"), replied(2, "В 9."), said(3, "Где?"), replied(4, "Тут")]
    write(good / "result.json", telegram(*newer))
    report = add(ws, good, assistant=BOT)
    assert judged(ws) == {"В 9.": [(RATER, 1)], "Тут": [(RATER, 1)]}
    assert [file.edited for file in report.imported] == [1]
    assert ws.conversation("telegram:42/1").state.tags == ("positive",)


def test_part_of_a_chat_rates_only_that_part(ws, good, tmp_path):
    """The rest was imported, not given as an example."""
    whole = [said(1, "Когда?"), replied(2, "В 10."), said(3, "Где?"), replied(4, "Тут")]
    ws.import_file(write(tmp_path / "whole.json", telegram(*whole)), assistant=BOT)
    write(good / "part.json", telegram(*whole[2:]))
    add(ws, good, assistant=BOT)
    assert judged(ws) == {"В 10.": [], "Тут": [(RATER, 1)]}


@pytest.mark.parametrize("content", ["Q: Hi\nA: Yes?", lines(chat("Hi", "Yes?"))])
def test_the_last_word_on_a_file_counts(ws, tmp_path, content):
    """Somebody mistook the bad ones for good ones, and back; saying it again adds nothing."""
    for place in ("good", "bad"):
        (tmp_path / place).mkdir()
        write(tmp_path / place / ("a.txt" if content.startswith("Q") else "a.jsonl"), content)
    for place, rating in (("good", 1), ("bad", -1), ("good", 1)):
        assert add(ws, tmp_path / place, rating).events > 0
        assert add(ws, tmp_path / place, rating).events == 0
        assert judged(ws) == {"Yes?": [(RATER, rating)]}
        [summary] = ws.conversations()
        assert ws.conversation(summary.id).state.tags == ({1: "positive", -1: "negative"}[rating],)
    assert types(ws).count("message.recorded") == 2
    assert ws.verify() == []


def test_a_rating_that_was_taken_back_stays_so(ws, good):
    """Also when the same rows come in another file."""
    path = write(good / "a.jsonl", lines(chat("Hi", "Hello!")))
    add(ws, good)
    [reply] = [message for message in ws.conversation(ws.conversations()[0].id).messages if message.feedback]
    ws.withdraw_feedback(reply.feedback[0].id)
    (good / "b.jsonl.gz").write_bytes(gzip.compress(path.read_bytes()))
    add(ws, good)
    assert judged(ws) == {"Hello!": []}


def test_other_peoples_ratings_stay(ws, good):
    """Everybody's word is kept."""
    write(good / "a.txt", "Q: Hi\nA: Yes?")
    add(ws, good)
    [reply] = [message for message in ws.conversation(ws.conversations()[0].id).messages if message.feedback]
    ws.give_feedback(reply.id, rating=-1, by="anna")
    add(ws, good, -1)
    assert sorted(judged(ws)["Yes?"]) == [("anna", -1), (RATER, -1)]


# --- what is left out -------------------------------------------------------------------------------------------------


def test_everything_that_is_left_out_is_listed_with_its_reason(ws, good, monkeypatch):
    """In the order of names; what was meant as an example is bad."""
    monkeypatch.setattr("trainerlib.importers.documents.LIMIT", 1_048_576)
    write(good / "a.txt", "Q: Hi\nA: Yes?")
    for name in (".hidden.txt", "notes", "photo.PNG", "x.csv.zip"):
        write(good / name, "Q: Hi\nA: Yes?")
    for name in (".git", "shop", "empty"):
        (good / name).mkdir()
    write(good / ".git" / "a.txt", "Q: Hi\nA: Yes?")
    write(good / "shop" / "workspace.toml", "")
    write(good / "shop" / "train.jsonl", lines(chat("Hi", "Hello!")))
    write(good / "nothing.txt", "")
    write(good / "blank.md", "\n\n")
    write(good / "poem.md", "Roses are red")
    write(good / "prices.csv", "name,price\nrose,150\n")
    write(good / "settings.json", '{"a": 1}')
    (good / "noise.txt").write_bytes(bytes(range(256)))
    write(good / "large.txt", "Q: Hi\nA: Yes?\n---\n" * 100_000)
    report = add(ws, good)
    found = reasons(report)
    assert list(found) == sorted(found)
    assert names(report.imported) == ["a.txt"]
    poem, prices, rows = (found.pop(name) for name in ("poem.md", "prices.csv", "settings.json"))
    assert found == {
        ".git/": ("hidden", False),
        ".hidden.txt": ("hidden", False),
        "blank.md": ("empty", True),
        "large.txt": ("larger than 1 MiB", True),
        "noise.txt": ("in no encoding that can be told; save it as UTF-8", True),
        "nothing.txt": ("empty", False),
        "notes": ("its name does not end like that of an example", False),
        "photo.PNG": ("its name does not end like that of an example", False),
        "shop/": ("a workspace", False),
        "x.csv.zip": ("its name does not end like that of an example", False),
    }
    assert poem[0].startswith("no dialogue in it: each message begins with who says it")
    assert prices[0].startswith("its first row names no column for the question (question, вопрос, prompt,")
    assert rows[0].startswith("is in no format known here: telegram,")
    assert poem[1] and prices[1] and rows[1] and report.is_bad  # noqa: PT018 - one fact: each of them is bad
    assert types(ws).count("file.imported") == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in the file system here")
def test_links_and_pipes(ws, good, tmp_path):
    """A link to a file inside is that file; nothing outside is read; a pipe is not waited for."""
    write(tmp_path / "secret.txt", "Q: Hi\nA: Secret")
    (tmp_path / "outside").mkdir()
    write(tmp_path / "outside" / "a.txt", "Q: Hi\nA: Secret")
    (good / "below").mkdir()
    write(good / "below" / "a.txt", "Q: Hi\nA: Yes?")
    (good / "in.txt").symlink_to("below/a.txt")
    (good / "in").symlink_to("below")
    (good / "out.txt").symlink_to(tmp_path / "secret.txt")
    (good / "out").symlink_to(tmp_path / "outside")
    (good / "up").symlink_to(".")
    (good / "gone.txt").symlink_to("nothing.txt")
    (good / "loop.txt").symlink_to("loop.txt")
    os.mkfifo(good / "pipe.txt")
    report = add(ws, good)
    assert (names(report.imported), names(report.already)) == (["below/a.txt"], ["in.txt"])
    assert reasons(report) == {
        "gone.txt": ("a link to nothing", True),
        "in": ("a link to a directory", False),
        "loop.txt": ("a link to nothing", True),
        "out": ("a link that leaves the directory", False),
        "out.txt": ("a link that leaves the directory", False),
        "pipe.txt": ("no regular file", False),
        "up": ("a link to a directory", False),
    }
    assert judged(ws) == {"Yes?": [(RATER, 1)]}


def test_a_directory_may_be_named_by_a_link(ws, good, tmp_path):
    write(good / "a.txt", "Q: Hi\nA: Yes?")
    (tmp_path / "link").symlink_to(good)
    assert names(add(ws, tmp_path / "link").imported) == ["a.txt"]


def test_a_name_that_is_no_text_is_shown_as_far_as_it_is(ws, good):
    """Disks hold any bytes; the log and JSON do not."""
    try:
        (good / os.fsdecode(b"\xe0\xe1.txt")).write_text("Q: Hi\nA: Yes?", encoding="utf-8")
        for name in (b"\xe0.jpg", b"\xe1.jpg"):
            (good / os.fsdecode(name)).touch()
    except OSError:
        pytest.skip("this file system takes only text")
    report = add(ws, good)
    assert names(report.imported) == ["\ufffd\ufffd.txt"]
    assert names(report.skipped) == ["\ufffd.jpg"] * 2
    assert [one.file for one in ws.imports()] == ["\ufffd\ufffd.txt"]


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_bad(ws, good):
    (good / "locked").mkdir(mode=0)
    write(good / "locked.txt", "Q: Hi\nA: Yes?").chmod(0)
    report = add(ws, good)
    (good / "locked").chmod(0o700)
    assert reasons(report) == {
        "locked/": ("cannot be read: Permission denied", True),
        "locked.txt": ("Permission denied", True),
    }


def test_files_come_in_the_order_of_their_paths(ws, good):
    """Directories in their place; case and language as the characters are numbered."""
    for name in ("b.txt", "B.txt", "a/z.txt", "a/b/c.txt", "ы.txt", "a.txt"):
        (good / name).parent.mkdir(parents=True, exist_ok=True)
        write(good / name, f"Q: {name}\nA: Yes?")
    order = ["B.txt", "a/b/c.txt", "a/z.txt", "a.txt", "b.txt", "ы.txt"]
    assert names(add(ws, good).imported) == order


@pytest.mark.parametrize("name", ["export.txt", "rows.txt", "rows.gz", "ROWS.NDJSON", "table.TSV.gz", "words.text"])
def test_a_file_is_what_is_in_it(ws, good, name):
    """WhatsApp writes `.txt`, and JSON lines are called many things."""
    contents = {
        "export.txt": "12/03/2026, 10:00 - Ben: Hi\n12/03/2026, 10:01 - Shop bot: Hello!\n",
        "table.TSV.gz": "question\tanswer\nHi\tHello!\n",
        "words.text": "User: Hi\nBot: Hello!\n",
    }
    content = contents.get(name, lines(chat("Hi", "Hello!"))).encode()
    (good / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    [report] = add(ws, good, assistant=BOT).imported
    formats = {"export.txt": "whatsapp", "table.TSV.gz": "csv", "words.text": "text"}
    assert report.format == formats.get(name, "openai-chat")
    assert judged(ws) == {"Hello!": [(RATER, 1)]}


def test_a_chat_without_an_assistant_is_left_out_until_somebody_is_named(ws, good):
    write(good / "result.json", telegram(said(1, "Hi"), replied(2, "Hello!")))
    write(good / "a.txt", "Q: Hi\nA: Yes?")
    report = add(ws, good)
    assert names(report.imported) == ["a.txt"]
    assert reasons(report)["result.json"] == (
        "who is the assistant? pass --assistant with one of: Olga (1), Shop bot (1)",
        True,
    )
    report = add(ws, good, assistant=BOT)
    assert (names(report.imported), names(report.already)) == (["result.json"], ["a.txt"])


def test_bad_lines_are_located_by_file_and_line(ws, good):
    write(good / "b.jsonl", lines(chat("Hi", "Hello!")) + "oops\n")
    write(good / "a.csv", "question,answer\nHi,\nEсть розы?,Да\n")
    report = add(ws, good)
    assert [(name, bad.line) for name, bad in report.bad_lines] == [("a.csv", 2), ("b.jsonl", 2)]
    assert report.bad_line_count == 2
    again = add(ws, good)
    assert (again.events, again.bad_lines, again.is_bad) == (0, report.bad_lines, True)


def test_a_strict_run_records_nothing_of_a_file_with_a_bad_line(ws, good):
    """Until it is mended; other files are recorded."""
    path = write(good / "a.csv", "question,answer\nHi,Hello!\nBye,\n")
    write(good / "b.txt", "Q: Hi\nA: Yes?")
    report = add(ws, good, strict=True)
    assert names(report.imported) == ["b.txt"]
    assert reasons(report) == {"a.csv": ("line 3: no answer, row skipped; nothing of the file was recorded", True)}
    assert judged(ws) == {"Yes?": [(RATER, 1)]}
    write(path, "question,answer\nHi,Hello!\nBye,See you\n")
    assert not add(ws, good, strict=True).is_bad


def test_a_directory_that_is_none_is_refused(ws, good, tmp_path):
    with pytest.raises(NotFoundError, match="no such directory"):
        add(ws, good / "nothing")
    with pytest.raises(ImportError_, match="is a file"):
        add(ws, write(good / "a.txt", "Q: Hi\nA: Yes?"))
    with pytest.raises(ImportError_, match="is a workspace"):
        add(ws, tmp_path / "shop")
    assert ws.store.position == 0


def test_an_empty_directory_holds_nothing(ws, good):
    report = add(ws, good)
    assert (report.imported, report.already, report.skipped, report.events) == ((), (), (), 0)


def test_progress_runs_over_all_files(ws):
    seen = []
    add(ws, FILES / "good", progress=lambda done, size: seen.append((done, size)))
    sizes = [path.stat().st_size for path in (FILES / "good").rglob("*") if path.is_file()]
    assert {size for _, size in seen} == {sum(sizes)}
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (sum(sizes), sum(sizes))


# --- always -----------------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(
    ["a.txt", "b.md", "c.csv", "d.jsonl", "e.json", "f.tsv", "g/h.txt", "g/i.jsonl.gz", "j.gz", "k"]
)
CONTENTS = st.one_of(
    st.binary(max_size=60),
    st.text(max_size=60).map(str.encode),
    st.sampled_from(
        [
            "Q: Hi\nA: Yes?",
            "Вопрос: Где?\nОтвет: Тут\n---\nUser: Hi",
            "question;answer;rating\nHi;Hello;1\nHi;Bye;x\n",
            "prompt,chosen,rejected\nHi,Hello,No\n",
            lines(chat("Hi", "Hello!", "Есть розы?", "Да")),
            lines(chat("Hi", "Hello!"), chat("Hi", "Hello!"), chat("Где?", "Тут", id="x")) + "oops",
        ]
    ).map(str.encode),
    st.just(gzip.compress(lines(chat("Hi", "Hello!")).encode(), mtime=0)),
    st.just("Вопрос: Где?\nОтвет: Тут".encode("cp1251")),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(NAMES, CONTENTS, max_size=6), st.sampled_from([1, -1]))
def test_adding_twice_is_as_adding_once_and_every_file_is_accounted_for(tmp_path, files, rating):
    """Whatever the files hold."""
    place = tmp_path / "any"
    shutil.rmtree(place, ignore_errors=True)
    (place / "files" / "g").mkdir(parents=True)
    for name, content in files.items():
        (place / "files" / name).write_bytes(content)
    with trainerlib.open(place / "shop") as ws:
        first = add(ws, place / "files", rating)
        once = log(ws)
        second = add(ws, place / "files", rating)
        assert log(ws) == once
    assert first.events == len(once)
    assert (second.events, second.imported) == (0, ())
    for report in (first, second):
        assert sorted(names((*report.imported, *report.already, *report.skipped))) == sorted(files)
        assert all(file.reason for file in report.skipped)
    # What one name does not fit, another may.
    assert set(names(second.skipped)) <= set(names(first.skipped))


ADD = """
import sys
from pathlib import Path
import trainerlib
from trainerlib.importers import recorder
from trainerlib.imports import import_directory

# More commits to be killed between than files of this size would have.
recorder.BATCH = 200
workspace, directory = sys.argv[1:]
with trainerlib.open(workspace) as ws:
    print("begin", flush=True)
    import_directory(ws.store, Path(directory), rating=1, silence=43_200, assistant="Shop bot", basis="operator: ours")
"""


@pytest.fixture
def large(good):
    """Six hundred dialogues and rows of each kind, and a chat."""
    text = "".join(f"Вопрос: Есть розы {number}?\nОтвет: Да, {number}.\n---\n" for number in range(600))
    write(good / "a.txt", text)
    write(
        good / "b.csv",
        "question,answer,rejected\n" + "".join(f"Hi {n},Hello {n},{n % 3 or ''}\n" for n in range(600)),
    )
    write(good / "c.jsonl", lines(*(chat(f"Hi {number}", "Hello!", "Есть розы?", "Да") for number in range(600))))
    messages = [
        (replied if number % 2 else said)(number, f"{number} Привет", minutes=number * (1 + number % 50 * 20))
        for number in range(1, 900)
    ]
    write(good / "d.json", telegram(*sorted(messages, key=lambda message: message["date_unixtime"])))
    return good


def test_a_run_killed_six_times_gives_the_same_events_as_one(large, tmp_path):
    """SIGKILL at random moments, run again each time: every event is there once, in the same order."""
    whole_run = finish(begun(ADD, tmp_path / "whole", large))
    with trainerlib.open(tmp_path / "whole") as ws:
        expected = log(ws)
        assert ws.verify() == []
    kills = rounds = half_way = 0
    while kills < 6:
        rounds += 1
        place = tmp_path / f"killed-{rounds}"
        killed = True
        while killed and kills < 6:
            killed = kill(begun(ADD, place, large), whole_run / 2)
            kills += killed
            with trainerlib.open(place) as ws:
                half_way += 0 < ws.store.position < len(expected)
        finish(begun(ADD, place, large))
        with trainerlib.open(place) as ws:
            assert log(ws) == expected
            assert ws.verify() == []
    assert half_way


def test_two_processes_that_add_the_same_directory_give_the_same_events_as_one(large, tmp_path):
    """Neither doubles what the other recorded; who came first may differ from file to file."""
    finish(begun(ADD, tmp_path / "one", large))
    trainerlib.open(tmp_path / "both").close()
    processes = [begun(ADD, tmp_path / "both", large) for _ in range(2)]
    for process in processes:
        finish(process)
    with trainerlib.open(tmp_path / "one") as one, trainerlib.open(tmp_path / "both") as both:
        assert sorted(event[1:] for event in log(both)) == sorted(event[1:] for event in log(one))
        assert both.verify() == []
