"""Files on their way to a server that fine-tunes: in one request, or in parts that go on where a kill stopped them.

Facts on the API: its reference (Files, Uploads).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from trainerlib.trainers.openai_answers import id_of, passes

if TYPE_CHECKING:
    from openai import OpenAI

WHOLE = 150_000_000
"""Bytes up to which a file is sent in one request; larger ones go through the Uploads API."""

PART = 16 * 1024 * 1024
"""Bytes of a part of an upload; the API takes 64 MiB at most, and a broken part is sent again whole."""

PAGE = 100
"""Entries of a list that are asked for at once."""


class _Upload(msgspec.Struct):
    """An upload in parts, as far as it got.

    Attributes:
        id: the trainer's id of it.
        part: bytes of a part.
        parts: ids of the parts it has.
    """

    id: str
    part: int
    parts: list[str]


def send_whole(client: OpenAI, path: Path, name: str) -> str | None:
    """Send a file in one request, unless the server has it.

    Args:
        client: of the server.
        path: the file.
        name: what the server is to call it; no other file of ours is called that.

    Returns:
        The server's id of it; `None` when its answer has none.
    """
    known = _sent_before(client, name, path.stat().st_size)
    if known is not None:
        return known
    with path.open("rb") as data:
        return id_of(client.files.create(file=(name, data, "application/jsonl"), purpose="fine-tune"))


class PartSender:
    """Sends large files, a part at a time.

    Args:
        part: bytes of a part.
    """

    def __init__(self, part: int) -> None:
        self._part = part
        self._anew: set[str] = set()

    def send(self, client: OpenAI, path: Path, name: str, begun: Path) -> str | None:
        """Send the next part.

        Args:
            client: of the server.
            path: the file.
            name: what the server is to call it.
            begun: where is kept how far it got.

        Returns:
            The server's id of the file once all parts are there; `None` before.
        """
        from openai import APIStatusError

        uploads = client.uploads
        size = path.stat().st_size
        upload = _read_upload(begun)
        if upload is None or len(upload.parts) * upload.part >= size:
            # Before the first part, and when the answer to the last request may be lost.
            known = _sent_before(client, name, size)
            if known is not None:
                return known
        if upload is None:
            self._begin(client, name, size, begun)
            return None
        try:
            if len(upload.parts) * upload.part < size:
                with path.open("rb") as data:
                    data.seek(len(upload.parts) * upload.part)
                    upload.parts.append(uploads.parts.create(upload.id, data=data.read(upload.part)).id)
                _write_upload(begun, upload)
                return None
            done = uploads.complete(upload.id, part_ids=upload.parts)
            return None if done.file is None else id_of(done.file)
        except APIStatusError as error:
            if passes(error) or upload.id in self._anew:
                raise
        # It expired, or the server does not know it any more: begin anew, once.
        begun.unlink(missing_ok=True)
        self._anew.add(self._begin(client, name, size, begun))
        return None

    def _begin(self, client: OpenAI, name: str, size: int, begun: Path) -> str:
        made = client.uploads.create(bytes=size, filename=name, mime_type="application/jsonl", purpose="fine-tune")
        _write_upload(begun, _Upload(made.id, self._part, []))
        upload: str = made.id
        return upload


def _sent_before(client: OpenAI, name: str, size: int) -> str | None:
    """The file that a killed process sent, or one whose answer was lost: it is among the newest."""
    from openai import APIStatusError

    try:
        files = client.files.list(purpose="fine-tune", order="desc", limit=PAGE).data or []
    except APIStatusError as error:
        if passes(error):
            raise
        # No list of files here, or not for this key: one that is sent twice costs nothing.
        return None
    for file in files:
        told = file.to_dict()
        if (told.get("filename"), told.get("bytes")) == (name, size) and told.get("status") != "error":
            return id_of(file)
    return None


def _read_upload(path: Path) -> _Upload | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Upload)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def _write_upload(path: Path, upload: _Upload) -> None:
    partial = path.with_suffix(".partial")
    partial.write_bytes(msgspec.json.encode(upload))
    partial.replace(path)
