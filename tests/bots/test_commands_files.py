"""`/archive`, `/getfile`, `/instruction`: nothing but what may be given out, and each archive once."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime

import pytest
from commanding import PERSON, TRAINER, asked, collected, commands, owned, run, said
from histories import row, write

import trainerlib
from trainerlib import Recipe
from trainerlib.events import DatasetArchived

NOON = datetime(2026, 11, 14, 12, 0, tzinfo=UTC)


@pytest.fixture
def ws(tmp_path):
    (tmp_path / "shop").mkdir()
    owned(tmp_path / "shop")
    with trainerlib.open(tmp_path / "shop") as workspace:
        place = workspace.path / "files" / "цены"
        place.mkdir()
        write(place / "розы.txt", "150")
        write(place / ".env", "OPENAI_API_KEY=sk-the-key-of-the-shop")
        yield workspace


def archives(ws):
    return sorted(re.sub(r"\.(tar\.zst|zip)$", "", path.name) for path in (ws.path / "archive").iterdir())


def test_a_directory_is_archived_and_sent(ws):
    says = run(ws, "/archive files/цены/")
    assert [say.replaces for say in says] == [False, *[True] * (len(says) - 2), False]
    assert archives(ws) == ["files-цены"]
    assert says[-2].text.startswith("`archive/files-цены.")
    assert "1 file" in says[-2].text
    assert "`.env` was left out: hidden" in says[-2].text
    assert says[-1].file.parent == ws.path / "archive"


def test_the_same_directory_again_is_the_same_archive(ws):
    run(ws, "/archive files/цены", sent_at=NOON)
    says = run(ws, "/archive files/цены", sent_at=NOON)
    assert "The same archive was there already." in says[-2].text
    assert archives(ws) == ["files-цены"]


def test_a_directory_that_has_changed_gets_another_archive_and_the_first_one_stays(ws):
    run(ws, "/archive files/цены", sent_at=NOON)
    write(ws.path / "files" / "цены" / "тюльпаны.txt", "90")
    for _ in range(2):
        says = run(ws, "/archive files/цены", sent_at=NOON)
        assert "2 files" in says[-2].text
    assert archives(ws) == ["files-цены", "files-цены-20261114-120000"]


def test_a_large_archive_is_not_sent_but_lies_in_the_workspace(ws):
    async def give():
        mine = commands(ws, largest=10)
        says = await collected(mine.run("archive", asked("files/цены")))
        await mine.close()
        return says

    says = asyncio.run(give())
    assert [say.file for say in says if say.file is not None] == []
    assert "It is too large to send here; it lies in the workspace as `archive/files-цены." in said(says)


def test_a_dataset_is_archived_by_its_name_once(ws):
    ws.import_file(write(ws.path / "files" / "talk.jsonl", [row("a", "Hi", "Hello.")]), basis="operator: our own")
    ws.datasets.build("support", Recipe(targets="all"))
    for _ in range(2):
        says = run(ws, "/archive support")
        assert says[-1].file.name.startswith("support-v1.")
    assert len([one for one in ws.store.read_all() if isinstance(one.event, DatasetArchived)]) == 1


@pytest.mark.parametrize(
    "given", ["", ".", "/", "..", "../shop", "files/..", "nowhere", "~", "C:\\", "archive/../files"]
)
def test_a_place_that_may_not_be_archived_gets_one_sentence_and_an_example(ws, given):
    text = said(run(ws, f"/archive {given}"))
    assert text.endswith("For example: `/archive datasets/support`")
    assert "\n" not in text
    assert archives(ws) == []


def test_a_file_of_the_workspace_is_sent(ws):
    [say] = run(ws, "/getfile files/цены/розы.txt")
    assert (say.text, say.file.read_text(encoding="utf-8")) == ("`розы.txt`", "150")


@pytest.mark.parametrize(
    "given",
    ["", "trainer.db", "workspace.toml", "files/цены/.env", "../shop/trainer.db", "/etc/passwd", "files", "no.txt"],
)
def test_a_file_that_is_not_given_out_gets_one_sentence_and_an_example(ws, given):
    [say] = run(ws, f"/getfile {given}")
    assert say.file is None
    assert say.text.endswith("For example: `/getfile files/prices.pdf`")
    assert "\n" not in say.text


def test_a_database_under_another_name_is_not_given_out(ws):
    (ws.path / "files" / "photo.jpg").write_bytes(b"SQLite format 3\0" + bytes(100))
    [say] = run(ws, "/getfile files/photo.jpg")
    assert say.file is None


def test_the_instruction_is_shown_as_it_is_told_to_the_model(ws):
    assert "`instruction.md`" in said(run(ws, "/instruction", by=TRAINER))
    text = "Отвечайте *вежливо*.\n\n" + "Не выдумывайте. " * 600
    write(ws.path / "instruction.md", f"<!-- note -->\n{text}")
    [say] = run(ws, "/instruction", by=TRAINER)
    assert (say.text, say.plain) == (text.strip(), True)
    (ws.path / "instruction.md").write_bytes(b"\xff\xfe")
    assert "settings of this bot are wrong" in said(run(ws, "/instruction", by=TRAINER))


def test_nothing_of_it_is_for_people_without_the_role(ws):
    for line in ("/archive files/цены", "/getfile files/цены/розы.txt", "/instruction"):
        [say] = run(ws, line, by=PERSON)
        assert say.file is None
        assert " is for " in say.text
    assert archives(ws) == []
