"""Events on their way to JSON and back: every class, every version there ever was, and what is not an event."""

from __future__ import annotations

import typing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainerlib.codec import CODEC, Codec
from trainerlib.errors import InvalidEventError, UnknownEventError
from trainerlib.events import (
    EVENTS,
    Attachment,
    CandidateSet,
    ConsentGiven,
    ConsentWithdrawn,
    ConversationContinued,
    ConversationStarted,
    ConversationTagged,
    Corrected,
    CorrectionWithdrawn,
    DatasetArchived,
    DatasetBuilt,
    DatasetNoted,
    DatasetSelected,
    DatasetTagged,
    Event,
    FeedbackGiven,
    FeedbackWithdrawn,
    Imported,
    Interval,
    MessageDeleted,
    MessageEdited,
    MessageRecorded,
    ModelAdded,
    ModelEvaluated,
    ModelPromoted,
    ModelRolledBack,
    PersonErased,
    PolicyGranted,
    PolicyRevoked,
    RecordedEvent,
    ReplyDelivered,
    ReplyFailed,
    ReplyGenerated,
    RoleGiven,
    TrainingAttempted,
    TrainingCancelled,
    TrainingCheckpointed,
    TrainingFailed,
    TrainingFileUploaded,
    TrainingProgressed,
    TrainingRequested,
    TrainingSubmitted,
    TrainingSucceeded,
    TranscriptRecorded,
    from_microseconds,
)

FIXTURES = Path(__file__).parent / "fixtures" / "events"

# --- any event --------------------------------------------------------------------------------------------------------

