"""The pure pipeline: every reply becomes one example or one exclusion, and each example says what was meant."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainerlib.consent import Permissions
from trainerlib.conversations import Conversation, fold
from trainerlib.datasets import EXCLUSIONS, Pipeline, split_of
from trainerlib.events import (
    Attachment,
    ConversationStarted,
    ConversationTagged,
    Corrected,
    CorrectionWithdrawn,
    Event,
    FeedbackGiven,
    FeedbackWithdrawn,
    MessageDeleted,
    MessageEdited,
    MessageRecorded,
    RecordedEvent,
    ReplyDelivered,
    ReplyGenerated,
    TranscriptRecorded,
)
from trainerlib.examples import Example, Turn
from trainerlib.quality import EXCLUSIONS as QUALITY_EXCLUSIONS
from trainerlib.recipes import Recipe, Split
from trainerlib.tokens import estimate_tokens

BEGIN = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
MICROSECONDS = int(BEGIN.timestamp()) * 1_000_000


def history(*events: Event, name: str = "telegram:42", start: int = 0) -> Conversation:
    """The conversation these events lead to; the first one is number 1."""
    return fold(
        RecordedEvent(start + number, f"conversation/{name}", number, event, MICROSECONDS + number)
        for number, event in enumerate(events, 1)
    )


def user(text: str, at: float | None = None, **more: Any) -> MessageRecorded:
    """Somebody asks, so many seconds after `BEGIN` when the platform says so."""
    return MessageRecorded("user", text, sent_at=None if at is None else BEGIN + timedelta(seconds=at), **more)


def bot(text: str, at: float | None = None, **more: Any) -> MessageRecorded:
    """The assistant answers."""
    return MessageRecorded("assistant", text, sent_at=None if at is None else BEGIN + timedelta(seconds=at), **more)


def system(text: str) -> MessageRecorded:
    """The instruction from here on."""
    return MessageRecorded("system", text)


ALLOWED = Permissions(given=frozenset({"telegram:1", "telegram:2", "telegram:7"}), withdrawn=frozenset({"telegram:13"}))


def take(recipe: Recipe, *conversations: Conversation) -> tuple[list[Example], dict[int, str]]:
    """The examples, and the reason for each message that became none."""
    pipeline = Pipeline(recipe, ALLOWED)
    taken = [pipeline.take(conversation) for conversation in conversations]
    examples = [example for one in taken if one.examples for example in one.examples.expand(one.split)]
    return examples, {exclusion.message: exclusion.reason for one in taken for exclusion in one.excluded}


def only(recipe: Recipe, *events: Event) -> Example:
    """The one example of a conversation."""
    [example], _ = take(recipe, history(*events))
    return example


def contents(example: Example) -> list[str]:
    """What the turns of its context say."""
    return [turn.content for turn in example.context]


ASKED = (user("When are you open?"), bot("At 10."))

# --- every candidate is accounted for ---------------------------------------------------------------------------------

texts = st.sampled_from(["", " ", "Hi", "Привет", "When are you open?", "С 9 до 18 🌷", "no", '"a"\n{b}'])
people = st.sampled_from(["", "telegram:1", "telegram:2"])
moments = st.none() | st.integers(0, 900).map(lambda seconds: BEGIN + timedelta(seconds=seconds))
numbers = st.integers(1, 12)
attachments = st.lists(st.builds(Attachment, st.just("voice"), text=texts), max_size=1).map(tuple)
happenings = st.one_of(
    st.builds(
        MessageRecorded,
        st.sampled_from(["user", "assistant", "user", "assistant", "system", "tool"]),
        texts,
        author=people,
        sent_at=moments,
        in_reply_to=st.none() | numbers,
        attachments=attachments,
        weight=st.sampled_from([None, None, 0, 1]),
    ),
    st.builds(ReplyGenerated, texts, in_reply_to=st.none() | numbers, instruction=texts),
    st.builds(ReplyDelivered, numbers),
    st.builds(Corrected, numbers, texts.filter(str.strip), people),
    st.builds(CorrectionWithdrawn, numbers),
    st.builds(FeedbackGiven, numbers, people, st.sampled_from([None, -5, -1, 0, 1, 3])),
    st.builds(FeedbackWithdrawn, numbers),
    st.builds(MessageEdited, numbers, texts),
    st.builds(MessageDeleted, numbers),
    st.builds(TranscriptRecorded, numbers, st.just(0), texts),
    st.builds(ConversationTagged, st.just(("vip",))),
)


@st.composite
def logs(draw):
    """Some conversations in the order they began."""
    conversations = []
    position = 0
    for number in range(draw(st.integers(1, 3))):
        events = draw(st.lists(happenings, min_size=1, max_size=12))
        if draw(st.booleans()):
            events.insert(0, ConversationStarted(draw(st.sampled_from(["telegram", "discord"]))))
        conversations.append(history(*events, name=f"telegram:{number}", start=position))
        position += len(events)
    return conversations


@st.composite
def recipes(draw):
    """Recipes that take something of such conversations, and leave something out."""
    targets = draw(st.sampled_from(["all", "all", "approved", "corrected", "corrected-or-approved"]))
    return Recipe(
        platforms=draw(st.sampled_from([(), (), ("telegram",)])),
        tags=draw(st.sampled_from([(), (), ("vip",)])),
        languages=draw(st.sampled_from([(), (), ("en",), ("ru", "und")])),
        authors=draw(st.sampled_from([(), (), ("telegram:1",)])),
        since=draw(st.sampled_from([None, None, BEGIN + timedelta(seconds=60)])),
        until=draw(st.sampled_from([None, None, BEGIN + timedelta(seconds=600)])),
        targets=targets,
        raters=draw(st.sampled_from(["latest", "majority", ("telegram:1",)])),
        min_rating=draw(st.integers(1, 3)),
        rated_down=draw(st.sampled_from(["exclude", "reject"] if targets == "all" else ["exclude"])),
        context_turns=draw(st.integers(1, 6)),
        context_tokens=draw(st.sampled_from([16, 24, 4096])),
        context_replies=draw(st.sampled_from(["as-sent", "corrected"])),
        system=draw(st.sampled_from(["as-recorded", "none", "Отвечай кратко."])),
        merge_seconds=draw(st.sampled_from([0, 300])),
        duplicates=draw(st.sampled_from(["exclude", "keep"])),
        split=draw(st.sampled_from([Split(), Split(train=0.5, test=0.5, seed=7)])),
    )


@given(recipe=recipes(), conversations=logs())
def test_every_reply_becomes_one_example_or_one_exclusion(recipe, conversations):
    """Whatever happened and whatever the recipe: each reply is there exactly once, and the counts add up."""
    pipeline = Pipeline(recipe)
    taken = [pipeline.take(conversation) for conversation in conversations]
    windows = [window for one in taken if one.examples for window in one.examples.examples]
    excluded = [exclusion for one in taken for exclusion in one.excluded]
    replies = [one.id for conversation in conversations for one in conversation.messages if one.role == "assistant"]
    assert sorted([window.message for window in windows] + [one.message for one in excluded]) == sorted(replies)
    assert pipeline.candidates == len(replies) == pipeline.examples + pipeline.excluded.total()
    assert pipeline.examples == len(windows) == sum(pipeline.splits.values())
    assert pipeline.excluded == Counter(one.reason for one in excluded)
    assert pipeline.excluded.keys() <= EXCLUSIONS.keys()


@given(recipe=recipes(), conversations=logs())
def test_every_example_is_one_that_can_be_learned(recipe, conversations):
    """A context that ends with a question and keeps to its limits, and sides that say something, and not the same."""
    for example in take(recipe, *conversations)[0]:
        turns = [turn for turn in example.context if turn.role != "system"]
        assert turns[-1].role == "user"
        assert len(turns) <= recipe.context_turns
        assert [turn.role for turn in example.context[1:]].count("system") == 0
        sides = [side for side in (example.chosen, example.rejected) if side is not None]
        assert sides
        assert len(set(sides)) == len(sides)
        said = [*contents(example), *sides]
        assert all(text.strip() for text in said)
        reply = max(map(estimate_tokens, sides))
        assert sum(map(estimate_tokens, contents(example))) + reply <= recipe.context_tokens


@given(recipe=recipes(), conversations=logs())
def test_the_same_conversations_always_give_the_same_examples(recipe, conversations):
    """Nothing but the recipe and the conversations decides."""
    assert take(recipe, *conversations) == take(recipe, *conversations)


@given(recipe=recipes(), conversations=logs())
def test_no_two_examples_are_the_same_unless_they_are_kept(recipe, conversations):
    """A context with the same sides is kept once."""
    examples = [(example.context, example.chosen, example.rejected) for example in take(recipe, *conversations)[0]]
    if recipe.duplicates == "exclude":
        assert len(set(examples)) == len(examples)


# --- why a reply is left out ------------------------------------------------------------------------------------------

QUESTION, REPLY = ASKED
LEFT_OUT: dict[str, tuple[Recipe, int, tuple[Event, ...]]] = {
    "platform": (Recipe(platforms=("discord",)), 3, (ConversationStarted("telegram"), *ASKED)),
    "tag": (Recipe(tags=("vip",)), 3, (ConversationStarted(tags=("new",)), *ASKED)),
    "language": (Recipe(languages=("ru",)), 2, ASKED),
    "time": (Recipe(since=BEGIN + timedelta(days=1)), 2, ASKED),
    "author": (Recipe(authors=("telegram:9",)), 2, ASKED),
    "deleted": (Recipe(), 2, (*ASKED, MessageDeleted(2))),
    "not-delivered": (Recipe(), 2, (QUESTION, ReplyGenerated("At 10."))),
    "merged": (Recipe(), 3, (QUESTION, bot("At 10.", 0), bot("Every day.", 20))),
    "empty": (Recipe(), 2, (QUESTION, bot("", attachments=(Attachment("sticker"),)))),
    "platform-policy": (Recipe(), 3, (ConversationStarted("discord"), *ASKED)),
    "consent-withdrawn": (Recipe(), 2, (user("When?", author="telegram:13"), REPLY)),
    "no-consent": (Recipe(), 2, (user("When?", author="telegram:14"), REPLY)),
    "weight-zero": (Recipe(), 2, (QUESTION, bot("At 10.", weight=0))),
    "no-question": (Recipe(), 1, (bot("Welcome!"),)),
    "erased": (Recipe(), 2, (*ASKED, Corrected(2, "", "erased:9f2c"))),
    "unknown": (
        Recipe(),
        2,
        (QUESTION, ReplyGenerated("I do not know yet.", parameters={"known": False}), ReplyDelivered(2)),
    ),
    "stopped": (Recipe(), 2, (QUESTION, ReplyGenerated("At", parameters={"stopped": True}), ReplyDelivered(2))),
    "corrected": (Recipe(targets="approved"), 2, (*ASKED, Corrected(2, "9 to 18.", "anna"))),
    "not-corrected": (Recipe(targets="corrected"), 2, ASKED),
    "not-approved": (Recipe(targets="approved"), 2, ASKED),
    "rated-down": (Recipe(), 2, (*ASKED, FeedbackGiven(2, "anna", -1))),
    "context-limit": (Recipe(context_tokens=16), 2, (user("When are you open? " * 9), REPLY)),
    "duplicate": (Recipe(context_turns=1), 4, (*ASKED, *ASKED)),
}


ELSEWHERE = {"near-both", "said-elsewhere"} | QUALITY_EXCLUSIONS.keys()
"""Reasons that take more than one conversation, or have tests of their own."""


def test_the_table_above_has_a_history_for_every_reason():
    """A reason that nothing leads to would be a lie to the user."""
    assert LEFT_OUT.keys() == EXCLUSIONS.keys() - ELSEWHERE


@pytest.mark.parametrize("reason", LEFT_OUT)
def test_each_reason_is_given_for_the_history_it_describes(reason):
    """The reply in question is left out for this very reason, and it alone where the reason is about the reply."""
    recipe, number, events = LEFT_OUT[reason]
    assert take(recipe, history(*events))[1] == {number: reason}


def test_a_reply_that_was_no_answer_is_learned_once_it_is_corrected():
    """What it should have said is the chosen side, whatever was wrong with it."""
    reply = ReplyGenerated("I do not know yet.", parameters={"known": False})
    conversation = history(QUESTION, reply, ReplyDelivered(2), Corrected(2, "9 to 18.", "anna"))
    [example] = take(Recipe(), conversation)[0]
    assert (example.chosen, example.rejected) == ("9 to 18.", "I do not know yet.")


def test_what_was_cut_short_is_no_bad_example():
    """A correction of it is learned without a rejected side."""
    conversation = history(
        QUESTION,
        ReplyGenerated("At", parameters={"stopped": True}),
        ReplyDelivered(2),
        Corrected(2, "9 to 18.", "anna"),
    )
    [example] = take(Recipe(), conversation)[0]
    assert (example.chosen, example.rejected) == ("9 to 18.", None)


def test_a_selection_is_met_by_any_of_what_it_lists():
    """Platform, tags, languages and authors each take a conversation that fits one of their values."""
    conversation = history(
        ConversationStarted("telegram", tags=("vip",)), user("Когда вы открыты?", author="telegram:7"), bot("В 10.")
    )
    recipe = Recipe(
        platforms=("discord", "telegram"), tags=("new", "vip"), languages=("en", "ru"), authors=("x", "telegram:7")
    )
    assert len(take(recipe, conversation)[0]) == 1


@pytest.mark.parametrize(
    ("since", "until", "taken"), [(0, 60, True), (0, None, True), (None, 0, False), (1, None, False), (None, 1, True)]
)
def test_a_time_takes_conversations_that_began_from_since_until_before_until(since, until, taken):
    """`since` is the first moment that counts and `until` the first that does not, to the microsecond."""
    moment = [None if at is None else BEGIN + timedelta(microseconds=at) for at in (since, until)]
    conversation = history(user("When are you open?", 0), bot("At 10.", 7200))
    assert bool(take(Recipe(since=moment[0], until=moment[1]), conversation)[0]) is taken


# --- corrections and ratings ------------------------------------------------------------------------------------------

ODD = 'С 9 до 18 "без" выходных 🌷\r\n\tи\u2028в\u00a0праздники  '


def test_a_correction_is_chosen_and_the_original_rejected_byte_for_byte():
    """Neither side is trimmed, normalised or joined with anything."""
    example = only(Recipe(targets="corrected"), user("Когда?"), bot(f" {ODD}\n"), Corrected(2, ODD, "anna"))
    assert (example.chosen, example.rejected) == (ODD, f" {ODD}\n")


def test_a_correction_that_changes_nothing_is_an_approval():
    """The same words again leave nothing to reject."""
    example = only(Recipe(targets="corrected"), *ASKED, Corrected(2, "At 10.", "anna"))
    assert (example.chosen, example.rejected) == ("At 10.", None)


def test_a_reply_without_words_can_be_corrected_but_not_rejected():
    """A sticker that should have been an answer teaches the answer only."""
    sticker = bot("", attachments=(Attachment("sticker"),))
    example = only(Recipe(), QUESTION, sticker, Corrected(2, "9 to 18.", "anna"))
    assert (example.chosen, example.rejected) == ("9 to 18.", None)


def test_a_reply_without_words_is_empty_when_its_corrector_does_not_count():
    """The correction of somebody the recipe does not list leaves nothing to learn."""
    sticker = bot("", attachments=(Attachment("sticker"),))
    conversation = history(QUESTION, sticker, Corrected(2, "9 to 18.", "anna"), FeedbackGiven(2, "boris", 1))
    for recipe in (Recipe(raters=("boris",)), Recipe(raters=("boris",), targets="approved")):
        assert take(recipe, conversation) == ([], {2: "empty"})


def test_a_withdrawn_correction_does_not_count():
    """The reply is again what it was."""
    events = (*ASKED, Corrected(2, "9 to 18.", "anna"), CorrectionWithdrawn(3))
    assert only(Recipe(), *events).chosen == "At 10."
    assert take(Recipe(targets="corrected"), history(*events))[1] == {2: "not-corrected"}


def test_an_edited_reply_is_learned_as_it_stands():
    """What the platform shows now is what was sent."""
    assert only(Recipe(), *ASKED, MessageEdited(2, "At nine.")).chosen == "At nine."


CORRECTIONS = (
    Corrected(2, "9 to 18.", "anna"),
    Corrected(2, "8 to 20.", "boris"),
    Corrected(2, "9 to 18.", "clara"),
    Corrected(2, "Never.", "dora"),
)


@pytest.mark.parametrize(
    ("raters", "chosen"),
    [
        ("latest", "Never."),
        ("majority", "9 to 18."),
        (("boris",), "8 to 20."),
        (("boris", "anna"), "8 to 20."),
        (("clara", "boris"), "9 to 18."),
    ],
)
def test_the_raters_of_the_recipe_decide_which_correction_counts(raters, chosen):
    """The latest of all, what most people wrote, or the latest of the people listed."""
    assert only(Recipe(targets="corrected", raters=raters), *ASKED, *CORRECTIONS).chosen == chosen


def test_nobody_listed_corrected_it():
    """The correction of somebody else is no correction to this recipe, and the reply not rejected by it."""
    recipe = Recipe(raters=("zoe",))
    example = only(recipe, *ASKED, *CORRECTIONS)
    assert (example.chosen, example.rejected) == ("At 10.", None)
    assert take(Recipe(targets="corrected", raters=("zoe",)), history(*ASKED, *CORRECTIONS))[1] == {2: "not-corrected"}


RATINGS = (
    FeedbackGiven(2, "anna", -1),
    FeedbackGiven(2, "boris", 1),
    FeedbackGiven(2, "clara", -2),
    FeedbackGiven(2, "dora", 3),
    FeedbackGiven(2, "dora", None, "well said"),
)


@pytest.mark.parametrize(
    ("raters", "reason"),
    [
        ("latest", None),
        ("majority", "not-approved"),
        (("anna", "boris"), None),
        (("anna", "clara"), "rated-down"),
        (("zoe",), "not-approved"),
    ],
)
def test_the_raters_of_the_recipe_decide_whether_a_reply_is_approved(raters, reason):
    """The latest rating, more ups than downs, or the latest of the people listed; words alone are no rating."""
    _, excluded = take(Recipe(targets="approved", raters=raters), history(*ASKED, *RATINGS))
    assert excluded.get(2) == reason


@pytest.mark.parametrize(("rating", "approved"), [(1, False), (2, False), (3, True), (5, True)])
def test_a_reply_is_approved_from_the_minimum_rating_on(rating, approved):
    """A lukewarm rating is neither approval nor rejection: the reply is still among all replies."""
    conversation = history(*ASKED, FeedbackGiven(2, "anna", rating))
    assert (take(Recipe(targets="approved", min_rating=3), conversation)[1] == {}) is approved
    assert len(take(Recipe(min_rating=3), conversation)[0]) == 1


def test_a_changed_mind_counts_once():
    """A person's later rating replaces the earlier one, also for the majority."""
    events = (*ASKED, FeedbackGiven(2, "anna", -1), FeedbackGiven(2, "anna", 1))
    assert only(Recipe(targets="approved", raters="majority"), *events).chosen == "At 10."


