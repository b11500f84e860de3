"""`person`, `policy`, and what `dataset` tells of consent, lineage and leakage."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def asked(cli):
    """A question of somebody who has not said anything about training, and its answer."""
    cli("record", "telegram:42", "user", "когда вы открыты?", "--author", "telegram:7")
    return cli("record", "telegram:42", "assistant", "В 10.", "--json").json["id"]


@pytest.mark.usefixtures("asked")
def test_a_build_says_how_to_use_what_it_leaves_out(cli):
    told = cli("dataset", "build", "support").out
    assert "[no-consent]" in told
    assert "trainerlib person consent PERSON" in told


@pytest.mark.usefixtures("asked")
def test_consent_is_recorded_once_and_listed(cli):
    assert "nobody said anything yet" in cli("person", "list").out
    first = cli("person", "consent", "telegram:7", "--wording", "2026-11", "--json").json
    assert (first["new"], first["consent"]["status"], first["consent"]["wording"]) == (True, "given", "2026-11")
    assert "nothing changed" in cli("person", "consent", "telegram:7", "--wording", "2026-11").out
    [listed] = cli("person", "list", "--json").json
    assert listed["person"] == "telegram:7"
    assert "2026-11" in cli("person", "list").out
    told = cli("dataset", "build", "support").out
    assert "1 conversation on the ground of: consent" in told


@pytest.mark.usefixtures("asked")
def test_a_withdrawal_names_the_datasets(cli):
    cli("person", "consent", "telegram:7")
    cli("dataset", "build", "support")
    told = cli("person", "withdraw", "telegram:7", "--note", "передумала").out
    assert "the next build leaves out" in told
    assert "support@1" in told
    again = cli("person", "withdraw", "telegram:7", "--json").json
    assert [one["dataset"] for one in again["datasets"]] == ["support"]


def test_a_policy_is_granted_with_a_note_and_revoked(cli):
    cli("init")
    assert "discord: left out of every dataset" in cli("policy", "list").out
    assert "--note" in cli.refuse("policy", "grant", "discord")
    assert "permitted" in cli("policy", "grant", "discord", "--note", "ticket 4711").out
    assert cli("policy", "list", "--json").json[0]["note"] == "ticket 4711"
    assert cli("policy", "revoke", "discord", "--json").json["granted"] is False


@pytest.fixture
def exported(cli, asked, tmp_path):  # noqa: ARG001 - the answer has to be there
    """The answer as a line of a file."""
    cli("person", "consent", "telegram:7")
    cli("dataset", "build", "support")
    cli("dataset", "export", "support", "--format", "openai-chat", "--output", tmp_path / "train.jsonl")
    return tmp_path / "train.jsonl"


def test_a_line_is_explained(cli, exported, asked):
    told = cli("dataset", "explain", exported, "1").out
    assert "support v1" in told
    assert f"conversation telegram:42, reply #{asked}" in told
    found = cli("dataset", "explain", exported, "1", "--json").json
    assert (found["message"], found["conversation"], found["example"]["chosen"]) == (asked, "telegram:42", "В 10.")


def test_a_line_that_is_not_there_or_not_ours_is_refused(cli, exported, tmp_path):
    assert "has no line 2" in cli.refuse("dataset", "explain", exported, "2")
    foreign = tmp_path / "foreign.jsonl"
    foreign.write_text(json.dumps({"messages": [{"role": "user", "content": "x"}]}) + "\n{\n", encoding="utf-8")
    assert "line 1: no row of any dataset" in cli.refuse("dataset", "explain", foreign, "1")
    assert "line 2: the line is not JSON" in cli.refuse("dataset", "explain", foreign, "2")


@pytest.mark.usefixtures("exported")
def test_a_message_says_where_it_went(cli, asked):
    assert "support@1" in cli("dataset", "lineage", str(asked)).out
    [held] = cli("dataset", "lineage", str(asked), "--json").json
    assert held["examples"] == [asked]
    other = cli("record", "telegram:43", "user", "Hi", "--json").json["id"]
    assert "is in no dataset" in cli("dataset", "lineage", str(other)).out


@pytest.mark.usefixtures("exported")
def test_leakage_reads_zero(cli):
    assert cli("dataset", "leakage", "support", "--json").json == {
        "conversations": 0, "texts": 0, "near_duplicates": 0,
    }  # fmt: skip
    assert "0  conversations in two splits" in cli("dataset", "leakage", "support").out


@pytest.mark.usefixtures("exported")
def test_tags_notes_and_the_choice_of_a_version(cli):
    assert "vip, май" in cli("dataset", "tag", "support", "vip", "май").out
    assert cli("dataset", "tag", "support@1", "vip", "--remove", "--json").json["tags"] == ["май"]
    assert cli("dataset", "note", "support", "без цен", "--json").json["note"] == "без цен"
    assert "is now what the next training uses as positive examples" in cli("dataset", "select", "support").out
    assert "already was" in cli("dataset", "select", "support").out
    assert cli("dataset", "select", "support", "--negative", "--json").json["selected"] == "negative"
    assert "май · без цен" in cli("dataset", "show", "support").out


@pytest.mark.usefixtures("exported")
def test_a_card_is_written_with_or_without_pictures(cli, tmp_path):
    """Without matplotlib the card alone, and where the picture would come from."""
    [card, *_] = cli("dataset", "card", "support", "--output", tmp_path, "--licence", "cc-by-4.0", "--json").json
    assert "license: cc-by-4.0" in (tmp_path / "README.md").read_text(encoding="utf-8")
    assert card.endswith("README.md")
    assert cli("dataset", "card", "support", "--no-pictures", "--json").json[0].endswith("README.md")


@pytest.mark.usefixtures("exported")
def test_a_cost_is_told_before_anything_is_spent(cli):
    told = cli("dataset", "cost", "support", "--model", "openai:gpt-4.1-mini", "--epochs", "2", "--json").json
    assert told["dollars"] == pytest.approx(told["tokens"] * 2 * told["price"]["training"] / 1_000_000)
    assert "no price" in cli("dataset", "cost", "support", "--model", "my-model").out
