"""Who may do what: the owner everything, a trainer what teaches and looks, everybody what is a talk.

What spends money, reads files or changes which model answers is the owner's, and so is everything that is not listed
here; `[bots] trainers_may` in `workspace.toml` names what trainers may do of it as well.

>>> allows("person", "feedback"), allows("person", "correct"), allows("trainer", "correct")
(True, False, True)
>>> allows("trainer", "train"), allows("trainer", "train", trainers_may=("train",)), allows("owner", "train")
(False, True, True)
"""

from __future__ import annotations

import re
import threading
from collections.abc import Collection
from typing import cast, get_args

from bots.port import Role
from bots.texts import N_
from trainerlib import TrainerlibError, Workspace

PERSON = frozenset(
    {
        "start", "help", "hi", "new", "cancel", "privacy", "consent", "forget", "export", "feedback",
        # Buttons: one's own ratings, and a way out of them and of an answer.
        "up", "down", "why", "undo", "stop",
    }
)  # fmt: skip
"""Commands and buttons that are for everybody."""

TRAINER = frozenset(
    {
        "correct", "fix", "upload", "test",
        "datasets", "jobs", "model", "stats", "instruction",
    }
)  # fmt: skip
"""Commands and buttons that are for trainers as well: teaching, and looking at what came of it."""

GRANTABLE = frozenset({"train", "archive", "getfile", "select_dataset", "promote", "rollback"})
"""What the owner may leave to trainers, with `[bots] trainers_may`."""

_ID = re.compile(r"(?:telegram|discord):-?[0-9]+|(?!erased:|telegram:|discord:)[a-z][a-z0-9]*:[^\s\x00-\x1f]+")
"""The id of a person who can be given a role: those of both platforms are numbers, and `@ann` is nobody's."""

_giving = threading.Lock()
"""Held while a role is given: two owners must not each take the other's at the same moment."""


class RoleError(TrainerlibError):
    """A role may not be given. The message is a sentence of `bots.texts`, to be said in anybody's language."""


def allows(role: Role, what: str, *, trainers_may: Collection[str] = ()) -> bool:
    """Whether somebody of a role may use a command or a button.

    Args:
        role: theirs.
        what: name of the command without its `/`, or the first word of the button's action.
        trainers_may: what trainers may do beside their own, `ws.settings.bots.trainers_may`.
    """
    if role == "owner" or what in PERSON:
        return True
    return role == "trainer" and (what in TRAINER or (what in GRANTABLE and what in trainers_may))


def role_of(workspace: Workspace, person: str) -> Role:
    """The role of somebody at this moment.

    Args:
        workspace: whose bot it is.
        person: person id, `telegram:7`; an empty one is nobody.
    """
    bots = workspace.settings.bots
    if person in bots.owners:
        return "owner"
    given = workspace.person(person).role if person.strip() else None
    if given is not None:
        return given
    return "trainer" if person in bots.trainers else "person"


def give(workspace: Workspace, owner: str, person: str, role: str) -> Role:
    """Give somebody a role.

    Args:
        workspace: whose bot it is.
        owner: who gives it.
        person: who gets it, `telegram:7`.
        role: `owner`, `trainer` or `person`.

    Returns:
        The role they had.

    Raises:
        RoleError: it may not be given, or makes no sense.
    """
    with _giving:
        if role_of(workspace, owner) != "owner":
            raise RoleError(N_("Only an owner gives roles."))
        if role not in get_args(Role):
            raise RoleError(N_("There is no such role. The roles are owner, trainer and person."))
        if not _ID.fullmatch(person):
            raise RoleError(N_("That is not the id of a person. It looks like telegram:7."))
        before = role_of(workspace, person)
        if before == role:
            return before
        if person in workspace.settings.bots.owners:
            raise RoleError(N_("The settings make them an owner, so they stay one."))
        if role == "person" and person in workspace.settings.bots.trainers:
            # Should they be erased, the settings would be all that is known of them.
            raise RoleError(N_("The settings make them a trainer, so they stay one."))
        if before == "owner" and owners(workspace) == [person]:
            raise RoleError(N_("They are the only owner. Make somebody else an owner first."))
        workspace.person(person).give_role(cast(Role, role), by=owner)
    return before


def owners(workspace: Workspace) -> list[str]:
    """Person ids of everybody who is an owner: those of the settings first.

    Args:
        workspace: whose bot it is.
    """
    given = [person.id for person in workspace.people() if person.role == "owner"]
    return list(dict.fromkeys((*workspace.settings.bots.owners, *given)))
