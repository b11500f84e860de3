"""Roles: who may do what, where a role comes from, and who gives one."""

from __future__ import annotations

import typing
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier

import pytest
from hypothesis import given
from hypothesis import strategies as st

import trainerlib
from bots.port import Role
from bots.roles import GRANTABLE, PERSON, TRAINER, RoleError, allows, give, owners, role_of
from bots.texts import speaker
from trainerlib.settings import BotsSettings

ANNA, BEN, OLGA = "telegram:1", "telegram:7", "telegram:8"

commands = st.sampled_from(sorted(PERSON | TRAINER | GRANTABLE)) | st.text(max_size=8)
grants = st.sets(st.sampled_from(sorted(GRANTABLE)) | st.text(max_size=8))


@pytest.fixture
def ws(tmp_path):
    """A workspace whose settings make Anna an owner and Olga a trainer."""
    (tmp_path / "workspace.toml").write_text(f'[bots]\nowners = ["{ANNA}"]\ntrainers = ["{OLGA}"]\n', encoding="utf-8")
    with trainerlib.open(tmp_path) as workspace:
        yield workspace


@pytest.fixture
def unowned(tmp_path):
    """A workspace whose settings name nobody."""
    with trainerlib.open(tmp_path / "shop") as workspace:
        yield workspace


# --- what a role allows -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "person", "trainer"),
    [
        ("start", True, True), ("help", True, True), ("privacy", True, True), ("consent", True, True),
        ("forget", True, True), ("export", True, True), ("feedback", True, True), ("new", True, True),
        ("cancel", True, True), ("up", True, True), ("why", True, True), ("undo", True, True), ("stop", True, True),
        ("correct", False, True), ("fix", False, True), ("upload", False, True), ("test", False, True),
        ("datasets", False, True), ("jobs", False, True), ("model", False, True), ("stats", False, True),
        ("instruction", False, True),
        ("train", False, False), ("archive", False, False), ("getfile", False, False),
        ("select_dataset", False, False), ("promote", False, False), ("rollback", False, False),
        ("role", False, False), ("", False, False), ("no such command", False, False),
    ],
)  # fmt: skip
def test_who_may_use_what(what, person, trainer):
    """Talking is for everybody, teaching and looking for trainers; the rest, and what nobody listed, is the owner's."""
    assert (allows("person", what), allows("trainer", what), allows("owner", what)) == (person, trainer, True)


@given(what=commands, more=grants)
def test_a_higher_role_may_do_no_less(what, more):
    """Whatever is granted: what a person may a trainer may, and what a trainer may the owner may."""
    may = [allows(role, what, trainers_may=more) for role in ("person", "trainer", "owner")]
    assert may == sorted(may)
    assert may[2]


@given(what=commands, more=grants)
def test_only_what_may_be_granted_is(what, more):
    """The settings open the commands they name to trainers, of those that may be opened, and nothing to people."""
    assert allows("trainer", what, trainers_may=more) == (what in PERSON | TRAINER | (GRANTABLE & more))
    assert allows("person", what, trainers_may=more) == (what in PERSON)


def test_the_settings_know_the_commands_that_may_be_granted():
    """The list that `workspace.toml` is checked against is the one of the roles."""
    hint = typing.get_type_hints(BotsSettings)["trainers_may"]
    assert set(typing.get_args(typing.get_args(hint)[0])) == GRANTABLE
    assert not GRANTABLE & (PERSON | TRAINER)


# --- who has which ----------------------------------------------------------------------------------------------------


def test_a_role_comes_from_the_settings_until_one_is_given(ws):
    """An owner, a trainer and everybody else; nobody in particular is a person."""
    assert [role_of(ws, one) for one in (ANNA, OLGA, BEN, "")] == ["owner", "trainer", "person", "person"]
    ws.person(OLGA).give_role("person", by=ANNA)
    ws.person(BEN).give_role("trainer", by=ANNA)
    assert [role_of(ws, one) for one in (ANNA, OLGA, BEN)] == ["owner", "person", "trainer"]


def test_an_owner_of_the_settings_stays_one(ws):
    """Whatever the log says."""
    ws.person(ANNA).give_role("person", by=BEN)
    assert role_of(ws, ANNA) == "owner"