integers = st.integers(-(2**53), 2**53)
numbers = st.floats(allow_nan=False, allow_infinity=False)
words = st.text(st.characters(exclude_categories=["Cs"]))
times = st.datetimes(
    datetime(1970, 1, 2),  # noqa: DTZ001 - Hypothesis adds the zone
    datetime(2200, 1, 1),  # noqa: DTZ001
    timezones=st.integers(-12 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)
json_values = st.recursive(
    st.none() | st.booleans() | integers | numbers | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=5,
)


def values(kind):
    """Any value of a field's type."""
    simple = {
        str: words,
        int: integers,
        float: numbers,
        datetime: times,
        type(None): st.none(),
        typing.Any: json_values,
    }
    if kind in simple:
        return simple[kind]
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return structs(kind)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return st.sampled_from(arguments)
    if origin is dict:
        return st.dictionaries(values(arguments[0]), values(arguments[1]), max_size=3)
    if origin is tuple and arguments[1] is ...:
        return st.lists(values(arguments[0]), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*map(values, arguments))
    return st.one_of(*map(values, arguments))


def structs(cls):
    """Any instance of a struct: each field of its type, or left at its default."""
    hints = typing.get_type_hints(cls)
    fields = msgspec.structs.fields(cls)
    required = {field.name: values(hints[field.name]) for field in fields if field.required}
    optional = {field.name: values(hints[field.name]) for field in fields if not field.required}
    return st.fixed_dictionaries(required, optional=optional).map(lambda given: cls(**given))


@pytest.mark.parametrize("cls", EVENTS, ids=lambda cls: cls.wire_name)
def test_an_event_comes_back_as_it_was(cls):
    """Whatever an event says, reading what was written gives an equal event, under its wire name and version."""

    @settings(deadline=None, max_examples=60)
    @given(event=structs(cls))
    def comes_back(event):
        wire_name, version, data = CODEC.encode(event)
        assert (wire_name, version) == (cls.wire_name, cls.schema_version)
        assert CODEC.decode(wire_name, version, data) == event
        assert CODEC.encode(event)[2] == data == data.decode("utf-8").encode()

    comes_back()


def test_what_is_left_at_its_default_is_not_written():
    """A default takes no room, and Russian text is written as it is, not escaped."""
    assert CODEC.encode(MessageRecorded("user", "Когда?"))[2] == '{"role":"user","text":"Когда?"}'.encode()


# --- every version there ever was ------------------------------------------------------------------------------------

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=timezone(timedelta(hours=3)))
FROZEN = {
    "conversation.started.1": ConversationStarted("telegram", "Цветочная лавка", ("vip", "опт"), "9f2c"),
    "conversation.continued.1": ConversationContinued("a71b"),
    "conversation.tagged.1": ConversationTagged(("решено",), ("new",)),
    "message.recorded.1": MessageRecorded(
        "assistant",
        "С 9 до 18, без выходных 🌷",
        author="telegram:500",
        name="Лавка",
        sent_at=NOON,
        in_reply_to=2,
        attachments=(
            Attachment("photo", "files/7.jpg", "витрина.jpg", "image/jpeg", 48_213),
            Attachment("voice", media_type="audio/ogg", duration=3.5, text="с девяти"),
        ),
        model="gpt-x",
        weight=0,
        erased=True,
    ),
    "message.edited.1": MessageEdited(2, "Are you open on Sunday?", datetime(2026, 3, 1, 9, 0, 0, 250_000, tzinfo=UTC)),
    "message.deleted.1": MessageDeleted(2),
    "transcript.recorded.1": TranscriptRecorded(4, 1, "есть ли розы?", "whisper-small"),
    "reply.generated.1": ReplyGenerated(
        "We open at 9.",
        2,
        "memory",
        "Be short.",
        (11, 42),
        {"temperature": 0.2, "stop": ["\n"], "seed": None},
        {"prompt_tokens": 120, "completion_tokens": 9},
        0.75,
        0.0004,
        erased=True,
        recall={"count": 3, "tokens": 800, "threshold": 0.5},
    ),
    "reply.delivered.1": ReplyDelivered(3, ("1002", "1003")),
    "reply.failed.1": ReplyFailed(2, "the model did not answer within 30 s"),
    "reply.corrected.1": Corrected(3, "С 9 до 18.", "telegram:1", "новое расписание"),
    "correction.withdrawn.1": CorrectionWithdrawn(5, "telegram:1"),
    "feedback.given.1": FeedbackGiven(3, "telegram:7", -2, "устарело", "wrong-fact"),
    "feedback.withdrawn.1": FeedbackWithdrawn(6, "telegram:7"),
    "dataset.built.1": DatasetBuilt(
        "support",
        2,
        {"targets": "corrected", "seed": 7},
        2_504,
        611,
        548,
        {"empty": 41, "duplicate": 22},
        {"train": 493, "validation": 28, "test": 27},
        {"train.jsonl": "9f2c", "test.jsonl": "a71b"},
        3,
        {"email": 4},
        {"consent": 386},
    ),
    "dataset.selected.1": DatasetSelected(2, "negative"),
    "dataset.tagged.1": DatasetTagged(2, ("май", "vip"), ("draft",)),
    "dataset.noted.1": DatasetNoted(2, "Без цен"),
    "dataset.archived.1": DatasetArchived(2, "support-v2.tar.zst", "9f2c"),
    "consent.given.1": ConsentGiven("2026-11", "Можно учиться на моих сообщениях?", "telegram:1"),
    "consent.withdrawn.1": ConsentWithdrawn("telegram:1", "передумала"),
    "role.given.1": RoleGiven("trainer", "telegram:1"),
    "person.erased.1": PersonErased(
        "erased:9f2c", 12, 1, 2, 3, ("support v1",), "telegram:1", "asked by mail", ("a1b2",), ("local:support-v1",)
    ),
    "policy.granted.1": PolicyGranted("Discord, 12 May 2026, ticket 4711", "telegram:1"),
    "policy.revoked.1": PolicyRevoked("expired", "telegram:1"),
    "training.requested.1": TrainingRequested(
        "openai",
        "gpt-x",
        "support",
        3,
        "dpo",
        "openai-preference",
        {"train": "9f2c", "validation": "a71b"},
        {"train": 97, "validation": 5},
        {"n_epochs": 3, "beta": 0.1},
        7,
        "лавка",
        160_000,
        4.1,
        "telegram:1",
    ),
    "training.file-uploaded.1": TrainingFileUploaded("train", "file-1", "9f2c", 48_213),
    "training.attempted.1": TrainingAttempted(2),
    "training.submitted.1": TrainingSubmitted("ftjob-1", "validating_files", found=True),
    "training.progressed.1": TrainingProgressed(
        "running", 10, 40, 0.75, {"train_loss": 1.5}, "Step 10/40: loss 1.50", "warn", NOON
    ),
    "training.checkpointed.1": TrainingCheckpointed("ft:gpt-x:shop::a1:ckpt-step-20", 20, {"valid_loss": 1.25}),
    "training.succeeded.1": TrainingSucceeded(
        "local:support-v3", 480_000, {"train_loss": 0.5}, {"model.safetensors": "9f2c"}
    ),
    "training.failed.1": TrainingFailed(
        "closed to this organisation", "http-403", refused=True, advice="train locally"
    ),
    "training.cancelled.1": TrainingCancelled("telegram:1"),
    "model.added.1": ModelAdded("gpt-x", "a1b2", {"model.safetensors": "9f2c"}, "обучена у Бориса", "telegram:1"),
    "model.evaluated.1": ModelEvaluated(
        "e1",
        "support",
        3,
        "test",
        "memory",
        97,
        1,
        2,
        {"chrf": 58.9},
        {"chrf": 41.2},
        {"chrf": Interval(17.7, 12.1, 22.8)},
        6,
        {"cases.jsonl": "9f2c"},
        "openai:gpt-x",
        7,
        0.12,
        "telegram:1",
    ),
    "model.promoted.1": ModelPromoted("local:support-v3", "e1", forced=True, note="лучше", by="telegram:1"),
    "model.rolled-back.1": ModelRolledBack("memory", "слишком длинно", "telegram:1"),
    "candidate.set.1": CandidateSet("local:support-v3", 0.25, "telegram:1"),
    "file.imported.1": Imported(
        "result.json",
        "9f2c",
        "telegram",
        "Лавка",
        "operator: our own support desk",
        386,
        2_114,
        3,
        12,
        2,
        ((8_812, "control character in text"), (9_001, "no date")),
    ),
}
"""Every event version that a log may hold, by `<wire name>.<version>`: never remove or change one, only add."""


