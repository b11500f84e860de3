"""The models of a workspace: which there are, which one answers, and how another one takes its place.

>>> import trainerlib
>>> with trainerlib.open(tmp / "shop") as ws:
...     added = ws.models.add("openai:ft:gpt-x:shop", note="trained elsewhere")
...     print(ws.models.current, [model.name for model in ws.models.list()])
...     ws.models.promote("openai:ft:gpt-x:shop")
Traceback (most recent call last):
trainerlib.errors.PromotionError: openai:ft:gpt-x:shop was not evaluated; do that with:
trainerlib evaluate openai:ft:gpt-x:shop --against current
>>> with trainerlib.open(tmp / "shop") as ws:
...     _ = ws.models.promote("openai:ft:gpt-x:shop", force=True, note="a trial", by="anna")
...     print(ws.models.answering("telegram:42"), "->", ws.models.rollback().model.name)
openai:ft:gpt-x:shop -> memory
"""

from __future__ import annotations

import asyncio
import difflib
import os
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing
from datetime import datetime
from pathlib import Path

import msgspec

from trainerlib.chat.memory import MEMORY
from trainerlib.chat.port import ChatModel, Completion, Prompt
from trainerlib.conversations import Conversation
from trainerlib.conversations import fold as fold_conversation
from trainerlib.errors import (
    InvalidEventError,
    ModelError,
    NotFoundError,
    PromotionError,
    SupersededError,
    TrainingError,
    VersionConflictError,
)
from trainerlib.events import (
    CandidateSet,
    Event,
    ModelAdded,
    ModelEvaluated,
    ModelPromoted,
    ModelRolledBack,
    ReplyGenerated,
    TrainingSucceeded,
    from_microseconds,
)
from trainerlib.jobs import Jobs
from trainerlib.model_files import ModelFiles, canonical
from trainerlib.promotion import (
    CURRENT,
    MODELS,
    STREAM,
    Decision,
    Known,
    Side,
    Standing,
    decide,
    fold,
    fold_model,
    side,
)
from trainerlib.settings import Settings
from trainerlib.store.eventstore import Append, EventStore
from trainerlib.training import PREFIX as TRAINING
from trainerlib.training import TrainingJob

API = "openai:"
"""Names of models that a server answers for begin with it."""

BUNDLE = "bundle"
"""The trainer whose models come back by `Models.add`."""


class Model(msgspec.Struct, frozen=True):
    """A model, and what is known of it.

    Attributes:
        name: what it is chosen by.
        base: the model it was tuned from; empty where nobody said.
        job: id of the training job it comes from; empty for none of this workspace.
        note: what somebody said when it was added.
        by: who added it.
        added_at: when it was first added; `None` for one that needed no adding.
        evaluation: its latest evaluation on held-out replies and corrections, else on cases of somebody's own.
        evaluated_at: when that was.
        promoted_at: when it was last promoted.
        current: it answers.
        share: the share of the conversations that it is given as a candidate, 0 to 1.
        directory: where its files are; `None` for one that has none here.
        present: its files are there; always so for one that has none here.
    """

    name: str
    base: str = ""
    job: str = ""
    note: str = ""
    by: str = ""
    added_at: datetime | None = None
    evaluation: ModelEvaluated | None = None
    evaluated_at: datetime | None = None
    promoted_at: datetime | None = None
    current: bool = False
    share: float = 0.0
    directory: Path | None = None
    present: bool = True

    def __str__(self) -> str:
        """One line."""
        about = [f"from {self.base}"] if self.base else []
        about += ["answers"] if self.current else []
        about += [f"answers {self.share:.1%} as a candidate"] if self.share else []
        about += [] if self.present else ["its files are gone"]
        return " · ".join([self.name, *about])


class Promotion(msgspec.Struct, frozen=True):
    """What came of a promotion, or of taking one back.

    Attributes:
        model: the model that answers now.
        before: the one that answered before.
        decision: what the evaluation said; `None` where none was asked for.
        forced: it was promoted against that.
        new: something was recorded; False when it answered already.
    """

    model: Model
    before: str
    decision: Decision | None = None
    forced: bool = False
    new: bool = True


class SideBySide(msgspec.Struct, frozen=True):
    """What people said about a candidate's replies and about those of the model that answers, since it was offered.

    Attributes:
        since: when it was offered.
        share: of the conversations that are its own, 0 to 1.
        candidate: its replies.
        current: those of the model that answers the others.
    """

    since: datetime
    share: float
    candidate: Side
    current: Side


class Models:
    """The models of a workspace.

    Args:
        store: the log.
        path: the workspace.
        settings: of the workspace.
        jobs: its training jobs.
        opened: opens a model by its name.
    """

    def __init__(
        self, store: EventStore, path: Path, settings: Settings, *, jobs: Jobs, opened: Callable[[str], ChatModel]
    ) -> None:
        self._store = store
        self._files = ModelFiles(path)
        self._default = canonical(settings.chat.model)
        self._jobs = jobs
        self._opened = opened
        self._remembered = Standing()

    # --- who answers -------------------------------------------------------------------------------------------------

    @property
    def current(self) -> str:
        """Name of the model that answers: the one promoted last, else the one that the settings name."""
        return self._standing().current(self._default)

    @property
    def candidate(self) -> tuple[str, float] | None:
        """`(name, share)` of the candidate, if there is one."""
        standing = self._standing()
        return (standing.candidate, standing.share) if standing.candidate else None

    def answering(self, conversation: str) -> str:
        """Name of the model that answers a conversation now, whichever process decided that.

        It costs one small query, so ask for every reply.

        Args:
            conversation: its id.
        """
        return self._standing().answering(conversation, self._default)

    def open(self, name: str) -> ChatModel:
        """A model, ready to answer. One with files here has them checked against their sha256 before its first answer.

        Args:
            name: what it is chosen by, or `current`.

        Raises:
            ModelError: there is no such model, or a package that it needs is missing.
            SettingsError: the settings do not let it be reached.
        """
        if name == CURRENT:
            name = self.current
        model = self._opened(name)
        added = self._known(name).added
        return _Checked(model, lambda: self._refuse_changed(name, ModelError)) if added and added.sha256 else model

    def _standing(self) -> Standing:
        version = self._store.version(STREAM)
        if version != self._remembered.version:
            before = self._remembered
            self._remembered = fold(self._store.read(STREAM, after=before.version), into=before)
        return self._remembered

    # --- which there are ---------------------------------------------------------------------------------------------

    def list(self) -> _Models:
        """Every model: `memory`, the one that the settings name, and those added or evaluated, in that order."""
        standing, promoted = self._standing(), self._promoted_us()
        return [self._model(self._known(name), standing, promoted) for name in self._names()]

    def get(self, name: str) -> Model:
        """A model.

        Args:
            name: what it is chosen by, or `current`.

        Raises:
            NotFoundError: nothing is known of it; the message has names like it.
        """
        return self._model(self._known(self._resolved(name)), self._standing(), self._promoted_us())

    def problems(self, name: str) -> _Words:
        """What is wrong with the files of a model, a line each: gone, or not as they were when it was added.

        Raises:
            NotFoundError: nothing is known of it.
        """
        return self._file_problems(self._known(self._resolved(name)))

    def verify(self) -> _Words:
        """What does not hold, a line each: files that changed, and those gone of models that may have to answer."""
        standing = self._standing()
        needed = {self.current, standing.candidate, *standing.promoted}
        problems: list[str] = []
        for name in self._names():
            known = self._known(name)
            directory = self._files.place(name)
            if directory is not None and (name in needed or directory.is_dir()):
                problems += self._file_problems(known)
        return problems

    def _names(self) -> _Words:
        added = [stream.removeprefix(MODELS) for stream in self._store.streams(MODELS)]
        return list(dict.fromkeys([MEMORY, self._default, *added]))

    def _resolved(self, name: str) -> str:
        if name == CURRENT:
            return self.current
        wanted = canonical(name)
        names = self._names()
        if wanted in names:
            return wanted
        close = [one for one in names if one.partition(":")[2] == name]
        close = close or difflib.get_close_matches(wanted, names, n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else f"there is {', '.join(names)}"
        raise NotFoundError(f"no model {name!r}; {hint} (others become known by: trainerlib model add)")

    def _known(self, name: str) -> Known:
        return fold_model(name, self._store.read(f"{MODELS}{name}"))

    def _promoted_us(self) -> dict[str, int]:
        """When each model was last promoted."""
        events = self._store.read(STREAM)
        return {one.event.model: one.recorded_us for one in events if isinstance(one.event, ModelPromoted)}

    def _model(self, known: Known, standing: Standing, promoted: Mapping[str, int]) -> Model:
        name, added = known.name, known.added or ModelAdded()
        return Model(
            name,
            added.base,
            added.job,
            added.note,
            added.by,
            _at(known.added_us),
            known.latest,
            _at(known.evaluated_us),
            _at(promoted.get(name, 0)),
            current=name == standing.current(self._default),
            share=standing.share if name == standing.candidate else 0.0,
            directory=self._files.place(name),
            present=self._files.present(name, added.sha256),
        )

    def _file_problems(self, known: Known) -> _Words:
        return self._files.problems(known.name, known.added.sha256 if known.added is not None else {})

    def _refuse_changed(self, name: str, error: type[ModelError | PromotionError]) -> None:
        problems = self._file_problems(self._known(name))
        if problems:
            more = f" (and {len(problems) - 1:,} more)" if len(problems) > 1 else ""
            raise error(f"{problems[0]}{more}; bring it back, or add it again with: trainerlib model add")

    # --- adding ------------------------------------------------------------------------------------------------------

    def add(
        self,
        model: str | Path,
        *,
        name: str = "",
        base: str = "",
        note: str = "",
        job: str = "",
        by: str = "",
    ) -> Model:
        """Make a model known: one of a server by its name, or a directory, which is copied into the workspace.

        A directory that lies in the workspace's `models/` already is taken where it is. Adding the same again records
        nothing.

        Args:
            model: `openai:NAME`, `local:NAME`, a directory, or the id of a model in the Hugging Face cache.
            name: what to call a directory's model; by default as its job wanted, or as the directory is called.
            base: the model it was tuned from; by default the one its job began with.
            note: where it comes from.
            job: id of the job it comes from, or the beginning of it. A bundle's job succeeds with it.
            by: who adds it.

        Raises:
            NotFoundError: no such job.
            ModelError: there is no model there, it is not whole, or its name cannot be or is taken by another one.
            TrainingError: the job is none that waits for its model.
        """
        state = self._jobs.get(job).state if job else None
        if state is not None:
            _refuse_running(state)
        given = os.fspath(model).strip()
        if given == MEMORY:
            raise ModelError(f"{MEMORY} is always there; it needs no adding")
        if given.startswith(API):
            if not given.removeprefix(API).strip() or (name and name != given):
                raise ModelError(f"{given}: a model of a server is called {API}NAME, as the server calls it")
            chosen, files = given, dict[str, str]()
        else:
            wanted = state.request if state is not None else None
            preferred = (wanted.suffix or f"{wanted.dataset}-v{wanted.dataset_version}") if wanted is not None else ""
            chosen, files = self._files.take(given, name, preferred=preferred)
        self._record(chosen, ModelAdded(base, state.id if state else "", files, note, by), state)
        return self.get(chosen)

    def _record(self, name: str, event: ModelAdded, state: TrainingJob | None) -> None:
        """Say that a model is there, and with it that its job has succeeded."""
        while True:
            version = self._store.version(f"{MODELS}{name}")
            known = self._known(name)
            before = known.added or ModelAdded()
            event = msgspec.structs.replace(
                event,
                base=event.base or before.base or (state.request.model if state else ""),
                job=event.job or before.job,
                note=event.note or before.note,
            )
            appends: list[Append] = []
            keys: list[str | None] = []
            if state is not None:
                state = self._jobs.get(state.id).state
                if not state.ended:
                    done = TrainingSucceeded(name, sha256=event.sha256)
                    ended = [f"training:{state.id}:ended"]
                    appends.append(Append(f"{TRAINING}{state.id}", [done], ended, state.version))
                    keys = [f"training:{state.id}:model"]
            if known.added is None or msgspec.structs.replace(event, by=before.by) != before:
                appends.append(Append(f"{MODELS}{name}", [event], keys, version))
            try:
                if appends:
                    self._store.append_batch(appends)
            except VersionConflictError:
                continue
            return

    # --- taking over -------------------------------------------------------------------------------------------------

    def promote(
        self, name: str, *, force: bool = False, note: str = "", by: str = "", instead_of: str | None = None
    ) -> Promotion:
        """Have a model answer from here on, in every process and without a restart.

        It has to be shown to be better than the one that answers now: see `trainerlib.promotion.decide`.

        Args:
            name: its name.
            force: promote it all the same; that is recorded.
            note: why.
            by: who wants it.
            instead_of: only in the place of this model; by default of whichever answers at that moment.

        Raises:
            NotFoundError: nothing is known of it; the message has names like it.
            SupersededError: another model answers than it is to replace. Nothing was recorded.
            PromotionError: it was not evaluated against the present model, did worse, is not shown to be better, or its
                files are gone or changed. Nothing was recorded.
        """
        chosen = self._resolved(name)
        while True:
            standing = self._standing()
            before = standing.current(self._default)
            if chosen == before:
                return Promotion(self.get(chosen), before, new=False)
            if instead_of not in (None, before):
                raise SupersededError(f"{before} answers by now, not {instead_of}: look again")
            self._refuse_changed(chosen, PromotionError)
            decision = decide(self._known(chosen), self._known(before))
            if decision.refusal and not force:
                raise PromotionError(decision.refusal)
            forced = bool(decision.refusal)
            on = decision.evaluation.evaluation if decision.evaluation is not None and not forced else ""
            # Whoever promotes at the same moment is seen the next time round, and the question asked anew.
            if self._append(ModelPromoted(chosen, on, forced, note, by), standing):
                return Promotion(self.get(chosen), before, decision, forced)

    def rollback(self, *, note: str = "", by: str = "", instead_of: str | None = None) -> Promotion:
        """Have the model answer that answered before the one that does now; after the first, that of the settings.

        Args:
            note: why.
            by: who wants it.
            instead_of: only in the place of this model; by default of whichever answers at that moment.

        Raises:
            SupersededError: another model answers than it is to replace, or somebody else decides at this moment. Nothing
                was recorded.
            PromotionError: no model was promoted, or the one before has lost its files. Nothing was recorded.
        """
        standing = self._standing()
        current = standing.current(self._default)
        if instead_of not in (None, current):
            raise SupersededError(f"{current} answers by now, not {instead_of}: look again")
        if not standing.promoted:
            raise PromotionError(f"there is nothing to go back to: no model was promoted, and {self._default} answers")
        before = standing.promoted[-1]
        target = standing.promoted[-2] if len(standing.promoted) > 1 else self._default
        self._refuse_changed(target, PromotionError)
        if not self._append(ModelRolledBack(target, note, by), standing):
            raise SupersededError(
                f"somebody else promoted or rolled back just now, and {self.current} answers: look again"
            )
        return Promotion(self.get(target), before)

    def offer(self, name: str, share: float, *, by: str = "") -> Model:
        """Give a share of the conversations to a candidate, always the same ones; 0 ends it.

        A larger share later adds conversations and takes none away. Promoting the candidate ends the offer.

        Args:
            name: the candidate.
            share: of the conversations, 0 to 1.
            by: who wants it.

        Raises:
            NotFoundError: nothing is known of it.
            InvalidEventError: the share is none.
            PromotionError: it answers already, its files are gone or changed, or another candidate is on offer.
        """
        if not 0 <= share <= 1:
            raise InvalidEventError(f"a share of the conversations is from 0 to 1, not {share:g}")
        chosen = self._resolved(name)
        while True:
            standing = self._standing()
            if standing.candidate not in ("", chosen):
                raise PromotionError(
                    f"{standing.candidate} is the candidate already; end that with: "
                    f"trainerlib model offer {standing.candidate} --share 0"
                )
            if share:
                if chosen == standing.current(self._default):
                    raise PromotionError(f"{chosen} answers already")
                self._refuse_changed(chosen, PromotionError)
            same = standing.candidate == (chosen if share else "") and standing.share == share
            if same or self._append(CandidateSet(chosen if share else "", share, by), standing):
                return self.get(chosen)

    def comparison(self) -> SideBySide:
        """What people said about the candidate's replies and about those of the model that answers, since the offer.

        Raises:
            PromotionError: there is no candidate.
        """
        standing = self._standing()
        if not standing.candidate:
            raise PromotionError("no candidate is on offer; do that with: trainerlib model offer NAME --share 0.1")
        current = standing.current(self._default)
        replies: dict[str, set[int]] = {}
        for recorded in self._store.read_all(after=standing.offered):
            if isinstance(recorded.event, ReplyGenerated) and recorded.event.model in (standing.candidate, current):
                replies.setdefault(recorded.stream, set()).add(recorded.version)
        offered = self._store.at(standing.offered)
        return SideBySide(
            from_microseconds(offered.recorded_us if offered is not None else 0),
            standing.share,
            side(standing.candidate, self._answered(replies)),
            side(current, self._answered(replies)),
        )

    def _answered(self, replies: Mapping[str, set[int]]) -> Iterator[tuple[Conversation, frozenset[int]]]:
        for stream, numbers in replies.items():
            yield fold_conversation(self._store.read(stream)), frozenset(numbers)

    def _append(self, event: Event, standing: Standing) -> bool:
        """Record what somebody decided, unless somebody else did so since they looked."""
        try:
            self._store.append(STREAM, [event], expected_version=standing.version)
        except VersionConflictError:
            return False
        return True


_Models = list[Model]
_Words = list[str]


class _Checked:
    """A model whose files are checked before its first answer, in a thread: they may be large."""

    def __init__(self, model: ChatModel, check: Callable[[], None]) -> None:
        self.name = model.name
        self._model = model
        self._check: Callable[[], None] | None = check

    async def stream(self, prompt: Prompt) -> AsyncGenerator[str | Completion]:
        if self._check is not None:
            await asyncio.to_thread(self._check)
            self._check = None
        async with aclosing(self._model.stream(prompt)) as pieces:
            async for piece in pieces:
                yield piece

    async def close(self) -> None:
        await self._model.close()

    def __repr__(self) -> str:
        return repr(self._model)


def _refuse_running(state: TrainingJob) -> None:
    if not state.ended and state.request.trainer != BUNDLE:
        raise TrainingError(f"job {state.id} is {state.state}: its model is added by itself once it has succeeded")


def _at(microseconds: int) -> datetime | None:
    return from_microseconds(microseconds) if microseconds else None
