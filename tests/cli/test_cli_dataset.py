"""`dataset build|list|show|export|check|diff`."""

from __future__ import annotations

import gzip
import json
from hashlib import sha256

import pytest


@pytest.fixture
def shop(cli, rows):
    """A workspace with twelve conversations, one reply of each; one of them is corrected."""
    cli("import", rows)
    [reply] = [
        event["position"] for event in cli("events", "--json").lines if event["data"].get("text") == "A rose is 2 ₽"
    ]
    cli("correct", reply, "A rose is 3 ₽ today")
    return reply


@pytest.mark.usefixtures("shop")
def test_scripts_get_the_counts(cli):
    """`build --json` has the fields scripts rely on, and every candidate is accounted for."""
    built = cli("dataset", "build", "support", "--json").json
    assert list(built)[:8] == ["name", "version", "position", "candidates", "examples", "excluded", "splits", "sha256"]
    assert (built["name"], built["version"], built["candidates"]) == ("support", 1, 12)
    assert built["candidates"] == built["examples"] + sum(built["excluded"].values())
    assert sum(built["splits"].values()) == built["examples"]
    for name, digest in built["sha256"].items():
        with open(f"workspace/datasets/support/v1/{name}", "rb") as file:  # noqa: PTH123 - relative on purpose
            assert sha256(file.read()).hexdigest() == digest


@pytest.mark.usefixtures("shop")
def test_people_see_every_candidate_accounted_for(cli):
    """The exclusions are listed with their meaning, and the sum is what came in."""
    told = cli("dataset", "build", "taught", "--targets", "corrected").out.splitlines()
    assert told[0] == "  12 candidate replies"
    assert told[1].startswith("       1  examples      train ")
    assert told[2] == "      11  excluded: nobody corrected it  [not-corrected]"
    assert told[4] == "      12  = every candidate accounted for"
    assert told[-1].startswith("  taught v1 at position ")
    assert "tokens (estimate)" in told[-1]


@pytest.mark.usefixtures("shop")
def test_the_same_again_changes_nothing_and_says_so(cli):
    """A second build at the same place is the first one; another seed is another version."""
    first = cli("dataset", "build", "support", "--json").json
    assert "nothing changed" in cli("dataset", "build", "support").out
    again = cli("dataset", "build", "support", "--json").json
    assert (again["version"], again["sha256"], again["new"]) == (1, first["sha256"], False)
    assert cli("dataset", "build", "support", "--seed", "7", "--json").json["version"] == 2


@pytest.mark.usefixtures("shop")
def test_a_recipe_from_a_file_and_options_over_it(cli, tmp_path):
    """The file's recipe is used; --targets and --seed go over what it says."""
    recipe = tmp_path / "support.toml"
    recipe.write_text(
        '[targets]\nreplies = "corrected"\n[split]\ntrain = 0.5\ntest = 0.5\nseed = 3\n', encoding="utf-8"
    )
    built = cli("dataset", "build", "a", "--recipe", recipe, "--json").json
    assert (built["examples"], list(built["splits"])) == (1, ["train", "test"])
    over = cli("dataset", "build", "b", "--recipe", recipe, "--targets", "all", "--seed", "9", "--json").json
    assert over["examples"] == 12
    shown = cli("dataset", "show", "b", "--json").json
    assert (shown["recipe"]["targets"], shown["recipe"]["split"]["seed"]) == ("all", 9)


@pytest.mark.usefixtures("shop")
def test_export_has_standard_output_to_itself(cli, tmp_path):
    """Rows go to stdout, notes to stderr; a file gets the same bytes."""
    cli("dataset", "build", "support")
    printed = cli("dataset", "export", "support", "--format", "openai-chat")
    assert [set(row) for row in printed.lines] == [{"messages"}] * 12
    assert "12 rows (all splits: train" in printed.err
    assert "стоит" in printed.out  # UTF-8, not escapes
    written = cli("dataset", "export", "support@1", "--format", "openai-chat", "--output", "all.jsonl")
    assert (tmp_path / "all.jsonl").read_text(encoding="utf-8") == printed.out
    assert written.out == ""
    assert (
        "nothing changed" in cli("dataset", "export", "support", "--format", "openai-chat", "--output", "all.jsonl").err
    )


@pytest.mark.usefixtures("shop")
def test_export_of_one_split(cli):
    """The splits are parts of the whole."""
    built = cli("dataset", "build", "support", "--json").json
    for name, count in built["splits"].items():
        assert len(cli("dataset", "export", "support", "--format", "trl-sft", "--split", name).lines) == count


@pytest.mark.usefixtures("shop")
def test_export_says_what_a_format_leaves_out(cli):
    """A preference format holds the one corrected reply and says why not the others."""
    cli("dataset", "build", "support")
    printed = cli("dataset", "export", "support", "--format", "trl-preference")
    [row] = printed.lines
    assert row["chosen"][0]["content"] == "A rose is 3 ₽ today"
    assert "11 examples of 12 left out: trl-preference needs both a good and a bad reply" in printed.err


@pytest.mark.usefixtures("shop")
def test_export_report_for_scripts(cli):
    """With --json the report is on stdout for a file, and on stderr where the rows are on stdout."""
    cli("dataset", "build", "support")
    report = cli("dataset", "export", "support", "--format", "alpaca", "--output", "a.jsonl", "--json").json
    assert (report["rows"], report["path"], report["without"]) == (12, "a.jsonl", 0)
    beside = cli("dataset", "export", "support", "--format", "alpaca", "--json")
    assert len(beside.lines) == 12
    assert json.loads(beside.err)["sha256"] == report["sha256"]


