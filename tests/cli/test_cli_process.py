"""The command line as a process: exit statuses, pipes, signals, terminals, start-up time."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time

import pytest

COMMAND = [sys.executable, "-m", "trainerlib"]


def run(*words, **options):
    return subprocess.run([*COMMAND, *words], capture_output=True, check=False, timeout=60, **options)


@pytest.fixture
def demo(tmp_path):
    ended = run("demo", str(tmp_path / "demo"))
    assert (ended.returncode, ended.stderr) == (0, b"")
    return str(tmp_path / "demo")


def test_help_loads_neither_the_store_nor_a_sdk():
    """`--help` imports none of what takes long."""
    code = "import sys; from trainerlib.cli import main; main(['--help']); print(*sys.modules, file=sys.stderr)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=60)
    loaded = set(ended.stderr.decode().split())
    assert b"dataset" in ended.stdout
    assert not loaded & {
        "sqlalchemy",
        "alembic",
        "openai",
        "pandas",
        "trainerlib.store.eventstore",
        "trainerlib.workspace",
    }


def test_every_command_has_its_json_and_its_help():
    """Each command documents itself and takes --json and -w."""
    from trainerlib.cli.app import program

    commands = dict(program().commands)
    for group in ("dataset", "person", "policy", "archive", "job", "model"):
        commands |= {f"{group} {name}": item for name, item in commands.pop(group).commands.items()}
    assert set(commands) == {
        *(
            "init",
            "demo",
            "chat",
            "telegram",
            "import",
            "record",
            "correct",
            "feedback",
            "conversations",
            "show",
            "search",
            "stats",
        ),
        *("events", "verify", "rebuild", "backup", "dataset build", "dataset list", "dataset show", "dataset export"),
        *("train", "evaluate", "test"),
        *("job list", "job show", "job follow", "job cancel", "job pause", "job resume"),
        *("model list", "model show", "model add", "model promote", "model rollback", "model offer", "model compare"),
        *("dataset check", "dataset diff", "dataset explain", "dataset lineage", "dataset leakage"),
        *(
            "dataset tag",
            "dataset note",
            "dataset select",
            "dataset card",
            "dataset archive",
            "dataset cost",
            "dataset add-directory",
        ),
        *("archive create", "archive restore"),
        *("person show", "person export", "person erase", "restore"),
        *("person list", "person consent", "person withdraw", "policy list", "policy grant", "policy revoke"),
    }
    for name, item in commands.items():
        options = {option for parameter in item.params for option in parameter.opts}
        assert {"--json", "--workspace", "-w"} <= options, name
        assert item.help, name


def test_a_mistyped_command_or_option_is_one_line_and_status_2():
    """Misuse never shows a traceback or a page of help."""
    for words in (
        ["imprt"],
        ["import"],
        ["import", "a", "b"],
        ["stats", "--jsno"],
        ["-w"],
        ["-w", "x"],
        ["-w", "", "stats"],
    ):
        ended = run(*words)
        assert ended.returncode == 2, words
        assert ended.stdout == b""
        assert ended.stderr.startswith(b"trainerlib: ")
        assert ended.stderr.count(b"\n") == 1


def test_the_workspace_may_be_named_before_the_command_after_it_or_in_the_environment(demo, tmp_path):
    """-w works in both places and goes before TRAINERLIB_WORKSPACE."""
    environment = {**os.environ, "TRAINERLIB_WORKSPACE": demo}
    expected = run("-w", demo, "stats", "--json").stdout
    assert expected.startswith(b"{")
    assert run("stats", "-w", demo, "--json").stdout == expected
    assert run("--json", "stats", env=environment).stdout == expected
    assert run("-w", str(tmp_path / "none"), "stats", env=environment).returncode == 2


def test_a_reader_that_leaves_early_is_no_error(demo):
    """`| head` ends the command quietly."""
    with subprocess.Popen(
        [*COMMAND, "-w", demo, "events", "--json", "--follow"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout.readline().startswith(b'{"position":1,')
        process.stdout.close()
        run("-w", demo, "record", "telegram:42", "user", "Hi")
        process.wait(30)
        assert process.stderr.read() == b""


def test_follow_sees_what_another_process_records_and_ends_on_ctrl_c(demo):
    """A new event appears while --follow waits; Ctrl-C is exit status 130 without a traceback."""
    # Whoever runs the tests may have told their children to ignore Ctrl-C.
    listen = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    words = ["-w", demo, "events", "--last", "1", "--follow", "--json"]
    code = f"{listen}from trainerlib.cli import main; sys.exit(main({words!r}))"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert b'"dataset.built"' in process.stdout.readline()
        run("-w", demo, "record", "telegram:42", "user", "Привет")
        assert b'"conversation.started"' in process.stdout.readline()
        assert "Привет" in process.stdout.readline().decode()
        process.send_signal(signal.SIGINT)
        process.wait(30)
        assert process.returncode == 130
        assert process.stderr.read() == b""


def test_a_full_disk_is_one_line_and_status_1(demo):
    """Output that cannot be written is a failure, not a crash."""
    if not os.path.exists("/dev/full"):  # noqa: PTH110 - a device
        pytest.skip("this system has no /dev/full")
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device
        ended = subprocess.run(
            [*COMMAND, "-w", demo, "events", "--json"], stdout=full, stderr=subprocess.PIPE, check=False, timeout=60
        )
    assert (ended.returncode, ended.stderr) == (1, b"trainerlib: No space left on device\n")


def test_a_terminal_without_russian_letters_gets_their_numbers(demo):
    """Output that the terminal cannot show is no crash, and JSON is UTF-8 anyway."""
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    shown = run("-w", demo, "search", "доставка", "--limit", "1", env=environment)
    assert shown.returncode == 0
    assert b"\\u0430\\u0432\\u043a\\u0430" in shown.stdout
    assert "достав" in run("-w", demo, "search", "доставка", "--json", env=environment).stdout.decode().lower()


def typed(words, answers, cwd):
    """What a command shows on a terminal where somebody types the answers, and its exit status."""
    pty = pytest.importorskip("pty")
    child, terminal = pty.fork()
    if child == 0:
        # A test run in the background ignores Ctrl-C, and its children would inherit that.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.chdir(cwd)
        os.environ |= {"COLUMNS": "100", "TERM": "dumb"}
        os.execv(COMMAND[0], [*COMMAND, *words])
    shown, waiting = b"", list(answers)
    while True:
        ready, _, _ = select.select([terminal], [], [], 30)
        assert ready, shown
        try:
            piece = os.read(terminal, 4096)
        except OSError:
            break
        if not piece:
            break
        shown += piece
        if waiting and shown.rstrip(b" ").endswith(b">"):
            # A Ctrl-C between the prompt and the read would be seen only after the next line.
            time.sleep(0.2)
            os.write(terminal, waiting.pop(0))
    os.close(terminal)
    _, status = os.waitpid(child, 0)
    return shown.decode(), os.waitstatus_to_exitcode(status)


def test_a_person_is_asked_what_only_a_person_knows(chat_export, tmp_path):
    """On a terminal import asks who the assistant is, until the answer is one, and for the basis."""
    answers = [b"9\n", b"2\n", b"operator: our own support\n"]
    shown, status = typed(["import", str(chat_export)], answers, tmp_path)
    assert status == 0, shown
    assert 'telegram chat "Flowers", 4 messages, 2026-03-01 to 2026-03-01' in shown
    assert "1) Ivan (2 messages)   2) Shop (2 messages)" in shown
    assert "A number from 1 to 2, or a name" in shown
    assert "the assistant is Shop" in shown
    assert "may be trained on: operator: our own support" in shown
    again, status = typed(["import", str(chat_export)], [], tmp_path)
    assert status == 0, again
    assert "nothing new: this file was imported already" in again


def test_ctrl_c_at_a_question_records_nothing(chat_export, tmp_path):
    """Leaving at the question is exit status 130 and makes no workspace."""
    shown, status = typed(["import", str(chat_export)], [b"\x03"], tmp_path)
    assert status == 130
    assert "Traceback" not in shown
    assert not (tmp_path / "workspace").exists()


def test_a_talk_on_a_terminal(tmp_path):
    """Prompts name who is asked; Ctrl-D says goodbye."""
    shown, status = typed(["chat", "terminal:1"], [b"Hi\n", b"Hello!\n", b"\x04"], tmp_path)
    assert status == 0, shown
    assert "you> " in shown
    assert "what should the assistant answer?" in shown
    assert "everything is recorded" in shown