def test_a_withdrawn_rating_does_not_count():
    """The reply is again one that nobody judged."""
    events = (*ASKED, FeedbackGiven(2, "anna", -1), FeedbackWithdrawn(3))
    assert only(Recipe(), *events).chosen == "At 10."


def test_a_reply_rated_down_can_become_an_example_of_what_not_to_say():
    """`rated_down = "reject"` makes it a rejected side without a chosen one."""
    example = only(Recipe(rated_down="reject"), *ASKED, FeedbackGiven(2, "anna", -1))
    assert (example.chosen, example.rejected) == (None, "At 10.")


def test_a_correction_outweighs_any_rating_of_the_original():
    """What was corrected is learned as corrected, whether the original was liked or not."""
    for rating in (-5, 5):
        example = only(
            Recipe(targets="corrected-or-approved"),
            *ASKED,
            FeedbackGiven(2, "anna", rating),
            Corrected(2, "9 to 18.", "boris"),
        )
        assert (example.chosen, example.rejected) == ("9 to 18.", "At 10.")


def test_a_reply_of_weight_zero_is_not_learned_even_when_approved():
    """What its source says must not be learned stays out, and stays in later contexts."""
    events = (QUESTION, bot("At 10.", weight=0), FeedbackGiven(2, "anna", 5), user("Thanks"), bot("Welcome."))
    [example], excluded = take(Recipe(), history(*events))
    assert excluded == {2: "weight-zero"}
    assert contents(example) == ["When are you open?", "At 10.", "Thanks"]


