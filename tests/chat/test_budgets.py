"""Budgets count what the log says was used today: whoever wrote it, whenever it is asked, and nothing twice."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainerlib.budgets import Budgets, Used
from trainerlib.errors import BudgetError, StoreError
from trainerlib.events import ConversationTagged, MessageEdited, MessageRecorded, ReplyGenerated, conversation_stream
from trainerlib.settings import BudgetSettings
from trainerlib.store.eventstore import Append, EventStore

DAY = datetime(2026, 11, 14, tzinfo=UTC)
ANNA, BEN = "telegram:7", "discord:8"


class Time:
    """The time, as a test sets it: for the log and for the budgets."""

    def __init__(self):
        self.now = DAY + timedelta(hours=12)

    def __call__(self):
        return self.now

    def time_ns(self):
        return round(self.now.timestamp()) * 10**9


@pytest.fixture
def clock():
    return Time()


@pytest.fixture
def store(tmp_path, clock):
    with EventStore(tmp_path / "log.db", clock=clock.time_ns) as store:
        yield store


def talk(store, chat, *tokens, by=ANNA, **usage):
    """A question and an answer for each number of tokens."""
    stream = conversation_stream(chat)
    for number in tokens:
        [asked] = store.append(stream, [MessageRecorded("user", "Когда вы открыты?", author=by)])
        counts = {"input_tokens": number - number // 3, "output_tokens": number // 3, **usage}
        store.append(stream, [ReplyGenerated("С 9 до 18.", in_reply_to=asked.version, model="openai:x", usage=counts)])


def budgets(store, clock, **limits):
    return Budgets(store, BudgetSettings(**limits), clock)


def test_what_replies_used_is_counted_for_the_day_the_conversation_and_who_asked(store, clock):
    talk(store, "telegram:42", 100, 50)
    talk(store, "telegram:42", 30, by=BEN)
    talk(store, "discord:1", 7, by=BEN)
    counted = budgets(store, clock)
    assert counted.used(person=ANNA, chat="telegram:42") == Used(day=187, chat=180, person=150)
    assert counted.used(person=BEN, chat="discord:1") == Used(day=187, chat=7, person=37)
    assert counted.used() == counted.used(person="nobody", chat="none") == Used(day=187, chat=0, person=0)


def test_details_of_the_usage_are_not_counted_again(store, clock):
    talk(store, "a:1", 100, cached_tokens=60, reasoning_tokens=30)
    assert budgets(store, clock).used().day == 100


def test_replies_without_usage_and_messages_of_an_import_cost_nothing(store, clock):
    stream = conversation_stream("a:1")
    store.append(stream, [MessageRecorded("user", "Hi", ANNA), ReplyGenerated("Hello", in_reply_to=1)])
    store.append(stream, [MessageRecorded("assistant", "Hi"), MessageEdited(1, "Hey"), ConversationTagged(("x",))])
    assert budgets(store, clock).used(person=ANNA, chat="a:1") == Used(0, 0, 0)


@pytest.mark.parametrize("answered", [None, 99])
def test_a_reply_to_nobody_counts_for_the_day_and_the_conversation(store, clock, answered):
    reply = ReplyGenerated("Hello", in_reply_to=answered, usage={"input_tokens": 5, "output_tokens": 1})
    store.append(conversation_stream("a:1"), [reply])
    assert budgets(store, clock).used(person="", chat="a:1") == Used(day=6, chat=6, person=0)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"person": 100}, "telegram:7 has used 100 of 100 tokens today"),
        ({"chat": 99}, "conversation a:1 has used 100 of 99 tokens today"),
        ({"day": 1}, "this workspace has used 100 of 1 tokens today"),
        ({"person": 1, "chat": 1, "day": 1}, "telegram:7 has used 100 of 1 tokens today"),
    ],
)
def test_a_used_up_budget_says_whose_it_is_and_when_there_is_more(store, clock, limits, words):
    talk(store, "a:1", 100)
    with pytest.raises(BudgetError) as caught:
        budgets(store, clock, **limits).check(person=ANNA, chat="a:1")
    assert str(caught.value) == f"{words}; there are new ones from 2026-11-15 00:00 UTC"


@pytest.mark.parametrize("limits", [{}, {"person": 101}, {"chat": 101, "day": 101}])
def test_what_is_left_may_be_used(store, clock, limits):
    talk(store, "a:1", 100)
    budgets(store, clock, **limits).check(person=ANNA, chat="a:1")


def test_a_budget_of_one_is_not_anothers(store, clock):
    talk(store, "a:1", 100)
    limited = budgets(store, clock, person=50, chat=50)
    limited.check(person=BEN, chat="a:2")
    limited.check(person=BEN)
    limited.check()
    with pytest.raises(BudgetError):
        limited.check(person=ANNA, chat="a:2")


def test_without_a_budget_nothing_is_read(store, clock):
    store.close()
    budgets(store, clock).check(person=ANNA, chat="a:1")
    with pytest.raises(StoreError):
        budgets(store, clock, day=1).check()


def test_midnight_utc_renews_every_budget(store, clock):
    limited = budgets(store, clock, person=100)
    clock.now = DAY + timedelta(hours=23, minutes=59, seconds=59)
    talk(store, "a:1", 100)
    with pytest.raises(BudgetError):
        limited.check(person=ANNA)
    clock.now = DAY + timedelta(days=1)
    limited.check(person=ANNA)
    assert limited.used().day == 0
    talk(store, "a:1", 40)
    assert limited.used(person=ANNA, chat="a:1") == Used(40, 40, 40)


def test_a_day_is_one_of_utc_wherever_the_clock_hangs(store, clock):
    clock.now = DAY + timedelta(hours=22)
    talk(store, "a:1", 100)
    clock.now = (DAY + timedelta(hours=23)).astimezone(timezone(timedelta(hours=3)))
    with pytest.raises(BudgetError, match=r"from 2026-11-15 00:00 UTC$"):
        budgets(store, clock, day=1).check()


def test_a_restart_counts_the_same(store, clock):
    for day in range(3):
        clock.now = DAY + timedelta(days=day, hours=1)
        talk(store, "a:1", *[10] * (day + 5))
    assert budgets(store, clock).used(person=ANNA, chat="a:1") == Used(70, 70, 70)


def test_a_day_begins_where_its_first_event_is_in_a_log_of_any_length(store, clock):
    """The part of the log before the day is read in steps of a bisection."""
    for day in range(4):
        clock.now = DAY + timedelta(days=day)
        store.append(conversation_stream(f"old:{day}"), [MessageRecorded("user", "x", ANNA)] * 3_000)
        talk(store, "a:1", 10 + day, 10 + day)
        assert budgets(store, clock).used(chat="a:1").day == 2 * (10 + day)


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_was_set_back_over_midnight_loses_no_reply(store, clock, hours):
    """Some events of the day come before some of the day before."""
    for step in range(6):
        clock.now = DAY + timedelta(hours=hours * (-1) ** step)
        store.append(conversation_stream("old:1"), [MessageRecorded("user", "x", ANNA)] * 50)
        talk(store, "a:1", 10)
    clock.now = DAY + timedelta(hours=2)
    assert budgets(store, clock).used().day == 30


def test_the_clock_may_go_back_to_yesterday(store, clock):
    counted = budgets(store, clock)
    talk(store, "a:1", 10)
    clock.now = DAY + timedelta(days=1)
    talk(store, "a:1", 5)
    assert counted.used().day == 5
    clock.now = DAY + timedelta(hours=23)
    assert counted.used().day == 10


def test_a_reply_recorded_in_the_next_day_counts_there(store, clock):
    """The budgets looked at their clock just before midnight, the log at its own just after."""
    counted = budgets(store, lambda: DAY + timedelta(hours=23))
    clock.now = DAY + timedelta(days=1)
    talk(store, "a:1", 10)
    assert counted.used().day == 0
    counted._clock = clock
    assert counted.used().day == 10


def test_each_reply_is_counted_once_however_often_it_is_asked(store, clock):
    counted = budgets(store, clock)
    for number in range(1, 20):
        talk(store, "a:1", 10)
        assert [counted.used(person=ANNA, chat="a:1") for _ in range(2)] == [
            Used(10 * number, 10 * number, 10 * number)
        ] * 2


def test_what_another_process_writes_is_counted(store):
    counted = Budgets(store, BudgetSettings())
    assert counted.used().day == 0
    script = f"""
