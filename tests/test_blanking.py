"""What a person's erasure leaves of a conversation: whose words go, and that nothing else changes."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainerlib.blanking import blank, blank_elsewhere, blank_shown, is_erased, pseudonym, renamed, spoken
from trainerlib.conversations import fold
from trainerlib.events import (
    Attachment,
    ConsentGiven,
    ConsentWithdrawn,
    ConversationStarted,
    Corrected,
    CorrectionWithdrawn,
    DatasetBuilt,
    FeedbackGiven,
    FeedbackWithdrawn,
    Imported,
    MessageDeleted,
    MessageEdited,
    MessageRecorded,
    ModelPromoted,
    RecordedEvent,
    ReplyFailed,
    ReplyGenerated,
    RoleGiven,
    TranscriptRecorded,
)

OLGA, BEN = "telegram:7", "telegram:8"
NAME = pseudonym("9f2c", OLGA)


def history(*events, at=0):
    """The events of one conversation, one after the other."""
    return [RecordedEvent(number + 10, "conversation/a", number, event, at) for number, event in enumerate(events, 1)]


def left(events, person=OLGA, **more):
    """What the events say once somebody is erased."""
    changed = {recorded.version: recorded.event for recorded in blank(events, person, NAME, **more).changed}
    return [changed.get(recorded.version, recorded.event) for recorded in events]


def user(text, author=OLGA, **more):
    return MessageRecorded("user", text, author, **more)


def bot(text, **more):
    return MessageRecorded("assistant", text, "telegram:500", "Лавка", **more)


GROUP = history(
    ConversationStarted("telegram", "Клиенты лавки"),
    MessageRecorded("system", "Be short."),
    user("Я Ольга, телефон 5550101", name="Ольга", attachments=(Attachment("voice", "files/1.ogg", text="алло"),)),
    bot("Здравствуйте, Ольга!"),
    user("When are you open?", BEN, name="Ben"),
    bot("At 10, Ben."),
    bot("Ольга, перезвоним на 5550101", in_reply_to=3),
    MessageEdited(3, "Я Ольга Петрова"),
    MessageEdited(5, "When do you open?"),
    TranscriptRecorded(3, 0, "алло, это Ольга"),
    Corrected(6, "9 to 18.", OLGA, "как сказала Ольга"),
    Corrected(7, "Перезвоним, Ольга.", BEN, "politer"),
    FeedbackGiven(6, OLGA, -1, "неверно", "wrong-fact"),
    FeedbackGiven(7, BEN, 1, "Ольга рада"),
    CorrectionWithdrawn(11, OLGA),
    FeedbackWithdrawn(13, OLGA),
    FeedbackGiven(6, BEN, 1, "thanks"),
)


def test_in_a_group_only_their_words_and_the_answers_to_them_go():
    """Whoever else speaks keeps every word, the answers to them included; ratings stay without words."""
    assert left(GROUP) == [
        GROUP[0].event,
        GROUP[1].event,
        MessageRecorded("user", "", NAME, erased=True),
        bot("", erased=True),
        GROUP[4].event,
        GROUP[5].event,
        bot("", in_reply_to=3, erased=True),
        MessageEdited(3, ""),
        GROUP[8].event,
        TranscriptRecorded(3, 0, ""),
        Corrected(6, "", NAME),
        Corrected(7, "", BEN),
        FeedbackGiven(6, NAME, -1, "", "wrong-fact"),
        FeedbackGiven(7, BEN, 1),
        CorrectionWithdrawn(11, NAME),
        FeedbackWithdrawn(13, NAME),
        GROUP[16].event,
    ]


def test_what_is_blanked_is_counted():
    """Messages with the replies to them, corrections and ratings, what files they named, and where words went first."""
    blanked = blank(GROUP, OLGA, NAME)
    assert (blanked.messages, blanked.corrections, blanked.feedback, blanked.speaks) == (3, 2, 2, True)
    assert (blanked.words, blanked.names, blanked.files) == (13, {"Ольга"}, {"files/1.ogg"})


def test_where_nobody_else_speaks_every_word_goes():
    """The title, the instruction, greetings, tools, errors and what a model was told go as well; numbers stay."""
    alone = history(
        ConversationStarted("telegram", "Ольга", ("vip",)),
        MessageRecorded("system", "The customer is Olga."),
        bot("Добрый день, Ольга!", attachments=(Attachment("photo", "files/2.jpg"),)),
        user("Где мой заказ?"),
        MessageRecorded("tool", "order of Olga: 4117"),
        ReplyGenerated("Едет, Ольга.", 4, "gpt-x", "Be kind to Olga.", (13,), {"user": OLGA}, {"tokens": 9}, 0.5, 0.1),
        ReplyFailed(4, "refused: Где мой заказ?"),
        Corrected(6, "Уже у вас.", "telegram:1", "Ольга звонила"),
        user("I have no name", ""),
        MessageDeleted(4),
    )
    assert left(alone) == [
        ConversationStarted("telegram", "", ("vip",)),
        MessageRecorded("system", "", erased=True),
        bot("", erased=True),
        MessageRecorded("user", "", NAME, erased=True),
        MessageRecorded("tool", "", erased=True),
        ReplyGenerated("", 4, "gpt-x", "", (13,), {}, {"tokens": 9}, 0.5, 0.1, erased=True),
        ReplyFailed(4, ""),
        Corrected(6, "", "telegram:1"),
        user("", "", erased=True),
        MessageDeleted(4),
    ]
    assert blank(alone, OLGA, NAME).words == 12


def test_a_reply_answers_whom_it_names_and_else_who_spoke_last():
    """A named message decides; one that answers an answer goes with it; without a name it is whoever spoke last."""
    talk = history(
        user("a"), user("b", BEN), bot("to Ben"), bot("to Olga", in_reply_to=1), bot("more", in_reply_to=4),
        user("c"), ReplyGenerated("to Ben again", 2), ReplyGenerated("to Olga again"), bot("and this", in_reply_to=99),
        user("d", BEN), ReplyGenerated("to Ben"),
    )  # fmt: skip
    part = spoken(talk, OLGA)
    assert (part.theirs, part.answers, part.alone) == ({1, 6}, {4, 5, 8, 9}, False)


def test_somebody_who_answers_for_the_shop_does_not_take_their_customers_words():
    """An assistant's author loses their own words only; what others asked and the bot answered stays."""
    desk = history(
        user("Привет", BEN),
        MessageRecorded("assistant", "Здесь Анна", OLGA, "Анна"),
        ReplyGenerated("В 10."),
        user("Спасибо", BEN),
    )
    blanked = left(desk)
    assert blanked[1] == MessageRecorded("assistant", "", NAME, erased=True)
    assert [blanked[number] for number in (0, 2, 3)] == [desk[number].event for number in (0, 2, 3)]