# --- the context ------------------------------------------------------------------------------------------------------

LONG = [event for number in range(10) for event in (user(f"question {number}"), bot(f"reply {number}"))]


@pytest.mark.parametrize("turns", [1, 2, 3, 8, 100])
def test_a_context_has_the_latest_turns_and_begins_with_a_person(turns):
    """At most so many turns; a reply left at the front by the cut goes too."""
    last = take(Recipe(context_turns=turns), history(*LONG))[0][-1]
    kept = min(turns if turns % 2 else turns - 1, 19)
    assert contents(last) == [event.text for event in LONG[:-1]][-kept:]


def test_a_context_that_was_not_cut_keeps_the_greeting():
    """The bot spoke first; that is part of the conversation."""
    greeted = (bot("Welcome!"), user("Hi"), bot("Hello!"))
    assert contents(take(Recipe(), history(*greeted))[0][0]) == ["Welcome!", "Hi"]
    assert contents(take(Recipe(context_turns=1), history(*greeted))[0][0]) == ["Hi"]


def test_older_turns_are_dropped_until_instruction_context_and_reply_fit():
    """Every token counts once: one token less than needed drops the oldest question and its reply."""
    events = (system("Be brief."), *LONG[:3], bot("reply number 1 of two"))
    needed = sum(estimate_tokens(event.text) for event in events)
    whole = take(Recipe(context_tokens=needed), history(*events))[0][-1]
    cut = take(Recipe(context_tokens=needed - 1), history(*events))[0][-1]
    assert contents(whole) == ["Be brief.", "question 0", "reply 0", "question 1"]
    assert contents(cut) == ["Be brief.", "question 1"]


