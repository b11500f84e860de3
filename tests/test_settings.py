"""Settings: what `workspace.toml`, the environment and `.env` say, and what is refused."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainerlib import settings
from trainerlib.errors import SettingsError
from trainerlib.settings import Settings, instruction, load, secret


def written(directory, text):
    (directory / settings.FILE).write_text(text, encoding="utf-8")
    return directory


def refused(directory, text, environ=None):
    with pytest.raises(SettingsError) as caught:
        load(written(directory, text), environ or {})
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_without_a_file_every_setting_has_its_default(tmp_path):
    """A directory without workspace.toml gives the defaults."""
    assert load(tmp_path, {}) == Settings()
    assert (Settings().workspace.language, Settings().database.synchronous) == ("en", "FULL")
    assert (Settings().database.busy_timeout, Settings().import_.silence_hours) == (30.0, 12.0)


def test_the_file_is_read(tmp_path):
    """Every key of the file arrives, Russian letters and a byte order mark included."""
    text = '\ufeff[workspace]\ntitle = "Лютик"\nlanguage = "ru"\n[database]\nbusy_timeout = 5\n[import]\nsilence_hours = 0.5\n'
    found = load(written(tmp_path, text), {})
    assert (found.workspace.title, found.workspace.language) == ("Лютик", "ru")
    assert (found.database.busy_timeout, found.import_.silence_hours) == (5.0, 0.5)


def test_the_bots_are_set(tmp_path):
    """Who owns and trains, what trainers may do more, and what is taken in; without it nobody owns the bot."""
    text = """[bots]
owners = ["telegram:1", "discord:2"]
trainers = ["telegram:7"]
trainers_may = ["train", "getfile"]
groups = "all"
unconsented = "nothing"
upload_mb = 5
"""
    bots = load(written(tmp_path, text), {"TRAINERLIB_BOTS_GROUPS": "mentioned"}).bots
    assert (bots.owners, bots.trainers) == (("telegram:1", "discord:2"), ("telegram:7",))
    assert bots.trainers_may == ("train", "getfile")
    assert (bots.groups, bots.unconsented, bots.upload_mb) == ("mentioned", "nothing", 5)
    assert (Settings().bots.owners, Settings().bots.trainers, Settings().bots.trainers_may) == ((), (), ())


def test_telegram_is_set(tmp_path):
    """Where the bot is reached and reaches Telegram; without it, it asks Telegram's own server and listens to nobody."""
    text = """[telegram]
webhook = "https://bot.example.org/telegram"
listen = "[::1]:65535"
metrics = "127.0.0.1:9090"
"""
    found = load(written(tmp_path, text), {"TRAINERLIB_TELEGRAM_API": "http://localhost:8081"}).telegram
    assert (found.webhook, found.listen) == ("https://bot.example.org/telegram", "[::1]:65535")
    assert (found.metrics, found.api) == ("127.0.0.1:9090", "http://localhost:8081")
    default = Settings().telegram
    assert (default.webhook, default.listen, default.metrics, default.api) == ("", "127.0.0.1:8080", "", "")


def test_the_environment_goes_first(tmp_path):
    """A variable overrides the file, and only the key it names."""
    written(tmp_path, '[workspace]\ntitle = "Shop"\nlanguage = "ru"\n')
    found = load(tmp_path, {"TRAINERLIB_WORKSPACE_LANGUAGE": "en", "TRAINERLIB_DATABASE_BUSY_TIMEOUT": "2.5"})
    assert (found.workspace.title, found.workspace.language, found.database.busy_timeout) == ("Shop", "en", 2.5)


def test_a_list_or_a_table_of_the_environment_is_written_as_in_the_file(tmp_path):
    environ = {"TRAINERLIB_BOTS_OWNERS": '["telegram:7"]', "TRAINERLIB_CHAT_PARAMETERS": "{temperature = 0.2}"}
    found = load(tmp_path, environ)
    assert (found.bots.owners, found.chat.parameters) == (("telegram:7",), {"temperature": 0.2})


