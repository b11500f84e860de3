"""The index of what questions should be answered with: corrections, and replies that were approved.

It keeps its own checkpoint and catches up when somebody asks, so recording never pays for it. How alike two questions
are is decided in `trainerlib.recall`; here lies what is compared.

>>> with EventStore(tmp / "log.db") as store:
...     _ = store.append("conversation/a", [
...         MessageRecorded("user", "When do you open?"),
...         MessageRecorded("assistant", "At 10."),
...         Corrected(2, "9 to 18, every day.", by="anna"),
...     ])
...     [recalled] = AnswerIndex(store).find("what time are you open", limit=3, threshold=0.5)
>>> recalled.answer, recalled.question, recalled.by
('9 to 18, every day.', 'When do you open?', 'anna')
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from hashlib import blake2b

from trainerlib.conversations import Conversation, fold
from trainerlib.events import (
    Corrected,
    CorrectionWithdrawn,
    Event,
    FeedbackGiven,
    FeedbackWithdrawn,
    MessageDeleted,
    MessageEdited,
    TranscriptRecorded,
)
from trainerlib.recall import (
    SHORTEST,
    Recalled,
    asked,
    gist,
    is_word,
    keys,
    nearness,
    rarity,
    relatives,
    similarity,
    taught,
    weighed,
)
from trainerlib.store import tables
from trainerlib.store.eventstore import EventStore
from trainerlib.store.rows import LAST, PAGE
from trainerlib.store.search import stems

NAME = "answers/1"
"""The checkpoint, with the version of what `asked` makes of a question: with another one everything is derived anew."""

_CHANGING = (
    Corrected,
    CorrectionWithdrawn,
    FeedbackGiven,
    FeedbackWithdrawn,
    MessageEdited,
    MessageDeleted,
    TranscriptRecorded,
)
"""Events that can change what was asked before, or how it should be answered."""

_TEACHING = (Corrected, FeedbackGiven)
"""Without one of these a conversation has nothing to teach."""

_IDLE = 10_000
"""Events with nothing for the index after which its checkpoint is written all the same."""

_TOUCHED = 10_000
"""Events whose conversations are indexed together, each of them once."""

_ENTRIES = 2_000
"""Entries that a look-up reads at most, those of the rarest terms first."""

_LISTS = 64
"""Terms whose entries a look-up reads at most."""

_CANDIDATES = 48
"""Questions that are compared at most."""

_FORMS = 2_000
"""Words that begin like one that is asked for, of which near ones are taken."""

_EVERY = ""
"""In place of a term: what every question has."""


def _wire_names(kinds: Iterable[type[Event]]) -> str:
    return ", ".join(f"'{kind.wire_name}'" for kind in kinds)


# SQLite reads what kind of event each is and nothing else of it: a log of a million is gone through in a moment.
_NEWS = f"SELECT max(position), max(type IN ({_wire_names(_CHANGING)})) FROM events WHERE position > ?"
_CHANGED = f"""SELECT position, name FROM events JOIN streams ON streams.id = stream_id
WHERE position > ? AND type IN ({_wire_names(_CHANGING)}) ORDER BY position LIMIT ?"""
_TAUGHT = f"""SELECT DISTINCT stream_id, name FROM events JOIN streams ON streams.id = stream_id
WHERE stream_id > ? AND position <= ? AND type IN ({_wire_names(_TEACHING)}) ORDER BY stream_id LIMIT ?"""

_COLUMNS = "message, stream_id, asked, correction, terms, question, answer, author"
_OF_CONVERSATION = f"SELECT {_COLUMNS} FROM answers WHERE stream_id = ?"
_INSERT = f"INSERT INTO answers({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_DELETE = "DELETE FROM answers WHERE message = ?"
_IS_ASKED = "SELECT 1 FROM answers WHERE asked = ? AND (correction > 0) = ? LIMIT 1"
_LATEST = """SELECT answers.* FROM json_each(?) AS best JOIN answers ON answers.message = (
    SELECT message FROM answers
    WHERE asked = json_extract(best.value, '$[0]') AND (correction > 0) = json_extract(best.value, '$[1]')
      AND stream_id NOT IN (SELECT id FROM streams WHERE name IN (SELECT 'conversation/' || value FROM json_each(?)))
    ORDER BY correction DESC, message DESC LIMIT 1
)"""
_INSERT_ENTRY = "INSERT INTO answer_entries(corrected, term, length, asked) VALUES (?, ?, ?, ?)"
_DELETE_ENTRY = "DELETE FROM answer_entries WHERE corrected = ? AND term = ? AND length = ? AND asked = ?"
_LIST = """SELECT * FROM (
    SELECT asked, ? AS corrected, length, ? AS weight FROM answer_entries WHERE corrected = ? AND term = ?
    ORDER BY length, asked LIMIT ?
)"""
_BEST = """SELECT asked, corrected FROM ({}) GROUP BY asked, corrected
ORDER BY sum(weight) / (length + ?) DESC, length, asked, corrected LIMIT ?"""
_COUNT_UP = """INSERT INTO answer_terms(term, corrected, questions) VALUES (?, ?, 1)
ON CONFLICT DO UPDATE SET questions = questions + 1"""
_COUNT_DOWN = "UPDATE answer_terms SET questions = questions - 1 WHERE term = ? AND corrected = ?"
_FORGET = "DELETE FROM answer_terms WHERE term = ? AND corrected = ? AND questions = 0"
_COUNTS = """SELECT term, corrected, questions FROM answer_terms
WHERE term IN (SELECT value FROM json_each(?)) AND corrected >= ?"""
_BEGINNING = "SELECT DISTINCT term FROM answer_terms WHERE term >= ? AND term < ? AND corrected >= ? LIMIT ?"
_MISCOUNTED = """SELECT count(*) FROM (
    SELECT term, corrected, questions FROM answer_terms WHERE term <> ''
    EXCEPT SELECT term, corrected, count(*) FROM answer_entries GROUP BY corrected, term
)"""

_GROUPS = """SELECT asked, correction > 0, min(terms) FROM answers WHERE (asked, correction > 0) > (?, ?)
GROUP BY asked, correction > 0 ORDER BY asked, correction > 0 LIMIT ?"""
_HAS_ENTRY = "SELECT 1 FROM answer_entries WHERE corrected = ? AND term = ? AND length = ? AND asked = ?"

_Row = tuple[int, int, int, int, str, str, str, str]
"""A row of `answers`: `correction` is 0 for an approved reply, `asked` the same for questions with the same gist."""


class AnswerIndex:
    """The questions of a log that somebody said the answer to.

    Args:
        store: the log.
    """

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._idle = (0, 0)

    def find(
        self, question: str, *, limit: int, threshold: float, approved: bool = False, apart_from: Collection[str] = ()
    ) -> list[Recalled]:
        """Earlier questions like one that is asked, most similar first, with their answers.

        Of equally similar ones a correction comes before a reply that was approved, and what was said last before what
        was said earlier. Questions that differ in function words alone are one, answered as it was last; no answer is
        given twice.

        Args:
            question: what is asked.
            limit: most results.
            threshold: similarity from which a question counts, 0 to 1; see `trainerlib.recall`.
            approved: also replies that were approved, not only corrections.
            apart_from: ids of conversations that are passed over, as if nobody had been corrected there.
        """
        self.catch_up()
        lowest = 0 if approved else 1
        every = sum(self._counts([_EVERY], lowest)[_EVERY].values())
        if not every:
            return []
        wanted = asked(question, stems)
        rows = self._candidates(wanted, lowest, every, apart_from)
        counts = self._rarities({term for row in rows for term in row[4].split()}.union(wanted.split()), lowest, every)
        rarest: Callable[[str], float] = lambda term: counts.get(term, 1.0)  # noqa: E731 - used in two places, both here
        sought = weighed(wanted, rarest)
        scored = [(similarity(sought, weighed(row[4], rarest)), row) for row in rows]
        best: dict[int, float] = defaultdict(float)
        for alike, row in scored:
            best[row[2]] = max(best[row[2]], alike)
        scored.sort(key=lambda one: (-best[one[1][2]], -one[1][3], -one[1][0]))
        found: dict[int, Recalled] = {}
        given: set[str] = set()
        for alike, (message, _, group, correction, _, before, answer, by) in scored:
            if len(found) < limit and alike >= threshold and group not in found and answer not in given:
                found[group] = Recalled(before, answer, message, correction or None, alike, by)
                given.add(answer)
        return list(found.values())

    def _candidates(self, wanted: str, lowest: int, every: int, apart_from: Collection[str]) -> list[_Row]:
        """The latest answer to each of the questions, of so many, that have most in common with one."""
        telling = keys(wanted)
        near = self._near(telling, lowest)
        counts = self._counts(near, lowest)
        lists = [
            (having, corrected, term, near[term] * rarity(every, having))
            for term in near
            for corrected, having in counts[term].items()
        ]
        arms: list[str] = []
        values: list[str | int | float] = []
        room = _ENTRIES
        for having, corrected, term, weight in sorted(lists)[:_LISTS]:
            arms.append(_LIST)
            values += [corrected, weight, corrected, term, room]
            room -= having
            if room <= 0:
                break
        if not arms:
            return []
        best = self._store.database.query(_BEST.format(" UNION ALL ".join(arms)), (*values, len(telling), _CANDIDATES))
        return self._store.database.query(_LATEST, (json.dumps(best), json.dumps(list(apart_from))))

    def _near(self, telling: Iterable[str], lowest: int) -> dict[str, float]:
        """The terms of the index that are one of these, or nearly, and how near."""
        near: dict[str, float] = {}
        for term in telling:
            forms = {term}
            if is_word(term) and len(term) >= SHORTEST:
                known = self._beginning(term[:SHORTEST], lowest)
                # A word that nobody said yet may be misspelt, and its beginning as well.
                forms.update(known, relatives(term), () if term in known else self._beginning(term[:2], lowest))
            for form in forms:
                near[form] = max(near.get(form, 0.0), 1.0 if form == term else nearness(term, form))
        return {form: alike for form, alike in near.items() if alike}

    def _beginning(self, letters: str, lowest: int) -> list[str]:
        """Terms of the index that begin with some letters."""
        before = letters[:-1] + chr(ord(letters[-1]) + 1)
        return [term for (term,) in self._store.database.query(_BEGINNING, (letters, before, lowest, _FORMS))]

    def _counts(self, terms: Iterable[str], lowest: int) -> dict[str, dict[int, int]]:
        """How many questions have each term: by term those with a correction (1) and with an approved reply (0)."""
        counts: dict[str, dict[int, int]] = defaultdict(dict)
        for term, corrected, questions in self._store.database.query(_COUNTS, (json.dumps(list(terms)), lowest)):
            counts[term][corrected] = questions
        return counts

    def _rarities(self, terms: Iterable[str], lowest: int, every: int) -> dict[str, float]:
        """What each of the terms counts among so many questions."""
        counts = self._counts(terms, lowest)
        return {term: rarity(every, sum(having.values())) for term, having in counts.items()}

    def catch_up(self) -> None:
        """Take in what was recorded since the last time."""
        done = self._store.checkpoint(NAME)
        # Most of what is recorded teaches nothing: looking through it costs no write.
        after = self._idle[1] if self._idle[0] == done else done
        [[head, changed]] = self._store.database.query(_NEWS, (after,))
        if head is None:
            return
        if not changed and head - done < _IDLE:
            self._idle = (done, head)
        elif not done:
            self.rebuild()
        else:
            with self._store.database.transaction() as connection:
                self._take(connection)

    def rebuild(self) -> None:
        """Derive the index again from nothing."""
        with self._store.database.bulk(), self._store.database.transaction() as connection:
            head = self._store.position
            for table in ("answers", "answer_entries", "answer_terms"):
                connection.execute(f"DELETE FROM {table}")
            for stream_id, conversation in self._teaching(until=head):
                replace(connection, stream_id, conversation)
            connection.execute(tables.SAVE_CHECKPOINT, (NAME, head))

    def verify(self) -> list[str]:
        """What the index has wrong, in a line; an empty list is good news."""
        self.catch_up()
        wrong = right = 0
        for stream_id, conversation in self._teaching(until=self._store.checkpoint(NAME)):
            rows = self._store.database.query(_OF_CONVERSATION, (stream_id,))
            expected = set(_rows(stream_id, conversation))
            wrong += len(expected.symmetric_difference(rows))
            right += len(rows)
        extra = self._store.database.query("SELECT count(*) FROM answers")[0][0] - right
        bad = wrong + max(extra, 0) + self._misplaced()
        return [f"answers: {bad} entries are not as the log says; run `trainerlib rebuild`"] if bad else []

    def _misplaced(self) -> int:
        """How many entries and counts do not fit the answers."""
        query = self._store.database.query
        missing = expected = 0
        last = (-LAST, 0)
        while page := query(_GROUPS, (*last, PAGE)):
            for question, corrected, terms in page:
                telling = keys(terms)
                expected += len(telling)
                missing += sum(not query(_HAS_ENTRY, (corrected, term, len(telling), question)) for term in telling)
            last = page[-1][:2]
        present = int(query("SELECT count(*) FROM answer_entries")[0][0])
        miscounted = int(query(_MISCOUNTED)[0][0])
        return missing + present - (expected - missing) + miscounted

    def _teaching(self, *, until: int) -> Iterator[tuple[int, Conversation]]:
        """Every conversation in which somebody corrected or rated a reply, with the id of its stream."""
        last = 0
        while page := self._store.database.query(_TAUGHT, (last, until, PAGE)):
            for stream_id, stream in page:
                yield stream_id, fold(self._store.read(stream, until=until))
            last = page[-1][0]

    def _take(self, connection: sqlite3.Connection) -> None:
        """Index again each conversation that something was said about since the last time."""
        [[done]] = connection.execute(tables.SELECT_CHECKPOINT, (NAME,))
        head = self._store.position
        while page := self._store.database.query(_CHANGED, (done, _TOUCHED)):
            for stream in sorted({stream for _, stream in page}):
                replace(connection, self._stream_id(stream), fold(self._store.read(stream)))
            done = page[-1][0]
        connection.execute(tables.SAVE_CHECKPOINT, (NAME, head))

    def _stream_id(self, stream: str) -> int:
        return int(self._store.database.query(tables.SELECT_STREAM_ID, (stream,))[0][0])


def replace(connection: sqlite3.Connection, stream_id: int, conversation: Conversation) -> None:
    """Index what a conversation teaches as it stands now, in the caller's transaction.

    Args:
        connection: in a write transaction.
        stream_id: id of the conversation's stream.
        conversation: every event of it folded.
    """
    rows = set(_rows(stream_id, conversation))
    indexed = set(connection.execute(_OF_CONVERSATION, (stream_id,)))
    for row in sorted(indexed - rows):
        _remove(connection, row)
    for row in sorted(rows - indexed):
        _add(connection, row)


def _rows(stream_id: int, conversation: Conversation) -> Iterator[_Row]:
    for lesson in taught(conversation):
        terms = asked(lesson.question, stems)
        if keys(terms):
            group = int.from_bytes(blake2b(gist(terms).encode(), digest_size=8).digest(), "big", signed=True)
            yield (
                lesson.message,
                stream_id,
                group,
                lesson.correction or 0,
                terms,
                lesson.question,
                lesson.answer,
                lesson.by,
            )


def _add(connection: sqlite3.Connection, row: _Row) -> None:
    _, _, group, correction, terms, *_ = row
    corrected = int(correction > 0)
    is_new = connection.execute(_IS_ASKED, (group, corrected)).fetchone() is None
    connection.execute(_INSERT, row)
    if is_new:
        telling = keys(terms)
        connection.executemany(_INSERT_ENTRY, [(corrected, term, len(telling), group) for term in telling])
        connection.executemany(_COUNT_UP, [(term, corrected) for term in (*telling, _EVERY)])


def _remove(connection: sqlite3.Connection, row: _Row) -> None:
    message, _, group, correction, terms, *_ = row
    corrected = int(correction > 0)
    connection.execute(_DELETE, (message,))
    if connection.execute(_IS_ASKED, (group, corrected)).fetchone() is None:
        telling = keys(terms)
        connection.executemany(_DELETE_ENTRY, [(corrected, term, len(telling), group) for term in telling])
        for statement in (_COUNT_DOWN, _FORGET):
            connection.executemany(statement, [(term, corrected) for term in (*telling, _EVERY)])