def test_the_longer_side_counts_against_the_limit():
    """A pair fits only when either of its sides would."""
    events = (user("Hi"), bot("x" * 80), Corrected(2, "Hello!", "anna"))
    assert take(Recipe(context_tokens=20), history(*events))[1] == {2: "context-limit"}
    assert len(take(Recipe(context_tokens=21), history(*events))[0]) == 1


def test_a_reply_says_which_of_two_people_it_answers():
    """In a group two ask before the bot answers each; a context ends with the question that was answered."""
    examples, excluded = take(
        Recipe(),
        history(
            user("Есть пионы?", 0, author="telegram:1"),
            user("Do you deliver?", 5, author="telegram:2"),
            bot("Только в мае.", 10, author="bot", in_reply_to=1),
            bot("Yes, every day.", 15, author="bot", in_reply_to=2),
        ),
    )
    assert excluded == {}
    assert [(contents(example), example.chosen) for example in examples] == [
        (["Есть пионы?"], "Только в мае."),
        (["Есть пионы?", "Do you deliver?"], "Yes, every day."),
    ]


def test_a_reply_to_a_question_that_was_taken_down_is_not_paired_with_another():
    """The question is gone, and the one before it was not what the reply answers."""
    events = (user("Есть пионы?"), user("Do you deliver?"), bot("Yes, every day.", in_reply_to=2), MessageDeleted(2))
    assert take(Recipe(), history(*events)) == ([], {3: "no-question"})


