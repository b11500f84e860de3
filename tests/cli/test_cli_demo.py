"""`demo`: the whole loop, once and again."""

from __future__ import annotations

import json
import re
import shlex
from hashlib import sha256

import pytest

from trainerlib.demo import TEACHING
from trainerlib.formats import FORMATS


def test_it_exports_every_format(cli, tmp_path):
    """Each format has its file, whose rows and sha256 are as reported."""
    told = cli("demo", "--json").json
    assert [item["format"] for item in told["files"]] == list(FORMATS)
    for item in told["files"]:
        content = (tmp_path / item["file"]).read_bytes()
        assert (content.count(b"\n"), sha256(content).hexdigest()) == (item["rows"], item["sha256"])
        assert item["rows"] > 0
    built = told["dataset"]
    assert built["candidates"] == built["examples"] + sum(built["excluded"].values())


def test_everything_that_was_taught_is_there(cli):
    """Every line of the teaching is a standing correction or rating of the workspace."""
    told = cli("demo", "--json").json
    lines = [json.loads(line) for line in TEACHING.read_text(encoding="utf-8").splitlines()]
    corrected = {(line["chat"], line["message"], line["by"]) for line in lines if "correction" in line}
    assert told["corrections"] == len(corrected)
    assert told["up"] + told["down"] >= sum("rating" in line for line in lines)


def test_people_see_one_table(cli):
    """The table has the counts, every exclusion with its reason, the splits and the files."""
    scripts = cli("demo", "--json").json
    told = cli("demo").out
    for name in ("conversations", "messages", "corrections"):
        assert re.search(rf"{name} +{scripts[name]:,} ", told)
    for reason, count in scripts["dataset"]["excluded"].items():
        assert re.search(rf"excluded +{count} +{reason}: \w", told)
    for item in scripts["files"]:
        assert re.search(rf"support\.{item['format']}\.jsonl +{item['rows']} +sha256 {item['sha256'][:16]}", told)


def test_a_second_run_changes_nothing_and_says_so(cli):
    """The demo is idempotent: the same position, the same files, and a line that says so."""
    first = cli("demo", "--json").json
    assert "nothing changed: the demo was here before" in cli("demo").out
    again = cli("demo", "--json").json
    assert (first["changed"], again["changed"]) == (True, False)
    assert again["files"] == first["files"]
    assert cli("-w", "demo", "verify", "--json").json["problems"] == []


def test_what_it_says_to_type_next_works(cli):
    """Every suggested command runs as it stands, also where the directory's name needs quotes."""
    told = cli("demo", "my demo").out
    lines = told.split("  next:\n")[1].splitlines()
    commands = [line.split("  # ")[0].strip() for line in lines if "trainerlib" in line]
    assert len(commands) == 5
    for command in commands:
        program, *words = shlex.split(command)
        assert program == "trainerlib"
        assert cli(*words).out


def test_somebody_elses_directory_is_left_alone(cli, tmp_path):
    """A directory that is no demo of ours is refused and not changed, a workspace included."""
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "letter.txt").write_text("Dear Anna", encoding="utf-8")
    assert "not empty and no demo of ours" in cli.refuse("demo")
    assert [path.name for path in (tmp_path / "demo").iterdir()] == ["letter.txt"]
    cli("init", "shop")
    assert "no demo of ours" in cli.refuse("demo", "shop")
    assert "is a file" in cli.refuse("demo", "demo/letter.txt")


@pytest.mark.parametrize("left", ["trainer.db", "exports/support.alpaca.jsonl", "datasets/support/v1/train.jsonl"])
def test_what_is_missing_is_made_again(cli, tmp_path, left):
    """A file lost from the demo is there again after the next run, with the same bytes in the exports."""
    first = cli("demo", "--json").json
    (tmp_path / "demo" / left).unlink()
    if left == "trainer.db":
        for suffix in ("-wal", "-shm"):
            (tmp_path / "demo" / f"{left}{suffix}").unlink(missing_ok=True)
        stale = tmp_path / "demo" / "datasets" / "support"
        stale.rename(tmp_path / "moved")
    assert cli("demo", "--json").json["files"] == first["files"]
    assert cli("-w", "demo", "verify", "--json").json["problems"] == []
