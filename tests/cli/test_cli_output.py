"""What errors mean to whoever typed the command, and how strangers' words are shown."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainerlib import errors
from trainerlib.cli.failures import FAILED, INTERRUPTED, MISUSED, PIPE_CLOSED, failure
from trainerlib.cli.output import clean, one_line, wrapped


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.NotFoundError("no message 3"), MISUSED),
        (errors.WorkspaceNotFoundError("no workspace"), MISUSED),
        (errors.SettingsError("workspace.toml, line 2"), MISUSED),
        (errors.RecipeError("recipe, line 3"), MISUSED),
        (errors.UnrecognisedFormatError("no format"), MISUSED),
        (errors.AssistantUnknownError({"Anna": 3}), MISUSED),
        (errors.InvalidEventError("a rating"), MISUSED),
        (errors.BadLineError(3, "bad"), FAILED),
        (errors.DiskFullError("the disk is full"), FAILED),
        (errors.CorruptError("the database is damaged"), FAILED),
        (errors.DatasetError("changed since it was built"), FAILED),
        (FileNotFoundError(errno.ENOENT, "No such file", "a.jsonl"), MISUSED),
        (PermissionError(errno.EACCES, "Permission denied", "a.jsonl"), FAILED),
        (KeyboardInterrupt(), INTERRUPTED),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), PIPE_CLOSED),
    ],
)
def test_an_error_is_a_status_and_at_most_one_line(error, status):
    """Misuse is 2, a failure 1; neither says more than a line."""
    found = failure(error)
    assert found is not None
    assert found[0] == status
    assert "\n" not in found[1]


def test_a_defect_of_ours_keeps_its_traceback():
    """What no error class stands for is not hidden behind a line."""
    assert failure(ZeroDivisionError()) is None


def test_an_error_cannot_bring_lines_or_control_characters_along():
    """A file name with an escape sequence in it stays harmless."""
    assert failure(errors.NotFoundError("no such file: a\n\x1b[2Jb")) == (MISUSED, "no such file: a \ufffd[2Jb")


@given(text=st.text())
def test_nothing_a_stranger_wrote_moves_the_cursor(text):
    """No control character but line end and tab survives, and nothing else is lost."""
    shown = clean(text)
    assert not any(ord(letter) < 32 and letter not in "\n\t" for letter in shown)
    assert not any(127 <= ord(letter) < 160 for letter in shown)
    assert "\n" not in one_line(text)


@given(text=st.text(st.characters(whitelist_categories=("L", "N", "P"))), limit=st.integers(1, 50))
def test_a_line_keeps_its_limit(text, limit):
    """A shortened line is never longer than asked for."""
    assert len(one_line(text, limit)) <= limit


@given(words=st.lists(st.text(st.characters(whitelist_categories=("L", "N")), min_size=1), min_size=1))
def test_wrapping_loses_no_word(words):
    """The words of a wrapped text are the words of the text."""
    assert "".join(wrapped(" ".join(words), indent="      ").split()) == "".join(words)
