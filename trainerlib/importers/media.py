"""What a file is, by its name: chat exports seldom say."""

from __future__ import annotations

from trainerlib.events import AttachmentKind

_EXTENSIONS: dict[AttachmentKind, str] = {
    "photo": "jpg jpeg png gif webp heic heif avif bmp tif tiff",
    "video": "mp4 mov webm mkv avi m4v 3gp",
    "audio": "mp3 m4a wav flac aac wma aiff",
    "voice": "ogg oga opus amr",
}
_KINDS = {extension: kind for kind, extensions in _EXTENSIONS.items() for extension in extensions.split()}


def kind_of(name: str) -> AttachmentKind:
    """The kind of attachment a file name tells; a document when it tells nothing.

    >>> kind_of("voice-message.ogg"), kind_of("Прайс.PDF"), kind_of("IMG-1.JPG")
    ('voice', 'document', 'photo')
    """
    return _KINDS.get(name.rpartition(".")[2].lower(), "document")
