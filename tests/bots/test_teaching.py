"""What people think of answers is recorded once, can be taken back, and changes what the next similar question is answered."""

from __future__ import annotations

import pytest
from answering import configure, events
from talking import ANNA, BEN, CHAT, OLGA, Talk

import trainerlib
from bots.port import Caller
from trainerlib.events import Corrected, FeedbackGiven

OWNER = Caller("telegram:2", "Olaf", role="owner")
ELSEWHERE = "telegram:43"
MISSING = ["There is no such answer of mine in this chat."]


@pytest.fixture
def ws(tmp_path):
    with trainerlib.open(tmp_path / "shop") as workspace:
        yield workspace


@pytest.fixture
def talk(ws):
    """Ben asked something and was told that nobody knows."""
    ws.person(BEN.person).withdraw_consent()
    talk = Talk(ws)
    talk.hear("When are you open?")
    return talk


@pytest.fixture
def reply(talk):
    return talk.replies[0].id


def feedback(ws, reply):
    """What stands of a reply, without what names it."""
    return [(item.by, item.rating, item.text, item.reason) for item in ws.message(reply).feedback]


def corrections(ws, reply):
    return [(item.by, item.text) for item in ws.message(reply).corrections]


# --- buttons ---------------------------------------------------------------------------------------------------------


def test_under_an_answer_are_two_thumbs_and_a_pencil_for_who_may_correct(talk, reply):
    def actions(caller, **given):
        [row] = talk.dialogue.buttons(reply, caller, **given)
        return [(button.label, button.action) for button in row]

    thumbs = [("👍", f"up:{reply}"), ("👎", f"down:{reply}")]
    assert actions(BEN) == thumbs
    assert actions(ANNA) == actions(OWNER) == [*thumbs, ("✏️", f"fix:{reply}")]
    assert actions(BEN, private=False) == actions(ANNA)


def test_no_action_is_longer_than_a_platform_takes(talk):
    latest = 2**62
    [row] = talk.dialogue.buttons(latest, ANNA)
    longest = [*(button.action for button in row), f"why:language:{latest}", f"undo:{latest}:{latest}"]
    assert all(len(action) <= 64 and action.isascii() for action in longest)


def test_a_thumb_is_a_rating_that_can_be_undone(ws, talk, reply):
    assert talk.tap(f"up:{reply}") == ["Thank you, noted."]
    assert feedback(ws, reply) == [(BEN.person, 1, "", "")]
    [undo] = talk.actions()
    for _ in range(2):
        assert talk.tap(undo) == ["Taken back: it does not count any more."]
    assert feedback(ws, reply) == []


def test_a_thumb_tapped_again_is_no_second_rating_and_another_replaces_it(ws, talk, reply):
    for _ in range(3):
        talk.tap(f"up:{reply}")
    talk.tap(f"down:{reply}")
    talk.tap(f"down:{reply}")
    assert feedback(ws, reply) == [(BEN.person, -1, "", "")]
    assert len(events(ws, FeedbackGiven)) == 2


@pytest.mark.parametrize(
    ("reason", "code"),
    [("fact", "wrong-fact"), ("tone", "tone"), ("language", "language"), ("long", "too-long"), ("unsafe", "unsafe")],
)
def test_a_thumb_down_asks_what_was_wrong_and_a_tap_says_it(ws, talk, reply, reason, code):
    [asked] = talk.tap(f"down:{reply}")
    assert asked.startswith(f"👎 #{reply} ")
    assert f"why:{reason}:{reply}" in talk.actions()
    talk.tap(f"why:{reason}:{reply}")
    assert feedback(ws, reply) == [(BEN.person, -1, "", code)]
    talk.tap(f"down:{reply}")
    assert feedback(ws, reply) == [(BEN.person, -1, "", code)]


def test_what_was_wrong_may_be_said_in_words(ws, talk, reply):
    [asked] = talk.tap(f"down:{reply}")
    assert talk.hear("Не то спрашивали", asked=asked) == ["Thank you, noted."]
    assert feedback(ws, reply) == [(BEN.person, -1, "", ""), (BEN.person, None, "Не то спрашивали", "")]
    assert len(ws.conversation(CHAT).messages) == 2


