"""Appending, compared with the simplest thing that could be meant by it: a list."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainerlib.errors import KeyConflictError, VersionConflictError
from trainerlib.events import MessageRecorded
from trainerlib.store.eventstore import Append, EventStore


class Model:
    """A log as a list of `(stream, version, text, key)`."""

    def __init__(self):
        self.log = []

    def version(self, stream):
        return sum(recorded[0] == stream for recorded in self.log)

    def append(self, batch):
        """The places of a batch's events, or the error it deserves; the log stays as it is then."""
        before = list(self.log)
        try:
            self._refuse_taken_keys(batch)
            return [place for append in batch for place in self._append(append)]
        except (KeyConflictError, VersionConflictError) as error:
            self.log = before
            return type(error)

    def _refuse_taken_keys(self, batch):
        taken = {key: (stream, text) for stream, _, text, key in self.log if key}
        for append in batch:
            for event, key in zip(append.events, append.keys, strict=True):
                if key and taken.setdefault(key, (append.stream, event.text)) != (append.stream, event.text):
                    raise KeyConflictError(key, position=0)

    def _append(self, append):
        places = {recorded[3]: index for index, recorded in enumerate(self.log, 1) if recorded[3]}
        wanted = [key for key in append.keys if key]
        new = len(append.events) - len(wanted) + len({*wanted} - places.keys())
        actual = self.version(append.stream)
        if new and append.expected_version not in (None, actual):
            raise VersionConflictError(append.stream, expected=append.expected_version, actual=actual)
        for event, key in zip(append.events, append.keys, strict=True):
            if key not in places:
                self.log.append((append.stream, self.version(append.stream) + 1, event.text, key))
                if key:
                    places[key] = len(self.log)
            yield places[key] if key else len(self.log)


def _append(stream, contents, expected_version):
    events, keys = [MessageRecorded("user", text) for text, _ in contents], [key for _, key in contents]
    return Append(stream, events, keys, expected_version)


contents = st.lists(st.tuples(st.sampled_from("xy"), st.sampled_from([None, None, "k1", "k2", "k3", "k4"])), max_size=3)
appends = st.builds(_append, st.sampled_from("abc"), contents, st.none() | st.integers(0, 4))
batches = st.lists(appends, min_size=1, max_size=3)
groups = st.lists(batches, min_size=1, max_size=3)


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    path = tmp_path_factory.mktemp("empty") / "log.db"
    EventStore(path).close()
    return path


@settings(deadline=None, max_examples=250)
@given(history=st.lists(st.tuples(st.integers(0, 1), groups), max_size=6))
def test_any_appends_do_what_a_list_would(empty, history):
    """Whatever two openers of a file append, alone or in shared commits, each answer and the log are as in a list."""
    model = Model()
    with tempfile.TemporaryDirectory() as directory, ExitStack() as opened:
        path = Path(shutil.copy(empty, directory))
        stores = [opened.enter_context(EventStore(path, synchronous="OFF")) for _ in range(2)]
        for opener, group in history:
            store = stores[opener]
            requests = [store._request(batch) for batch in group]
            store._committer._waiting.extend(requests)
            with store.database.lock:
                store._committer._commit_waiting()
            for request, batch in zip(requests, group, strict=True):
                answer = type(request.error) if request.error else [recorded.position for recorded in request.result]
                assert answer == model.append(batch)
        for store in stores:
            log = [
                (recorded.stream, recorded.version, recorded.event.text, recorded.key) for recorded in store.read_all()
            ]
            assert log == model.log
            assert store.streams("a") + store.streams("b") + store.streams("c") == sorted({row[0] for row in log})
            assert store.verify() == []
