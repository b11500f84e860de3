"""Consent: nobody's words are trained on without a ground, and a person's own no stands above every other."""

from __future__ import annotations

import json

import pytest
from histories import replied, said, telegram, types, write

import trainerlib
from trainerlib import Recipe
from trainerlib.consent import Permissions, fold
from trainerlib.errors import InvalidEventError
from trainerlib.events import (
    ConsentGiven,
    ConsentWithdrawn,
    Imported,
    RecordedEvent,
    RoleGiven,
    TrainingAttempted,
    TrainingFailed,
    TrainingRequested,
    TrainingSucceeded,
)


@pytest.fixture
def ws(tmp_path):
    with trainerlib.open(tmp_path / "shop") as workspace:
        yield workspace


def talk(ws, name, *people, **started):
    """A conversation in which each of some people asks something."""
    chat = ws.conversation(name, **started)
    for person in people:
        question = chat.record("user", f"{name}: вопрос от {person}", author=person)
        chat.record("assistant", f"{name}: ответ для {person}", author="telegram:bot", in_reply_to=question)


def build(ws, **recipe):
    dataset = ws.datasets.build("support", Recipe(**recipe))
    assert dataset.candidates == dataset.examples + sum(dataset.excluded.values())
    return dataset


# --- consent ---------------------------------------------------------------------------------------------------------


def test_a_conversation_takes_part_once_everybody_in_it_consents(ws):
    talk(ws, "telegram:-1", "telegram:7", "telegram:8")
    assert build(ws).excluded == {"no-consent": 2}
    ws.person("telegram:7").give_consent(wording="2026-11")
    assert build(ws).excluded == {"no-consent": 2}
    ws.person("telegram:8").give_consent(wording="2026-11")
    assert (build(ws).examples, build(ws).bases) == (2, {"consent": 1})


def test_who_answers_for_the_operator_need_not_consent(ws):
    """The bot, and whoever of the staff answers, corrects or rates."""
    talk(ws, "telegram:1", "telegram:7")
    ws.person("telegram:7").give_consent()
    [_, answer] = ws.conversation("telegram:1").messages
    ws.correct(answer.id, "С 9 до 18.", by="telegram:1")
    assert build(ws).examples == 1


def test_a_conversation_that_names_nobody_needs_no_consent(ws):
    talk(ws, "rows:1", "")
    assert (build(ws).examples, build(ws).bases) == (1, {"nobody named": 1})


def test_a_withdrawal_takes_effect_in_the_next_build_and_not_in_an_old_one(ws):
    talk(ws, "telegram:1", "telegram:7")
    ws.person("telegram:7").give_consent()
    before = build(ws)
    ws.person("telegram:7").withdraw_consent(note="передумала")
    assert build(ws).excluded == {"consent-withdrawn": 1}
    again = ws.datasets.build("support", position=before.position)
    assert (again.version, again.sha256) == (before.version, before.sha256)


def test_a_withdrawal_names_what_holds_the_person_already(ws):
    talk(ws, "telegram:1", "telegram:7", "telegram:7")
    talk(ws, "telegram:2", "telegram:8")
    for person in ("telegram:7", "telegram:8"):
        ws.person(person).give_consent()
    build(ws)
    [held] = ws.holding("telegram:7")
    assert (held.dataset, held.version, held.conversation, len(held.examples)) == ("support", 1, "telegram:1", 2)
    assert ws.holding("telegram:9") == []


def test_a_withdrawal_names_what_was_trained_on_the_person(ws):
    """The job that was given the split they are in and the model it made; no job that was refused."""
    talk(ws, "telegram:1", "telegram:7")
    ws.person("telegram:7").give_consent()
    build(ws)
    [held] = ws.holding("telegram:7")
    assert (held.jobs, held.models) == ((), ())
    other = next(name for name in ("train", "test") if name != held.split)
    for job, split, outcome in (
        ("a1", held.split, TrainingSucceeded("local:support-v1")),
        ("b2", held.split, TrainingFailed("closed", refused=True)),
        ("c3", other, TrainingSucceeded("local:other")),
        ("d4", held.split, TrainingAttempted(1)),
    ):
        request = TrainingRequested("local", "base", "support", 1, "sft", "trl-sft", {split: "9f2c"}, {split: 1})
        ws.store.append(f"training/{job}", [request, outcome])
    [held] = ws.holding("telegram:7")
    assert (held.jobs, held.models) == (("a1", "d4"), ("local:support-v1",))
    assert ws.lineage(2) == [held]


def test_consent_has_its_wording_its_time_and_who_recorded_it(ws):
    person = ws.person("telegram:7")
    assert person.consent.status == "unknown"
    person.give_consent(wording="2026-11", text="Можно учиться на моих сообщениях?", by="telegram:1")
    assert (person.consent.status, person.consent.wording, person.consent.by) == ("given", "2026-11", "telegram:1")
    assert person.consent.at is not None
    assert repr(person).startswith("Person telegram:7: consent given since 2")
    assert [one.id for one in ws.people()] == ["telegram:7"]


def test_the_same_again_is_not_recorded_but_a_new_wording_is(ws):
    person = ws.person("telegram:7")
    person.give_consent(wording="1")
    person.give_consent(wording="1")
    person.give_consent(wording="2")
    person.withdraw_consent()
    person.withdraw_consent()
    assert types(ws) == ["consent.given", "consent.given", "consent.withdrawn"]