@pytest.mark.parametrize("value", ["telegram:7", '["telegram:7"', '["telegram:7"]\nmore = 1', "[7]"])
def test_what_is_no_list_in_the_environment_is_refused_with_one(tmp_path, value):
    assert refused(tmp_path, "", {"TRAINERLIB_BOTS_OWNERS": value}).endswith('such as ["telegram:1"]')


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[workspace]\ntitel = "x"\n', "workspace.toml, line 2: [workspace] has no key 'titel'; did you mean 'title'?"),
        ('[worksapce]\ntitle = "x"\n', "line 1: there is no section [worksapce]; did you mean 'workspace'?"),
        ('[database]\n\nsynchronous = "OFF"\n', 'line 3: database.synchronous cannot be \'OFF\'; "FULL" or "NORMAL"'),
        ('[workspace]\nlanguage = "de"\n', 'line 2: workspace.language cannot be \'de\'; "en" or "ru"'),
        ("[database]\nbusy_timeout = -1\n", "line 2: database.busy_timeout cannot be -1; seconds, 0 to 86400"),
        ('[database]\nbusy_timeout = "30"\n', "line 2: database.busy_timeout cannot be '30'; seconds, 0 to 86400"),
        ("[database]\nbusy_timeout = nan\n", "line 2: database.busy_timeout cannot be nan"),
        ("[import]\nsilence_hours = 0\n", "line 2: import.silence_hours cannot be 0; hours, above 0"),
        ("[workspace]\ntitle = 7\n", "line 2: workspace.title cannot be 7; text in quotes"),
        ('[bots]\ngroups = "never"\n', 'line 2: bots.groups cannot be \'never\'; "mentioned" or "all"'),
        ("[bots]\nupload_mb = 0\n", "line 2: bots.upload_mb cannot be 0; megabytes, 1 to 2000"),
        ('[bots]\nowners = ["@anna"]\n', "line 2: bots.owners cannot be ['@anna']; a list of person ids, such as"),
        ("[bots]\nowners = [7]\n", "line 2: bots.owners cannot be [7]; a list of person ids, such as"),
        ('[bots]\nowners = "telegram:7"\n', "line 2: bots.owners cannot be 'telegram:7'; a list of person ids"),
        ('[bots]\nowner = ["telegram:7"]\n', "line 2: [bots] has no key 'owner'; did you mean 'owners'?"),
        (
            '[bots]\ntrainers_may = ["role"]\n',
            'line 2: bots.trainers_may cannot be [\'role\']; a list of "archive", "get',
        ),
        ('[bots]\nunconsented = "train"\n', 'line 2: bots.unconsented cannot be \'train\'; "record" or "nothing"'),
        (
            '[telegram]\nwebhook = "bot.example.org"\n',
            "line 2: telegram.webhook cannot be 'bot.example.org'; an address",
        ),
        ('[telegram]\nlisten = "8080"\n', "line 2: telegram.listen cannot be '8080'; a host and a port, such as"),
        ('[telegram]\nlisten = ""\n', "line 2: telegram.listen cannot be ''; a host and a port, such as"),
        ('[telegram]\nmetrics = "127.0.0.1:65536"\n', "line 2: telegram.metrics cannot be '127.0.0.1:65536'; a host"),
        ("workspace = 3\n", "line 1: workspace is a section; write [workspace], and its keys below"),
        ('workspace.titel = "x"\n', "line 1: [workspace] has no key 'titel'"),
        ("[workspace\n", "workspace.toml: "),
    ],
)
def test_what_is_wrong_is_refused_with_its_line(tmp_path, text, words):
    """The message has the line and what would be right."""
    assert words in refused(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    [
        '[workspace]\ntoken = "12:abc"\n',
        '[telegram]\ntoken = "12:abc"\n',
        'openai_api_key = "12:abc"\n',
        '[x]\nPassword = "12:abc"\n',
    ],
)
def test_a_secret_in_the_file_is_sent_to_env_and_not_shown(tmp_path, text):
    """A key that looks like a secret is refused by name; its value is not in the message."""
    message = refused(tmp_path, text)
    assert "put it into .env" in message
    assert "12:abc" not in message


def test_a_mistyped_variable_is_refused(tmp_path):
    """A variable of a known section with an unknown key names the one that was meant."""
    message = refused(tmp_path, "", {"TRAINERLIB_DATABASE_SYNCRONOUS": "FULL"})
    assert "did you mean 'TRAINERLIB_DATABASE_SYNCHRONOUS'?" in message


def test_other_variables_are_none_of_ours(tmp_path):
    """The workspace's own variable, secrets and other programs' variables set nothing."""
    environ = {
        "TRAINERLIB_WORKSPACE": "shop",
        "TRAINERLIB_TELEGRAM_TOKEN": "1:a",
        "TRAINERLIB_IMPORT_TOKEN": "x",
        "PATH": "/",
    }
    assert load(tmp_path, environ) == Settings()


