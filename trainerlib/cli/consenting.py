"""`person list|consent|withdraw` and `policy list|grant|revoke`: whose words may be trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from trainerlib.cli.lineage import tell_held
from trainerlib.cli.output import emit, moment, one_line, say, table
from trainerlib.cli.recording import By
from trainerlib.cli.session import Session

if TYPE_CHECKING:
    from trainerlib.people import Policy

PersonId = Annotated[str, typer.Argument(metavar="PERSON", help="Person id, such as telegram:7.")]
Platform = Annotated[str, typer.Argument(metavar="PLATFORM", help="The platform, such as discord.")]


def people(session: Session) -> None:
    """List everybody who said whether their words may be trained on, or was given a role."""
    with session.open() as workspace:
        found = [(person.id, person.consent, person.role) for person in workspace.people()]
    if session.json:
        emit([{"person": person, "consent": consent, "role": role} for person, consent, role in found])
    elif not found:
        say("  nobody said anything yet; record it with: trainerlib person consent PERSON")
    else:
        table(
            ("person", "consent", "wording", "since", "role"),
            [
                (person, one.status, one.wording, moment(one.at) if one.at else "", role or "")
                for person, one, role in found
            ],
        )


def consent(
    session: Session,
    person: PersonId,
    wording: Annotated[str, typer.Option(help="Version of the wording they agreed to, such as 2026-11.")] = "",
    text: Annotated[str, typer.Option(help="The wording itself.")] = "",
    by: By = None,
) -> None:
    """Record that a person allows training on what they write."""
    with session.open(create=True) as workspace:
        before = workspace.store.position
        somebody = workspace.person(person)
        somebody.give_consent(wording=wording, text=text, by=by or "")
        new = workspace.store.position > before
        if session.json:
            emit({"person": person, "consent": somebody.consent, "new": new})
        else:
            say(f"  {somebody!r}" if new else "  nothing changed: they consent already, to the same wording")


def withdraw(
    session: Session,
    person: PersonId,
    note: Annotated[str, typer.Option(help="Why.")] = "",
    by: By = None,
) -> None:
    """Record that a person no longer allows training, and say which datasets hold what they wrote."""
    with session.open(create=True) as workspace:
        somebody = workspace.person(person)
        somebody.withdraw_consent(by=by or "", note=note)
        held = workspace.holding(person)
        if session.json:
            emit({"person": person, "consent": somebody.consent, "datasets": held})
            return
        say(f"  {somebody!r}; the next build leaves out every conversation they speak in")
        if held:
            say("  built before, and still holding them:")
            tell_held(held)


def policies(session: Session) -> None:
    """List the platforms that restrict training, and the permissions that are recorded."""
    with session.open() as workspace:
        found = workspace.policies.list()
    if session.json:
        emit(found)
        return
    for one in found:
        say(f"  {one.platform}: {'permitted' if one.granted else 'left out of every dataset'}")
        if one.rule:
            say(f"    rule: {one.rule}")
        if one.note and one.at is not None:
            say(f"    {moment(one.at)}: {one_line(one.note, 200)}")


def grant(
    session: Session,
    platform: Platform,
    note: Annotated[str, typer.Option(help="On what grounds: who permitted it, when, where it is written.")],
    by: By = None,
) -> None:
    """Record that a platform permits training on what is written there."""
    with session.open(create=True) as workspace:
        workspace.policies.grant(platform, note=note, by=by or "")
        one = workspace.policies.get(platform)
    _tell(session, one, "permitted; the next build takes its conversations")


def revoke(
    session: Session,
    platform: Platform,
    note: Annotated[str, typer.Option(help="Why.")] = "",
    by: By = None,
) -> None:
    """Record that a platform's permission no longer holds."""
    with session.open(create=True) as workspace:
        workspace.policies.revoke(platform, note=note, by=by or "")
        one = workspace.policies.get(platform)
    _tell(session, one, "left out of every dataset from the next build on")


def _tell(session: Session, policy: Policy, now: str) -> None:
    """What holds for a platform from now on."""
    if session.json:
        emit(policy)
    else:
        say(f"  {policy.platform}: {now}")
