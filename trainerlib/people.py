"""People: whether they consent, and since when, and their role; and the permissions of the platforms they write on.

>>> with EventStore(tmp / "log.db") as store:
...     anna = Person(store, "telegram:7")
...     anna.give_consent(wording="2026-11")
...     anna.give_consent(wording="2026-11")
...     anna.consent.status, anna.consent.wording, store.position
...     anna.give_role("trainer", by="telegram:1")
...     anna.role
('given', '2026-11', 1)
'trainer'
"""

from __future__ import annotations

from datetime import datetime
from typing import cast, get_args

import msgspec

from trainerlib.consent import RESTRICTED, Status
from trainerlib.errors import InvalidEventError
from trainerlib.events import (
    ConsentGiven,
    ConsentWithdrawn,
    Event,
    PersonRole,
    PolicyGranted,
    PolicyRevoked,
    RecordedEvent,
    RoleGiven,
)
from trainerlib.store.eventstore import EventStore


class Consent(msgspec.Struct, frozen=True):
    """Whether a person allows training on what they write.

    Attributes:
        status: `given`, `withdrawn` or `unknown`.
        wording: version of the wording they agreed to.
        at: when they said so, UTC; `None` when they did not.
        by: who recorded it, when not the person.
    """

    status: Status = "unknown"
    wording: str = ""
    at: datetime | None = None
    by: str = ""


class Person:
    """Somebody who writes. Made by `Workspace.person`.

    Attributes:
        id: `telegram:7`.
    """

    def __init__(self, store: EventStore, person: str) -> None:
        if not person.strip():
            raise InvalidEventError("a person has an id, such as telegram:7; it cannot be empty")
        self.id = person
        self._store = store
        self._stream = f"person/{person}"

    @property
    def consent(self) -> Consent:
        """What they said last."""
        last = self._last(ConsentGiven, ConsentWithdrawn)
        if last is None:
            return Consent()
        if isinstance(last.event, ConsentGiven):
            return Consent("given", last.event.wording, last.recorded_at, last.event.by)
        return Consent("withdrawn", "", last.recorded_at, getattr(last.event, "by", ""))

    def give_consent(self, *, wording: str = "", text: str = "", by: str = "") -> None:
        """Record that they allow training on what they write; the same again changes nothing.

        Args:
            wording: version of the wording they agreed to.
            text: the wording itself.
            by: who records it, when not the person.
        """
        last = self._last(ConsentGiven, ConsentWithdrawn)
        if last is None or not isinstance(last.event, ConsentGiven) or last.event.wording != wording:
            self._store.append(self._stream, [ConsentGiven(wording, text, by)])

    def withdraw_consent(self, *, by: str = "", note: str = "") -> None:
        """Record that they no longer allow it; the next build leaves out every conversation they speak in.

        Args:
            by: who records it, when not the person.
            note: why.
        """
        last = self._last(ConsentGiven, ConsentWithdrawn)
        if last is None or not isinstance(last.event, ConsentWithdrawn):
            self._store.append(self._stream, [ConsentWithdrawn(by, note)])

    @property
    def role(self) -> PersonRole | None:
        """What they may do with a bot, as it was given them last; `None` when nobody gave them a role."""
        last = self._last(RoleGiven)
        return None if last is None else cast(RoleGiven, last.event).role

    def give_role(self, role: PersonRole, *, by: str = "") -> None:
        """Record what they may do with a bot from here on; the role they have already changes nothing.

        Args:
            role: `owner`, `trainer` or `person`.
            by: who gives it.

        Raises:
            InvalidEventError: there is no such role.
        """
        if role not in get_args(PersonRole):
            raise InvalidEventError(f"there is no role {role!r}; there is {', '.join(get_args(PersonRole))}")
        if self.role != role:
            self._store.append(self._stream, [RoleGiven(role, by)])

    def __repr__(self) -> str:
        consent, role = self.consent, self.role
        since = f" since {consent.at:%Y-%m-%d %H:%M}" if consent.at is not None else ""
        return f"Person {self.id}: consent {consent.status}{since}{f', {role}' if role else ''}"

    def _last(self, *kinds: type[Event]) -> RecordedEvent | None:
        """The event of some kinds that says how things stand."""
        said = [one for one in self._store.read(self._stream) if isinstance(one.event, kinds)]
        return said[-1] if said else None


class Policy(msgspec.Struct, frozen=True):
    """Whether what is written on a platform may be trained on at all.

    Attributes:
        platform: `discord`.
        rule: what the platform says.
        granted: the operator recorded its permission.
        note: on what grounds.
        at: when that was recorded, UTC.
    """

    platform: str
    rule: str = ""
    granted: bool = True
    note: str = ""
    at: datetime | None = None


class Policies:
    """The permissions of the platforms of a workspace. Made by `Workspace.policies`."""

    def __init__(self, store: EventStore) -> None:
        self._store = store

    def list(self) -> list[Policy]:
        """Every platform that restricts training."""
        return [self.get(platform) for platform in RESTRICTED]

    def get(self, platform: str) -> Policy:
        """How things stand for one platform."""
        last = self._last(platform)
        rule = RESTRICTED.get(platform, "")
        if last is None:
            return Policy(platform, rule, platform not in RESTRICTED)
        granted = isinstance(last.event, PolicyGranted)
        return Policy(platform, rule, granted or not rule, getattr(last.event, "note", ""), last.recorded_at)

    def grant(self, platform: str, *, note: str, by: str = "") -> None:
        """Record that a platform permits training on its content.

        Args:
            platform: `discord`.
            note: on what grounds: who permitted it, when, where it is written.
            by: who records it.

        Raises:
            InvalidEventError: no ground is given, or the platform needs no permission.
        """
        if not note.strip():
            raise InvalidEventError("a permission has a ground: say who gave it, when, and where it is written")
        self._change(platform, PolicyGranted(note, by))

    def revoke(self, platform: str, *, note: str = "", by: str = "") -> None:
        """Record that the permission no longer holds.

        Raises:
            InvalidEventError: the platform needs no permission.
        """
        self._change(platform, PolicyRevoked(note, by))

    def _change(self, platform: str, event: Event) -> None:
        if platform not in RESTRICTED:
            raise InvalidEventError(f"{platform!r} needs no permission; those that do: {', '.join(RESTRICTED)}")
        last = self._last(platform)
        if last is None or last.event != event:
            self._store.append(f"policy/{platform}", [event])

    def _last(self, platform: str) -> RecordedEvent | None:
        """The event that says how things stand."""
        said = list(self._store.read(f"policy/{platform}"))
        return said[-1] if said else None