def test_a_role_is_given_to_a_person(ws):
    """The last one counts, the same again is not recorded, and it says nothing about consent."""
    person = ws.person("telegram:7")
    assert person.role is None
    person.give_role("trainer", by="telegram:1")
    person.give_role("trainer", by="telegram:2")
    assert (person.role, person.consent.status) == ("trainer", "unknown")
    person.give_consent(wording="1")
    person.give_role("person")
    person.give_consent(wording="1")
    assert (ws.person("telegram:7").role, person.consent.status) == ("person", "given")
    assert repr(person).endswith(", person")
    assert types(ws) == ["role.given", "consent.given", "role.given"]


def test_there_are_three_roles(ws):
    with pytest.raises(InvalidEventError, match="no role 'admin'; there is owner, trainer, person"):
        ws.person("telegram:7").give_role("admin")
    assert types(ws) == []


def test_a_role_is_no_consent():
    """Whoever was only given a role has said nothing about training."""
    given = fold([RecordedEvent(1, "person/telegram:7", 1, RoleGiven("trainer", "telegram:1"), 0)])
    assert given.status("telegram:7") == "unknown"


def test_a_person_has_an_id(ws):
    with pytest.raises(InvalidEventError, match="telegram:7"):
        ws.person(" ")


# --- basis -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def export(tmp_path):
    return write(tmp_path / "chat.json", json.dumps(telegram([said(1, "Когда вы открыты?"), replied(2, "С 9 до 18.")])))


def test_an_import_counts_by_the_basis_that_was_stated(ws, export):
    ws.import_file(export, assistant="Shop bot")
    assert build(ws).excluded == {"no-consent": 1}
    ws.import_file(export, assistant="Shop bot", basis="operator: our own support desk")
    assert (build(ws).examples, build(ws).bases) == (1, {"operator: our own support desk": 1})


@pytest.mark.parametrize(
    ("bases", "examples"),
    [("recorded", 1), ("none", 0), (("operator",), 1), (("licence", "operator: our"), 1), (("licence",), 0)],
)
def test_a_recipe_says_which_bases_count(ws, export, bases, examples):
    ws.import_file(export, assistant="Shop bot", basis="operator: our own support desk")
    assert build(ws, bases=bases).examples == examples


def test_nobodys_basis_stands_above_a_persons_own_no(ws, export):
    ws.import_file(export, assistant="Shop bot", basis="operator: our own support desk")
    [person] = {
        message.author for message in ws.conversation(ws.conversations()[0].id).messages if message.role == "user"
    }
    ws.person(person).withdraw_consent()
    assert build(ws).excluded == {"consent-withdrawn": 1}


def test_every_file_of_a_conversation_needs_a_basis():
    """Half a conversation with a licence is no conversation with a licence."""
    from trainerlib.conversations import Conversation, Message

    both = Conversation("a", sources=("1", "2"), messages=(Message(1, 1, "user", "Hi", author="telegram:7"),))
    one = fold([RecordedEvent(1, "import/1", 1, Imported("a", "1", "telegram", basis="licence: CC0"), 0)])
    assert one.verdict(both, "recorded") == ("no-consent", "")
    two = Permissions(bases={"1": "licence: CC0", "2": "operator: ours"})
    assert two.verdict(both, "recorded") == ("", "licence: CC0; operator: ours")


def test_the_last_word_of_each_person_counts():
    log = [
        RecordedEvent(1, "person/telegram:7", 1, ConsentGiven("1"), 0),
        RecordedEvent(2, "person/telegram:8", 1, ConsentWithdrawn(), 0),
        RecordedEvent(3, "person/telegram:7", 2, ConsentWithdrawn(), 0),
        RecordedEvent(4, "person/telegram:8", 2, ConsentGiven("1"), 0),
    ]
    allowed = fold(log)
    assert (allowed.status("telegram:7"), allowed.status("telegram:8")) == ("withdrawn", "given")


# --- policy ----------------------------------------------------------------------------------------------------------


def test_discord_is_left_out_until_its_permission_is_recorded(ws):
    """Even where everybody consents: it is not theirs to permit."""
    talk(ws, "discord:1", "discord:7", platform="discord")
    ws.person("discord:7").give_consent()
    assert build(ws).excluded == {"platform-policy": 1}
    ws.policies.grant("discord", note="Discord, 12 May 2026, ticket 4711")
    assert build(ws).examples == 1
    ws.policies.revoke("discord")
    assert build(ws).excluded == {"platform-policy": 1}


def test_a_permission_has_a_ground(ws):
    with pytest.raises(InvalidEventError, match="who gave it, when"):
        ws.policies.grant("discord", note=" ")
    assert ws.store.position == 0


def test_a_platform_that_needs_no_permission_is_not_granted_one(ws):
    with pytest.raises(InvalidEventError, match="'dicsord' needs no permission; those that do: discord"):
        ws.policies.grant("dicsord", note="mail of 3 March")
    with pytest.raises(InvalidEventError, match="'telegram' needs no permission"):
        ws.policies.revoke("telegram")
    assert [policy.platform for policy in ws.policies.list()] == ["discord"]


def test_policies_say_what_the_platform_says(ws):
    [discord] = ws.policies.list()
    assert (discord.granted, "developer policy" in discord.rule) == (False, True)
    ws.policies.grant("discord", note="ticket 4711")
    ws.policies.grant("discord", note="ticket 4711")
    [discord] = ws.policies.list()
    assert (discord.granted, discord.note, ws.store.position) == (True, "ticket 4711", 1)