def test_a_reply_that_names_a_reply_answers_the_question_before_it():
    """Some sources chain every message to the one before, whoever wrote it."""
    events = (*ASKED, user("И в воскресенье?"), bot("Да.", in_reply_to=2))
    assert contents(take(Recipe(), history(*events))[0][-1]) == ["When are you open?", "At 10.", "И в воскресенье?"]


def test_messages_of_one_person_moments_apart_are_one_turn():
    """People write in pieces; an empty line joins them, in questions and in replies."""
    [example], excluded = take(
        Recipe(merge_seconds=60),
        history(user("Hi", 0), user("When are you open?", 60), bot("At 10.", 90), bot("Every day.", 100)),
    )
    assert contents(example) == ["Hi\n\nWhen are you open?"]
    assert example.chosen == "At 10.\n\nEvery day."
    assert excluded == {4: "merged"}


@pytest.mark.parametrize(
    ("second", "recipe"),
    [
        (bot("Every day.", 61), Recipe(merge_seconds=60)),
        (bot("Every day.", 0), Recipe(merge_seconds=0)),
        (bot("Every day."), Recipe()),
        (bot("Every day.", 5, author="telegram:9"), Recipe()),
        (bot("Every day.", 5, weight=0), Recipe()),
        (bot("Every day.", 5, in_reply_to=1), Recipe()),
    ],
    ids=["later", "merging off", "no time", "somebody else", "not to be learned", "answers something else"],
)
def test_messages_that_do_not_belong_together_stay_apart(second, recipe):
    """Time, person, weight and question must all be the same."""
    events = (user("Hi", 0), user("When are you open?", 400), bot("At 10.", 0, in_reply_to=2), second)
    example = take(recipe, history(*events))[0][0]
    assert example.chosen == "At 10."