def test_a_rater_who_never_spoke_leaves_the_conversation_as_it_is():
    """Only their own correction and rating lose their words."""
    rated = history(
        user("?", BEN), bot("!"), Corrected(2, "Да.", OLGA), FeedbackGiven(2, OLGA, 2, "ура", "because Olga")
    )
    blanked = blank(rated, OLGA, NAME)
    assert left(rated)[2:] == [Corrected(2, "", NAME), FeedbackGiven(2, NAME, 2)]
    assert (blanked.messages, blanked.speaks, blanked.words) == (0, False, 13)
    assert blank(rated[:2] + rated[3:], OLGA, NAME).words == 0


def test_a_title_that_is_their_name_goes_in_a_group_too():
    """Other titles of groups stay."""
    for title, expected in (("Ольга", ""), ("Ольга и Бен", "Ольга и Бен")):
        events = history(ConversationStarted("telegram", title), user("a", name="Ольга"), user("b", BEN))
        assert left(events)[0].title == expected


def test_what_was_said_after_a_time_stays():
    """Somebody who was erased and came back: an old file takes nothing of what they said since."""
    old, new = (datetime(year, 1, 1, tzinfo=UTC) for year in (2025, 2026))
    events = history(
        user("раньше", sent_at=old), bot("тогда", sent_at=old), user("теперь", sent_at=new), bot("now", sent_at=new)
    )
    until = int(datetime(2025, 6, 1, tzinfo=UTC).timestamp() * 1_000_000)
    assert [event.text for event in left(events, until=until)] == ["", "", "теперь", "now"]


def test_a_reply_to_somebody_else_loses_what_it_repeats():
    """Of what a reply was shown, what it says word for word goes: a correction or more than a phrase."""
    words = {5: "С 9 до 18", 6: "мой номер 5550101, звоните после шести"}
    kept = ReplyGenerated("Открыто с 9 утра", 2, "memory", "Be short.", (5, 6))
    assert blank_shown(kept, words) is kept
    assert blank_shown(ReplyGenerated("С 9 до 180", context=(5,)), words).text == "С 9 до 180"
    assert blank_shown(ReplyGenerated("С 9 до 18", context=(4,)), words).text == "С 9 до 18"
    told = ReplyGenerated("Мы открыты: С 9 до 18!", 2, "memory", "Once said: С 9 до 18", (5,))
    assert blank_shown(told, words) == ReplyGenerated("", 2, "memory", "", (5,), erased=True)


def test_what_they_said_about_a_model_goes_and_what_others_said_stays():
    """That it was promoted, and when, stays."""
    told = ModelPromoted("local:a", "e1", note="Ольга довольна", by=OLGA)
    assert blank_elsewhere(told, OLGA, NAME, frozenset()) == ModelPromoted("local:a", "e1", by=NAME)
    assert blank_elsewhere(told, BEN, NAME, frozenset()) == told


def test_their_id_goes_where_it_stands_alone():
    """In recipes, settings and counts, as value or key; not inside other words."""
    built = DatasetBuilt("a", 1, {"authors": [OLGA, BEN], "system": f"not {OLGA}"}, 9, 1, 1, {}, {OLGA: 1}, {})
    changed = blank_elsewhere(built, OLGA, NAME, frozenset())
    assert changed.recipe == {"authors": [NAME, BEN], "system": f"not {OLGA}"}
    assert changed.splits == {NAME: 1}
    assert blank_elsewhere(built, "telegram:9", NAME, frozenset()) == built
    redacting = DatasetBuilt("a", 1, {"names": ["Ольга", "Ольга и Бен"]}, 9, 1, 1, {}, {}, {})
    assert blank_elsewhere(redacting, OLGA, NAME, frozenset({"Ольга"})).recipe == {"names": [NAME, "Ольга и Бен"]}
    assert renamed((OLGA, 7, None), OLGA, NAME) == (NAME, 7, None)


