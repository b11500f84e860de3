"""`archive DIRECTORY`, `archive restore FILE DIRECTORY`, `dataset archive NAME`."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

import pytest

from trainerlib.archives import read_manifest
from trainerlib.containers import default_suffix

DEFAULT = default_suffix()


@pytest.fixture
def shop(tmp_path):
    place = tmp_path / "цветы"
    (place / "prices").mkdir(parents=True)
    (place / "prices" / "roses.txt").write_text("Розы по 250 ₽\n", encoding="utf-8")
    (place / "hours.txt").write_text("9 to 18\n", encoding="utf-8")
    (place / ".env").write_text("KEY=1\n", encoding="utf-8")
    return place


def test_a_directory_is_archived_beside_it_and_comes_back(cli, shop):
    told = cli("archive", "цветы")
    assert told.out.startswith(f"  цветы{DEFAULT}: 2 files, 30 bytes in ")
    assert f"  sha256 {sha256(Path(f'цветы{DEFAULT}').read_bytes()).hexdigest()}\n" in told.out
    assert told.err == "  left out: .env (hidden)\n"
    assert (
        cli("archive", "restore", f"цветы{DEFAULT}", "again").out
        == "  again: 2 files, 30 bytes, each as the manifest says\n"
    )
    for name in ("hours.txt", "prices/roses.txt"):
        assert Path("again", name).read_bytes() == (shop / name).read_bytes()


@pytest.mark.usefixtures("shop")
def test_scripts_get_the_report(cli):
    report = cli("archive", "цветы", "--output", "a.zip", "--hidden", "--json").json
    assert report == {
        "path": "a.zip",
        "files": 3,
        "bytes": 36,
        "archive_bytes": Path("a.zip").stat().st_size,
        "sha256": sha256(Path("a.zip").read_bytes()).hexdigest(),
        "skipped": [],
        "new": True,
    }
    restored = cli("archive", "restore", "a.zip", "again", "--json").json
    assert restored == report | {"path": "again"}


@pytest.mark.usefixtures("shop")
def test_the_same_again_changes_nothing_and_says_so(cli):
    first = cli("archive", "цветы", "--json").json
    assert "nothing changed: the same archive was there already, and is whole" in cli("archive", "цветы").out
    assert cli("archive", "цветы", "--json").json == first | {"new": False}


@pytest.mark.usefixtures("shop")
def test_create_may_be_said_or_left_out_and_options_may_stand_anywhere(cli):
    """The words before the directory do not change what is meant."""
    (Path("restore")).mkdir()
    for number, words in enumerate(
        (
            ["archive", "цветы", "--output", "{}"],
            ["archive", "create", "цветы", "--output", "{}"],
            ["archive", "--output", "{}", "цветы"],
            ["archive", "--json", "цветы", "--output", "{}"],
            ["--json", "archive", "-w", "nowhere", "--output", "{}", "цветы"],
            ["archive", "--workspace=nowhere", "цветы", "--output={}"],
            ["archive", "-wnowhere", "цветы", "--output={}"],
        )
    ):
        cli(*(word.format(f"{number}.zip") for word in words))
        assert read_manifest(Path(f"{number}.zip")).files == read_manifest(Path("0.zip")).files
    cli("archive", "--", "restore")
    cli("archive", "./restore")
    assert Path(f"restore{DEFAULT}").exists()


def test_help_is_there_for_the_group_and_both_commands(cli):
    assert "restore" in cli("archive").out
    assert cli("archive", "--help").out == cli("archive").out
    assert "--hidden" in cli("archive", "цветы", "--help").out
    assert "FILE" in cli("archive", "restore", "--help").out


def test_a_directory_of_any_spelling_has_a_name(cli, shop, monkeypatch):
    """`.`, `..` and a trailing slash: the archive is called by the directory and beside it."""
    monkeypatch.chdir(shop / "prices")
    for words in (["."], [".."], [f"{shop}/"]):
        cli("archive", *words)
    assert {path.name for path in shop.parent.iterdir()} == {"цветы", f"цветы{DEFAULT}"}
    assert (shop / f"prices{DEFAULT}").exists()


def test_what_is_wrong_is_one_line(cli, shop):
    """Misuse: nothing is written."""
    Path("full").mkdir()
    Path("full", "a").touch()
    Path("a.zip").write_bytes(b"my diary")
    for words, said in (
        (["nowhere"], "nowhere: no such directory"),
        (["a.zip"], "a.zip: no such directory"),
        (["/"], "/ has no name to call the archive by; say --output FILE"),
        (["цветы", "--output", "a.tar.gz"], "a.tar.gz: the name of an archive ends with .tar.zst or .zip"),
        (["цветы", "--output", "full"], "full is a directory; --output takes a file"),
        (["цветы", "--output", "none/a.zip"], "none: no such directory"),
        (["цветы", "--output", "цветы/a.zip"], "цветы/a.zip is in the directory that it would hold"),
        (["restore", "none.zip", "b"], "none.zip: no such file"),
        (["restore", "full", "b"], "full is a directory; which archive in it?"),
        (["restore", "a.zip", "full"], "full is there already and not empty"),
        (["restore", "a.zip", "a.zip"], "a.zip is there already and not empty"),
        (["restore", "a.zip"], "Missing argument 'DIRECTORY'"),
        (["цветы", "b"], "unexpected extra argument"),
    ):
        assert said in cli.refuse("archive", *words)
    assert (
        cli("archive", "restore", "a.zip", "b", status=1).err
        == "trainerlib: a.zip: not an archive that trainerlib wrote\n"
    )
    assert "is not replaced" in cli("archive", "цветы", "--output", "a.zip", status=1).err
    assert {path.name for path in shop.parent.iterdir()} == {"цветы", "full", "a.zip"}


def test_a_file_that_should_be_in_it_and_is_not_is_exit_status_1(cli, shop):
    """The archive is written; who runs it every night has to know."""
    (shop / "back\\slash").touch()
    told = cli("archive", "цветы", status=1)
    assert "  left out: back\\slash (its name has a backslash)\n" in told.err
    assert read_manifest(Path(f"цветы{DEFAULT}")).files[0].name == "hours.txt"


def test_names_of_strangers_do_not_move_the_cursor(cli, shop):
    for number in range(30):
        (shop / f".{number:02}\x1b[2J").touch()
    told = cli("archive", "цветы")
    assert "\x1b" not in told.err
    assert "  left out: 11 more; --json lists all\n" in told.err


@pytest.fixture
def dataset(cli, rows):
    cli("import", rows)
    return cli("dataset", "build", "support", "--json").json


def test_a_dataset_is_archived_with_what_it_was_built_from(cli, dataset):
    """Into the workspace; the facts are enough to build it again."""
    report = cli("dataset", "archive", "support", "--json").json
    assert report["path"] == f"workspace/archive/support-v1{DEFAULT}"
    manifest = read_manifest(Path(report["path"]))
    assert {file.name: file.sha256 for file in manifest.files} == dataset["sha256"]
    shown = cli("dataset", "show", "support", "--json").json
    for name in ("name", "version", "position", "recipe", "sha256", "splits", "examples", "candidates", "excluded"):
        assert manifest.facts[name] == shown[name]


def test_a_dataset_archive_is_the_same_again_elsewhere_and_from_files_made_again(cli, dataset):
    """Missing files are made from the log first."""
    first = cli("dataset", "archive", "support", "--json").json
    assert "nothing changed" in cli("dataset", "archive", "support@1").out
    for name in dataset["sha256"]:
        os.unlink(f"workspace/datasets/support/v1/{name}")  # noqa: PTH108 - relative on purpose
    other = cli("dataset", "archive", "support", "--output", f"other{DEFAULT}", "--json").json
    assert other["sha256"] == first["sha256"]
    cli("archive", "restore", f"other{DEFAULT}", "again")
    for name, digest in dataset["sha256"].items():
        assert sha256(Path("again", name).read_bytes()).hexdigest() == digest


@pytest.mark.usefixtures("dataset")
def test_a_dataset_whose_files_were_changed_is_not_archived(cli):
    with open("workspace/datasets/support/v1/train.jsonl", "ab") as file:  # noqa: PTH123 - relative on purpose
        file.write(b"\n{}\n")
    assert "changed since it was built" in cli("dataset", "archive", "support", status=1).err
    assert not list(Path("workspace/archive").iterdir())


@pytest.mark.usefixtures("dataset")
def test_a_dataset_archive_that_cannot_be_is_one_line(cli):
    assert "no dataset 'sport'" in cli.refuse("dataset", "archive", "sport")
    assert "ends with .tar.zst or .zip" in cli.refuse("dataset", "archive", "support", "--output", "a.rar")
    assert "none: no such directory" in cli.refuse("dataset", "archive", "support", "--output", "none/a.zip")
