r"""Settings: `workspace.toml` beside the database, overridden by the environment; secrets from the environment or `.env`.

>>> settings = load(tmp, {"TRAINERLIB_WORKSPACE_LANGUAGE": "ru"})
>>> settings.workspace.language, settings.database.synchronous
('ru', 'FULL')
>>> _ = (tmp / FILE).write_text('[workspace]\ntitel = "Shop"\n')
>>> load(tmp, {})
Traceback (most recent call last):
trainerlib.errors.SettingsError: workspace.toml, line 2: [workspace] has no key 'titel'; did you mean 'title'?
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import msgspec
from msgspec import Meta, field

from trainerlib.errors import SettingsError
from trainerlib.prices import Price, parse_prices
from trainerlib.toml_lines import line_of

FILE = "workspace.toml"
"""Name of the settings file in a workspace."""

SECRETS = ".env"
"""Name of the file in a workspace that holds secrets, a `NAME=value` a line."""

INSTRUCTION = "instruction.md"
"""Name of the file in a workspace that says how the assistant should answer."""

_PREFIX = "TRAINERLIB_"
_SECRET = re.compile(r"token|key|secret|password|passwd|credential", re.IGNORECASE)


class WorkspaceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the workspace is called and which language it speaks.

    Attributes:
        title: a name for people.
        language: language of what the terminal chat and the bots say of their own, `en` or `ru`.
    """

    title: Annotated[str, Meta(description="text in quotes")] = ""
    language: Annotated[Literal["en", "ru"], Meta(description='"en" or "ru"')] = "en"


class DatabaseSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the log is kept.

    Attributes:
        synchronous: `FULL` survives a power cut, `NORMAL` is faster and survives a killed process.
        busy_timeout: seconds to wait while another process writes.
    """

    synchronous: Annotated[Literal["FULL", "NORMAL"], Meta(description='"FULL" or "NORMAL"')] = "FULL"
    busy_timeout: Annotated[float, Meta(ge=0, le=86_400, description="seconds, 0 to 86400")] = 30.0


class ImportSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How chat exports are read.

    Attributes:
        silence_hours: hours of silence after which a chat's next message begins a new conversation.
    """

    silence_hours: Annotated[float, Meta(gt=0, le=87_600, description="hours, above 0, at most 87600")] = 12.0


class RedactionSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the workspace's own values look like; a recipe that redacts anything replaces these as well.

    Attributes:
        names: people and companies.
        patterns: regular expressions, by the name of their placeholder.
    """

    names: Annotated[tuple[str, ...], Meta(description='a list of names, such as ["Anna", "Flower shop"]')] = ()
    patterns: Annotated[
        dict[str, str], Meta(description='a table of expressions, such as { order = "ORD-[0-9]+" }')
    ] = field(default_factory=dict)


class ChatSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which model answers, and what it is shown.

    Attributes:
        model: the model that answers until one is promoted: `memory`, `openai:NAME`, `local:NAME`.
        turns: turns of the dialogue that a model is shown at most.
        tokens: tokens of the prompt at most, estimated.
        parameters: of sampling, as the model's API calls them.
    """

    model: Annotated[str, Meta(min_length=1, description='a name such as "memory" or "openai:gpt-x"')] = "memory"
    turns: Annotated[int, Meta(ge=1, le=10_000, description="a whole number from 1 to 10000")] = 20
    tokens: Annotated[int, Meta(ge=64, le=10_000_000, description="a whole number from 64 to 10000000")] = 4096
    parameters: Annotated[
        dict[str, str | int | float | bool],
        Meta(description="a table, such as { temperature = 0.2, max_tokens = 500 }"),
    ] = field(default_factory=dict)


class RecallSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which similar corrections a model is shown.

    Attributes:
        count: how many at most; 0 for none.
        tokens: tokens of them all at most, estimated.
        threshold: similarity of the questions from which a correction counts, 0 to 1.
    """

    count: Annotated[int, Meta(ge=0, le=100, description="a whole number from 0 to 100")] = 3
    tokens: Annotated[int, Meta(ge=0, le=1_000_000, description="a whole number from 0 to 1000000")] = 800
    threshold: Annotated[float, Meta(ge=0, le=1, description="a number from 0 to 1")] = 0.5


class BudgetSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many tokens, read and written, models may use in a day (UTC); 0 for as many as they like.

    Attributes:
        person: for one person.
        chat: for one conversation.
        day: altogether.
    """

    person: Annotated[int, Meta(ge=0, description="a whole number, 0 for no limit")] = 0
    chat: Annotated[int, Meta(ge=0, description="a whole number, 0 for no limit")] = 0
    day: Annotated[int, Meta(ge=0, description="a whole number, 0 for no limit")] = 0


class OpenAISettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where OpenAI's API, or one like it, is reached; the key is the secret `OPENAI_API_KEY`.

    Attributes:
        base_url: address of the API; empty for OpenAI's own, or `$OPENAI_BASE_URL`.
        timeout: seconds without a sign of life after which a request is given up.
        retries: how often a request that may be repeated is repeated.
        patience: seconds after which a request for a training job that was not answered, and made no job that can be
            found, is sent again.
    """

    base_url: Annotated[str, Meta(description='an address such as "http://localhost:11434/v1"')] = ""
    timeout: Annotated[float, Meta(gt=0, le=3_600, description="seconds, above 0, at most 3600")] = 60.0
    retries: Annotated[int, Meta(ge=0, le=20, description="a whole number from 0 to 20")] = 4
    patience: Annotated[float, Meta(ge=0, le=86_400, description="seconds, 0 to 86400")] = 600.0


_PersonId = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9]*:\S+\Z")]


class BotsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who may do what with the bots, and what they take in.

    Attributes:
        owners: people who may do everything, whatever role they are given in a chat.
        trainers: people who teach, until they are given another role in a chat.
        trainers_may: commands that are the owner's by default and that trainers may run as well.
        groups: in groups, answer only who mentions or replies to the bot, or everybody.
        unconsented: what is kept of people who did not consent: what they say, not to be trained on, or nothing.
        upload_mb: largest file that is taken in, in megabytes.
    """

    owners: Annotated[tuple[_PersonId, ...], Meta(description='a list of person ids, such as ["telegram:1"]')] = ()
    trainers: Annotated[tuple[_PersonId, ...], Meta(description='a list of person ids, such as ["telegram:1"]')] = ()
    trainers_may: Annotated[
        tuple[Literal["archive", "getfile", "promote", "rollback", "select_dataset", "train"], ...],
        Meta(description='a list of "archive", "getfile", "promote", "rollback", "select_dataset", "train"'),
    ] = ()
    groups: Annotated[Literal["mentioned", "all"], Meta(description='"mentioned" or "all"')] = "mentioned"
    unconsented: Annotated[Literal["record", "nothing"], Meta(description='"record" or "nothing"')] = "record"
    upload_mb: Annotated[int, Meta(ge=1, le=2_000, description="megabytes, 1 to 2000")] = 20


_PORT = "[0-9]{1,4}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]"


class TelegramSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the Telegram bot is reached, and how it reaches Telegram; the token is the secret `TELEGRAM_BOT_TOKEN`.

    Attributes:
        api: address of a Bot API server of one's own; empty for Telegram's.
        webhook: public address that Telegram sends updates to; empty to ask it for them.
        listen: where the bot takes what comes to that address.
        metrics: where Prometheus finds its metrics; empty for none.
    """

    api: Annotated[
        str, Meta(pattern=r"^(https?://\S+)?\Z", description='an address such as "http://localhost:8081"')
    ] = ""
    webhook: Annotated[
        str, Meta(pattern=r"^(https?://\S+)?\Z", description='an address such as "https://bot.example.org/telegram"')
    ] = ""
    listen: Annotated[
        str, Meta(pattern=rf"^\S+:({_PORT})\Z", description='a host and a port, such as "127.0.0.1:8080"')
    ] = "127.0.0.1:8080"
    metrics: Annotated[
        str, Meta(pattern=rf"^(\S+:({_PORT}))?\Z", description='a host and a port, such as "127.0.0.1:9090"')
    ] = ""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that can be set for a workspace; a section of `workspace.toml` each.

    Attributes:
        workspace: `[workspace]`.
        database: `[database]`.
        import_: `[import]`.
        redaction: `[redaction]`.
        chat: `[chat]`.
        recall: `[recall]`.
        budget: `[budget]`.
        openai: `[openai]`.
        bots: `[bots]`.
        telegram: `[telegram]`.
        prices: `[prices]`: what models cost, in place of the built-in table.
    """

    workspace: WorkspaceSettings = field(default_factory=WorkspaceSettings)
    database: DatabaseSettings = field(default_factory=DatabaseSettings)
    import_: ImportSettings = field(name="import", default_factory=ImportSettings)
    redaction: RedactionSettings = field(default_factory=RedactionSettings)
    chat: ChatSettings = field(default_factory=ChatSettings)
    recall: RecallSettings = field(default_factory=RecallSettings)
    budget: BudgetSettings = field(default_factory=BudgetSettings)
    openai: OpenAISettings = field(default_factory=OpenAISettings)
    bots: BotsSettings = field(default_factory=BotsSettings)
    telegram: TelegramSettings = field(default_factory=TelegramSettings)
    prices: dict[str, Price] = field(default_factory=dict)


_SECTIONS: dict[str, type[msgspec.Struct]] = {
    section.encode_name: section.type for section in msgspec.structs.fields(Settings) if section.name != "prices"
}
_KINDS: dict[str, dict[str, Any]] = {
    name: get_type_hints(section, include_extras=True) for name, section in _SECTIONS.items()
}


def load(directory: Path, environ: Mapping[str, str]) -> Settings:
    """The settings of a workspace: what its `workspace.toml` says, and over it what the environment says.

    A variable is called `TRAINERLIB_<SECTION>_<KEY>`, such as `TRAINERLIB_DATABASE_SYNCHRONOUS`. A list or a table is
    written in it as in the file: `TRAINERLIB_BOTS_OWNERS='["telegram:7"]'`.

    Args:
        directory: the workspace; without a file every setting has its default.
        environ: the environment, `os.environ`.

    Raises:
        SettingsError: the file or a variable is wrong; the message has the line and what would be right.
    """
    sections: dict[str, dict[str, Any]] = {name: {} for name in _SECTIONS}
    prices: dict[str, Price] = {}
    text = _read(directory / FILE)
    for section, content in _parsed(text).items():
        where = f"{FILE}, line {line_of(text, section)}"
        if section == "prices" and isinstance(content, dict):
            prices = _priced(where, content)
            continue
        if section in _SECTIONS and not isinstance(content, dict):
            raise SettingsError(f"{where}: {section} is a section; write [{section}], and its keys below")
        known = _KINDS.get(section, {})
        for key, value in content.items() if isinstance(content, dict) else ():
            line = f"{FILE}, line {line_of(text, section, key)}"
            if key in known:
                sections[section][key] = _checked(line, section, key, value, strict=True)
            elif known or _SECRET.search(key):
                raise _unknown(line, key, f"[{section}] has no key {key!r}", known)
        if not known:
            raise _unknown(where, section, f"there is no section [{section}]", _SECTIONS)
    for section, key, name in _overrides(environ):
        value = environ[name]
        try:
            sections[section][key] = _checked(name, section, key, value, strict=False)
        except SettingsError:
            written = _as_in_the_file(value)
            if written is None:
                raise
            sections[section][key] = _checked(name, section, key, written, strict=True)
    return msgspec.structs.replace(msgspec.convert(sections, Settings), prices=prices)


def _priced(where: str, table: Mapping[str, Any]) -> dict[str, Price]:
    try:
        return parse_prices(table)
    except SettingsError as error:
        raise SettingsError(f"{where}: {error}") from error