def test_everybody_has_a_rating_of_their_own(ws, talk, reply):
    talk.tap(f"up:{reply}")
    talk.tap(f"down:{reply}", OLGA)
    assert feedback(ws, reply) == [(BEN.person, 1, "", ""), (OLGA.person, -1, "", "")]


@pytest.mark.parametrize(
    "action", ["up", "up:", "up:x", "up:-1", "up:1:2x", "down:" + "9" * 40, "launch:1", "", ":", "why:1.5"]
)
def test_a_button_that_makes_no_sense_does_nothing(ws, talk, action):
    before = ws.store.position
    assert talk.tap(action, OWNER) == ["This button does not work any more."]
    assert ws.store.position == before


def test_a_button_works_after_a_restart(ws, reply):
    again = Talk(ws, first=5000)
    [asked] = again.tap(f"fix:{reply}", ANNA)
    third = Talk(ws, first=6000)
    third.hear("9 to 18.", ANNA, asked=asked)
    assert corrections(ws, reply) == [(ANNA.person, "9 to 18.")]


# --- corrections -----------------------------------------------------------------------------------------------------


def test_the_pencil_asks_and_the_answer_is_the_correction(ws, talk, reply):
    [asked] = talk.tap(f"fix:{reply}", ANNA)
    assert asked.startswith(f"✏️ #{reply} ")
    assert "I do not know this yet." in asked
    assert talk.shown[-1].asks
    [told] = talk.hear("9 to 18, every day.", ANNA, asked=asked)
    assert corrections(ws, reply) == [(ANNA.person, "9 to 18, every day.")]
    assert "It said: I do not know this yet." in told
    assert "It should say: 9 to 18, every day." in told
    assert "next similar question" in told
    assert len(ws.conversation(CHAT).messages) == 2


def test_the_next_similar_question_is_answered_with_the_correction(ws, talk, reply):
    talk.run(talk.dialogue.correct(talk.request("9 to 18.", ANNA, about=reply)))
    ws.person(OLGA.person).withdraw_consent()
    assert talk.hear("When are you open, please?", OLGA, chat=ELSEWHERE) == ["9 to 18."]


@pytest.mark.parametrize("text", ["✏️ С 9 до 18.", "✏ С 9 до 18.", "  ✏️С 9 до 18.", "✏️\nС 9 до 18.\n"])
def test_a_reply_that_begins_with_a_pencil_is_a_correction(ws, talk, reply, text):
    talk.hear(text, ANNA, about=reply, quoted="I do not know this yet.")
    assert corrections(ws, reply) == [(ANNA.person, "С 9 до 18.")]


def test_a_pencil_that_replies_to_nothing_is_a_message(ws, talk):
    ws.person(ANNA.person).withdraw_consent()
    talk.hear("✏️ is my favourite letter", ANNA)
    assert ws.find(talk.key).text == "✏️ is my favourite letter"


def test_a_pencil_alone_asks_for_the_words(talk, reply):
    [asked] = talk.hear("✏️", ANNA, about=reply)
    assert asked.startswith(f"✏️ #{reply} ")


@pytest.mark.parametrize("form", ["{reply} 9 to 18.", "#{reply} 9 to 18.", "#{reply}\n9 to 18."])
def test_the_command_names_the_answer_by_its_number(ws, talk, reply, form):
    talk.run(talk.dialogue.correct(talk.request(form.format(reply=reply), ANNA)))
    assert corrections(ws, reply) == [(ANNA.person, "9 to 18.")]


def test_a_number_at_the_beginning_is_part_of_the_text_when_it_is_a_reply(ws, talk, reply):
    talk.run(talk.dialogue.correct(talk.request("9 to 18.", ANNA, about=reply)))
    assert corrections(ws, reply) == [(ANNA.person, "9 to 18.")]


