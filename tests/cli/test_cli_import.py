"""`import`: what scripts get, what people read, and what happens the second time."""

from __future__ import annotations

import gzip
import json

import trainerlib


def test_scripts_get_the_counts(cli, chat_export):
    """`import --json` begins with the fields scripts rely on, in their order."""
    found = cli("-w", "shop", "import", chat_export, "--assistant", "Shop", "--json").json
    assert list(found)[:6] == ["conversations", "messages", "corrections", "feedback", "events", "bad_lines"]
    assert (found["conversations"], found["messages"], found["corrections"], found["feedback"]) == (1, 4, 0, 0)
    assert found["events"] == 6  # the conversation's beginning, four messages, the import
    assert found["bad_lines"] == []


def test_people_read_what_was_found(cli, chat_export):
    """The summary names the new workspace, the format, the assistant and the counts."""
    told = cli("import", chat_export, "--assistant", "Shop", "--basis", "operator: our own support").out
    assert told.splitlines() == [
        "  new workspace: workspace",
        "  result.json: telegram, the assistant is Shop",
        "  4 messages · 1 conversation",
        "  may be trained on: operator: our own support",
        "  6 events recorded",
    ]


def test_a_second_import_adds_nothing_and_says_so(cli, chat_export):
    """The same file again is recognised, also without --assistant."""
    cli("import", chat_export, "--assistant", "Shop")
    assert "nothing new: this file was imported already" in cli("import", chat_export).out
    again = cli("import", chat_export, "--json").json
    assert (again["events"], again["already"], again["messages"]) == (0, True, 4)


def test_a_newer_export_adds_what_is_new_and_says_what_changed(cli, chat_export):
    """An edited and a deleted message of a newer export are counted as such."""
    cli("import", chat_export, "--assistant", "Shop")
    chat = json.loads(chat_export.read_text(encoding="utf-8"))
    chat["messages"][1] |= {"text": "В 9.", "edited": "2026-03-02T08:00:00", "edited_unixtime": "1772438400"}
    del chat["messages"][2]
    chat_export.write_text(json.dumps(chat), encoding="utf-8")
    told = cli("import", chat_export, "--assistant", "Shop").out
    assert "among them 1 message edited and 1 message deleted since the last export" in told


def test_a_basis_can_be_added_later(cli, chat_export):
    """Importing the same file with a basis records the basis alone."""
    noted = cli("import", chat_export, "--assistant", "Shop")
    assert "no basis was stated" in noted.err
    added = cli("import", chat_export, "--basis", "licence: CC BY 4.0", "--json").json
    assert (added["events"], added["already"]) == (1, False)
    with trainerlib.open("workspace") as workspace:
        assert [imported.basis for imported in workspace.imports()] == ["licence: CC BY 4.0"]


def test_nobody_is_asked_without_a_terminal(cli, chat_export):
    """Who the assistant is must be said; until then nothing is made."""
    said = cli.refuse("import", chat_export)
    assert "pass --assistant with one of: Ivan (2), Shop (2)" in said
    assert not chat_export.with_name("workspace").exists()


def test_bad_lines_are_listed(cli, rows):
    """Twenty bad lines are shown with their numbers, then how many more; scripts get them all."""
    with rows.open("a", encoding="utf-8") as file:
        file.write("{not json\n" * 25)
    told = cli("import", rows).out
    assert "12 conversations · 25 bad lines (shown below)" in told
    assert sum(line.startswith("    line ") for line in told.splitlines()) == 20
    assert "    line 13: " in told
    assert "and 5 more" in told
    found = cli("-w", "other", "import", rows, "--json").json
    assert [bad["line"] for bad in found["bad_lines"]] == list(range(13, 38))
    assert all(bad["reason"] for bad in found["bad_lines"])


def test_strict_records_nothing(cli, rows):
    """A bad line stops a strict import with its number and exit status 1."""
    with rows.open("a", encoding="utf-8") as file:
        file.write("{not json\n")
    stopped = cli("import", rows, "--strict", status=1)
    assert stopped.err.startswith("trainerlib: line 13: ")
    assert cli("stats", "--json").json["messages"] == 0


def test_a_gz_is_the_file_in_it(cli, rows):
    """A .gz imports like the plain file."""
    packed = rows.with_suffix(".jsonl.gz")
    packed.write_bytes(gzip.compress(rows.read_bytes()))
    assert cli("import", packed, "--json").json["conversations"] == 12


def test_what_a_person_would_mistype(cli, rows, tmp_path):
    """A missing file, a directory, an unknown format, an empty file: one line each, and no workspace is made."""
    assert "no such file" in cli.refuse("import", "nofile.json")
    assert "is a directory" in cli.refuse("import", tmp_path)
    assert "unknown format 'telegrm'; known: telegram" in cli.refuse("import", rows, "--format", "telegrm")
    empty = tmp_path / "empty.json"
    empty.touch()
    assert "is empty" in cli.refuse("import", empty)
    poem = tmp_path / "poem.txt"
    poem.write_text("Roses are red\n", encoding="utf-8")
    assert "in no format known here" in cli.refuse("import", poem)
    assert not (tmp_path / "workspace").exists()


def test_a_directory_with_other_things_is_not_taken_over(cli, rows, tmp_path):
    """`-w` at somebody's directory is refused; what is in it stays alone."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("Dear Anna", encoding="utf-8")
    assert "not a workspace and not empty" in cli.refuse("-w", "home", "import", rows)
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["letter.txt"]
