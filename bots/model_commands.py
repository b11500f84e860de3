"""`/model` and `/test`: which model answers, whether another one may, and how good one is.

A button that changes who answers names what answered when it was shown. When that has changed since, it does nothing, so
no button does its work twice.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from bots.bot import Bot, MisuseError, Progress
from bots.examples import not_taken
from bots.marking import base_name, button, code, one_line, plain, short
from bots.port import Button, Caller, Request, Say
from bots.texts import N_, Speaker, speaker
from trainerlib.errors import EvaluationError, NotFoundError, PromotionError, SupersededError

if TYPE_CHECKING:
    from trainerlib.evaluation import Scored
    from trainerlib.evaluations import Evaluation
    from trainerlib.models import Model, Promotion

_MOST_CASES = 200
_MOST_BYTES = 2_000_000
_LONG = 300

_FAILED = (
    N_("not as expected"),
    N_("does not contain {text}"),
    N_("contains {text}"),
    N_("does not match {text}"),
)
"""What an answer can lack, in the words of `trainerlib.cases.failures`."""


# --- /model ----------------------------------------------------------------------------------------------------------


async def model(bot: Bot, request: Request) -> AsyncIterator[Say]:
    """List the models, let one answer, or go back to the one before."""
    _ = speaker(request.caller.language)
    what, _space, name = request.text.strip().partition(" ")
    what, name = what.lower(), name.strip()
    if not what or what == "list":
        yield await _listed(bot, request.caller)
    elif what == "promote" and name:
        _check(bot, request.caller, "promote")
        yield await _promoted(bot, request.caller, name, force=False)
    elif what == "evaluate" and name:
        _check(bot, request.caller, "promote")
        async for say in _compared(bot, request.caller, name):
            yield say
    elif what == "rollback" and not name:
        _check(bot, request.caller, "rollback")
        yield await _offered_back(bot, request.caller)
    else:
        raise MisuseError(
            _("{list} lists the models, {promote} lets one answer, {back} goes back to the one before.").format(
                list=code("/model"), promote=code("/model promote NAME"), back=code("/model rollback")
            )
        )


async def model_tapped(bot: Bot, request: Request, action: str) -> AsyncIterator[Say]:
    """Let a model answer, whether it is shown to be better or not, or go back to the one before."""
    _ = speaker(request.caller.language)
    what, _colon, rest = action.partition(":")
    name, _colon, before = rest.partition(":")
    if what == "promote":
        _check(bot, request.caller, "promote")
        yield await _promoted(bot, request.caller, await _by_digest(bot, request.caller, name), force=False)
    elif what == "evaluate":
        _check(bot, request.caller, "promote")
        async for say in _compared(bot, request.caller, await _by_digest(bot, request.caller, name)):
            yield say
    elif what == "force":
        _check(bot, request.caller, "force")
        chosen = await _by_digest(bot, request.caller, name)
        yield await _promoted(bot, request.caller, chosen, force=True, before=before)
    elif what == "back":
        _check(bot, request.caller, "rollback")
        yield await _back(bot, request.caller, rest)
    else:
        raise MisuseError(_("That button is not known any more."))


def _check(bot: Bot, caller: Caller, what: str) -> None:
    """Refuse a part of the command that is not for everybody who may look."""
    if not bot.may(caller, what):
        _ = speaker(caller.language)
        raise MisuseError(_("Which model answers is for the owner of this bot to decide."))


async def _by_digest(bot: Bot, caller: Caller, digest: str) -> str:
    """The name of a model that a button names."""
    _ = speaker(caller.language)
    for found in await bot.thread(bot.workspace.models.list):
        if short(found.name) == digest:
            return found.name
    raise MisuseError(_("That model is not known here any more."))


async def _listed(bot: Bot, caller: Caller) -> Say:
    _ = speaker(caller.language)
    found = await bot.thread(bot.workspace.models.list)
    lines = [_told(one, _) for one in found]
    others = [one.name for one in found if not one.current]
    if others and bot.may(caller, "promote"):
        lines += ["", _("{promote} lets another one answer.").format(promote=code(f"/model promote {others[-1]}"))]
    return Say("\n".join(lines))


def _told(found: Model, _: Speaker) -> str:
    """A model in a line: what it is called, whether it answers, what its evaluation said."""
    about = [_("answers")] if found.current else []
    if found.share:
        about.append(_("answers {share} of the conversations").format(share=f"{100 * found.share:.3g} %"))
    if found.base:
        about.append(_("tuned from {model}").format(model=code(one_line(base_name(found.base), 60))))
    event = found.evaluation
    if event is not None and "chrf" in event.scores:
        about.append(_("chrF {value}").format(value=f"{event.scores['chrf']:.1f}"))
    if event is not None and "passed" in event.scores:
        about.append(_("{share} of its tests passed").format(share=f"{event.scores['passed']:.0f} %"))
    if not found.present:
        about.append(_("its files are gone"))
    return f"{code(found.name)}: {', '.join(about)}" if about else code(found.name)


async def _promoted(bot: Bot, caller: Caller, name: str, *, force: bool, before: str | None = None) -> Say:
    """What came of a promotion; where it is refused, why, and a way to do it all the same.

    With `before` only in the place of the model that this is short for: another owner may have tapped.
    """
    _ = speaker(caller.language)
    models = bot.workspace.models

    def promote() -> Promotion:
        current = models.current
        if before is not None and name != current and short(current) != before:
            raise SupersededError(current)
        instead_of = None if before is None else current
        return models.promote(name, force=force, by=caller.person, instead_of=instead_of)

    try:
        done = await bot.thread(promote)
    except SupersededError as error:
        raise MisuseError(_("Another model answers since: {model}. Look again with {command}.").format(
            model=code(models.current), command=code("/model"))) from error  # fmt: skip
    except PromotionError as error:
        found = await bot.thread(lambda: models.get(name))
        why = code(one_line(plain(str(error), bot.workspace.path), 900))
        text = _("{model} does not answer yet: it is not shown to be better than the one that does.").format(
            model=code(found.name)
        )
        rows: list[tuple[Button, ...]] = []
        if found.present and not force:
            rows.append((button(_("Compare them"), "model", "evaluate", short(found.name)),))
        if found.present and not force and bot.may(caller, "force"):
            action = ("model", "force", short(found.name), short(models.current))
            rows.append((button(_("Let it answer all the same"), *action),))
        return Say(f"{text}\n{why}", tuple(rows))
    if not done.new:
        return Say(_("{model} answers already.").format(model=code(done.model.name)))
    lines = [
        _("{model} answers from now on; before it was {before}.").format(
            model=code(done.model.name), before=code(done.before)
        )
    ]
    lines += [code(line) for line in (done.decision.worse if done.decision is not None else ())]
    lines.append(_("{command} takes that back.").format(command=code("/model rollback")))
    return Say("\n".join(lines))


async def _compared(bot: Bot, caller: Caller, name: str) -> AsyncIterator[Say]:
    """Ask a model and the one that answers the same questions, and say which was better."""
    _ = speaker(caller.language)
    workspace = bot.workspace
    chosen = (await bot.thread(lambda: workspace.models.get(name))).name

    def ask(tell: Progress) -> Evaluation:
        return workspace.evaluations.evaluate(chosen, against="current", by=caller.person, progress=tell)

    async with bot.testing:
        work = bot.work(ask)
        yield Say(_("Asking both models…"))
        async for done, total in work:
            yield Say(_("{done} of {total} answered").format(done=f"{done:,}", total=f"{total:,}"), replaces=True)
        try:
            found = await work.result()
        except EvaluationError as error:
            words = code(one_line(plain(str(error), workspace.path), 600))
            raise MisuseError(f"{_('They cannot be compared:')} {words}") from error
    lines = [_("{model} against {other}:").format(model=code(found.model), other=code(found.against))]
    lines += [code(line) for line in str(found).splitlines()]
    yield Say("\n".join(lines), ((button(_("Let it answer"), "model", "promote", short(chosen)),),), replaces=True)


async def _offered_back(bot: Bot, caller: Caller) -> Say:
    """Ask before going back: said twice, a plain command would go back twice."""
    _ = speaker(caller.language)
    current = await bot.thread(lambda: bot.workspace.models.get("current"))
    if current.promoted_at is None:
        raise MisuseError(_("There is nothing to go back to: no model was promoted."))
    text = _("{model} answers now. Should the model that answered before it answer again?")
    action = ("model", "back", short(current.name), _stamp(current))
    return Say(text.format(model=code(current.name)), ((button(_("Go back"), *action),),))


async def _back(bot: Bot, caller: Caller, shown: str) -> Say:
    """Go back, unless that was done since the button was shown."""
    _ = speaker(caller.language)
    models = bot.workspace.models

    def back() -> tuple[str, str]:
        current = models.get("current")
        if f"{short(current.name)}:{_stamp(current)}" != shown:
            return current.name, ""
        try:
            done = models.rollback(by=caller.person, instead_of=current.name)
        except SupersededError:
            # Another owner tapped as well.
            return models.current, ""
        return done.model.name, done.before

    try:
        name, before = await bot.thread(back)
    except PromotionError as error:
        raise MisuseError(
            f"{_('It is not possible to go back.')}\n{code(plain(str(error), bot.workspace.path))}"
        ) from error
    if not before:
        return Say(_("{model} answers now.").format(model=code(name)))
    return Say(_("{model} answers again, in the place of {before}.").format(model=code(name), before=code(before)))


def _stamp(current: Model) -> str:
    """When a model was promoted, in so many letters that no two promotions have the same."""
    return f"{current.promoted_at.timestamp():.6f}" if current.promoted_at is not None else ""


# --- /test -----------------------------------------------------------------------------------------------------------


async def try_cases(bot: Bot, request: Request) -> AsyncIterator[Say]:
    """Ask the model that answers some cases, and say of each whether its answer was right."""
    _ = speaker(request.caller.language)
    try:
        cases = _cases(bot, request, _)
    finally:
        # What was asked is kept with what came of it.
        bot.dialogue.discard(request)
    workspace = bot.workspace

    def ask(tell: Progress) -> Evaluation:
        return workspace.evaluations.test(cases, by=request.caller.person, progress=tell)

    async with bot.testing:
        work = bot.work(ask)
        yield Say(_("Asking the model…"))
        async for done, total in work:
            yield Say(_("{done} of {total} answered").format(done=f"{done:,}", total=f"{total:,}"), replaces=True)
        try:
            found = await work.result()
        except EvaluationError as error:
            words = one_line(plain(str(error), workspace.path), 600)
            raise MisuseError(f"{_('The test cannot be run:')} {code(words)}\n{_example(_)}") from error
    yield Say("\n".join(_report(found, _)), replaces=True)


def _cases(bot: Bot, request: Request, _: Speaker) -> bytes:
    """The cases as they were given: never a name of a file, which is what other words mean to the library."""
    text = request.text.strip()
    if request.files:
        path = request.files[0].path
        if path is None:
            raise MisuseError(not_taken(bot, request.files[0], _))
        try:
            with path.open("rb") as file:
                given = file.read(_MOST_BYTES + 1)
        except OSError as error:
            raise NotFoundError(f"{path.name}: {error.strerror}") from error
        if len(given) > _MOST_BYTES:
            raise MisuseError(_("The file is too large for a test in a chat."))
        return given
    if not text.startswith(("[", "{")):
        raise MisuseError(
            f"{_('Say what to ask and what would be right, or send a file of such lines.')} {_example(_)}"
        )
    return text.encode(errors="surrogatepass")


def _example(_: Speaker) -> str:
    case = code('/test [{"input": "When are you open?", "contains": "9"}]')
    return _("For example: {example}").format(example=case)


def _report(found: Evaluation, _: Speaker) -> list[str]:
    """A line for each case, and below those that failed what was asked, expected and answered."""
    lines: list[str] = []
    right = 0
    for number, scored in enumerate(found.answers):
        if not scored.answer.error and not scored.failed:
            right += 1
            if number < _MOST_CASES:
                lines.append(_("right: {case}").format(case=code(scored.case.id)))
        elif number < _MOST_CASES:
            lines += _wrong(scored, _)
    total = len(found.answers)
    if total > _MOST_CASES:
        lines.append(_("{count} more are not shown.").format(count=f"{total - _MOST_CASES:,}"))
    summary = _("{model}: {right} of {total} are right.")
    lines.append(summary.format(model=code(found.model), right=f"{right:,}", total=f"{total:,}"))
    return lines


def _wrong(scored: Scored, _: Speaker) -> list[str]:
    case, answer = scored.case, scored.answer
    if answer.error:
        return [_("no answer: {case}, {reason}").format(case=code(case.id), reason=code(one_line(answer.error, _LONG)))]
    why = "; ".join([_lack(words, _) for words in scored.failed])
    lines = [_("wrong: {case}, {reason}").format(case=code(case.id), reason=why)]
    lines.append(f"- {_('asked: {text}').format(text=code(one_line(case.question, _LONG)))}")
    lines += [f"- {_('expected: {text}').format(text=code(one_line(text, _LONG)))}" for text in case.expected]
    lines.append(f"- {_('answered: {text}').format(text=code(one_line(answer.text, _LONG)))}")
    return lines


def _lack(words: str, _: Speaker) -> str:
    """What an answer lacks, in the language of whoever asked."""
    for form in _FAILED:
        beginning, gap, _rest = form.partition("{text}")
        if words.startswith(beginning):
            return _(form).format(text=code(one_line(words.removeprefix(beginning), _LONG))) if gap else _(form)
    return words