from trainerlib.events import MessageRecorded, ReplyGenerated
from trainerlib.store.eventstore import EventStore
with EventStore({str(store.path)!r}) as store:
    question = MessageRecorded("user", "Hi", {ANNA!r})
    store.append("conversation/a:1", [question, ReplyGenerated("Hello", in_reply_to=1, usage={{"input_tokens": 9, "output_tokens": 1}})])
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
    assert counted.used(person=ANNA, chat="a:1") == Used(10, 10, 10)


def test_who_asked_is_looked_up_where_the_question_is_of_another_day(store, clock):
    stream = conversation_stream("a:1")
    store.append(stream, [MessageRecorded("user", "Когда вы открыты?", author=ANNA)])
    clock.now = DAY + timedelta(days=1)
    store.append(stream, [ReplyGenerated("С 9.", in_reply_to=1, usage={"input_tokens": 9, "output_tokens": 1})])
    assert budgets(store, clock).used(person=ANNA).person == 10


def test_memory_is_flat_in_the_length_of_the_log(store, clock):
    stream = conversation_stream("a:1")
    counted = budgets(store, clock)

    def used_by(rounds):
        for _ in range(rounds):
            store.append_batch(Append(stream, [MessageRecorded("user", "x" * 200, ANNA)] * 1_000) for _ in range(10))
        talk(store, "a:1", 10)
        tracemalloc.start()
        counted.used()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    used_by(1)
    assert used_by(4) < 1.5 * used_by(2)
    assert len(counted._authors) + len(counted._older_authors) < 20_000