def test_the_command_alone_says_how_it_is_used(talk):
    [said] = talk.run(talk.dialogue.correct(talk.request("", ANNA)))
    assert said == "Reply to an answer of mine with /correct and what it should have been."


def test_a_correction_heard_twice_is_one_and_says_the_same(ws, talk, reply):
    said = talk.request("✏️ 9 to 18.", ANNA, about=reply)
    first, second = (talk.run(talk.dialogue.hear(said)) for _ in range(2))
    assert first == second
    assert len(events(ws, Corrected)) == 1
    assert talk.shown[-1] == talk.shown[-2]


def test_a_correction_that_was_edited_counts_as_it_is_now(ws, talk, reply):
    said = talk.request("✏️ 9 to 17.", ANNA, about=reply)
    talk.run(talk.dialogue.hear(said))
    edit = talk.request("✏️ 9 to 18.", ANNA, about=reply)
    for _ in range(2):
        [told] = talk.run(talk.dialogue.edited(edit, said.key))
        assert "It should say: 9 to 18." in told
    assert corrections(ws, reply) == [(ANNA.person, "9 to 18.")]
    assert len(events(ws, Corrected)) == 2


def test_a_correction_can_be_undone_by_who_gave_it_and_by_who_teaches(ws, talk, reply):
    for caller in (ANNA, OWNER):
        talk.run(talk.dialogue.correct(talk.request("9 to 18.", ANNA, about=reply)))
        [undo] = talk.actions()
        assert talk.tap(undo) == ["Only whoever said it can take it back."]
        assert talk.tap(undo, caller) == ["Taken back: it does not count any more."]
        assert corrections(ws, reply) == []


def test_a_long_answer_is_shortened_where_it_is_told(talk, reply):
    [told] = talk.run(talk.dialogue.correct(talk.request("слово " * 500, ANNA, about=reply)))
    assert len(told) < 1000
    assert "…" in told


def test_what_a_person_said_is_not_corrected(ws, talk):
    question = ws.conversation(CHAT).messages[0].id
    assert talk.run(talk.dialogue.correct(talk.request("no", ANNA, about=question))) == MISSING


# --- feedback --------------------------------------------------------------------------------------------------------


def test_feedback_is_about_what_it_replies_to_or_else_the_last_answer(ws, talk, reply):
    talk.hear("And on Sundays?")
    last = talk.replies[-1].id
    talk.run(talk.dialogue.feedback(talk.request("about the first", about=reply)))
    talk.run(talk.dialogue.feedback(talk.request("о последнем")))
    assert feedback(ws, reply) == [(BEN.person, None, "about the first", "")]
    assert feedback(ws, last) == [(BEN.person, None, "о последнем", "")]


def test_feedback_needs_words_and_an_answer(talk):
    [said] = talk.run(talk.dialogue.feedback(talk.request("  ")))
    assert "/feedback The hours are wrong." in said
    assert talk.run(talk.dialogue.feedback(talk.request("bad", chat=ELSEWHERE))) == MISSING


def test_feedback_heard_twice_is_one(ws, talk, reply):
    said = talk.request("wrong hours", about=reply)
    first, second = (talk.run(talk.dialogue.feedback(said)) for _ in range(2))
    assert first == second
    assert len(events(ws, FeedbackGiven)) == 1


# --- reactions -------------------------------------------------------------------------------------------------------


def react(talk, reply, added=(), removed=(), **given):
    assert talk.run(talk.dialogue.reacted(talk.request(about=reply, **given), added, removed)) == []


@pytest.mark.parametrize(("reaction", "rating"), [("👍", 1), ("❤️", 1), ("❤", 1), ("🔥", 1), ("👎", -1), ("💩", -1)])
def test_a_reaction_counts_and_goes_with_its_withdrawal(ws, talk, reply, reaction, rating):
    react(talk, reply, [reaction])
    assert [item.rating for item in ws.message(reply).feedback] == [rating]
    react(talk, reply, (), [reaction])
    assert feedback(ws, reply) == []


