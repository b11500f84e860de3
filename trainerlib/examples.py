"""Examples: what a dataset is made of, and the form in which a built dataset lies on the disk.

A dataset file (`datasets/<name>/v<version>/<split>.jsonl`) has one line a conversation: its turns once, and its
examples as windows over them, so that a long conversation with many targets is not repeated for each of them.

>>> line = ConversationExamples(
...     conversation="telegram:42", position=1,
...     turns=(Turn("user", "When are you open?"), Turn("assistant", "At 10.")),
...     examples=(Window(message=3, start=0, stop=1, chosen="9 to 18.", rejected="At 10."),))
>>> next(line.expand("train"))
Example(conversation='telegram:42', message=3, split='train', context=(Turn(role='user',
content='When are you open?'),), chosen='9 to 18.', rejected='At 10.')
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from trainerlib.events import Role


class Turn(msgspec.Struct, frozen=True, gc=False):
    """One turn of a context: who speaks and what is said."""

    role: Role
    content: str


class Window(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One example of a conversation.

    Attributes:
        message: id (log position) of the reply it is made from.
        start: index of the first turn of its context.
        stop: index after the last turn of its context.
        chosen: what the reply should be; `None` when only a bad reply is known.
        rejected: a reply that should not be given; `None` when none is known.
        system: index into `systems` of the instruction in force, -1 for none.
        chosen_repeats: an earlier example of the dataset has the same context and chosen side, so a format that shows
            no more than these leaves it out.
        rejected_repeats: likewise for the rejected side.
    """

    message: int
    start: int
    stop: int
    chosen: str | None = None
    rejected: str | None = None
    system: int = -1
    chosen_repeats: bool = False
    rejected_repeats: bool = False


class Example(msgspec.Struct, frozen=True, gc=False):
    """A context and the reply that is wanted after it, the reply that is not, or both.

    Attributes:
        conversation: id of the conversation it comes from.
        message: id (log position) of the reply it is made from.
        split: `train`, `validation` or `test`.
        context: the turns before the reply, the instruction first where there is one.
        chosen: what the reply should be; `None` when only a bad reply is known.
        rejected: a reply that should not be given; `None` when none is known.
    """

    conversation: str
    message: int
    split: str
    context: tuple[Turn, ...]
    chosen: str | None = None
    rejected: str | None = None


class ConversationExamples(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """All examples of one conversation: a line of a dataset file.

    Attributes:
        conversation: id of the conversation.
        position: log position of its first event; files are in this order.
        turns: its user and assistant turns as contexts show them.
        examples: windows over `turns`.
        systems: the instructions in force at some time, each once.
    """

    conversation: str
    position: int
    turns: tuple[Turn, ...]
    examples: tuple[Window, ...]
    systems: tuple[str, ...] = ()

    def expand(self, split: str) -> Iterator[Example]:
        """Its examples one by one, each with its own context."""
        for window in self.examples:
            context = self.turns[window.start : window.stop]
            if window.system >= 0:
                context = (Turn("system", self.systems[window.system]), *context)
            yield Example(self.conversation, window.message, split, context, window.chosen, window.rejected)
