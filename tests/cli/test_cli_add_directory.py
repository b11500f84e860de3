"""`dataset add-directory`: what scripts get, what people read, and what happens the second time."""

from __future__ import annotations

import pytest

import trainerlib


@pytest.fixture
def good(tmp_path):
    """A text, a table with a bad row, a document that is no dialogue, and a picture."""
    path = tmp_path / "good"
    (path / "more").mkdir(parents=True)
    (path / "hours.txt").write_text("Вопрос: Когда вы открыты?\nОтвет: С 9 до 18.\n", encoding="utf-8")
    (path / "more" / "faq.csv").write_text("question,answer\nHi,Hello!\nBye,\n", encoding="utf-8")
    (path / "poem.md").write_text("Roses are red\n", encoding="utf-8")
    (path / "rose.jpg").write_bytes(b"\xff\xd8\xff")
    return path


def add(cli, *words, **more):
    return cli("dataset", "add-directory", *words, **more)


def test_scripts_get_the_totals_and_each_file(cli, good):
    found = add(cli, good, "--positive", "--basis", "operator: ours", "--json").json
    assert list(found) == [
        "directory",
        "rating",
        "conversations",
        "messages",
        "corrections",
        "ratings",
        "events",
        "bad_line_count",
        "imported",
        "already",
        "skipped",
        "bad_lines",
    ]
    assert (found["rating"], found["conversations"], found["messages"], found["ratings"]) == (1, 2, 4, 2)
    assert [(file["file"], file["format"]) for file in found["imported"]] == [
        ("hours.txt", "text"),
        ("more/faq.csv", "csv"),
    ]
    assert found["bad_lines"] == [{"file": "more/faq.csv", "line": 3, "reason": "no answer, row skipped"}]
    assert [(file["file"], file["is_bad"]) for file in found["skipped"]] == [("poem.md", True), ("rose.jpg", False)]
    with trainerlib.open("workspace") as workspace:
        assert workspace.stats().events == found["events"] == 10
        assert {imported.basis for imported in workspace.imports()} == {"operator: ours"}


def test_people_read_a_table_and_what_was_left_out(cli, good):
    told = add(cli, good, "--positive", "--basis", "operator: ours").out.splitlines()
    assert told[0] == "  new workspace: workspace"
    table = [line.split() for line in told[1:6]]
    assert ["hours.txt", "text", "1", "2", "1"] in table
    assert ["more/faq.csv", "csv", "1", "2", "1", "1"] in table
    rest = [line for line in told if line][-6:]
    assert rest[0].startswith("  bad: poem.md: no dialogue in it: each message begins with who says it")
    assert rest[1:] == [
        "  skipped: rose.jpg: its name does not end like that of an example",
        "  more/faq.csv line 3: no answer, row skipped",
        "  2 files imported · 2 left out",
        "  10 events recorded: good examples, 2 ratings in all",
        "  may be trained on: operator: ours",
    ]


def test_a_second_run_adds_nothing_and_says_so(cli, good):
    add(cli, good, "--positive")
    told = add(cli, good, "--positive")
    assert told.out.splitlines()[-2:] == [
        "  0 files imported · 2 already there · 2 left out",
        "  nothing new: every file was added already",
    ]
    assert told.err == ""
    (good / "new.txt").write_text("Q: Hi\nA: Yes?", encoding="utf-8")
    assert "1 file imported · 2 already there" in add(cli, good, "--positive").out


def test_bad_examples_are_rated_down(cli, good):
    told = add(cli, good, "--negative")
    assert "events recorded: bad examples, 2 ratings in all" in told.out
    assert "no basis was stated: --basis says why" in told.err
    with trainerlib.open("workspace") as workspace:
        assert (workspace.stats().up, workspace.stats().down) == (0, 2)


def test_strict_ends_with_a_failure_when_something_was_bad(cli, good):
    """The good files are recorded, those with a bad line are not, and the table is printed."""
    told = add(cli, good, "--positive", "--strict", status=1)
    assert "  bad: more/faq.csv: line 3: no answer, row skipped; nothing of the file was recorded" in told.out
    assert "1 file imported · 3 left out" in told.out
    (good / "more" / "faq.csv").unlink()
    (good / "poem.md").unlink()
    assert add(cli, good, "--positive", "--strict", "--json").json["events"] == 0


def test_a_directory_of_nothing_says_so(cli, tmp_path):
    (tmp_path / "good").mkdir()
    assert add(cli, "good", "--positive").out.splitlines()[-2:] == [
        "  0 files imported",
        "  nothing in it could be recorded",
    ]


def test_what_strangers_wrote_does_not_move_the_cursor(cli, tmp_path):
    (tmp_path / "good").mkdir()
    (tmp_path / "good" / "\x1b[2J.txt").write_text("Roses are red", encoding="utf-8")
    assert "\x1b" not in add(cli, "good", "--positive").out


def test_what_a_person_would_mistype(cli, good):
    """No word whether good or bad, no such directory, a file, a workspace: one line each, and no workspace is made."""

    def refuse(*words):
        return cli.refuse("dataset", "add-directory", *words)

    assert "say --positive or --negative" in refuse(good)
    assert "no such directory: nothing" in refuse("nothing", "--positive")
    assert "record it with: trainerlib import" in refuse(good / "hours.txt", "--positive")
    (good / "workspace.toml").touch()
    assert "is a workspace; name the directory with the examples" in refuse(good, "--negative")
    assert not (good.parent / "workspace").exists()
