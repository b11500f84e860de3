"""Who speaks where: looked up in the log itself, as it is asked seldom."""

from __future__ import annotations

import msgspec

from trainerlib.store import tables
from trainerlib.store.database import Database


def conversations_of(database: Database, person: str) -> list[str]:
    """Ids of the conversations a person speaks in, in the order they began.

    Args:
        database: the log.
        person: person id.
    """
    quoted = f'"author":{msgspec.json.encode(person).decode()}'
    rows = database.query(tables.SELECT_CONVERSATIONS_OF, (quoted, person))
    return [name.partition("/")[2] for (name,) in rows]
