"""Teaching in a chat: ratings, what was wrong, corrections, and taking them back.

Nothing is remembered between a question of the bot and the answer to it: buttons name the reply they are about, and a
message that asks for words begins with `✏️ #12` or `👎 #12`, so what answers it is known by what it answers.

>>> parse("✏️ 9 to 18.", "")
Taught(what='correct', reply=None, text='9 to 18.')
>>> parse("9 to 18.", "✏️ #12 Write what the answer should have been.")
Taught(what='correct', reply=12, text='9 to 18.')
>>> parse("When are you open?", "At 10.") is None
True
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import Literal

import msgspec

from bots.consent import Privacy
from bots.conversations import Conversations, chat_of
from bots.port import Button, Caller, Request, Say
from bots.roles import allows
from bots.texts import Speaker, speaker
from trainerlib import Correction, Feedback, Message, Workspace
from trainerlib.errors import NotFoundError

UP = frozenset("👍❤🔥🥰👏🎉🤩🙏💯😍🏆⚡🤗😘")
"""Reactions that say a reply is good."""

DOWN = frozenset("👎💩🤬🤮😡💔🤡")
"""Reactions that say it is not."""

REASONS = {"fact": "wrong-fact", "tone": "tone", "language": "language", "long": "too-long", "unsafe": "unsafe"}
"""What buttons call a reason, and what the log does."""

_PENCIL = "✏"
_VARIANT = "\N{VARIATION SELECTOR-16}"
_ASKED = re.compile(rf"(✏|👎){_VARIANT}?\s*#(\d{{1,18}})\b")
_NUMBERED = re.compile(r"#?(\d{1,18})(?:\s+|$)", re.ASCII)
_ID = re.compile(r"\d{1,18}", re.ASCII)
_SHORT = 300
"""Characters of a text that are shown to tell it from others."""


class Taught(msgspec.Struct, frozen=True):
    """A message that is no question but teaches.

    Attributes:
        what: `correct` or `feedback`.
        reply: id of the reply, where the message tells it.
        text: the better reply, or what was wrong.
    """

    what: Literal["correct", "feedback"]
    reply: int | None
    text: str


def parse(text: str, asked: str) -> Taught | None:
    """What a message teaches by its look; `None` for a question.

    Args:
        text: the words.
        asked: the words of the bot's that it answers. Nobody else's: whoever wrote them would say what is corrected.
    """
    about = _ASKED.match(asked.lstrip())
    if about is not None:
        return Taught("correct" if about[1] == _PENCIL else "feedback", int(about[2]), _bare(text))
    if text.lstrip().startswith(_PENCIL):
        return Taught("correct", None, _bare(text))
    return None


class Teaching:
    """Takes what people think of replies.

    Args:
        workspace: where it is recorded.
        conversations: of the chats.
        privacy: says of whom nothing is recorded.
    """

    def __init__(self, workspace: Workspace, conversations: Conversations, privacy: Privacy) -> None:
        self._workspace = workspace
        self._conversations = conversations
        self._privacy = privacy
        self._taps: dict[str, Callable[[Request, Message, str], Say]] = {
            "up": self._up,
            "down": self._down,
            "why": self._why,
            "fix": self._fix,
            "undo": self._undo,
        }

    def buttons(self, reply: Message | int, caller: Caller, *, private: bool = True) -> tuple[tuple[Button, ...], ...]:
        """What is shown under an answer.

        Args:
            reply: the answer, or its id.
            caller: whom it is for.
            private: a chat of two; in others somebody else may be there who corrects.
        """
        about = reply if isinstance(reply, int) else reply.id
        row = (Button("👍", f"up:{about}"), Button("👎", f"down:{about}"))
        return ((*row, Button("✏️", f"fix:{about}")) if not private or allows(caller.role, "fix") else row,)

    async def tap(self, request: Request, action: str) -> AsyncIterator[Say]:
        """A tap on a button of `buttons`, or on one that came of it.

        Args:
            request: the tap.
            action: of the button.
        """
        _ = speaker(request.caller.language)
        name, *rest = action.split(":")
        refused = self._refused(_, request, name)
        if (act := self._taps.get(name)) is None or not rest or not _ID.fullmatch(rest[-1]):
            yield Say(_("This button does not work any more."))
        elif refused is not None:
            yield refused
        elif (reply := self._reply(request, int(rest[-1]))) is None:
            yield Say(_("There is no such answer of mine in this chat."))
        else:
            yield act(request, reply, rest[0])

    async def correct(self, request: Request) -> AsyncIterator[Say]:
        """`/correct TEXT` as a reply, `/correct MESSAGE_ID TEXT`, a reply that begins with ✏️, an answer to `✏️ #12`.

        Args:
            request: what they said.
        """
        _ = speaker(request.caller.language)
        taught = parse(request.text, request.asked)
        about, text = request.about, _bare(request.text)
        if taught is not None and taught.reply is not None:
            about = taught.reply
        # Who replies to something that is no answer means that, and a number is a word of theirs.
        alone = not request.quoted or text.startswith("#")
        if about is None and alone and (numbered := _NUMBERED.match(text)) is not None:
            about, text = int(numbered[1]), text[numbered.end() :]
        elif text.startswith("#") and (numbered := _NUMBERED.match(text)) is not None and int(numbered[1]) == about:
            text = text[numbered.end() :]
        refused = self._refused(_, request, "correct")
        if refused is not None:
            yield refused
        elif about is None:
            yield Say(_("Reply to an answer of mine with /correct and what it should have been."))
        elif (reply := self._reply(request, about)) is None:
            yield Say(_("There is no such answer of mine in this chat."))
        else:
            yield self._corrected(request, reply, text) if text else self._fix(request, reply, "")

    async def feedback(self, request: Request) -> AsyncIterator[Say]:
        """`/feedback TEXT`, about the answer they reply to or else the last one; an answer to `👎 #12`.

        Args:
            request: what they said.
        """
        _ = speaker(request.caller.language)
        taught = parse("", request.asked)
        about, text = request.about, request.text.strip()
        if taught is not None:
            about = taught.reply
        refused = self._refused(_, request, "feedback")
        if refused is not None:
            yield refused
        elif not text:
            yield Say(_("Write what you think after the command, such as: /feedback The hours are wrong."))
        elif (reply := self._last(request) if about is None else self._reply(request, about)) is None:
            yield Say(_("There is no such answer of mine in this chat."))
        else:
            key = _key(request, "feedback")
            given = self._workspace.give_feedback(reply.id, by=request.caller.person, text=text, key=key)
            yield self._noted(request, reply, given)

    async def reacted(self, request: Request, added: Sequence[str], removed: Sequence[str] = ()) -> AsyncIterator[Say]:
        """A reaction to an answer was put there or taken back; it is counted, and nothing is said to it.

        Args:
            request: who, and `about` which reply.
            added: the reactions that are new.
            removed: those that are gone.
        """
        reply = None if request.about is None else self._reply(request, request.about)
        if reply is not None and self._privacy.records(request.caller):
            self._count(request, reply, added, removed)
        nothing: tuple[Say, ...] = ()
        for say in nothing:
            yield say

    # --- buttons -----------------------------------------------------------------------------------------------------

    def _up(self, request: Request, reply: Message, _: str) -> Say:
        return self._noted(request, reply, self._rated(request, reply, 1))

    def _why(self, request: Request, reply: Message, reason: str) -> Say:
        return self._noted(request, reply, self._rated(request, reply, -1, REASONS.get(reason, "")))

    def _down(self, request: Request, reply: Message, _argument: str) -> Say:
        _ = speaker(request.caller.language)
        given = self._rated(request, reply, -1)
        labels = {
            "fact": _("Wrong fact"),
            "tone": _("Tone"),
            "language": _("Language"),
            "long": _("Too long"),
            "unsafe": _("Unsafe"),
        }
        reasons = [Button(label, f"why:{reason}:{reply.id}") for reason, label in labels.items()]
        asked = _("What was wrong? Tap it, or answer this message in your own words.")
        return Say(
            f"👎 #{reply.id} {asked}", (tuple(reasons[:3]), (*reasons[3:], _undoing(_, reply, given))), plain=True
        )

    def _fix(self, request: Request, reply: Message, _argument: str) -> Say:
        _ = speaker(request.caller.language)
        asked = _("Write what the answer should have been. It said: {old}").format(old=_shown(reply.text))
        return Say(f"✏️ #{reply.id} {asked}", asks=True, plain=True)

    def _undo(self, request: Request, reply: Message, given: str) -> Say:
        _ = speaker(request.caller.language)
        by = request.caller
        everything: tuple[Correction | Feedback, ...] = (*reply.corrections, *reply.feedback)
        standing = next((one for one in everything if str(one.id) == given), None)
        if standing is not None and standing.by != by.person and not allows(by.role, "correct"):
            return Say(_("Only whoever said it can take it back."))
        if standing is not None:
            self._withdraw(standing, by.person)
        return Say(_("Taken back: it does not count any more."))

    # --- what is recorded ---------------------------------------------------------------------------------------------

    def _rated(self, request: Request, reply: Message, rating: int, reason: str = "") -> Feedback:
        """The rating that stands then; one that stands already is not given again."""
        by = request.caller.person
        for given in reply.feedback:
            if given.by == by and given.rating == rating and not given.text and reason in ("", given.reason):
                return given
        key = _key(request, "rating")
        return self._workspace.give_feedback(reply.id, by=by, rating=rating, reason=reason, key=key)

    def _count(self, request: Request, reply: Message, added: Sequence[str], removed: Sequence[str]) -> None:
        by = request.caller.person
        gone = set(map(_plain, removed))
        for given in reply.feedback:
            # The reaction itself is what they said, so it is told from a button.
            if given.by == by and given.text in gone:
                self._withdraw(given, by)
        telling = [reaction for reaction in map(_plain, added) if reaction in UP or reaction in DOWN]
        if telling:
            reaction = telling[-1]
            rating = 1 if reaction in UP else -1
            key = _key(request, "reaction")
            self._workspace.give_feedback(reply.id, by=by, rating=rating, text=reaction, key=key)

    def _withdraw(self, given: Correction | Feedback, by: str) -> None:
        with suppress(NotFoundError):  # another process was quicker
            if isinstance(given, Correction):
                self._workspace.withdraw_correction(given.id, by=by)
            else:
                self._workspace.withdraw_feedback(given.id, by=by)

    def _corrected(self, request: Request, reply: Message, text: str) -> Say:
        _ = speaker(request.caller.language)
        given = self._workspace.correct(reply.id, text, by=request.caller.person, key=_key(request, "correction"))
        told = _(
            "Corrected.\nIt said: {old}\nIt should say: {new}\nThe next similar question is answered with this in view."
        )
        return Say(told.format(old=_shown(reply.text), new=_shown(text)), ((_undoing(_, reply, given),),), plain=True)

    def _noted(self, request: Request, reply: Message, given: Feedback) -> Say:
        _ = speaker(request.caller.language)
        return Say(_("Thank you, noted."), ((_undoing(_, reply, given),),))

    # --- whose and which ----------------------------------------------------------------------------------------------

    def _refused(self, _: Speaker, request: Request, what: str) -> Say | None:
        """Why somebody may not teach; `None` when they may."""
        if not allows(request.caller.role, what):
            return Say(_("Only trainers correct answers here. With 👎 or /feedback you can say what was wrong."))
        if not self._privacy.records(request.caller):
            return Say(
                _("You have not allowed me to keep anything of yours, so I cannot note that. /consent changes it.")
            )
        return None

    def _reply(self, request: Request, reply: int) -> Message | None:
        """A reply that somebody may touch: of the chat they are in, or any for those who teach."""
        try:
            if chat_of(self._workspace.conversation_of(reply)) != request.chat and not allows(
                request.caller.role, "correct"
            ):
                return None
            message = self._workspace.message(reply)
        except NotFoundError:
            return None
        # What has no words was erased, with the question that it answered.
        return message if message.role == "assistant" and (message.text or message.attachments) else None

    def _last(self, request: Request) -> Message | None:
        """The last answer in a chat."""
        said = self._conversations.current(request.chat).messages
        return next(
            (message for message in reversed(said) if message.role == "assistant" and not message.deleted), None
        )


def _undoing(_: Speaker, reply: Message, given: Correction | Feedback) -> Button:
    return Button(_("Undo"), f"undo:{given.id}:{reply.id}")


def _key(request: Request, what: str) -> str | None:
    """The natural key of what a request teaches."""
    return f"{request.key}:{what}" if request.key else None


def _bare(text: str) -> str:
    """A correction without the pencil before it."""
    return text.strip().removeprefix(_PENCIL).removeprefix(_VARIANT).strip()


def _plain(reaction: str) -> str:
    return reaction.replace(_VARIANT, "")


def _shown(text: str) -> str:
    """The beginning of a text, in a line."""
    line = " ".join(text.split())
    return line if len(line) <= _SHORT else f"{line[:_SHORT].rstrip()}…"
