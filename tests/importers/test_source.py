"""Files as they lie on the disk: compressed, marked, in other encodings, damaged, missing."""

from __future__ import annotations

import gzip
import os
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainerlib import importers
from trainerlib.errors import ImportError_, NotFoundError, UnrecognisedFormatError
from trainerlib.importers import source
from trainerlib.importers.records import BadLine, SourceConversation
from trainerlib.importers.source import Source

ROW = '{"messages": [{"role": "user", "content": "когда вы открыты? 😀"}]}\n'

ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_encodings(read, encoding, compress):
    """With or without a byte order mark, in any Unicode encoding, plain or gzip: the same records."""
    assert read(compress((ROW * 3).encode(encoding))) == read(ROW * 3)


def test_several_gzip_members_are_one_file(read):
    """Compressed files may be put one after another, padded with zeros."""
    records = read(gzip.compress(ROW.encode()) + gzip.compress(ROW.encode()) + bytes(512))
    assert [record.line for record in records] == [1, 2]


@pytest.mark.parametrize("cut", [1, 8, 20])
def test_a_compressed_file_that_ends_too_early(read, cut):
    """What can still be decompressed is read, and the end is reported."""
    *rest, last = read(gzip.compress((ROW * 3).encode())[:-cut], "openai-chat")
    assert "too early" in last.reason
    assert all(isinstance(record, SourceConversation | BadLine) for record in rest)


def test_a_damaged_compressed_file_is_reported(read):
    """Damage inside the compressed data ends the reading and is reported, it does not raise."""
    data = bytearray(gzip.compress((ROW * 200).encode()))
    data[len(data) // 2] ^= 0xFF
    assert isinstance(read(bytes(data), "openai-chat")[-1], BadLine)


def test_utf16_that_breaks_off(read):
    """Half a character at the end is reported; a lone surrogate inside becomes U+FFFD and is reported."""
    data = ROW.replace("😀", "\ud83d!").encode("utf-16", "surrogatepass") + b"\x00"
    bad, record, last = read(data)
    assert bad == BadLine(1, "not valid UTF-8, kept as U+FFFD")
    assert record.messages[0].text.endswith("�!")
    assert "UTF-16" in last.reason


def test_progress_counts_the_bytes_of_the_file(write):
    """Progress grows in steps of a quarter mebibyte or more and ends at the size on the disk, compressed or not."""
    row = ROW.replace("когда", random.Random(1).randbytes(2000).hex())
    for content in (row.encode() * 500, gzip.compress(row.encode() * 500, 0)):
        path, seen = write(content), []
        assert len(list(importers.read(path, progress=seen.append))) == 500
        assert seen[-1] == path.stat().st_size
        assert all(after - before >= 256 * 1024 for before, after in zip([0, *seen[:-2]], seen[:-1], strict=True))
        assert len(seen) > 3


@given(st.lists(st.binary(max_size=12).map(lambda line: line.replace(b"\n", b"")), max_size=8), st.integers(1, 9))
def test_lines_are_the_lines_of_the_file(tmp_path_factory, lines, piece):
    """However the file is cut into pieces, its lines and their numbers are those of `split`."""
    path = tmp_path_factory.mktemp("lines") / "file"
    path.write_bytes(b"x" * 8 + b"\n".join(lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "PIECE", piece)
        with Source(path) as opened:
            found = list(opened.lines())
    expected = (b"x" * 8 + b"\n".join(lines)).removesuffix(b"\n").split(b"\n")
    assert found == list(enumerate(expected, 1))


def test_files_that_cannot_be_read(tmp_path, write):
    """A missing file, a directory, a pipe, an unknown format: one clear line each, before anything is read."""
    with pytest.raises(NotFoundError, match=r"no such file: .*nothing"):
        importers.read(tmp_path / "nothing")
    with pytest.raises(ImportError_, match="is a directory; name the export file inside it"):
        importers.read(tmp_path)
    with pytest.raises(UnrecognisedFormatError, match="unknown format 'pigeon'; known: telegram, "):
        importers.read(write(ROW), "pigeon")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ImportError_, match="is not a regular file"):
        importers.read(tmp_path / "pipe")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(write):
    """A file without permission says so."""
    path = write(ROW)
    path.chmod(0)
    with pytest.raises(ImportError_, match="cannot be read: Permission denied"):
        importers.read(path)
