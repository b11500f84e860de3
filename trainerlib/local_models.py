"""Models that lie on this machine as directories: where they are found, and how a dialogue becomes their prompt.

Nothing is ever downloaded here. A model is a directory, a model of the workspace (`local:support-v3`), or the id of one
on the Hugging Face Hub that is in its cache already.

>>> workspace = tmp / "shop"
>>> model = workspace / "models" / "support-v3"
>>> model.mkdir(parents=True)
>>> locate("local:support-v3", workspace)
Traceback (most recent call last):
trainerlib.errors.ModelError: local:support-v3: models/support-v3 has no config.json, so it is no model
>>> for name in ("config.json", "model.safetensors", "tokenizer.json"):
...     _ = (model / name).write_text("{}")
>>> locate("local:support-v3", workspace) == model
True
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from trainerlib.errors import ModelError

PREFIX = "local:"
"""Names of models that lie in the workspace begin with it."""

MODELS = "models"
"""The directory of a workspace that holds them, each in one of its own."""

INSTALL = "pip install 'trainerlib[local]'"
"""What installs everything that local models need."""

PLAIN_TEMPLATE = """\
{%- for message in messages -%}
    {%- if not loop.first -%}{{- '\\n' -}}{%- endif -%}
    {{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + eos_token -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {%- if messages -%}{{- '\\n' -}}{%- endif -%}
    {{- '<|im_start|>assistant\\n' -}}
{%- endif -%}"""
"""Chat template (Jinja) of models that have none: ChatML, with the model's own end of text after every turn.

Its marks are words like any other to a model that does not know them, so no embedding has to be added.
"""

NAME = re.compile(r"[^\W_][\w.-]{0,99}")
"""What a model of the workspace may be called, whole."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json")


def missing_packages(names: Sequence[str]) -> list[str]:
    """Which of these packages are not installed; none of them is imported.

    >>> missing_packages(["json", "no_such_package"])
    ['no_such_package']
    """
    return [name for name in names if find_spec(name) is None]


def locate(model: str, workspace: Path) -> Path:
    """The directory of a model, checked to hold one.

    Args:
        model: `local:NAME`, a directory (looked for from here, in the workspace and among its models), or a Hub id in the cache.
        workspace: the workspace.

    Raises:
        ModelError: there is no such model, or what is there is none; the message says what to do.
    """
    if model.startswith(PREFIX):
        name = model.removeprefix(PREFIX).removeprefix(f"{MODELS}/")
        return _checked(model, f"{MODELS}/{name}", workspace / MODELS / name)
    for directory in (Path(model).expanduser(), workspace / model, workspace / MODELS / model):
        if model and directory.is_dir():
            return _checked(model, str(directory), directory.resolve())
    if not _HUB_ID.fullmatch(model):
        raise ModelError(f"{model}: no such directory")
    return _checked(model, "its copy in the Hugging Face cache", _cached(model))


def _checked(model: str, where: str, directory: Path) -> Path:
    """A directory, if it is one with a model in it."""
    if not directory.is_dir():
        raise ModelError(f"{model}: there is no directory {where}")
    if (directory / "adapter_config.json").exists() and not (directory / "config.json").exists():
        raise ModelError(f"{model}: {where} holds an adapter alone; merge it into its model first")
    if not (directory / "config.json").is_file():
        raise ModelError(f"{model}: {where} has no config.json, so it is no model")
    if not any(any(directory.glob(pattern)) for pattern in _WEIGHTS):
        raise ModelError(f"{model}: {where} has no weights (*.safetensors)")
    if not any((directory / name).is_file() for name in _TOKENIZERS):
        raise ModelError(f"{model}: {where} has no tokenizer (tokenizer.json)")
    return directory


def _cached(model: str) -> Path:
    """The snapshot of a Hub model in the cache."""
    if missing_packages(["huggingface_hub"]):
        raise ModelError(f"{model}: no such directory, and looking into the Hugging Face cache needs: {INSTALL}")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, OSError):
        raise ModelError(
            f"{model}: neither a directory nor in the Hugging Face cache; get it once with: hf download {model}"
        ) from None


def load_tokenizer(directory: Path) -> tuple[Any, bool]:
    """`(tokenizer, whether it had a chat template)` of a model; one that has none gets `PLAIN_TEMPLATE`.

    Raises:
        ModelError: its files do not load, or it has no end of text.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(directory), local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"the tokenizer in {directory.name} does not load: {one_line(error)}") from error
    had = bool(tokenizer.chat_template)
    if not had:
        if not tokenizer.eos_token:
            raise ModelError(f"the tokenizer in {directory.name} has neither a chat template nor an end of text")
        tokenizer.chat_template = PLAIN_TEMPLATE
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer, had


def one_line(error: BaseException, *, limit: int = 300) -> str:
    r"""An error of somebody else's code in one line, cut to `limit` characters.

    >>> one_line(ValueError("no such thing:\n  see the manual"))
    'no such thing: see the manual'
    """
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= limit else f"{words[: limit - 1]}…"