steps = st.lists(
    st.tuples(st.sampled_from([ANNA, BEN]), st.sampled_from(["a:1", "a:2"]), st.integers(0, 50), st.integers(-30, 90)),
    max_size=25,
)


@settings(max_examples=40, deadline=None)
@given(steps, st.sets(st.integers(0, 24)))
def test_it_is_always_what_a_count_of_the_whole_log_says(tmp_path_factory, steps, asked_after):
    """Minutes pass, now and then backwards; budgets that watched and budgets that come new agree with the log."""
    clock = Time()
    clock.now = DAY - timedelta(hours=3)
    path = tmp_path_factory.mktemp("budgets") / "log.db"
    with EventStore(path, clock=clock.time_ns) as store:
        watching = budgets(store, clock)
        for number, (person, chat, tokens, minutes) in enumerate(steps):
            clock.now += timedelta(minutes=minutes)
            talk(store, chat, tokens, by=person)
            if number in asked_after:
                watching.used()
        today = clock.now.date()
        people, events = {}, list(store.read_all())
        used = {"day": 0, "chat": 0, "person": 0}
        for one in events:
            if isinstance(one.event, MessageRecorded):
                people[one.stream, one.version] = one.event.author
            elif one.recorded_at.date() == today:
                tokens = sum(one.event.usage.values())
                used["day"] += tokens
                used["chat"] += tokens * (one.stream == conversation_stream("a:1"))
                used["person"] += tokens * (people[one.stream, one.event.in_reply_to] == ANNA)
        for counted in (watching, budgets(store, clock)):
            assert counted.used(person=ANNA, chat="a:1") == Used(**used)
