"""The facts trainerlib records.

Every event is a frozen struct with an explicit wire name and schema version; both are stored beside the JSON, never
inside it. A new field has a default. A changed meaning is a new version, with an upcast from the one before.

Inside a conversation events name a message by its *number*: the version its recording event has in that stream. The
log-wide `id` of a message is the position of that event.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar, Literal

import msgspec

Role = Literal["system", "user", "assistant", "tool"]
"""Who speaks: the four roles every chat format knows."""

PersonRole = Literal["owner", "trainer", "person"]
"""What somebody may do with a bot: everything, teach and look, or talk."""

AttachmentKind = Literal["voice", "audio", "video", "photo", "document", "sticker", "other"]

JsonObject = dict[str, Any]


class Event(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Base of every event. `wire_name` and `schema_version` identify it in the log, whatever the class is called."""

    wire_name: ClassVar[str]
    schema_version: ClassVar[int] = 1


class Attachment(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A part of a message that is not typed text.

    Attributes:
        kind: what it is.
        file: path inside the workspace's `files/`, or the path an export names; empty when the file was not included.
        name: file name as the sender saw it.
        media_type: MIME type, `audio/ogg`.
        size: bytes.
        duration: seconds.
        text: transcript of speech or text extracted from a document, when known at recording time.
    """

    kind: AttachmentKind
    file: str = ""
    name: str = ""
    media_type: str = ""
    size: int | None = None
    duration: float | None = None
    text: str = ""


# --- conversation stream ---------------------------------------------------------------------------------------------


class ConversationStarted(Event, frozen=True):
    """First event of a conversation.

    Attributes:
        platform: `telegram`, `discord`, `terminal`, or the format it was imported from.
        title: name of the chat, when it has one.
        tags: the operator's own labels.
        source: sha256 of the imported file it comes from; empty for a live conversation.
    """

    wire_name: ClassVar[str] = "conversation.started"

    platform: str = ""
    title: str = ""
    tags: tuple[str, ...] = ()
    source: str = ""


class ConversationContinued(Event, frozen=True):
    """Another imported file adds to a conversation that is already in the log; `source` is that file's sha256."""

    wire_name: ClassVar[str] = "conversation.continued"

    source: str


class ConversationTagged(Event, frozen=True):
    """Labels were put on, or taken off, a conversation."""

    wire_name: ClassVar[str] = "conversation.tagged"

    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()


class MessageRecorded(Event, frozen=True):
    """Somebody said something. A `system` message sets the instruction from here on.

    Attributes:
        role: who speaks.
        text: the words, exactly as they arrived.
        author: person id, `telegram:7`.
        name: the author's display name at that time.
        sent_at: when the platform says it was sent; `None` means when it was recorded.
        in_reply_to: number of the message it answers.
        attachments: voice, documents, pictures.
        model: the model that wrote it, for an assistant message that came from elsewhere.
        weight: the training weight its source gave it; 0 means "not to be learned".
        erased: its words were blanked with those of a person who was erased.
    """

    wire_name: ClassVar[str] = "message.recorded"

    role: Role
    text: str
    author: str = ""
    name: str = ""
    sent_at: datetime | None = None
    in_reply_to: int | None = None
    attachments: tuple[Attachment, ...] = ()
    model: str = ""
    weight: int | None = None
    erased: bool = False


class MessageEdited(Event, frozen=True):
    """The author changed a message on the platform; `text` is what it says now."""

    wire_name: ClassVar[str] = "message.edited"

    message: int
    text: str
    edited_at: datetime | None = None


class MessageDeleted(Event, frozen=True):
    """A message was taken down on the platform."""

    wire_name: ClassVar[str] = "message.deleted"

    message: int


class TranscriptRecorded(Event, frozen=True):
    """The words of a voice message or document became known after it was recorded.

    Attributes:
        message: number of the message.
        attachment: index of the attachment, from 0.
        text: the transcript.
        engine: what produced it.
    """

    wire_name: ClassVar[str] = "transcript.recorded"

    message: int
    attachment: int
    text: str
    engine: str = ""


class ReplyGenerated(Event, frozen=True):
    """A model of ours wrote a reply; it is pending until it is delivered.

    Attributes:
        text: the reply.
        in_reply_to: number of the message it answers.
        model: name of the model.
        instruction: the system text it was given.
        context: log positions of the messages and corrections it was shown.
        parameters: sampling parameters, and what was unusual: `stopped` and `known` as true and false, `finish` when it is
            not "stop", the `model` that served it when that is another name.
        usage: token counts by name, `input_tokens` and `output_tokens` among them.
        latency: seconds from request to last token.
        cost: US dollars.
        erased: its words were blanked with those of a person who was erased.
        recall: the settings by which similar corrections were chosen for `context`.
    """

    wire_name: ClassVar[str] = "reply.generated"

    text: str
    in_reply_to: int | None = None
    model: str = ""
    instruction: str = ""
    context: tuple[int, ...] = ()
    parameters: JsonObject = msgspec.field(default_factory=dict)
    usage: dict[str, int] = msgspec.field(default_factory=dict)
    latency: float | None = None
    cost: float | None = None
    erased: bool = False
    recall: JsonObject = msgspec.field(default_factory=dict)


class ReplyDelivered(Event, frozen=True):
    """The platform accepted a reply; `platform_ids` are its messages there."""

    wire_name: ClassVar[str] = "reply.delivered"

    message: int
    platform_ids: tuple[str, ...] = ()


class ReplyFailed(Event, frozen=True):
    """No reply to `message` could be generated or sent; `error` says why, without secrets."""

    wire_name: ClassVar[str] = "reply.failed"

    message: int
    error: str


class Corrected(Event, frozen=True):
    """Somebody says what a reply should have been. Every corrector's answer is kept.

    Attributes:
        message: number of the reply.
        text: what it should have said.
        by: person id of the corrector.
        note: why, in their words.
    """

    wire_name: ClassVar[str] = "reply.corrected"

    message: int
    text: str
    by: str
    note: str = ""


class CorrectionWithdrawn(Event, frozen=True):
    """A correction no longer holds; `correction` is the version of the event that gave it."""

    wire_name: ClassVar[str] = "correction.withdrawn"

    correction: int
    by: str = ""


class FeedbackGiven(Event, frozen=True):
    """Somebody rated a reply or said something about it.

    Attributes:
        message: number of the reply.
        by: person id of the rater.
        rating: -5 to 5, positive is good; `None` for words alone.
        text: what they said.
        reason: a short code such as `wrong-fact`, `tone`, `language`, `too-long`, `unsafe`.
    """

    wire_name: ClassVar[str] = "feedback.given"

    message: int
    by: str
    rating: int | None = None
    text: str = ""
    reason: str = ""


class FeedbackWithdrawn(Event, frozen=True):
    """A rating was taken back; `feedback` is the version of the event that gave it."""

    wire_name: ClassVar[str] = "feedback.withdrawn"

    feedback: int
    by: str = ""


# --- dataset stream --------------------------------------------------------------------------------------------------


class DatasetBuilt(Event, frozen=True):
    """A dataset was built; recipe and position reproduce it to the byte.

    Attributes:
        name: name of the dataset.
        dataset_version: 1, 2, 3 ... within the name.
        recipe: the recipe, as its JSON object.
        position: the last log position it takes into account.
        candidates: replies considered.
        examples: examples made.
        excluded: candidates left out, by reason.
        splits: examples in each split.
        sha256: hex digest of each file, by file name.
        disagreements: replies about which those who judged them did not agree.
        redacted: values replaced by placeholders, by kind.
        bases: conversations the examples come from, by the ground on which they may be used.
    """

    wire_name: ClassVar[str] = "dataset.built"

    name: str
    dataset_version: int
    recipe: JsonObject
    position: int
    candidates: int
    examples: int
    excluded: dict[str, int]
    splits: dict[str, int]
    sha256: dict[str, str]
    disagreements: int = 0
    redacted: dict[str, int] = msgspec.field(default_factory=dict)
    bases: dict[str, int] = msgspec.field(default_factory=dict)


class DatasetSelected(Event, frozen=True):
    """A version of a dataset was chosen for the next training; the stream tells which dataset.

    Attributes:
        dataset_version: which version.
        side: `positive` for examples to learn, `negative` for those to avoid.
    """

    wire_name: ClassVar[str] = "dataset.selected"

    dataset_version: int
    side: Literal["positive", "negative"] = "positive"


class DatasetTagged(Event, frozen=True):
    """Labels were put on, or taken off, a version of a dataset."""

    wire_name: ClassVar[str] = "dataset.tagged"

    dataset_version: int
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()


class DatasetNoted(Event, frozen=True):
    """Somebody wrote something about a version of a dataset; an empty text takes the note back."""

    wire_name: ClassVar[str] = "dataset.noted"

    dataset_version: int
    text: str


class DatasetArchived(Event, frozen=True):
    """A version of a dataset was written to an archive.

    Attributes:
        dataset_version: which version.
        file: the archive's name, without its directory.
        sha256: hex digest of its bytes.
    """

    wire_name: ClassVar[str] = "dataset.archived"

    dataset_version: int
    file: str
    sha256: str


# --- person stream ---------------------------------------------------------------------------------------------------


class ConsentGiven(Event, frozen=True):
    """A person allows training on what they write; the stream tells who, and the event when.

    Attributes:
        wording: version of the wording they agreed to, `2026-11`.
        text: the wording itself, when it is not kept elsewhere.
        by: who recorded it, when not the person.
    """

    wire_name: ClassVar[str] = "consent.given"

    wording: str = ""
    text: str = ""
    by: str = ""


class ConsentWithdrawn(Event, frozen=True):
    """A person no longer allows training on what they write, whatever was said before or by others.

    Attributes:
        by: who recorded it, when not the person.
        note: why, in their words.
    """

    wire_name: ClassVar[str] = "consent.withdrawn"

    by: str = ""
    note: str = ""


class RoleGiven(Event, frozen=True):
    """A person may do from here on with a bot what the role allows, and no more; the stream tells who.

    Attributes:
        role: `owner`, `trainer` or `person`.
        by: who gave it.
    """

    wire_name: ClassVar[str] = "role.given"

    role: PersonRole
    by: str = ""


class PersonErased(Event, frozen=True):
    """What a person said was blanked in place, in this log and what is derived from it.

    Attributes:
        person: the name that stands in their place.
        messages: messages blanked, the replies they were given included.
        corrections: corrections blanked.
        feedback: ratings blanked.
        conversations: conversations they spoke in.
        datasets: datasets that held them, `support v3`.
        by: who asked for it, when not the person.
        note: why; it must not name them.
        jobs: training jobs that were given one of these datasets.
        models: models that came out of them.
    """

    wire_name: ClassVar[str] = "person.erased"

    person: str
    messages: int = 0
    corrections: int = 0
    feedback: int = 0
    conversations: int = 0
    datasets: tuple[str, ...] = ()
    by: str = ""
    note: str = ""
    jobs: tuple[str, ...] = ()
    models: tuple[str, ...] = ()


# --- policy stream ---------------------------------------------------------------------------------------------------


class PolicyGranted(Event, frozen=True):
    """A platform permits training on what is written there; the stream tells which, `note` on what grounds."""

    wire_name: ClassVar[str] = "policy.granted"

    note: str
    by: str = ""


class PolicyRevoked(Event, frozen=True):
    """A platform's permission to train no longer holds."""

    wire_name: ClassVar[str] = "policy.revoked"

    note: str = ""
    by: str = ""


# --- training stream -------------------------------------------------------------------------------------------------


class TrainingRequested(Event, frozen=True):
    """Somebody wants a fine-tune; recorded before anything is sent or spent. The stream tells the job.

    Attributes:
        trainer: who does it: `openai`, `local`, `bundle`, or the name of an entry point.
        model: the model to begin with, as the trainer calls it.
        dataset: name of the dataset.
        dataset_version: its version.
        method: `sft` learns the chosen sides, `dpo` prefers them to the rejected ones, `kto` has single sides labelled.
        format: the format the files are in.
        sha256: hex digest of the file of each split that is used.
        rows: rows of each of them.
        hyperparameters: what the trainer was told, as it calls it.
        seed: of the training, when one is set.
        suffix: what the new model is to be called.
        tokens: of the training file, seen once, as it was counted or estimated.
        cost: US dollars that it was thought to cost.
        by: who wants it.
    """

    wire_name: ClassVar[str] = "training.requested"

    trainer: str
    model: str
    dataset: str
    dataset_version: int
    method: Literal["sft", "dpo", "kto"]
    format: str
    sha256: dict[str, str]
    rows: dict[str, int]
    hyperparameters: JsonObject = msgspec.field(default_factory=dict)
    seed: int | None = None
    suffix: str = ""
    tokens: int = 0
    cost: float | None = None
    by: str = ""


class TrainingFileUploaded(Event, frozen=True):
    """The trainer has the file of a split.

    Attributes:
        split: whose file.
        file: the trainer's id of it.
        sha256: hex digest of what was sent.
        size: bytes.
    """

    wire_name: ClassVar[str] = "training.file-uploaded"

    split: str
    file: str
    sha256: str
    size: int


class TrainingAttempted(Event, frozen=True):
    """The request that makes the job is about to be sent: from here on the job may exist, whatever was answered."""

    wire_name: ClassVar[str] = "training.attempted"

    attempt: int


class TrainingSubmitted(Event, frozen=True):
    """The trainer has the job.

    Attributes:
        remote: the trainer's id of it.
        state: the state it was in, in the trainer's words.
        found: the request was not answered, and the job was found in the trainer's list.
    """

    wire_name: ClassVar[str] = "training.submitted"

    remote: str
    state: str = ""
    found: bool = False


class TrainingProgressed(Event, frozen=True):
    """The trainer reported something.

    Attributes:
        state: the state the job is in, in the trainer's words, when it changed.
        step: optimiser steps done.
        steps: optimiser steps there will be.
        epoch: epochs done.
        metrics: what was measured at this step, by name.
        message: the trainer's words.
        level: `info`, `warn` or `error`.
        at: when the trainer says it happened.
    """

    wire_name: ClassVar[str] = "training.progressed"

    state: str = ""
    step: int | None = None
    steps: int | None = None
    epoch: float | None = None
    metrics: dict[str, float] = msgspec.field(default_factory=dict)
    message: str = ""
    level: str = "info"
    at: datetime | None = None


class TrainingCheckpointed(Event, frozen=True):
    """The trainer kept a state of the model on the way.

    Attributes:
        checkpoint: its name, a model of its own where the trainer serves it.
        step: optimiser steps done.
        metrics: what was measured there, by name.
    """

    wire_name: ClassVar[str] = "training.checkpointed"

    checkpoint: str
    step: int
    metrics: dict[str, float] = msgspec.field(default_factory=dict)


class TrainingSucceeded(Event, frozen=True):
    """The job is done.

    Attributes:
        model: the new model, by the name it is chosen by: `openai:ft:...`, `local:support-v3`.
        tokens: tokens trained on, as the trainer counted.
        metrics: of the end, by name.
        sha256: hex digest of each file that was made, where they are on this machine.
    """

    wire_name: ClassVar[str] = "training.succeeded"

    model: str
    tokens: int | None = None
    metrics: dict[str, float] = msgspec.field(default_factory=dict)
    sha256: dict[str, str] = msgspec.field(default_factory=dict)


class TrainingFailed(Event, frozen=True):
    """The job was refused or failed; a job that was refused cost nothing.

    Attributes:
        error: the trainer's words, without secrets.
        code: its code for it, such as `invalid_training_file`, or `http-403`.
        refused: it was never begun.
        advice: what to do instead.
    """

    wire_name: ClassVar[str] = "training.failed"

    error: str
    code: str = ""
    refused: bool = False
    advice: str = ""


class TrainingCancelled(Event, frozen=True):
    """The job was ended before its time, by somebody here or at the trainer's."""

    wire_name: ClassVar[str] = "training.cancelled"

    by: str = ""


# --- model stream ----------------------------------------------------------------------------------------------------


class ModelAdded(Event, frozen=True):
    """A model can be chosen; the stream tells its name, `local:support-v3`.

    Attributes:
        base: the model it was tuned from.
        job: id of the training job it comes from; empty for one trained elsewhere.
        sha256: hex digest of each of its files, where they lie in the workspace.
        note: where it comes from, in somebody's words.
        by: who added it.
    """

    wire_name: ClassVar[str] = "model.added"

    base: str = ""
    job: str = ""
    sha256: dict[str, str] = msgspec.field(default_factory=dict)
    note: str = ""
    by: str = ""


class Interval(msgspec.Struct, frozen=True, gc=False):
    """A mean difference and the bounds of its 95 % interval."""

    mean: float
    low: float
    high: float


class ModelEvaluated(Event, frozen=True):
    """A model was tried on replies that it had not seen; the stream tells which model.

    Attributes:
        evaluation: its id, which names its files.
        dataset: the dataset whose held-out replies were asked; empty when none was, but past corrections or cases of
            somebody's own alone.
        dataset_version: its version.
        split: the split they are in.
        against: the model it was compared with; empty for none.
        cases: how many replies were asked for.
        errors: how many of them failed.
        against_errors: how many of the other model's failed.
        scores: mean of each metric.
        against_scores: the other model's.
        differences: of each metric where both answered, this model less the other.
        worse: how many cases the other model answered better, by chrF.
        sha256: hex digest of each file of the evaluation.
        judge: the model that judged, if one did.
        seed: of the resampling.
        cost: US dollars of both models and the judge, where prices are known.
        by: who had it done.
    """

    wire_name: ClassVar[str] = "model.evaluated"

    evaluation: str
    dataset: str = ""
    dataset_version: int = 0
    split: str = ""
    against: str = ""
    cases: int = 0
    errors: int = 0
    against_errors: int = 0
    scores: dict[str, float] = msgspec.field(default_factory=dict)
    against_scores: dict[str, float] = msgspec.field(default_factory=dict)
    differences: dict[str, Interval] = msgspec.field(default_factory=dict)
    worse: int = 0
    sha256: dict[str, str] = msgspec.field(default_factory=dict)
    judge: str = ""
    seed: int = 0
    cost: float | None = None
    by: str = ""


# --- promotion stream ------------------------------------------------------------------------------------------------


class ModelPromoted(Event, frozen=True):
    """A model answers from here on.

    Attributes:
        model: its name.
        evaluation: the evaluation it was promoted on; empty when it was forced.
        forced: it was promoted although it was not evaluated, or did worse.
        note: why.
        by: who promoted it.
    """

    wire_name: ClassVar[str] = "model.promoted"

    model: str
    evaluation: str = ""
    forced: bool = False
    note: str = ""
    by: str = ""


class ModelRolledBack(Event, frozen=True):
    """The model before answers again.

    Attributes:
        model: the one that answers from here on.
        note: why.
        by: who did it.
    """

    wire_name: ClassVar[str] = "model.rolled-back"

    model: str
    note: str = ""
    by: str = ""


class CandidateSet(Event, frozen=True):
    """A share of the conversations is answered by another model, always the same ones.

    Attributes:
        model: the candidate; empty when there is none from here on.
        share: of conversations, 0 to 1.
        by: who set it.
    """

    wire_name: ClassVar[str] = "candidate.set"

    model: str = ""
    share: float = 0.0
    by: str = ""


# --- import stream ---------------------------------------------------------------------------------------------------


class Imported(Event, frozen=True):
    """A file was imported to its end. The counts describe the file, so a resumed import records the same event.

    Attributes:
        file: the file's name, without its directory.
        sha256: hex digest of its bytes.
        format: the format it was read as.
        assistant: who was taken for the assistant.
        basis: on what grounds its content may be used for training, in the operator's words; empty when not stated.
        conversations: conversations in the file.
        messages: messages in the file.
        corrections: corrections in the file.
        feedback: ratings in the file.
        bad_lines: lines that were reported as bad.
        first_bad_lines: `(line, reason)` of the first hundred of them.
    """

    wire_name: ClassVar[str] = "file.imported"

    file: str
    sha256: str
    format: str
    assistant: str = ""
    basis: str = ""
    conversations: int = 0
    messages: int = 0
    corrections: int = 0
    feedback: int = 0
    bad_lines: int = 0
    first_bad_lines: tuple[tuple[int, str], ...] = ()


EVENTS: tuple[type[Event], ...] = (
    ConversationStarted,
    ConversationContinued,
    ConversationTagged,
    MessageRecorded,
    MessageEdited,
    MessageDeleted,
    TranscriptRecorded,
    ReplyGenerated,
    ReplyDelivered,
    ReplyFailed,
    Corrected,
    CorrectionWithdrawn,
    FeedbackGiven,
    FeedbackWithdrawn,
    DatasetBuilt,
    DatasetSelected,
    DatasetTagged,
    DatasetNoted,
    DatasetArchived,
    ConsentGiven,
    ConsentWithdrawn,
    RoleGiven,
    PersonErased,
    PolicyGranted,
    PolicyRevoked,
    TrainingRequested,
    TrainingFileUploaded,
    TrainingAttempted,
    TrainingSubmitted,
    TrainingProgressed,
    TrainingCheckpointed,
    TrainingSucceeded,
    TrainingFailed,
    TrainingCancelled,
    ModelAdded,
    ModelEvaluated,
    ModelPromoted,
    ModelRolledBack,
    CandidateSet,
    Imported,
)


class RecordedEvent(msgspec.Struct, frozen=True, gc=False):
    """An event with its place in the log.

    Attributes:
        position: 1, 2, 3 ... in the whole log.
        stream: name of its stream, `conversation/telegram:42`.
        version: 1, 2, 3 ... in its stream.
        event: the fact.
        recorded_us: when it was recorded, microseconds since 1970-01-01 UTC.
        key: its natural key, if it has one.
    """

    position: int
    stream: str
    version: int
    event: Event
    recorded_us: int
    key: str | None = None

    @property
    def recorded_at(self) -> datetime:
        """When it was recorded, UTC."""
        return from_microseconds(self.recorded_us)


def from_microseconds(microseconds: int) -> datetime:
    """The UTC time of a count of microseconds since 1970.

    >>> from_microseconds(1_772_352_000_000_000).isoformat()
    '2026-03-01T08:00:00+00:00'
    """
    return datetime.fromtimestamp(microseconds // 1_000_000, UTC).replace(microsecond=microseconds % 1_000_000)


def conversation_stream(conversation: str) -> str:
    """Name of a conversation's stream.

    >>> conversation_stream("telegram:42")
    'conversation/telegram:42'
    """
    return f"conversation/{conversation}"