@pytest.mark.parametrize("number", [2, 3])
@pytest.mark.parametrize(
    "judgement", [lambda number: Corrected(number, "9 to 18.", "anna"), lambda number: FeedbackGiven(number, "anna", 1)]
)
def test_a_judged_reply_is_never_merged(number, judgement):
    """A correction or rating is of that message alone, whether it is the first or the second of two."""
    events = (QUESTION, bot("At 10.", 0), bot("Every day.", 5), judgement(number))
    examples, excluded = take(Recipe(), history(*events))
    sent = {example.message: example.rejected or example.chosen for example in examples}
    assert sent == {2: "At 10."} | ({3: "Every day."} if 3 not in excluded else {})
    assert excluded == {3: "no-question"}


def test_the_instruction_is_the_one_in_force_at_the_time():
    """A later system message does not change what earlier replies were told; a generated reply knows its own."""
    events = (
        system("Be brief."),
        *ASKED,
        system("Отвечай вежливо."),
        user("Спасибо"),
        bot("Пожалуйста."),
        user("Bye"),
        ReplyGenerated("Bye!", instruction="Say goodbye."),
        ReplyDelivered(8),
    )
    examples, _ = take(Recipe(), history(*events))
    assert [example.context[0] for example in examples] == [
        Turn("system", "Be brief."),
        Turn("system", "Отвечай вежливо."),
        Turn("system", "Say goodbye."),
    ]


