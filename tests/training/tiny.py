"""A tiny model in a directory, as a base to fine-tune: its tokenizer and weights are made on the spot."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tiny_model import make_model, make_tokenizer


def write_base(directory: Path, texts: Iterable[str], *, template: bool = True, width: int | None = None) -> Path:
    """Write a model whose vocabulary is made of texts, with random weights.

    Args:
        directory: where to.
        texts: what its tokenizer is trained on.
        template: whether it has a chat template.
        width: of its layers; by default those of `make_model`, too narrow to learn much.
    """
    tokenizer = make_tokenizer(texts)
    model = make_model(tokenizer)
    if width is not None:
        import torch

        torch.manual_seed(7)
        model.config.update({"hidden_size": width, "intermediate_size": 2 * width, "head_dim": width // 2})
        model = type(model)(model.config)
    if not template:
        tokenizer.chat_template = None
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory
