"""What is kept of a person, said by the bot: the explanation, their consent, their data as a file, and its erasure.

Who was asked for consent is derived from the log: the explanation goes with the first message that somebody has in a
chat, as long as they have not said yes or no before it. Where nothing is recorded of people who did not consent, nobody
can tell, so they are asked once a day, and again when the bot was started again.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from pathlib import Path

import msgspec

from bots.conversations import Conversations
from bots.port import Button, Caller, Request, Say
from bots.texts import Speaker, speaker
from trainerlib import Message, Workspace
from trainerlib.erasure import erase_person, export_person
from trainerlib.errors import NotFoundError

WORDING = "bots-1"
"""Version of the words people agree to; another one when they mean something else."""

_REMEMBERED = 10_000


class Privacy:
    """Explains what is kept, asks for consent, hands out and erases.

    Args:
        workspace: where it is kept.
        conversations: of the chats.
        clock: the time now, with its zone.
    """

    def __init__(self, workspace: Workspace, conversations: Conversations, clock: Callable[[], datetime]) -> None:
        self._workspace = workspace
        self._conversations = conversations
        self._clock = clock
        # Of each chat, the first message of everybody who speaks in it.
        self._firsts: dict[str, dict[str, int]] = {}
        # When somebody was asked of whom nothing is recorded, and with which message.
        self._asked: dict[tuple[str, str], tuple[datetime, str]] = {}

    # --- consent -----------------------------------------------------------------------------------------------------

    def records(self, caller: Caller) -> bool:
        """Whether what somebody says is recorded.

        Args:
            caller: who.
        """
        kept = self._workspace.settings.bots.unconsented == "record"
        return kept or self._workspace.person(caller.person).consent.status == "given"

    def introduction(self, request: Request, question: Message | None) -> Say | None:
        """What is kept, and whether it may be trained on: said once, with a person's first message; `None` after it.

        The same message has the same introduction however often it is heard.

        Args:
            request: what they said.
            question: it, as it was recorded; `None` when nothing is recorded of them.
        """
        consent = self._workspace.person(request.caller.person).consent
        if consent.at is not None and (request.sent_at is None or consent.at <= request.sent_at):
            return None
        first = self._is_first(request, question) if question is not None else self._is_time(request)
        return self._question(request) if first else None

    async def consent(self, request: Request) -> AsyncIterator[Say]:
        """`/consent`: how things stand, and buttons to change it."""
        _ = speaker(request.caller.language)
        yield Say(f"{self._status(_, request)}\n\n{_('What should it be from now on?')}", self._choice(_), plain=True)

    async def decide(self, request: Request, *, allowed: bool) -> AsyncIterator[Say]:
        """A tap on one of the buttons: whoever taps decides for themselves.

        Args:
            request: the tap.
            allowed: what they decided.
        """
        _ = speaker(request.caller.language)
        person = self._workspace.person(request.caller.person)
        if allowed:
            person.give_consent(wording=WORDING, text=self._question(request).text)
            yield Say(_("Thank you. What you write may be used for training. /consent takes it back at any time."))
            return
        person.withdraw_consent()
        if self._workspace.settings.bots.unconsented == "record":
            yield Say(_("Understood: nothing you write is used for training. I answer you all the same."))
        else:
            yield Say(_("Understood: nothing you write is kept. I answer you all the same."))

    async def privacy(self, request: Request) -> AsyncIterator[Say]:
        """`/privacy`: what is kept, what for, and what a person can do about it."""
        _ = speaker(request.caller.language)
        if self._workspace.settings.bots.unconsented == "record":
            kept = _(
                "I keep what you write to me and what I answer, files and ratings included, with your name and your "
                "number here, so that I can answer and people can correct my mistakes."
            )
        else:
            kept = _(
                "If you allow it, I keep what you write to me and what I answer, files and ratings included, with your "
                "name and your number here. If you do not, I answer and keep nothing."
            )
        model = _("To answer, what you write is shown to the model {model}.").format(
            model=self._workspace.models.current
        )
        ways = _(
            "/consent changes whether you allow training.\n"
            "/export gives you everything there is about you, as a file.\n"
            "/forget erases it for good."
        )
        yield Say("\n\n".join((kept, model, self._status(_, request), ways)), plain=True)

    def _question(self, request: Request) -> Say:
        _ = speaker(request.caller.language)
        if self._workspace.settings.bots.unconsented == "record":
            text = _(
                "I keep this conversation so that I can answer and people can correct my mistakes. Models are trained on "
                "what you write only if you allow it: /consent changes that at any time, /privacy says more."
            )
        else:
            text = _(
                "I keep nothing of what you write unless you allow it. If you do, people can correct my mistakes, and "
                "models can be trained on it: /consent changes that at any time, /privacy says more."
            )
        return Say(text, self._choice(_), plain=True)

    def _choice(self, _: Speaker) -> tuple[tuple[Button, ...], ...]:
        return ((Button(_("I allow it"), "consent:yes"), Button(_("I do not"), "consent:no")),)

    def _status(self, _: Speaker, request: Request) -> str:
        consent = self._workspace.person(request.caller.person).consent
        if consent.status == "given" and consent.at is not None:
            return _("You have allowed training on what you write, on {day}.").format(day=f"{consent.at:%Y-%m-%d}")
        if consent.status == "withdrawn":
            return _("You do not allow training on what you write, so it is not used for that.")
        return _("You have not said yet whether what you write may be used for training, so it is not.")

    def _is_first(self, request: Request, question: Message) -> bool:
        firsts = self._firsts.get(request.chat)
        if firsts is None:
            if len(self._firsts) >= _REMEMBERED:
                self._firsts.clear()
            firsts = self._firsts[request.chat] = {}
            for chat in self._conversations.all(request.chat):
                for message in chat.messages:
                    firsts.setdefault(message.author, message.id)
        return firsts.setdefault(request.caller.person, question.id) == question.id

    def _is_time(self, request: Request) -> bool:
        """Whether a day has gone by since they were asked in this chat, or it was with this very message."""
        place, now = (request.chat, request.caller.person), self._clock()
        before = self._asked.get(place)
        if before is not None and (now - before[0]).days < 1:
            return bool(request.key) and before[1] == request.key
        if len(self._asked) >= _REMEMBERED:
            self._asked.clear()
        self._asked[place] = now, request.key
        return True

    # --- everything about a person -----------------------------------------------------------------------------------

    async def export(self, request: Request) -> AsyncIterator[Say]:
        """`/export`: everything about a person as a JSON file, deleted here once it was sent; in a chat of two alone."""
        _ = speaker(request.caller.language)
        if not request.private:
            yield Say(_("What I have about you is for you alone. Please ask me for it in a private chat."))
            return
        name = re.sub(r"[^\w-]+", "-", request.caller.person, flags=re.ASCII)
        path = self._workspace.path / "exports" / f"{name}.json"
        try:
            try:
                records = await asyncio.to_thread(self._write, request.caller.person, path)
            except NotFoundError:
                yield Say(_("I have nothing about you."))
                return
            text = _.plural("Everything about you: {count} record.", "Everything about you: {count} records.", records)
            yield Say(text.format(count=records), file=path)
        finally:
            path.unlink(missing_ok=True)

    async def forget(self, request: Request) -> AsyncIterator[Say]:
        """`/forget`: asks whether everything about a person is to be erased."""
        _ = speaker(request.caller.language)
        person = request.caller.person
        text = _(
            "This erases everything you wrote to me, my answers to it, your files, ratings and corrections, in every chat. "
            "It cannot be undone."
        )
        # The button names them: in a group anybody can tap it.
        erase, keep = Button(_("Erase it"), f"forget:yes:{person}"), Button(_("Keep it"), f"forget:no:{person}")
        yield Say(text, ((erase, keep),))

    async def settle(self, request: Request, answer: str, person: str) -> AsyncIterator[Say]:
        """A tap on one of the buttons of `forget`.

        Args:
            request: the tap.
            answer: `yes` or `no`.
            person: who asked.

        Raises:
            StoreError: the log cannot be written now; the same again goes on with it.
        """
        _ = speaker(request.caller.language)
        if person != request.caller.person:
            yield Say(_("Only the person who asked can answer that."))
            return
        if answer != "yes":
            yield Say(_("Nothing was erased."))
            return
        try:
            report = await asyncio.to_thread(erase_person, self._workspace.store, self._workspace.path, person)
        except NotFoundError:
            yield Say(_("I have nothing about you."))
            return
        finally:
            for firsts in self._firsts.values():
                firsts.pop(person, None)
        text = _.plural("Erased: {count} message.", "Erased: {count} messages.", report.messages)
        left = _(
            "What was exported before, or trained on it, is not changed by that: ask whoever runs this bot. If you write "
            "to me again, it counts as new."
        )
        yield Say(f"{text.format(count=report.messages)} {left}")

    def _write(self, person: str, path: Path) -> int:
        """Write everything about a person into a file; how many records that is."""
        records = [msgspec.json.encode(record) for record in export_person(self._workspace.store, person)]
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"[\n" + b",\n".join(records) + b"\n]\n")
        return len(records)