def test_a_reaction_that_takes_the_place_of_another_replaces_its_rating(ws, talk, reply):
    react(talk, reply, ["👍"])
    react(talk, reply, ["👎"], ["👍"])
    assert feedback(ws, reply) == [(BEN.person, -1, "👎", "")]


def test_taking_a_reaction_back_leaves_what_a_button_said(ws, talk, reply):
    react(talk, reply, ["👍"])
    talk.tap(f"down:{reply}")
    react(talk, reply, (), ["👍"])
    assert feedback(ws, reply) == [(BEN.person, -1, "", "")]


def test_a_reaction_that_says_nothing_of_the_answer_counts_for_nothing(ws, talk, reply):
    before = ws.store.position
    react(talk, reply, ["🤔", "🍌"])
    react(talk, None, ["👍"])
    react(talk, 99_999, ["👍"])
    react(talk, reply, ["👍"], chat=ELSEWHERE)
    assert ws.store.position == before


def test_a_reaction_told_twice_is_one(ws, talk, reply):
    said = talk.request(about=reply)
    for _ in range(2):
        talk.run(talk.dialogue.reacted(said, ["👍"]))
    assert len(events(ws, FeedbackGiven)) == 1


# --- who may ---------------------------------------------------------------------------------------------------------


def test_a_person_may_not_correct_and_is_told_what_they_may(ws, talk, reply):
    told = ["Only trainers correct answers here. With 👎 or /feedback you can say what was wrong."]
    assert talk.run(talk.dialogue.correct(talk.request("9 to 18.", about=reply))) == told
    assert talk.hear("✏️ 9 to 18.", about=reply) == told
    assert talk.hear("9 to 18.", asked=f"✏️ #{reply} Write") == told
    assert talk.tap(f"fix:{reply}") == told
    assert not events(ws, Corrected)


def test_nobody_touches_answers_of_other_chats_but_who_teaches(ws, talk, reply):
    assert talk.tap(f"up:{reply}", chat=ELSEWHERE) == MISSING
    assert talk.run(talk.dialogue.feedback(talk.request("bad", about=reply, chat=ELSEWHERE))) == MISSING
    assert talk.hear("bad", asked=f"👎 #{reply} What", chat=ELSEWHERE) == MISSING
    assert feedback(ws, reply) == []
    talk.run(talk.dialogue.correct(talk.request(f"#{reply} 9 to 18.", ANNA, chat=ELSEWHERE)))
    assert corrections(ws, reply) == [(ANNA.person, "9 to 18.")]


def test_an_answer_of_the_chat_before_a_fresh_beginning_may_be_rated(ws, talk, reply):
    talk.run(talk.dialogue.new(talk.request()))
    talk.tap(f"up:{reply}")
    assert feedback(ws, reply) == [(BEN.person, 1, "", "")]


def test_a_topic_is_a_chat_of_its_own(talk, reply):
    assert talk.tap(f"up:{reply}", chat=f"{CHAT}:7") == MISSING


def test_nobody_undoes_what_somebody_else_said(ws, talk, reply):
    talk.tap(f"down:{reply}")
    undo = talk.actions()[-1]
    assert talk.tap(undo, OLGA) != talk.tap(undo, ANNA)
    assert feedback(ws, reply) == []


def test_of_whom_nothing_is_recorded_no_rating_is_recorded_either(ws, reply):
    configure(ws, '[bots]\nunconsented = "nothing"\n')
    with trainerlib.open(ws.path) as careful:
        strict = Talk(careful, first=5000)
        before = careful.store.position
        told = ["You have not allowed me to keep anything of yours, so I cannot note that. /consent changes it."]
        assert strict.tap(f"up:{reply}") == told
        assert strict.run(strict.dialogue.feedback(strict.request("bad"))) == told
        react(strict, reply, ["👍"])
        assert careful.store.position == before
        careful.person(BEN.person).give_consent()
        strict.tap(f"up:{reply}")
    assert feedback(ws, reply) == [(BEN.person, 1, "", "")]
