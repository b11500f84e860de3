"""Everything trainerlib raises on purpose, as one tree.

::

    TrainerlibError
    ├── EventError                 an event cannot be written or read
    │   ├── InvalidEventError          its content breaks a rule
    │   └── UnknownEventError          its type or version is not known here
    ├── StoreError                 the log cannot be opened, read or written
    │   ├── VersionConflictError       somebody else wrote to the stream first
    │   ├── KeyConflictError           the key is taken by other content
    │   ├── NotADatabaseError          the file is not a trainerlib database
    │   ├── NewerDatabaseError         the database was written by a newer trainerlib
    │   ├── ReadOnlyError              the file or its directory cannot be written
    │   ├── DiskFullError              no room left; nothing was recorded
    │   ├── BusyError                  another process held the write lock too long
    │   ├── CorruptError               the database is damaged
    │   └── LogMismatchError           a dataset or checkpoint is ahead of this log
    ├── NotFoundError              no such workspace, conversation, message, dataset or file
    │   └── WorkspaceNotFoundError
    ├── SettingsError              workspace.toml or an environment variable is wrong
    ├── RecipeError                a recipe is wrong or contradicts itself
    ├── DatasetError               a dataset cannot be built or exported
    ├── ModelError                 a chat model cannot answer
    │   ├── ModelUnavailableError      it did not answer in time, or its server has trouble; ask again later
    │   ├── ModelRefusedError          it will not answer this, however often it is asked
    │   └── BudgetError                the tokens set aside for a person, a chat or the day are used up
    ├── TrainingError              a training job cannot be begun or changed
    ├── EvaluationError            a model cannot be evaluated
    ├── PromotionError             a model may not take over
    ├── PathRefusedError           a path that somebody typed in a chat may not be used
    ├── UploadRefusedError         a file that somebody sent in a chat cannot be kept or read
    └── ImportError_               a file cannot be imported
        ├── DocumentError              a document gives no text
        ├── UnrecognisedFormatError    its content fits no known format
        ├── AssistantUnknownError      nobody said who the assistant is
        └── BadLineError               a line is bad and ``strict`` was asked for

Each message is one line that says what is wrong and, where it helps, what to do. None contains a secret.

>>> issubclass(VersionConflictError, StoreError)
True
"""

from __future__ import annotations


class TrainerlibError(Exception):
    """Base of every error trainerlib raises on purpose."""


class EventError(TrainerlibError):
    """An event cannot be written or read."""


class InvalidEventError(EventError):
    """An event's content breaks a rule: an empty author, a rating out of range, data that does not decode."""


class UnknownEventError(EventError):
    """An event's wire name or version is not known to this trainerlib, usually because a newer one wrote it."""


class StoreError(TrainerlibError):
    """The log cannot be opened, read or written."""


class VersionConflictError(StoreError):
    """The stream is not at the version the caller expected.

    Attributes:
        stream: name of the stream.
        expected: the version the caller expected (0 for a stream that does not exist yet).
        actual: the version the stream is at.

    >>> str(VersionConflictError("conversation/a", expected=1, actual=3))
    'stream conversation/a is at version 3, not at 1: somebody else wrote first'
    """

    def __init__(self, stream: str, *, expected: int, actual: int) -> None:
        super().__init__(f"stream {stream} is at version {actual}, not at {expected}: somebody else wrote first")
        self.stream = stream
        self.expected = expected
        self.actual = actual


class KeyConflictError(StoreError):
    """The key was already used for an event with other content; nothing was recorded.

    Attributes:
        key: the key in question.
        position: position of the event that holds it.
    """

    def __init__(self, key: str, *, position: int) -> None:
        super().__init__(f"key {key} already belongs to the event at position {position}, which says something else")
        self.key = key
        self.position = position


class NotADatabaseError(StoreError):
    """The file exists but is not a trainerlib database."""


class NewerDatabaseError(StoreError):
    """The database has a schema this trainerlib does not know; upgrade trainerlib."""


class ReadOnlyError(StoreError):
    """The database file or its directory cannot be written."""


class DiskFullError(StoreError):
    """The disk is full; nothing of this append was recorded."""


class BusyError(StoreError):
    """Another process held the write lock for longer than the busy timeout."""


class CorruptError(StoreError):
    """The database is damaged: SQLite reports corruption or an invariant does not hold."""


class LogMismatchError(StoreError):
    """Something that was derived from a log is ahead of, or belongs to another log than, the one that is open."""


class NotFoundError(TrainerlibError):
    """No such conversation, message, dataset or file."""


class WorkspaceNotFoundError(NotFoundError):
    """No workspace at that directory."""


class SettingsError(TrainerlibError):
    """``workspace.toml`` or an environment variable holds an unknown key or an impossible value."""


class RecipeError(TrainerlibError):
    """A recipe has an unknown key, an impossible value or contradicts itself."""


class DatasetError(TrainerlibError):
    """A dataset cannot be built, read or exported."""


class ModelError(TrainerlibError):
    """A chat model cannot answer, or there is no such model."""


class ModelUnavailableError(ModelError):
    """The model did not answer in time, or its server has trouble; the same question may be answered later."""


class ModelRefusedError(ModelError):
    """The model will not answer this, however often it is asked: a wrong key, an unknown model, a bad request."""


class BudgetError(ModelError):
    """The tokens that the settings allow a person, a chat or the day are used up."""


class TrainingError(TrainerlibError):
    """A training job cannot be begun, followed or changed."""


class EvaluationError(TrainerlibError):
    """A model cannot be evaluated: nothing to ask, or the cases do not read."""


class PromotionError(TrainerlibError):
    """A model may not take over: it was not evaluated, it did worse, or there is none to go back to."""


class SupersededError(PromotionError):
    """Another model answers by now than the one that was to be replaced."""


class PathRefusedError(TrainerlibError):
    """A path that somebody typed in a chat may not be used. The message is a sentence for them, without the path."""


class UploadRefusedError(TrainerlibError):
    """A file that somebody sent in a chat cannot be kept or read. The message is a sentence for them."""


class ImportError_(TrainerlibError):  # noqa: N801, N818 - the underscore keeps the builtin visible
    """A file cannot be imported."""


class DocumentError(ImportError_):
    """A document gives no text.

    Attributes:
        reason: why: `damaged`, `empty`, `encoding` (in none that can be told), `large`, `missing` (a package to read it
            with), `password` or `pictures` (there is no text in it).
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class UnrecognisedFormatError(ImportError_):
    """The file's content fits no format trainerlib knows."""


class AssistantUnknownError(ImportError_):
    """The file does not tell who the assistant is.

    Attributes:
        authors: how many messages each author wrote, most first.
    """

    def __init__(self, authors: dict[str, int]) -> None:
        names = ", ".join(f"{name} ({count:,})" for name, count in list(authors.items())[:8])
        super().__init__(f"who is the assistant? pass --assistant with one of: {names}")
        self.authors = authors


class BadLineError(ImportError_):
    """A line of the file is bad and the import is strict; nothing after it was recorded.

    Attributes:
        line: line number, from 1.
        reason: what is wrong with it.
    """

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line:,}: {reason}")
        self.line = line
        self.reason = reason