def secret(name: str, directory: Path, environ: Mapping[str, str]) -> str | None:
    r"""A secret, from the environment first, then from the workspace's `.env`; `None` when neither has it.

    Args:
        name: name of the variable, `TELEGRAM_TOKEN`.
        directory: the workspace.
        environ: the environment, `os.environ`.

    Raises:
        SettingsError: a line of `.env` does not read; the message never shows it.

    >>> _ = (tmp / SECRETS).write_text('TELEGRAM_TOKEN="12:ab"  # from BotFather\n')
    >>> secret("TELEGRAM_TOKEN", tmp, {})
    '12:ab'
    """
    return environ.get(name) or _secrets(_read(directory / SECRETS)).get(name) or None


def instruction(directory: Path) -> str:
    """What `instruction.md` of a workspace tells the assistant; comments (`<!-- -->`) and outer blank lines left out.

    Raises:
        SettingsError: the file cannot be read.
    """
    return re.sub(r"<!--.*?-->", "", _read(directory / INSTRUCTION), flags=re.DOTALL).strip()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path.name}: byte {error.start + 1} is not UTF-8") from error
    except OSError as error:
        raise SettingsError(f"{path.name}: {error.strerror}") from error


def _parsed(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{FILE}: {error}") from error


def _unknown(where: str, name: str, what: str, known: Iterable[str]) -> SettingsError:
    if _SECRET.search(name):
        return SettingsError(f"{where}: {name!r} looks like a secret; put it into {SECRETS}, which stays out of git")
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"there is {', '.join(known)}"
    return SettingsError(f"{where}: {what}; {hint}")


def _checked(where: str, section: str, key: str, value: Any, *, strict: bool) -> Any:
    kind = _KINDS[section][key]
    try:
        return msgspec.convert(value, kind, strict=strict)
    except msgspec.ValidationError:
        right = next(meta.description for meta in kind.__metadata__ if meta.description)
        raise SettingsError(f"{where}: {section}.{key} cannot be {value!r}; {right}") from None


def _as_in_the_file(value: str) -> list[Any] | dict[str, Any] | None:
    """A list or a table in TOML; `None` for anything else."""
    try:
        found = tomllib.loads(f"value = {value}")
    except tomllib.TOMLDecodeError:
        return None
    written = found.pop("value")
    return written if isinstance(written, (list, dict)) and not found else None


def _overrides(environ: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """`(section, key, variable)` of every variable that sets something. One that looks like a secret is none of ours."""
    found = []
    for name in sorted(environ):
        for section, kinds in _KINDS.items():
            prefix = f"{_PREFIX}{section.upper()}_"
            if not name.startswith(prefix):
                continue
            key = name.removeprefix(prefix).lower()
            if key in kinds:
                found.append((section, key, name))
            elif not _SECRET.search(key):
                known = [prefix + known.upper() for known in kinds]
                raise _unknown("environment", name, f"{name} sets nothing", known)
    return found


def _secrets(text: str) -> dict[str, str]:
    """The variables of an `.env`: blank lines and comments between `NAME=value`, `export` before and quotes around."""
    found = {}
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        name, equals, value = (part.strip() for part in line.removeprefix("export ").partition("="))
        quoted = re.fullmatch(r"""(["'])(.*?)\1\s*(?:#.*)?""", value)
        if not equals or not name.isidentifier() or (value[:1] in ("'", '"') and not quoted):
            raise SettingsError(f"{SECRETS}, line {number}: this is not NAME=value")
        found[name] = quoted[2] if quoted else re.split(r"(?:^|\s)#", value, maxsplit=1)[0].strip()
    return found


TEMPLATE = """\
# Settings of this workspace. Each line below shows its default; take the # away to change it.
# The environment goes first: TRAINERLIB_<SECTION>_<KEY>, for example TRAINERLIB_WORKSPACE_LANGUAGE=ru.
# Secrets do not belong here but into .env.

[workspace]
# title = ""                # a name for people: "Flower shop support"
# language = "en"           # language of what the terminal chat and the bots say of their own: "en" or "ru"

[database]
# synchronous = "FULL"      # "FULL" survives a power cut; "NORMAL" is faster and survives a killed process
# busy_timeout = 30.0       # seconds to wait while another process writes

[import]
# silence_hours = 12.0      # hours of silence after which a chat's next message begins a new conversation

[redaction]
# names = []                # people and companies that a redacting recipe replaces: ["Anna", "Flower shop"]
# patterns = {}             # your own values, by the name of their placeholder: { order = "ORD-[0-9]+" }

[chat]
# model = "memory"          # what answers until a model is promoted: "memory", "openai:NAME", "local:NAME"
# turns = 20                # turns of the dialogue that a model is shown at most
# tokens = 4096             # tokens of the whole prompt at most (estimate)
# parameters = {}           # of sampling, as the model calls them: { temperature = 0.2, max_tokens = 500 }

[recall]
# count = 3                 # similar corrections that a model is shown at most; 0 for none
# tokens = 800              # tokens of them all at most (estimate)
# threshold = 0.5           # similarity of the questions from which a correction counts, 0 to 1

[budget]
# person = 0                # tokens a day (UTC) that models may use for one person; 0 for as many as they like
# chat = 0                  # ... in one conversation
# day = 0                   # ... altogether

[openai]
# base_url = ""             # another address of such an API: "http://localhost:11434/v1" for Ollama
# timeout = 60.0            # seconds without a sign of life after which a request is given up
# retries = 4               # how often a request that may be repeated is repeated
# patience = 600.0          # seconds until a lost request for a training job is sent again, when it made no job

[bots]
# owners = []               # people who may do everything: ["telegram:1"]; `trainerlib show` prints such ids
# trainers = []             # people who may correct, test and look: ["telegram:7"]; an owner gives roles in the chat as well
# trainers_may = []         # more for trainers: "archive", "getfile", "promote", "rollback", "select_dataset", "train"
# groups = "mentioned"      # in groups, answer "mentioned": who mentions or replies to the bot; "all": everybody
# unconsented = "record"    # what people say who did not consent: "record" it (never trained on), or "nothing"
# upload_mb = 20            # largest file that is taken in, in megabytes

[telegram]
# api = ""                  # a Bot API server of your own: "http://localhost:8081"; empty for Telegram's
# webhook = ""              # public address that Telegram sends updates to: "https://bot.example.org/"; empty to poll
# listen = "127.0.0.1:8080"  # where the bot takes what comes to that address
# metrics = ""              # where Prometheus finds its metrics: "127.0.0.1:9090"; empty for none

[prices]
# "gpt-4.1-mini" = { training = 5.0 }   # US dollars per million tokens, in place of the built-in table
# "gpt-x" = { input = 0.5, output = 2.0, cached = 0.25 }   # for answers; "ft:gpt-x" for what was tuned from it
"""
"""`workspace.toml` as `trainerlib init` writes it."""

INSTRUCTION_TEMPLATE = """\
<!-- What the assistant is told before each conversation. It is recorded with the conversation, so a dataset has the
     instruction that was in force at the time. Comments like this one are left out. -->

Answer politely and briefly, in the language of the question. When you do not know something, say so.
"""
"""`instruction.md` as `trainerlib init` writes it."""

SECRETS_TEMPLATE = """\
# Secrets of this workspace, a NAME=value a line. This file stays on this machine: .gitignore keeps it out of git.
# A variable of the environment with the same name goes first.
# TELEGRAM_BOT_TOKEN=
# OPENAI_API_KEY=
# OPENAI_WEBHOOK_SECRET=
"""
"""`.env` as `trainerlib init` writes it."""

IGNORE_TEMPLATE = """\
# Secrets: tokens and keys.
.env
# The log: what people said.
*.db
*.db-wal
*.db-shm
/*.lock
# Made from the log, with the same words in them.
/datasets/
/exports/
/archive/
/files/
/models/
"""
"""`.gitignore` as `trainerlib init` writes it."""