def test_every_event_class_has_a_fixture():
    """Each event class at its current version has a frozen file, and each file has its expected event."""
    files = {path.stem for path in FIXTURES.glob("*.json")}

    assert {f"{cls.wire_name}.{cls.schema_version}" for cls in EVENTS} <= files
    assert files == FROZEN.keys()


@pytest.mark.parametrize("name", FROZEN)
def test_a_frozen_event_still_reads(name):
    """What a log of that version holds reads as exactly the event it was."""
    wire_name, _, version = name.rpartition(".")
    event = CODEC.decode(wire_name, int(version), (FIXTURES / f"{name}.json").read_bytes())

    assert event == FROZEN[name]
    assert type(event) is type(FROZEN[name])


@pytest.mark.parametrize("cls", EVENTS, ids=lambda cls: cls.wire_name)
def test_a_fixture_uses_every_field(cls):
    """The frozen event of the current version sets every field, so that a renamed one would be missed."""
    name = f"{cls.wire_name}.{cls.schema_version}"
    written = msgspec.json.decode((FIXTURES / f"{name}.json").read_bytes())

    assert written.keys() == {*cls.__struct_fields__}


# --- older versions --------------------------------------------------------------------------------------------------


class Greeted(Event, frozen=True):
    wire_name = "person.greeted"
    schema_version = 3

    names: tuple[str, ...]
    politely: bool = False


