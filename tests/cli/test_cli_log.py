"""`events`, `verify`, `rebuild`, `backup`."""

from __future__ import annotations

import sqlite3

import pytest


@pytest.fixture
def shop(cli, rows):
    cli("import", rows)


@pytest.mark.usefixtures("shop")
def test_one_event_a_line_for_scripts(cli):
    """`events --json` has the whole log in order, each event with the fields scripts rely on."""
    log = cli("events", "--json").lines
    assert [event["position"] for event in log] == list(range(1, 38))
    assert list(log[0])[:6] == ["position", "stream", "version", "type", "data", "recorded_at"]
    assert log[0]["type"] == "conversation.started"
    assert log[1]["data"]["text"] == "How much is a rose? 0"
    assert log[0]["recorded_at"].endswith("Z")
    assert log[-1]["type"] == "file.imported"


@pytest.mark.usefixtures("shop")
def test_the_tail(cli):
    """People get the last twenty; --last and --after choose, alone and together."""
    assert len(cli("events").out.splitlines()) == 20
    assert [event["position"] for event in cli("events", "--last", "2", "--json").lines] == [36, 37]
    assert [event["position"] for event in cli("events", "--after", "35", "--json").lines] == [36, 37]
    assert [event["position"] for event in cli("events", "--after", "36", "--last", "5", "--json").lines] == [37]
    assert cli("events", "--last", "0", "--json").out == ""
    assert cli("events", "--after", "99", "--json").out == ""
    assert "Роза стоит 11 ₽" in cli("events", "--last", "2").out


@pytest.mark.usefixtures("shop")
def test_verify_of_a_sound_log(cli):
    """Nothing is wrong with what was just recorded, datasets included."""
    cli("dataset", "build", "support")
    assert "38 events: every projection, sha256 and invariant holds" in cli("verify").out
    assert cli("verify", "--json").json == {"events": 38, "problems": []}


@pytest.mark.usefixtures("shop")
def test_verify_finds_what_was_tampered_with(cli, tmp_path):
    """A projection that was changed by hand is a problem and exit status 1; rebuild makes it good."""
    with sqlite3.connect(tmp_path / "workspace" / "trainer.db") as connection:
        connection.execute("UPDATE conversations SET messages = messages + 1")
    connection.close()
    assert "trainerlib rebuild" in cli("verify", status=1).out
    assert cli("verify", "--json", status=1).json["problems"] != []
    assert cli("rebuild", "--json").json == {"position": 37}
    cli("verify")


@pytest.mark.usefixtures("shop")
def test_verify_finds_a_changed_dataset(cli, tmp_path):
    """A line changed in a dataset's file is found by its sha256."""
    cli("dataset", "build", "support")
    file = tmp_path / "workspace" / "datasets" / "support" / "v1" / "train.jsonl"
    file.write_bytes(file.read_bytes().replace(b"rose", b"tulip", 1))
    assert "changed since it was built" in cli("verify", status=1).out


@pytest.mark.usefixtures("shop")
def test_a_backup_is_a_log_of_its_own(cli, tmp_path):
    """The copy opens as a workspace's log with the same events; a second backup never overwrites it."""
    (tmp_path / "copy").mkdir()
    report = cli("backup", "copy/trainer.db", "--json").json
    assert (report["file"], report["position"]) == ("copy/trainer.db", 37)
    assert cli("-w", "copy", "events", "--json").out == cli("events", "--json").out
    assert "never overwrites" in cli.refuse("backup", "copy/trainer.db")
    assert "no such directory" in cli.refuse("backup", "no/trainer.db")


def test_a_file_that_is_no_database(cli, tmp_path):
    """Somebody else's trainer.db is refused in one line with exit status 1."""
    (tmp_path / "trainer.db").write_bytes(b"Dear Anna, " * 500)
    assert "not a trainerlib database" in cli("stats", status=1).err
