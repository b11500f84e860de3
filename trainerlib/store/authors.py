"""Who speaks where: looked up in the log itself, as it is asked seldom."""

from __future__ import annotations

import msgspec

from trainerlib.store.database import Database

# The text comparison passes over nearly every row before any JSON is read.
_SPOKEN = """SELECT DISTINCT streams.name FROM events JOIN streams ON streams.id = events.stream_id
WHERE events.type = 'message.recorded' AND instr(events.data, ?) AND json_extract(events.data, '$.author') = ?
ORDER BY streams.id"""


def conversations_of(database: Database, person: str) -> list[str]:
    """Ids of the conversations a person speaks in, in the order they began.

    Args:
        database: the log.
        person: person id.
    """
    quoted = msgspec.json.encode(person).decode()
    rows = database.query(_SPOKEN, (f'"author":{quoted}', person))
    return [name.partition("/")[2] for (name,) in rows]