UPCASTS = {
    ("person.greeted", 1): lambda old: {"name": old["who"]},
    ("person.greeted", 2): lambda old: {"names": [old["name"]], "politely": old.get("polite", False)},
}


@pytest.mark.parametrize(
    ("version", "data", "expected"),
    [
        (1, '{"who":"Анна"}', Greeted(("Анна",))),
        (2, '{"name":"Анна","polite":true}', Greeted(("Анна",), politely=True)),
        (3, '{"names":["Анна","Борис"]}', Greeted(("Анна", "Борис"))),
    ],
)
def test_an_older_version_is_brought_up_to_date_step_by_step(version, data, expected):
    """An event of version 1 goes through 2 to 3, one of version 2 to 3, one of version 3 reads as it is."""
    assert Codec([Greeted], UPCASTS).decode("person.greeted", version, data.encode()) == expected


def test_a_version_without_an_upcast_is_unknown():
    """A step that is missing from the chain is an error that names the version it is missing for."""
    codec = Codec([Greeted], {("person.greeted", 1): UPCASTS["person.greeted", 1]})
    with pytest.raises(UnknownEventError, match=r"person\.greeted version 2 has no upcast"):
        codec.decode("person.greeted", 1, b'{"who":"Anna"}')


# --- what is not an event ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("wire_name", "version"), [("message.recorded", 2), ("message.sung", 1), ("", 1)])
def test_an_event_from_the_future_says_upgrade(wire_name, version):
    """A newer version or an unknown name is an error that says what to do."""
    with pytest.raises(UnknownEventError, match="upgrade trainerlib"):
        CODEC.decode(wire_name, version, b'{"role":"user","text":"x"}')


@pytest.mark.parametrize("name", FROZEN)
def test_truncated_data_is_invalid(name):
    """The beginning of an event's data is never taken for an event."""
    wire_name, _, version = name.rpartition(".")
    data = (FIXTURES / f"{name}.json").read_bytes().rstrip()
    for end in range(len(data)):
        with pytest.raises(InvalidEventError, match="does not decode"):
            CODEC.decode(wire_name, int(version), data[:end])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"role":"user"}',
        b'{"role":"nobody","text":"x"}',
        b'{"role":"user","text":7}',
        b'{"role":"user","text":"\xff"}',
        b'{"role":"user","text":"x","sent_at":"yesterday"}',
    ],
)
def test_data_that_breaks_the_schema_is_invalid(data):
    """Data that is not what the event's schema says is an error that names the event."""
    with pytest.raises(InvalidEventError, match=r"message\.recorded version 1 does not decode"):
        CODEC.decode("message.recorded", 1, data)


@pytest.mark.parametrize("text", ["\ud800", "цветы \udc00", "\ud83d and \udf37 apart"])
def test_a_lone_surrogate_cannot_be_written(text):
    """Half of a character is no text: an event that holds one is refused."""
    with pytest.raises(InvalidEventError, match=r"message\.recorded cannot be written as JSON"):
        CODEC.encode(MessageRecorded("user", text))


def test_an_object_that_json_cannot_say_is_refused():
    """A parameter that has no JSON is refused."""
    with pytest.raises(InvalidEventError, match=r"reply\.generated cannot be written as JSON"):
        CODEC.encode(ReplyGenerated("x", parameters={"stop": object()}))


def test_wire_names_are_their_own():
    """No two event classes share a wire name, and none is called after its class."""
    names = [cls.wire_name for cls in EVENTS]

    assert len({*names}) == len(names)
    assert all(name == name.lower() and "." in name for name in names)


@given(microseconds=st.integers(-(10**15), 7 * 10**15))
def test_a_time_is_exact_to_the_microsecond(microseconds):
    """The time of a record is its count of microseconds, without rounding."""
    recorded = RecordedEvent(1, "conversation/a", 1, MessageDeleted(1), microseconds)

    assert (recorded.recorded_at - from_microseconds(0)) // timedelta(microseconds=1) == microseconds