def test_what_they_said_about_consent_goes():
    """That they consented, to which wording and when, stays."""
    assert blank_elsewhere(
        ConsentGiven("2026-11", "Я, Ольга, согласна", OLGA), OLGA, NAME, frozenset()
    ) == ConsentGiven("2026-11", "", NAME)
    assert blank_elsewhere(ConsentWithdrawn(BEN, "я Ольга"), OLGA, NAME, frozenset()) == ConsentWithdrawn(BEN)


def test_who_gave_a_role_goes_and_the_role_stays():
    """In the stream of whoever has it."""
    given = RoleGiven("trainer", OLGA)
    assert blank_elsewhere(given, OLGA, NAME, frozenset()) == RoleGiven("trainer", NAME)
    assert blank_elsewhere(given, BEN, NAME, frozenset()) == given


def test_an_import_loses_names_and_quotes():
    """A file named after them, them as the assistant, and the reasons of bad lines, which may quote; the numbers stay."""
    event = Imported(
        "WhatsApp Chat with ольга.txt", "9f2c", "whatsapp", "Ольга", "consent", 1, 2, 0, 0, 1, ((7, "'Ольга'"),)
    )
    assert blank_elsewhere(event, OLGA, NAME, frozenset({"Ольга"})) == Imported(
        "", "9f2c", "whatsapp", NAME, "consent", 1, 2, 0, 0, 1, ((7, ""),)
    )


@pytest.mark.parametrize(
    ("event", "erased"),
    [
        (user("", NAME), True),
        (user("привет"), False),
        (ReplyGenerated("", erased=True), True),
        (FeedbackWithdrawn(3, NAME), True),
        (Corrected(3, "", NAME), True),
        (MessageDeleted(3), False),
    ],
)
def test_an_erased_event_tells(event, erased):
    """By its mark, or by who acts in it."""
    assert is_erased(event) is erased


def test_a_pseudonym_is_the_same_in_one_log_and_another_in_every_other():
    """It tells nothing about the id."""
    assert pseudonym("9f2c", OLGA) == NAME != pseudonym("a71b", OLGA)
    assert pseudonym("9f2c", BEN) != NAME
    assert len(NAME) == len("erased:") + 16


# --- any conversation -------------------------------------------------------------------------------------------------

PEOPLE = (OLGA, BEN, "", "борис")
texts = st.sampled_from(["", "я", "Когда вы открыты?", "When?"])
numbers = st.integers(1, 12)
anything = st.one_of(
    st.builds(ConversationStarted, st.just("telegram"), texts),
    st.builds(
        MessageRecorded,
        st.sampled_from(["user", "assistant", "system", "tool"]),
        texts,
        st.sampled_from(PEOPLE),
        texts,
        in_reply_to=st.none() | numbers,
    ),
    st.builds(MessageEdited, numbers, texts),
    st.builds(MessageDeleted, numbers),
    st.builds(TranscriptRecorded, numbers, st.just(0), texts),
    st.builds(ReplyGenerated, texts, st.none() | numbers, instruction=texts),
    st.builds(ReplyFailed, numbers, texts),
    st.builds(Corrected, numbers, texts, st.sampled_from(PEOPLE[:2])),
    st.builds(FeedbackGiven, numbers, st.sampled_from(PEOPLE[:2]), st.none() | st.integers(-5, 5), texts),
    st.builds(CorrectionWithdrawn, numbers, st.sampled_from(PEOPLE)),
    st.builds(FeedbackWithdrawn, numbers, st.sampled_from(PEOPLE)),
)


@settings(deadline=None, max_examples=200)
@given(events=st.lists(anything, max_size=12))
def test_whatever_was_said_erasing_is_complete_and_touches_nothing_else(events):
    """Places and kinds stay; their id is gone; a second time changes nothing; other people's messages keep their words."""
    before = history(*events)
    part = spoken(before, OLGA)
    after = [
        RecordedEvent(one.position, one.stream, one.version, event, one.recorded_us)
        for one, event in zip(before, left(before), strict=True)
    ]
    assert [type(one.event) for one in after] == [type(event) for event in events]
    assert not any(OLGA in (getattr(one.event, "author", ""), getattr(one.event, "by", "")) for one in after)
    assert blank(after, OLGA, NAME).changed == ()
    words = {message.number: (message.text, message.name) for message in fold(before).messages}
    for message in fold(after).messages:
        if message.number in part.theirs:
            assert (message.text, message.name, message.author) == ("", "", NAME)
        elif message.number in part.answers:
            assert message.text == ""
        elif message.author and message.author == BEN and message.role == "user":
            assert (message.text, message.name) == words[message.number]