def test_check_of_a_good_file_needs_no_workspace(cli, rows, tmp_path):
    """A good file has no problems, plain, packed or piped."""
    assert cli("dataset", "check", rows).out == "  12 rows of openai-chat, no problems\n"
    packed = rows.with_suffix(".gz")
    packed.write_bytes(gzip.compress(rows.read_bytes()))
    assert cli("dataset", "check", packed, "--json").json == {"rows": 12, "problems": [], "format": "openai-chat"}
    assert cli("dataset", "check", "-", stdin=rows.read_bytes()).out == "  12 rows of openai-chat, no problems\n"
    assert not (tmp_path / "workspace").exists()


def test_check_of_a_bad_file(cli, rows):
    """Each problem has its line and code, and the exit status is 1."""
    with rows.open("a", encoding="utf-8") as file:
        file.write('{"messages":[{"role":"user","content":"Hi"}]}\n')
    found = cli("dataset", "check", rows, "--json", status=1).json
    assert found["rows"] == 13
    assert {(item["line"], item["code"]) for item in found["problems"]} >= {(13, "no-assistant-target")}
    assert all(set(item) == {"line", "code", "message"} for item in found["problems"])
    told = cli("dataset", "check", rows, status=1).out
    assert "  line 13  no-assistant-target: " in told


def test_check_of_a_hopeless_file_stays_short(cli, tmp_path):
    """Twenty problems are shown, the rest is counted by code."""
    path = tmp_path / "bad.jsonl"
    path.write_text("{oops\n" * 300, encoding="utf-8")
    told = cli("dataset", "check", path, status=1).out.splitlines()
    assert sum(line.startswith("  line ") for line in told) == 20
    assert any(line.split() == ["bad-json", "300"] for line in told)


def test_check_of_a_damaged_gz(cli, rows):
    """A .gz that ends too early is a failure in one line, not a crash."""
    packed = rows.with_suffix(".gz")
    packed.write_bytes(gzip.compress(rows.read_bytes())[:-40])
    assert "the gzip file is damaged" in cli("dataset", "check", packed, status=1).err


def test_list_show_and_diff(cli, shop):
    """Versions are listed, shown with examples, and compared."""
    assert "no datasets yet" in cli("dataset", "list").out
    cli("dataset", "build", "support")
    cli("correct", shop, "A rose is 4 ₽ today", "--by", "telegram:2")
    cli("dataset", "build", "support")
    assert [item["version"] for item in cli("dataset", "list", "--json").json] == [1, 2]
    assert "support@2" in cli("dataset", "list").out
    shown = cli("dataset", "show", "support", "--examples", "12").out
    assert "    user: How much is a rose? 0" in shown
    assert "    chosen: A rose is 4 ₽ today" in shown
    assert "    rejected: A rose is 2 ₽" in shown
    assert "3 ₽ today" in cli("dataset", "show", "support", "--version", "1", "--examples", "12").out
    changed = cli("dataset", "diff", "support@1", "support@2", "--json").json
    assert (changed["added"], changed["removed"], [item["message"] for item in changed["changed"]]) == ([], [], [shop])
    assert "support@1 -> support@2: 0 added · 0 removed · 1 changed" in cli("dataset", "diff", "support").out
    assert "no difference" in cli("dataset", "diff", "support@1", "support@1").out


@pytest.mark.usefixtures("shop")
def test_what_a_person_would_mistype(cli, tmp_path):
    """Unknown names, formats, splits, versions and recipes: one line and exit status 2."""
    cli("dataset", "build", "support")
    assert "no dataset 'suport'; there are: support" in cli.refuse("dataset", "show", "suport")
    assert "unknown format 'openai'" in cli.refuse("dataset", "export", "support", "--format", "openai")
    assert "--format" in cli.refuse("dataset", "export", "support")
    assert "no split 'valid'; it has train, validation, test" in cli.refuse(
        "dataset", "export", "support", "--format", "alpaca", "--split", "valid"
    )
    assert "not 9" in cli.refuse("dataset", "show", "support@9")
    assert "comes the number of a version" in cli.refuse("dataset", "show", "support@latest")
    assert "not the same version" in cli.refuse("dataset", "show", "support@1", "--version", "2")
    assert "one version only" in cli.refuse("dataset", "diff", "support")
    assert "is no name for a dataset" in cli.refuse("dataset", "build", "../support")
    assert "targets.replies cannot be 'good'; one of all, approved" in cli.refuse(
        "dataset", "build", "x", "--targets", "good"
    )
    assert "nofile.toml" in cli.refuse("dataset", "build", "x", "--recipe", "nofile.toml")
    recipe = tmp_path / "bad.toml"
    recipe.write_text("[split]\ntrain = 2\n", encoding="utf-8")
    assert "bad.toml, line 2: split.train cannot be 2" in cli.refuse("dataset", "build", "x", "--recipe", recipe)
    assert "no such directory" in cli.refuse(
        "dataset", "export", "support", "--format", "alpaca", "--output", "no/a.jsonl"
    )
    assert "is a directory" in cli.refuse("dataset", "export", "support", "--format", "alpaca", "--output", tmp_path)
    assert "unknown format" in cli.refuse("dataset", "check", recipe, "--format", "csv")
    assert "No such file" in cli.refuse("dataset", "check", "nofile.jsonl")
    assert "is a directory" in cli.refuse("dataset", "check", tmp_path)


def test_a_build_makes_no_workspace(cli, tmp_path):
    """There is nothing to build from where nothing was recorded."""
    assert "no workspace at workspace" in cli.refuse("dataset", "build", "support")
    assert list(tmp_path.iterdir()) == []