def test_a_wrong_variable_is_named(tmp_path):
    """An impossible value of a variable is refused under the variable's name."""
    message = refused(tmp_path, "", {"TRAINERLIB_IMPORT_SILENCE_HOURS": "many"})
    assert (
        message
        == "TRAINERLIB_IMPORT_SILENCE_HOURS: import.silence_hours cannot be 'many'; hours, above 0, at most 87600"
    )


def test_a_file_that_is_not_utf_8_is_refused(tmp_path):
    """Bytes that are no UTF-8 are refused, not guessed."""
    (tmp_path / settings.FILE).write_bytes(b'[workspace]\ntitle = "\xcc\xee"\n')
    with pytest.raises(SettingsError, match=r"workspace\.toml: byte 22 is not UTF-8"):
        load(tmp_path, {})


def test_the_template_says_the_defaults_and_every_key(tmp_path):
    """`init`'s workspace.toml means nothing as it is, and the defaults once every # is taken away."""
    assert load(written(tmp_path, settings.TEMPLATE), {}) == Settings()
    bare = re.sub(r"^# (?=\w+ = )", "", settings.TEMPLATE, flags=re.MULTILINE)
    assert load(written(tmp_path, bare), {}) == Settings()
    for section in Settings.__struct_fields__[:-1]:
        for key in getattr(Settings(), section).__struct_fields__:
            assert re.search(rf"^{key} = .*  # \S", bare, flags=re.MULTILINE), key


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("TOKEN=12:ab", "12:ab"),
        ("TOKEN = 12:ab  # from BotFather", "12:ab"),
        ("export TOKEN='12:ab'", "12:ab"),
        ('TOKEN="a # b"  # comment', "a # b"),
        ("TOKEN=a#b", "a#b"),
        ("TOKEN=a=b", "a=b"),
        ("TOKEN=", None),
        ("TOKEN=  # later", None),
        ("OTHER=1", None),
    ],
)
def test_a_line_of_env(tmp_path, line, value):
    """Quotes, comments, `export` and blanks mean what they mean in other `.env` files."""
    (tmp_path / settings.SECRETS).write_text(f"# secrets\n\n{line}\n", encoding="utf-8")
    assert secret("TOKEN", tmp_path, {}) == value


def test_a_secret_comes_from_the_environment_first(tmp_path):
    """The environment beats `.env`; an empty variable does not."""
    (tmp_path / settings.SECRETS).write_text("TOKEN=file\n", encoding="utf-8")
    assert secret("TOKEN", tmp_path, {"TOKEN": "environment"}) == "environment"
    assert secret("TOKEN", tmp_path, {"TOKEN": ""}) == "file"


@pytest.mark.parametrize("line", ["TOKEN 12:abc", 'TOKEN="12:abc', "12:abc=TOKEN", "12:abc"])
def test_a_bad_line_of_env_is_named_but_not_shown(tmp_path, line):
    """The error has the line's number and nothing of its content."""
    (tmp_path / settings.SECRETS).write_text(f"# one\n{line}\n", encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        secret("TOKEN", tmp_path, {})
    assert str(caught.value) == ".env, line 2: this is not NAME=value"


@given(
    value=st.text(
        st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\"'\x85\u2028\u2029"), min_size=1
    )
)
def test_a_quoted_secret_comes_back_as_it_is(tmp_path_factory, value):
    """Whatever is between the quotes is the secret."""
    directory = tmp_path_factory.mktemp("secrets")
    (directory / settings.SECRETS).write_text(f'TOKEN="{value}"\n', encoding="utf-8")
    assert secret("TOKEN", directory, {}) == value


def test_the_instruction_has_no_comments(tmp_path):
    """`init`'s instruction.md tells the assistant its text without the comment that explains it."""
    assert instruction(tmp_path) == ""
    (tmp_path / settings.INSTRUCTION).write_text(settings.INSTRUCTION_TEMPLATE, encoding="utf-8")
    text = instruction(tmp_path)
    assert text.startswith("Answer politely")
    assert "<!--" not in text
    assert "dataset" not in text


def test_a_commented_default_is_not_the_line_that_is_wrong(tmp_path):
    """The file `init` writes shows every default in a comment; an error names the line below it that counts."""
    (tmp_path / settings.FILE).write_text('[workspace]\n# language = "en"\nlanguage = "de"\n', encoding="utf-8")
    with pytest.raises(SettingsError, match=r"line 3: workspace\.language"):
        load(tmp_path, {})
