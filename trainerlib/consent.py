"""Consent: whose words may be trained on, folded from the log.

A conversation may be used when everybody who speaks in it consents, or when it was imported on a stated basis that the
recipe accepts. Nobody's basis stands above a person's own no, and a platform that forbids training comes before both.

>>> from trainerlib.events import ConsentGiven, Imported, RecordedEvent
>>> allowed = fold([
...     RecordedEvent(1, "person/telegram:7", 1, ConsentGiven("2026-11"), 0),
...     RecordedEvent(2, "import/9f2c", 1, Imported("chat.json", "9f2c", "telegram", basis="operator: our own"), 0),
... ])
>>> allowed.status("telegram:7"), allowed.status("telegram:8")
('given', 'unknown')
>>> allowed.bases["9f2c"]
'operator: our own'
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from trainerlib.conversations import Conversation
from trainerlib.events import (
    ConsentGiven,
    ConsentWithdrawn,
    Imported,
    PolicyGranted,
    PolicyRevoked,
    RecordedEvent,
)

STREAMS = ("person/", "policy/", "import/")
"""Beginnings of the streams that say what is allowed."""

RESTRICTED: dict[str, str] = {
    "discord": "Discord's developer policy forbids training on message content without Discord's express permission",
}
"""Platforms whose content is left out until the operator records a permission, and why."""

ERASED = "erased:"
"""Beginning of the name that stands in the place of an erased person."""

Status = Literal["given", "withdrawn", "unknown"]

Bases = Literal["recorded", "none"] | tuple[str, ...]
"""Which bases of an import count beside consent: any that was stated, none, or those that begin with one of these words."""


class Permissions(msgspec.Struct, frozen=True):
    """What is allowed at some position of the log.

    Attributes:
        given: people who consent.
        withdrawn: people who took their consent back, or never gave it and said no.
        platforms: restricted platforms whose permission is recorded.
        bases: for each imported file, by sha256, the basis its operator stated.
    """

    given: frozenset[str] = frozenset()
    withdrawn: frozenset[str] = frozenset()
    platforms: frozenset[str] = frozenset()
    bases: dict[str, str] = msgspec.field(default_factory=dict)

    def status(self, person: str) -> Status:
        """Whether a person consents."""
        return "given" if person in self.given else "withdrawn" if person in self.withdrawn else "unknown"

    def verdict(self, conversation: Conversation, bases: Bases) -> tuple[str, str]:
        """Whether a conversation may be used: `(reason code, ground)`, one of them empty.

        The reason is why it may not; the ground is its basis, `consent`, or `nobody named`.
        """
        if conversation.platform in RESTRICTED and conversation.platform not in self.platforms:
            return "platform-policy", ""
        speaking = people(conversation)
        if not speaking.isdisjoint(self.withdrawn):
            return "consent-withdrawn", ""
        basis = self._basis(conversation, bases)
        if basis:
            return "", basis
        if speaking <= self.given:
            return "", "consent" if speaking else "nobody named"
        return "no-consent", ""

    def _basis(self, conversation: Conversation, bases: Bases) -> str:
        """The bases of a conversation's files, when each has one that counts; else empty."""
        if bases == "none" or not conversation.sources:
            return ""
        stated = [self.bases.get(source, "") for source in conversation.sources]
        if not all(stated) or (bases != "recorded" and not all(basis.startswith(bases) for basis in stated)):
            return ""
        return "; ".join(dict.fromkeys(stated))


def people(conversation: Conversation) -> set[str]:
    """Who speaks in a conversation: authors of what people, not the assistant, said; erased ones said nothing."""
    return {
        message.author
        for message in conversation.messages
        if message.author and message.role == "user" and not message.author.startswith(ERASED)
    }


def fold(events: Iterable[RecordedEvent]) -> Permissions:
    """What the events of person, policy and import streams, in log order, allow; others are passed over."""
    consent: dict[str, bool] = {}
    platforms: set[str] = set()
    bases: dict[str, str] = {}
    for recorded in events:
        event = recorded.event
        subject = recorded.stream.partition("/")[2]
        match event:
            case ConsentGiven():
                consent[subject] = True
            case ConsentWithdrawn():
                consent[subject] = False
            case PolicyGranted():
                platforms.add(subject)
            case PolicyRevoked():
                platforms.discard(subject)
            case Imported(sha256=sha256, basis=basis) if basis:
                bases[sha256] = basis
    return Permissions(
        frozenset(person for person, given in consent.items() if given),
        frozenset(person for person, given in consent.items() if not given),
        frozenset(platforms),
        bases,
    )
