"""Exact token counts: with tiktoken, where the vocabulary of the model lies on this machine.

tiktoken ships without vocabularies and fetches one when it is first asked. Here nothing is ever fetched: a vocabulary
counts if it is in tiktoken's cache (`TIKTOKEN_CACHE_DIR`, else `DATA_GYM_CACHE_DIR`, else `data-gym-cache` among the
temporary files) or if its file is given, and if its content is the published one. Otherwise there is an estimate, which
says that it is one.

>>> tokenizer().name
'estimate (0.3 of the UTF-8 bytes)'
"""

from __future__ import annotations

import importlib
import os
import re
import tempfile
from base64 import b64decode
from collections.abc import Mapping
from hashlib import sha1, sha256
from pathlib import Path
from typing import Any

import msgspec

from trainerlib.errors import SettingsError
from trainerlib.tokens import ESTIMATE, Tokenizer

_CACHES = ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR")
_INSTALL = "pip install 'trainerlib[tokens]'"


class Vocabulary(msgspec.Struct, frozen=True):
    """A published vocabulary: tokens as base64 and their ranks, a line each.

    Attributes:
        url: where it is published; tiktoken names the file in its cache after this.
        sha256: of its content.
        pattern: the regular expression that cuts a text into the pieces that are encoded one by one.
    """

    url: str
    sha256: str
    pattern: str


VOCABULARIES: dict[str, Vocabulary] = {
    "cl100k_base": Vocabulary(
        url="https://openaipublic.blob.core.windows.net/encodings/cl100k_base.tiktoken",
        sha256="223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
        pattern=(
            r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]"
            r"|\s+(?!\S)|\s"
        ),
    ),
    "o200k_base": Vocabulary(
        url="https://openaipublic.blob.core.windows.net/encodings/o200k_base.tiktoken",
        sha256="446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
        pattern=(
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
            r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
            r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        ),
    ),
}
"""The vocabularies of the OpenAI models that chat; the patterns are facts of the models, published with tiktoken."""

_HARMONY = {"o200k_harmony": "o200k_base"}


def tokenizer(
    model: str = "", *, vocabulary: Path | str | None = None, environ: Mapping[str, str] | None = None
) -> Tokenizer:
    """What counts the tokens of a model: exactly if its vocabulary lies here, else `trainerlib.tokens.ESTIMATE`.

    Args:
        model: a model of OpenAI, a fine-tuned one too (`ft:gpt-4o-mini-2024-07-18:shop::a1`), or a vocabulary's name.
        vocabulary: file of the vocabulary, wherever it came from.
        environ: the environment, `os.environ` if none is given.

    Raises:
        SettingsError: the file given cannot be read, is no vocabulary known here or not the model's, or tiktoken is not
            installed.

    >>> tokenizer("some-model", environ={"TIKTOKEN_CACHE_DIR": str(tmp)}).exact
    False
    """
    if vocabulary is not None:
        return _given(model, Path(vocabulary))
    name = _vocabulary_of(model)
    cache = _cache(os.environ if environ is None else environ)
    if not name or cache is None:
        return ESTIMATE
    path = cache / sha1(VOCABULARIES[name].url.encode(), usedforsecurity=False).hexdigest()
    try:
        data = path.read_bytes()
    except OSError:
        return ESTIMATE
    return _exact(name, data) if sha256(data).hexdigest() == VOCABULARIES[name].sha256 else ESTIMATE


def _given(model: str, path: Path) -> Tokenizer:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SettingsError(f"the vocabulary {path} cannot be read: {error.strerror}") from error
    digest = sha256(data).hexdigest()
    name = next((name for name, known in VOCABULARIES.items() if known.sha256 == digest), "")
    if not name:
        raise SettingsError(f"{path} is none of the vocabularies known here: {', '.join(VOCABULARIES)}")
    if _tiktoken() is None:
        raise SettingsError(f"counting with {path} needs tiktoken: {_INSTALL}")
    wanted = _vocabulary_of(model)
    if wanted and wanted != name:
        raise SettingsError(f"{path} is {name}, but {model} uses {wanted}")
    return _exact(name, data)


def _cache(environ: Mapping[str, str]) -> Path | None:
    """Where tiktoken keeps what it fetched; `None` when it was told to keep nothing."""
    named = next((environ[name] for name in _CACHES if name in environ), None)
    if named is None:
        return Path(tempfile.gettempdir(), "data-gym-cache")
    return Path(named) if named else None


def _vocabulary_of(model: str) -> str:
    """The vocabulary of a model; empty when it is none of those known, or nothing could be counted with it."""
    tiktoken = _tiktoken()
    if tiktoken is None or model in VOCABULARIES:
        return model if tiktoken else ""
    # tiktoken takes every ft:gpt-4... for gpt-4, so it is asked for the model that was tuned.
    tuned = re.fullmatch(r"ft:([^:]+)(?::.*)?", model)
    try:
        name = tiktoken.encoding_name_for_model(tuned[1] if tuned else model)
    except KeyError:
        return ""
    name = _HARMONY.get(name, name)
    return name if name in VOCABULARIES else ""


def _tiktoken() -> Any:
    try:
        return importlib.import_module("tiktoken")
    except ImportError:
        return None


def _exact(name: str, data: bytes) -> Tokenizer:
    if name not in _encodings:
        ranks = {b64decode(token): int(rank) for token, rank in map(bytes.split, data.splitlines())}
        pattern = VOCABULARIES[name].pattern
        # Built from the file itself: `tiktoken.get_encoding` would go to the network for one it does not find.
        _encodings[name] = _tiktoken().Encoding(name, pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    encode = _encodings[name].encode_ordinary
    return Tokenizer(name, exact=True, length=lambda text: len(encode(text)))


_encodings: dict[str, Any] = {}
"""Those built so far: one takes a fifth of a second."""
