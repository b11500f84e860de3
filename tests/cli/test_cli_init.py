"""`init`: files that explain themselves, made once."""

from __future__ import annotations

import stat

from trainerlib import settings


def test_it_says_what_it_made(cli, tmp_path):
    """Settings, instruction, secrets, .gitignore and the log are made and named."""
    told = cli("init", "shop").out
    for name in ("workspace.toml", "instruction.md", ".env", ".gitignore", "trainer.db"):
        assert f"shop/{name}" in told
        assert (tmp_path / "shop" / name).is_file()
    assert "next: cd shop && trainerlib chat" in told
    assert settings.load(tmp_path / "shop", {}) == settings.Settings()


def test_a_second_run_changes_nothing_and_says_so(cli, tmp_path):
    """What is there stays, edited or not."""
    cli("init", "shop")
    (tmp_path / "shop" / "instruction.md").write_text("Mine.", encoding="utf-8")
    assert cli("init", "shop").out == "  nothing changed: shop is a workspace already\n"
    assert (tmp_path / "shop" / "instruction.md").read_text(encoding="utf-8") == "Mine."
    assert cli("init", "shop", "--json").json == {"workspace": "shop", "made": []}


def test_secrets_stay_with_their_owner_and_out_of_git(cli, tmp_path):
    """.env is readable by its owner only and ignored by git, as is the log."""
    cli("init")
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    ignored = (tmp_path / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert {".env", "*.db", "/datasets/", "/exports/"} <= set(ignored)


def test_a_gitignore_of_ones_own_is_kept_and_warned_about(cli, tmp_path):
    """A .gitignore that lets the secrets through is not changed but named."""
    (tmp_path / ".gitignore").write_text("*.pyc\n/.env\n", encoding="utf-8")
    told = cli("init")
    assert "add to it: *.db" in told.err
    assert ".env" not in told.err
    assert (tmp_path / ".gitignore").read_text(encoding="utf-8") == "*.pyc\n/.env\n"


def test_here_is_the_workspace_from_then_on(cli):
    """After `init` in a directory, commands without -w use it."""
    cli("init")
    cli("record", "telegram:42", "user", "Привет")
    assert cli("stats", "--json").json["messages"] == 1
    assert cli("-w", ".", "stats", "--json").json["messages"] == 1


def test_a_file_in_the_way(cli, tmp_path):
    """A file where the directory should be is one line and exit status 2 or 1, and stays."""
    (tmp_path / "shop").write_text("Dear Anna", encoding="utf-8")
    assert "shop" in cli("init", "shop", status=1).err
    assert (tmp_path / "shop").read_text(encoding="utf-8") == "Dear Anna"