def test_a_change_by_another_process_counts_at_once(ws):
    """Another connection to the same log gives a role; the next question sees it."""
    assert role_of(ws, BEN) == "person"
    with trainerlib.open(ws.path) as other:
        other.person(BEN).give_role("owner", by=ANNA)
    assert role_of(ws, BEN) == "owner"


def test_whoever_is_erased_has_no_role(ws):
    """They come back as anybody."""
    from trainerlib.erasure import erase_person

    give(ws, ANNA, BEN, "owner")
    erase_person(ws.store, ws.path, BEN)
    assert (role_of(ws, BEN), owners(ws)) == ("person", [ANNA])


# --- giving one -------------------------------------------------------------------------------------------------------


def test_an_owner_gives_a_role(ws):
    """It is recorded with who gave it, and the role before is told; the same again records nothing."""
    assert give(ws, ANNA, BEN, "trainer") == "person"
    position = ws.store.position
    assert give(ws, ANNA, BEN, "trainer") == "trainer"
    assert give(ws, ANNA, OLGA, "trainer") == "trainer"
    assert ws.store.position == position
    [recorded] = ws.store.read(f"person/{BEN}")
    assert (recorded.event.role, recorded.event.by) == ("trainer", ANNA)


def test_whoever_was_made_an_owner_gives_roles_too(ws):
    """And may stop being one."""
    give(ws, ANNA, BEN, "owner")
    assert give(ws, BEN, OLGA, "owner") == "trainer"
    assert give(ws, BEN, BEN, "person") == "owner"
    with pytest.raises(RoleError, match="Only an owner"):
        give(ws, BEN, OLGA, "trainer")


@pytest.mark.parametrize("somebody", [OLGA, BEN, ""])
@pytest.mark.parametrize("role", typing.get_args(Role))
def test_nobody_but_an_owner_gives_a_role(ws, somebody, role):
    """Neither to others nor to themselves."""
    for person in (somebody, BEN, ANNA):
        with pytest.raises(RoleError, match="Only an owner gives roles"):
            give(ws, somebody, person, role)
    assert ws.store.position == 0


@pytest.mark.parametrize(
    ("person", "role", "words"),
    [
        (BEN, "admin", "no such role"),
        (BEN, "Owner", "no such role"),
        ("", "trainer", "not the id of a person"),
        ("ben", "trainer", "not the id of a person"),
        ("@ben", "trainer", "not the id of a person"),
        ("telegram:", "trainer", "not the id of a person"),
        ("telegram:7 8", "trainer", "not the id of a person"),
        ("telegram:7\x00", "trainer", "not the id of a person"),
        ("erased:9f2c", "trainer", "not the id of a person"),
        (ANNA, "person", "settings make them an owner"),
    ],
)
def test_what_makes_no_sense_is_refused(ws, person, role, words):
    """With one sentence, and nothing is recorded."""
    with pytest.raises(RoleError, match=words):
        give(ws, ANNA, person, role)
    assert ws.store.position == 0


def test_the_only_owner_stays_one(unowned):
    """Until there is another, be it in the log or in the settings."""
    unowned.person(BEN).give_role("owner")
    for role in ("trainer", "person"):
        with pytest.raises(RoleError, match="only owner"):
            give(unowned, BEN, BEN, role)
    give(unowned, BEN, OLGA, "owner")
    assert owners(unowned) == [BEN, OLGA]
    give(unowned, OLGA, BEN, "person")
    assert owners(unowned) == [OLGA]


def test_two_owners_do_not_depose_each_other(unowned):
    """At the same moment, from two threads: one of them stays."""
    both = (BEN, OLGA)
    with ThreadPoolExecutor(2) as threads:
        for _ in range(20):
            for person in both:
                unowned.person(person).give_role("owner")
            start = Barrier(2)

            def depose(mine, other, start=start):
                start.wait()
                with suppress(RoleError):
                    give(unowned, mine, other, "person")

            list(threads.map(depose, both, reversed(both)))
            assert len(owners(unowned)) == 1


def test_a_refusal_is_said_in_the_language_of_who_asks(ws):
    """The message of the error is a sentence that is translated."""
    with pytest.raises(RoleError) as caught:
        give(ws, BEN, OLGA, "person")
    assert speaker("ru")(str(caught.value)) == "Роли назначает только владелец."
    assert speaker("en")(str(caught.value)) == "Only an owner gives roles."
