"""How events are written to the log and read from it, those of older versions included.

>>> from trainerlib.events import FeedbackGiven
>>> wire_name, schema_version, data = CODEC.encode(FeedbackGiven(message=3, by="telegram:7", rating=-1))
>>> wire_name, schema_version, data
('feedback.given', 1, b'{"message":3,"by":"telegram:7","rating":-1}')
>>> CODEC.decode(wire_name, schema_version, data)
FeedbackGiven(message=3, by='telegram:7', rating=-1, text='', reason='')
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from trainerlib.errors import InvalidEventError, UnknownEventError
from trainerlib.events import EVENTS, Event, JsonObject

Upcast = Callable[[JsonObject], JsonObject]
"""Turns the JSON object of one schema version into that of the next."""


class Codec:
    """Writes events as JSON and reads them back, older versions included.

    Args:
        events: the event classes, each with its own wire name.
        upcasts: for each `(wire_name, version)` that is no longer current, the step to `version + 1`.

    >>> class Renamed(Event, frozen=True):
    ...     wire_name = "thing.renamed"
    ...     schema_version = 2
    ...     title: str
    >>> codec = Codec([Renamed], {("thing.renamed", 1): lambda old: {"title": old["name"]}})
    >>> codec.decode("thing.renamed", 1, b'{"name":"x"}')
    Renamed(title='x')
    """

    def __init__(self, events: Iterable[type[Event]], upcasts: Mapping[tuple[str, int], Upcast] | None = None) -> None:
        self._encode = msgspec.json.Encoder().encode
        self._classes = {event.wire_name: event for event in events}
        self._known = frozenset(self._classes.values())
        self._upcasts = dict(upcasts or {})
        self.decoders: dict[int, dict[str, Callable[[bytes], Event]]] = {}
        for event in self._classes.values():
            of_version = self.decoders.setdefault(event.schema_version, {})
            of_version[event.wire_name] = msgspec.json.Decoder(event).decode

    def encode(self, event: Event) -> tuple[str, int, bytes]:
        """`(wire name, schema version, UTF-8 JSON)` of an event.

        Raises:
            InvalidEventError: it holds something JSON cannot, such as a lone surrogate.
            UnknownEventError: it is not one of this codec's events.
        """
        return event.wire_name, event.schema_version, self.encode_all((event,))[0]

    def encode_all(self, events: Sequence[Event]) -> list[bytes]:
        """The JSON alone of events, in order; raises as `encode` does."""
        if not self._known.issuperset(map(type, events)):
            stranger = next(type(event) for event in events if type(event) not in self._known)
            raise UnknownEventError(f"{stranger.__name__} is not an event of this log")
        data: list[bytes] = []
        try:
            data += map(self._encode, events)
        except (TypeError, ValueError) as error:
            name = events[len(data)].wire_name
            raise InvalidEventError(f"{name} cannot be written as JSON: {error}") from error
        return data

    def decode(self, wire_name: str, version: int, data: bytes) -> Event:
        """The event that was written as `data`; an older version is brought up to date one step at a time.

        Raises:
            UnknownEventError: the name or version was written by a newer trainerlib.
            InvalidEventError: `data` is not what the event's schema says.
        """
        try:
            decoder = self.decoders.get(version, {}).get(wire_name)
            if decoder is not None:
                return decoder(data)
            return self._decode_old(wire_name, version, data)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise InvalidEventError(f"{wire_name} version {version} does not decode: {error}") from error

    def _decode_old(self, wire_name: str, version: int, data: bytes) -> Event:
        cls = self._classes.get(wire_name)
        if cls is None or version > cls.schema_version:
            raise UnknownEventError(f"{wire_name} version {version} is not known here; upgrade trainerlib")
        fields = msgspec.json.decode(data, type=JsonObject)
        for step in range(version, cls.schema_version):
            upcast = self._upcasts.get((wire_name, step))
            if upcast is None:
                raise UnknownEventError(f"{wire_name} version {step} has no upcast")
            fields = upcast(fields)
        return msgspec.convert(fields, cls)


CODEC = Codec(EVENTS)
"""Reads and writes every event there is."""
