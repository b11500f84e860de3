"""`conversations`, `show`, `search`, `stats`."""

from __future__ import annotations

import pytest


@pytest.fixture
def shop(cli, chat_export):
    """The export of Ivan and the shop, its first answer corrected and rated; id of that answer."""
    cli("import", chat_export, "--assistant", "Shop")
    reply = cli("show", "telegram:42/1", "--json").json["messages"][1]["id"]
    cli("correct", reply, "С 9 до 18, без выходных.")
    cli("feedback", reply, "--rating", "-1", "--text", "wrong hours", "--by", "telegram:user1")
    cli("feedback", reply, "--rating", "3", "--by", "telegram:9")
    return reply


def test_a_dialogue_reads_as_one(cli, shop):
    """Each message has its id, time and author; the correction and the ratings stand below what they are about."""
    lines = cli("show", "telegram:42/1").out.splitlines()
    assert lines[0] == "  telegram:42/1 · Flowers · en"
    assert lines[1] == "  2026-03-01 (UTC)"
    assert lines[2:9] == [
        f"  #{shop - 1}  08:01  Ivan",
        "      когда вы открыты?",
        f"  #{shop}  08:02  Shop (assistant)",
        "      В 10.",
        "      ✎ terminal:anna: С 9 до 18, без выходных.",
        "      👎 telegram:user1: wrong hours",
        "      +3 telegram:9",
    ]


@pytest.mark.usefixtures("shop")
def test_a_stranger_cannot_move_the_cursor(cli):
    """Control characters of a message are shown as U+FFFD; scripts get them as they are."""
    shown = cli("show", "telegram:42/1").out
    assert "Closed\ufffd[2J on Sundays." in shown
    assert "\x1b" not in shown
    assert cli("show", "telegram:42/1", "--json").json["messages"][3]["text"] == "Closed\x1b[2J on Sundays."


def test_a_conversation_is_found_by_one_of_its_messages(cli, shop):
    """`show` takes the id of a message too; a mistyped id is answered with the nearest."""
    assert cli("show", shop).out == cli("show", "telegram:42/1").out
    assert "did you mean telegram:42/1?" in cli.refuse("show", "telegram:421")
    assert "no message 999" in cli.refuse("show", "999")
    assert "`trainerlib conversations` lists them" in cli.refuse("show", "ivan")


@pytest.mark.usefixtures("shop")
def test_conversations_in_a_table_and_as_json(cli):
    """The list has what people and scripts look for."""
    assert "telegram:42/1" in cli("conversations").out
    [found] = cli("conversations", "--json").json
    assert (found["id"], found["title"], found["messages"], found["corrections"]) == ("telegram:42/1", "Flowers", 4, 1)
    assert (found["up"], found["down"], found["language"]) == (1, 1, "en")


@pytest.mark.usefixtures("shop")
def test_conversations_by_what_they_have(cli):
    """Every condition narrows the list."""
    cli("record", "terminal:1", "user", "Здравствуйте")
    every = [item["id"] for item in cli("conversations", "--json").json]
    assert every == ["terminal:1", "telegram:42/1"]
    for words, expected in (
        (("--platform", "terminal"), ["terminal:1"]),
        (("--language", "ru"), ["terminal:1"]),
        (("--rated", "down"), ["telegram:42/1"]),
        (("--corrected",), ["telegram:42/1"]),
        (("--uncorrected",), ["terminal:1"]),
        (("--limit", "1"), ["terminal:1"]),
    ):
        assert [item["id"] for item in cli("conversations", *words, "--json").json] == expected
    assert "and more: --limit" in cli("conversations", "--limit", "1").out
    assert "no conversations like that" in cli("conversations", "--platform", "discord").out
    assert "--rated cannot be 'bad'; one of up, down" in cli.refuse("conversations", "--rated", "bad")
    assert "--language cannot be 'de'" in cli.refuse("conversations", "--language", "de")


def test_search_in_any_form_and_language(cli, shop):
    """Words are found in other forms than written, in Russian and English, in corrections too."""
    assert [hit["id"] for hit in cli("search", "открыто", "--json").json] == [shop - 1]
    assert [hit["id"] for hit in cli("search", "closing", "sunday", "--json").json] != []
    [hit] = cli("search", "выходной", "--json").json
    assert (hit["id"], hit["conversation"]) == (shop, "telegram:42/1")
    assert "      ✎ С 9 до 18, без выходных." in cli("search", "выходной").out
    assert cli("search", "зебра").out == "  nothing found for 'зебра'\n"
    assert cli("search", '"*(', "--json").json == []


@pytest.mark.usefixtures("shop")
def test_stats(cli):
    """The counts of the workspace, for people and for scripts."""
    found = cli("stats", "--json").json
    assert (found["conversations"], found["messages"], found["replies"], found["corrections"]) == (1, 4, 2, 1)
    assert (found["up"], found["down"], found["imports"], found["datasets"]) == (1, 1, 1, 0)
    told = [line.split() for line in cli("stats").out.splitlines()]
    assert ["messages", "4", "2", "of", "them", "replies"] in told
    assert ["ratings", "2", "1", "up", "·", "1", "down"] in told


def test_reading_makes_no_workspace(cli, tmp_path):
    """Where there is none, every reading command says how to make one."""
    for words in (
        ["stats"],
        ["conversations"],
        ["show", "x"],
        ["search", "x"],
        ["events"],
        ["verify"],
        ["dataset", "list"],
    ):
        assert "make one with: trainerlib init workspace" in cli.refuse(*words)
    assert list(tmp_path.iterdir()) == []
