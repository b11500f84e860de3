"""What the readers' tests share: a file from bytes, text or JSON, and the records of it."""

from __future__ import annotations

import itertools
import json

import pytest

from trainerlib import importers


@pytest.fixture
def write(tmp_path):
    """Write bytes, text, or anything else as indented JSON, and give the path."""
    numbers = itertools.count()

    def write(content, *, indent=1):
        path = tmp_path / f"export-{next(numbers)}"
        if isinstance(content, str):
            content = content.encode()
        elif not isinstance(content, bytes):
            content = json.dumps(content, ensure_ascii=False, indent=indent).encode()
        path.write_bytes(content)
        return path

    return write


@pytest.fixture
def read(write):
    """The records of a file with this content; the format is recognised where it is not given."""

    def read(content, form=None, **options):
        return list(importers.read(write(content, **options), form))

    return read
