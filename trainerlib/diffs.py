"""What changed from one dataset to another, and why.

>>> from trainerlib.examples import Turn, Window
>>> def line(reply):
...     return "train", ConversationExamples("telegram:42", 1, (Turn("user", "When?"),), (Window(3, 0, 1, reply),))
>>> compare([line("At 10.")], [line("9 to 18.")], left_out_before=list, left_out_after=list).changed
(Change(conversation='telegram:42', message=3, why='chosen'),)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import msgspec

from trainerlib.datasets import Exclusion
from trainerlib.examples import ConversationExamples, Example

_PARTS = ("split", "context", "chosen", "rejected")
_Placed = tuple[str, ConversationExamples]
_LeftOut = Callable[[], Iterable[Exclusion]]


class Change(msgspec.Struct, frozen=True):
    """An example that two datasets do not share.

    Attributes:
        conversation: its conversation.
        message: id of the reply.
        why: `new` when the one was built before it was recorded; `excluded: REASON` for what the other left out;
            for a changed one the parts that differ, of `split`, `context`, `chosen`, `rejected`.
    """

    conversation: str
    message: int
    why: str


class DatasetDiff(msgspec.Struct, frozen=True):
    """What changed from one dataset to another.

    Attributes:
        added: examples that only the other has.
        removed: examples that only the first has.
        changed: examples that say something else.
    """

    added: tuple[Change, ...]
    removed: tuple[Change, ...]
    changed: tuple[Change, ...]


def compare(
    before: Iterable[_Placed], after: Iterable[_Placed], *, left_out_before: _LeftOut, left_out_after: _LeftOut
) -> DatasetDiff:
    """What `after` has more, less and differently than `before`.

    Args:
        before: `(split, examples)` of each conversation of the one, in log order.
        after: likewise of the other.
        left_out_before: gives what the one left out; called when it is needed.
        left_out_after: likewise of the other.
    """
    added: list[Change] = []
    removed: list[Change] = []
    changed: list[Change] = []
    for old_line, new_line in _joined(iter(before), iter(after)):
        old, new = _examples(old_line), _examples(new_line)
        removed += [Change(was.conversation, was.message, "new") for was in old.values() if was.message not in new]
        added += [Change(now.conversation, now.message, "new") for now in new.values() if now.message not in old]
        for was in old.values():
            now = new.get(was.message, was)
            parts = [part for part in _PARTS if getattr(was, part) != getattr(now, part)]
            if parts:
                changed.append(Change(was.conversation, was.message, ", ".join(parts)))
    return DatasetDiff(_with_reasons(added, left_out_before), _with_reasons(removed, left_out_after), tuple(changed))


def _joined(before: Iterator[_Placed], after: Iterator[_Placed]) -> Iterator[tuple[_Placed | None, _Placed | None]]:
    """The lines of two datasets side by side, conversation by conversation; both are in log order."""
    old, new = next(before, None), next(after, None)
    while old is not None or new is not None:
        if new is None or (old is not None and old[1].position < new[1].position):
            yield old, None
            old = next(before, None)
        elif old is None or new[1].position < old[1].position:
            yield None, new
            new = next(after, None)
        else:
            yield old, new
            old, new = next(before, None), next(after, None)


def _examples(placed: _Placed | None) -> dict[int, Example]:
    """The examples of a conversation by message."""
    return {} if placed is None else {example.message: example for example in placed[1].expand(placed[0])}


def _with_reasons(changes: list[Change], left_out: _LeftOut) -> tuple[Change, ...]:
    """The changes, each with the reason why a dataset is without the example."""
    wanted = {(change.conversation, change.message) for change in changes}
    reasons = {
        (one.conversation, one.message): f"excluded: {one.reason}"
        for one in (left_out() if wanted else ())
        if (one.conversation, one.message) in wanted
    }
    return tuple(
        msgspec.structs.replace(change, why=reasons.get((change.conversation, change.message), change.why))
        for change in changes
    )