@pytest.mark.parametrize(
    ("setting", "shown"), [("as-recorded", ["Be brief."]), ("none", []), ("Be kind.", ["Be kind."])]
)
def test_the_instruction_can_be_left_out_or_replaced(setting, shown):
    """The recipe says: as it was, none, or a text of its own."""
    example = only(Recipe(system=setting), system("Be brief."), *ASKED)
    assert [turn.content for turn in example.context if turn.role == "system"] == shown


def test_a_blank_or_deleted_instruction_is_none():
    """It never becomes an empty turn."""
    assert contents(only(Recipe(), system(" \n"), *ASKED)) == ["When are you open?"]
    assert contents(only(Recipe(), system("Be brief."), *ASKED, MessageDeleted(1))) == ["When are you open?"]


@pytest.mark.parametrize(("setting", "shown"), [("as-sent", "At 10."), ("corrected", "9 to 18.")])
def test_earlier_replies_are_shown_as_sent_or_as_corrected(setting, shown):
    """The context of the second reply shows the first as the recipe says; the first example is the same."""
    events = (*ASKED, user("Thanks"), bot("Welcome."), Corrected(2, "9 to 18.", "anna"))
    first, second = take(Recipe(context_replies=setting), history(*events))[0]
    assert (first.chosen, first.rejected) == ("9 to 18.", "At 10.")
    assert contents(second) == ["When are you open?", shown, "Thanks"]


def test_a_deleted_or_undelivered_message_is_in_no_context():
    """What nobody can see any more is not shown to the model either."""
    events = (
        *ASKED,
        user("my card is 4242"),
        ReplyGenerated("Do not post that."),
        user("Thanks"),
        bot("Welcome."),
        MessageDeleted(3),
    )
    assert contents(take(Recipe(), history(*events))[0][-1]) == ["When are you open?", "At 10.", "Thanks"]


def test_the_transcript_of_a_voice_message_is_what_it_says():
    """Known at once or later, it follows the typed words."""
    voice = user("Слушайте:", attachments=(Attachment("voice"),))
    example = only(Recipe(), voice, bot("В 10."), TranscriptRecorded(1, 0, "когда вы открыты?"))
    assert contents(example) == ["Слушайте:\n\nкогда вы открыты?"]


def test_a_tool_result_is_no_turn():
    """No chat format of plain turns could say it."""
    example = only(Recipe(), QUESTION, MessageRecorded("tool", '{"hours": "9-18"}'), bot("9 to 18."))
    assert contents(example) == ["When are you open?"]


# --- duplicates -------------------------------------------------------------------------------------------------------


def other(*events: Event) -> Conversation:
    """The same words in another conversation."""
    return history(*events, name="telegram:43", start=100)


def test_the_same_context_and_reply_is_kept_once():
    """The first conversation keeps it; the recipe can keep both."""
    assert take(Recipe(), history(*ASKED), other(*ASKED))[1] == {102: "duplicate"}
    assert len(take(Recipe(duplicates="keep"), history(*ASKED), other(*ASKED))[0]) == 2


@pytest.mark.parametrize(
    "second",
    [(QUESTION, bot("At 11.")), (user("When?"), REPLY), (system("Be brief."), *ASKED)],
    ids=["another reply", "another question", "another instruction"],
)
def test_what_differs_in_any_word_is_no_duplicate(second):
    """Context, instruction and reply all count."""
    assert len(take(Recipe(), history(*ASKED), other(*second))[0]) == 2


