"""`person show|export|erase` and `restore`."""

from __future__ import annotations

import json

import pytest
from test_cli_process import typed

OLGA = "telegram:7"


@pytest.fixture
def shop(cli, tmp_path):
    """Somebody who asked and was answered, corrected and rated; a dataset, and what another customer said."""
    cli("record", "telegram:42", "user", "Где мой заказ 4117?", "--author", OLGA)
    answer = cli("record", "telegram:42", "assistant", "Едет, Ольга.", "--json").json["id"]
    cli("correct", str(answer), "Уже у вас.", "--by", "telegram:1")
    cli("feedback", str(answer), "--rating", "-1", "--text", "долго", "--by", OLGA)
    cli("record", "telegram:8", "user", "When are you open?", "--author", "telegram:8")
    cli("record", "telegram:8", "assistant", "At 10.")
    for person in (OLGA, "telegram:8"):
        cli("person", "consent", person, "--wording", "2026-11")
    cli("dataset", "build", "support")
    return tmp_path / "workspace"


@pytest.mark.usefixtures("shop")
def test_what_is_known_of_a_person_is_shown(cli):
    """Consent, how much of what, since when, and in which datasets."""
    told = cli("person", "show", OLGA).out
    assert "telegram:7: consent given" in told
    assert "1 conversation · 1 message · 1 reply · 0 corrections · 1 rating" in told
    assert "in the datasets support v1" in told
    facts = cli("person", "show", OLGA, "--json").json
    assert {name: facts[name] for name in ("person", "message", "reply", "datasets")} == {
        "person": OLGA, "message": 1, "reply": 1, "datasets": ["support v1"],
    }  # fmt: skip
    assert facts["consent"]["status"] == "given"


@pytest.mark.usefixtures("shop")
def test_everything_about_a_person_is_one_json_document(cli, tmp_path):
    """On standard output, or in a file that is written whole."""
    records = cli("person", "export", OLGA).json
    assert [record["kind"] for record in records] == [
        "person", "consent given", "conversation", "message", "reply", "feedback",
    ]  # fmt: skip
    told = cli("person", "export", OLGA, "--output", "olga.json")
    assert "olga.json: 6 records" in told.out
    assert json.loads((tmp_path / "olga.json").read_bytes()) == records
    report = cli("person", "export", OLGA, "--output", "olga.json", "--json").json
    assert report == {"file": "olga.json", "records": 6}


def test_a_person_is_erased(cli, shop):
    """Said to be meant, it is done, and told what went and what is left to do; again, nothing changes."""
    told = cli("person", "erase", OLGA, "--yes", "--note", "asked by mail", "--by", "telegram:1").out
    assert "erased, as erased:" in told
    assert "2 messages · 1 correction · 1 rating · 0 files in 1 conversation they spoke in" in told
    assert "datasets that held them, now deleted: support v1" in told
    assert not (shop / "datasets" / "support" / "v1").exists()
    assert "nothing changed: erased before" in cli("person", "erase", OLGA, "--yes").out
    log = cli("events", "--json").out
    assert "Ольга" not in log
    assert OLGA not in log
    assert "When are you open?" in log
    assert cli("events", "--json").lines[-1]["data"]["note"] == "asked by mail"
    cli("verify")


@pytest.mark.usefixtures("shop")
def test_an_erasure_for_scripts(cli):
    """The report as JSON."""
    report = cli("person", "erase", OLGA, "--yes", "--json").json
    assert (report["messages"], report["datasets"], report["archives"], report["new"]) == (2, ["support v1"], [], True)


@pytest.mark.usefixtures("shop")
def test_misuse_changes_nothing(cli, tmp_path):
    """Nobody there to ask, nobody of that id, no place for the file: one line and status 2."""
    before = cli("events", "--json").out
    assert "--yes says that this is meant" in cli.refuse("person", "erase", OLGA)
    assert "--yes says that this is meant" in cli.refuse("person", "erase", OLGA, "--json")
    for words in (["show", "nobody"], ["export", "nobody"], ["erase", "nobody", "--yes"]):
        assert "nobody is called 'nobody'" in cli.refuse("person", *words)
    assert "no such directory" in cli.refuse("person", "export", OLGA, "--output", "no/olga.json")
    assert "is a directory" in cli.refuse("person", "export", OLGA, "--output", str(tmp_path))
    cli.refuse("person", "export", "nobody", "--output", "nobody.json")
    assert not (tmp_path / "nobody.json").exists()
    assert cli("events", "--json").out == before


@pytest.mark.usefixtures("shop")
def test_on_a_terminal_the_id_is_asked_for(tmp_path):
    """Another word leaves everything; the id erases; there is nothing to ask about somebody erased before."""
    shown, status = typed(["person", "erase", OLGA], [b"telegram:8\n"], tmp_path)
    assert "nothing erased" in shown
    assert status == 2
    shown, status = typed(["person", "erase", OLGA], [b"telegram:7\n"], tmp_path)
    assert "1 conversation · 1 message · 1 reply" in shown
    assert "erased, as erased:" in shown
    assert status == 0
    shown, status = typed(["person", "erase", OLGA], [], tmp_path)
    assert "nothing changed" in shown
    assert status == 0


def test_a_backup_is_restored_without_whoever_was_erased(cli, shop):
    """The events of the backup are back, the person is not, and what was there is kept."""
    cli("backup", "monday.db")
    cli("person", "erase", OLGA, "--yes")
    cli("record", "telegram:8", "user", "And on Sunday?", "--author", "telegram:8")
    told = cli("restore", "monday.db").out
    assert "1 erasure applied again" in told
    assert "kept as trainer.db.before-restore" in told
    log = cli("events", "--json").out
    assert "Ольга" not in log
    assert "And on Sunday?" not in log
    assert "When are you open?" in log
    report = cli("restore", "monday.db", "--json").json
    assert report["kept"].endswith("trainer.db.before-restore-2")
    assert len(report["erased"]) == 1
    assert (shop / "trainer.db.before-restore").is_file()
    cli("verify")


@pytest.mark.usefixtures("shop")
def test_what_is_no_backup_is_refused(cli, tmp_path):
    """A missing file is misuse, another program's file a failure; the log stays."""
    before = cli("events", "--json").out
    assert "no such backup" in cli.refuse("restore", "tuesday.db")
    (tmp_path / "notes.db").write_bytes(b"Dear Anna, " * 500)
    assert "not a trainerlib database" in cli("restore", "notes.db", status=1).err
    assert "no such directory" in cli.refuse("-w", "nowhere", "restore", "notes.db")
    assert cli("events", "--json").out == before