def test_the_boundary_between_turns_counts():
    """Two turns are not one turn with their words together."""
    joined = other(user("When are you open?At 10.Thanks"), bot("Welcome."))
    examples, _ = take(Recipe(targets="all"), history(*ASKED, user("Thanks"), bot("Welcome.")), joined)
    assert len(examples) == 3


def test_a_late_answer_to_an_early_question_is_recognised_elsewhere():
    """Its context is the question alone, whatever was asked and answered in between."""
    group = history(
        user("Есть пионы?"), user("Do you deliver?"), bot("Yes.", in_reply_to=2), bot("В мае.", in_reply_to=1)
    )
    assert take(Recipe(), group, other(user("Есть пионы?"), bot("В мае.")))[1] == {102: "duplicate"}


def test_the_boundary_between_the_sides_counts():
    """Two pairs whose words are the same only when the sides are read together are two."""
    one = history(QUESTION, bot("10. At 9."), Corrected(2, "At ", "anna"))
    two = other(QUESTION, bot(" 9."), Corrected(2, "At 10. At", "anna"))
    assert len(take(Recipe(), one, two)[0]) == 2


def test_a_bad_reply_is_not_a_good_one_that_says_one_character_more():
    """What tells the sides apart is in nobody's words."""
    recipe = Recipe(rated_down="reject")
    bad = history(QUESTION, bot("x"), FeedbackGiven(2, "anna", -1))
    corrected = other(QUESTION, bot("y"), Corrected(2, "x", "anna"))
    for sign in map(chr, range(32, 127)):
        assert len(take(recipe, bad, other(QUESTION, bot(f"x{sign}")))[0]) == 2
        assert len(take(recipe, corrected, history(QUESTION, bot(f"xy{sign}"), name="telegram:44"))[0]) == 2


def test_pairs_with_the_same_chosen_but_other_rejected_sides_are_all_kept():
    """Each pair teaches something; a format that shows only the chosen side says it once."""
    correction = Corrected(2, "9 to 18.", "anna")
    pipeline = Pipeline(Recipe(targets="corrected"))
    first = pipeline.take(history(*ASKED, correction)).examples
    second = pipeline.take(other(QUESTION, bot("At 11."), correction)).examples
    third = pipeline.take(history(*ASKED, correction, name="telegram:44", start=200))
    assert [window.chosen_repeats for line in (first, second) for window in line.examples] == [False, True]
    assert [window.rejected_repeats for line in (first, second) for window in line.examples] == [False, False]
    assert [exclusion.reason for exclusion in third.excluded] == ["duplicate"]


# --- splits -----------------------------------------------------------------------------------------------------------


def test_shares_are_roughly_what_was_asked_for():
    """Of 20,000 conversations each split gets its share within one in a hundred."""
    split = Split(train=0.8, validation=0.15, test=0.05, seed=7)
    dealt = Counter(split_of(f"telegram:{number}", split) for number in range(20_000))
    for name, share in split.shares():
        assert abs(dealt[name] / 20_000 - share) < 0.01


def test_another_seed_deals_another_way():
    """About half of the conversations move when halves are dealt again."""
    halves = [Split(train=0.5, test=0.5, seed=seed) for seed in (1, 2)]
    moved = sum(split_of(f"c{number}", halves[0]) != split_of(f"c{number}", halves[1]) for number in range(2_000))
    assert 900 < moved < 1_100


def test_the_deal_is_fixed_for_ever():
    """These conversations have been dealt like this since the first version; a change here would leak test into train."""
    split = Split(train=0.5, validation=0.25, test=0.25, seed=7)
    names = ["telegram:42", "telegram:43", "discord:1/2", "оплата", "a", "b", "c", "d"]
    fixed = ["train", "train", "test", "train", "train", "test", "train", "validation"]
    assert [split_of(name, split) for name in names] == fixed


@given(recipe=recipes(), conversations=logs())
def test_a_conversation_stays_in_its_split_as_the_log_grows(recipe, conversations):
    """Neither more messages nor more conversations move it."""
    grown = [*conversations, history(*ASKED, name="new", start=500)]
    before = {example.conversation: example.split for example in take(recipe, *conversations)[0]}
    after = {example.conversation: example.split for example in take(recipe, *grown)[0]}
    assert before.items() <= after.items()
    assert all(split_of(name, recipe.split) == split for name, split in after.items())
