"""A model of this machine that answers, through transformers: a fine-tuned checkpoint of the workspace.

It is loaded when it is first asked, in a thread of its own, and answers one prompt after the other there; the event
loop is never held up. Text is passed on as soon as its tokens are whole characters.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from trainerlib.chat.port import Completion, Prompt
from trainerlib.errors import ModelError, ModelRefusedError, ModelUnavailableError
from trainerlib.events import JsonObject
from trainerlib.local_models import INSTALL, load_tokenizer, missing_packages, one_line

PACKAGES = ("torch", "transformers")
"""What answering needs."""

_MAX_TOKENS = 512
"""Tokens of an answer at most, when nobody says how many."""

_UNFINISHED = "\ufffd"

_drawing = threading.Lock()
"""Held while something is drawn with a seed: torch has one generator for the whole process."""

_Put = Callable[[str | Completion | Exception], None]


class _Sampling(msgspec.Struct, frozen=True):
    """The parameters that are known here, called as OpenAI's API calls them."""

    temperature: Annotated[float, Meta(ge=0)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Meta(ge=1)] | None = None
    seed: Annotated[int, Meta(ge=0)] | None = None


class _Loaded(msgspec.Struct, frozen=True):
    """A model in memory.

    Attributes:
        model: transformers' model.
        tokenizer: its tokenizer.
        context: tokens that it takes at most, prompt and answer together; `None` for any number.
        ends: ids of the tokens that end an answer.
    """

    model: Any
    tokenizer: Any
    context: int | None
    ends: tuple[int, ...]


class Pieces:
    """Puts tokens together to text, a piece at a time, no piece ending within a character.

    Tokens are decoded with those right before them, since a tokenizer may join them otherwise than alone (the scheme of
    text-generation-inference's `decode_token`).

    Args:
        decode: makes text of token ids.

    >>> pieces = Pieces(lambda tokens: bytes(tokens).decode(errors="replace"))
    >>> [pieces.add([byte]) for byte in "Да!".encode()], pieces.rest()
    (['', 'Д', '', 'а', '!'], '')
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._tokens: list[int] = []
        self._before = 0
        self._read = 0

    def add(self, tokens: Sequence[int]) -> str:
        """The text that is whole with these tokens; it may be empty."""
        self._tokens += tokens
        text = self._new()
        if not text or text.endswith(_UNFINISHED):
            return ""
        self._before, self._read = self._read, len(self._tokens)
        return text

    def rest(self) -> str:
        """What is left once nothing comes any more."""
        text = self._new()
        self._before = self._read = len(self._tokens)
        return text

    def _new(self) -> str:
        told = self._decode(self._tokens[self._before : self._read])
        return self._decode(self._tokens[self._before :])[len(told) :]


class LocalModel:
    """A model in a directory.

    Args:
        name: what it is chosen by, `local:support-v3`.
        directory: where its files are; they are looked at when it is first asked.
        device: `cuda`, `mps`, `cpu`; `auto` takes the first of them that there is.
    """

    def __init__(self, name: str, directory: Path, *, device: str = "auto") -> None:
        self.name = name
        self._directory = directory
        self._device = device
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._loaded: _Loaded | None = None

    async def stream(self, prompt: Prompt) -> AsyncGenerator[str | Completion]:
        """Pieces of the answer as they are written, then the `Completion`; raises as `ChatModel.stream`.

        The parameters are `temperature` (0 takes the likeliest token), `top_p`, `max_tokens` and `seed`.
        """
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[str | Completion | Exception] = asyncio.Queue()
        stop = threading.Event()

        def put(piece: str | Completion | Exception) -> None:
            with suppress(RuntimeError):  # The loop is closed: nobody listens any more.
                loop.call_soon_threadsafe(pieces.put_nowait, piece)

        try:
            work = self._thread.submit(self._answer, prompt, put, stop)
        except RuntimeError:
            raise ModelError(f"{self.name} is closed") from None
        try:
            while True:
                piece = await pieces.get()
                if isinstance(piece, Exception):
                    raise piece
                yield piece
                if isinstance(piece, Completion):
                    return
        finally:
            stop.set()
            work.cancel()

    async def close(self) -> None:
        """Let go of the memory, once nothing is written any more."""
        await asyncio.to_thread(self._thread.shutdown, wait=True, cancel_futures=True)
        if self._loaded is not None:
            self._loaded = None
            gc.collect()
            import torch

            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def __repr__(self) -> str:
        return f"LocalModel({self.name!r})"

    # --- in the thread -----------------------------------------------------------------------------------------------

    def _answer(self, prompt: Prompt, put: _Put, stop: threading.Event) -> None:
        if stop.is_set():
            return
        try:
            if self._loaded is None:
                self._loaded = self._load()
            put(self._generate(self._loaded, prompt, put, stop))
        except ModelError as error:
            put(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the one who asked has to be told
            put(_failure(self.name, error))

    def _load(self) -> _Loaded:
        if missing := missing_packages(PACKAGES):
            raise ModelError(f"{self.name} needs {', '.join(missing)}; install what it takes: {INSTALL}")
        if not (self._directory / "config.json").is_file():
            raise ModelError(f"{self.name}: there is no model in {self._directory}")
        import torch
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging

        logging.disable_progress_bar()
        device = self._device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        tokenizer, _ = load_tokenizer(self._directory)
        # Processors without a GPU compute half precision slower, if at all.
        dtype = torch.float32 if device == "cpu" else "auto"
        model = AutoModelForCausalLM.from_pretrained(str(self._directory), local_files_only=True, dtype=dtype)
        model = model.to(device).eval()
        # The settings of a model and its tokenizer may name different ends: either ends an answer.
        told = model.generation_config.eos_token_id
        ends = {*(told if isinstance(told, list) else [told]), tokenizer.eos_token_id} - {None}
        context = getattr(model.config, "max_position_embeddings", None)
        return _Loaded(model, tokenizer, context, tuple(sorted(ends)))

    def _generate(self, loaded: _Loaded, prompt: Prompt, put: _Put, stop: threading.Event) -> Completion:
        import torch
        from transformers import StoppingCriteria, StoppingCriteriaList
        from transformers.generation.streamers import BaseStreamer

        inputs = self._inputs(loaded, prompt)
        length = inputs["input_ids"].shape[1]
        sampling = self._sampling(prompt.parameters)
        options = self._options(loaded, sampling, length)
        pieces = Pieces(lambda tokens: loaded.tokenizer.decode(tokens, skip_special_tokens=True))
        said: list[str] = []

        def say(text: str) -> None:
            if text:
                said.append(text)
                put(text)

        class Pass(BaseStreamer):  # type: ignore[misc] # transformers has types that mypy does not see
            """Passes on what is generated; the prompt comes first, and is not."""

            prompt = True

            def put(self, value: Any) -> None:
                if not self.prompt:
                    say(pieces.add(value.flatten().tolist()))
                self.prompt = False

            def end(self) -> None:
                say(pieces.rest())

        class Stop(StoppingCriteria):  # type: ignore[misc] # likewise
            def __call__(self, input_ids: Any, _scores: Any, **_: Any) -> Any:
                return torch.full((input_ids.shape[0],), stop.is_set(), dtype=torch.bool, device=input_ids.device)

        with _drawing if sampling.seed is not None else nullcontext(), torch.inference_mode():
            if sampling.seed is not None:
                torch.manual_seed(sampling.seed)
            output = loaded.model.generate(
                **inputs, **options, streamer=Pass(), stopping_criteria=StoppingCriteriaList([Stop()])
            )
        written = output[0, length:].tolist()
        ended = bool(written) and written[-1] in loaded.ends
        return Completion(
            "".join(said),
            model=self.name,
            usage={"input_tokens": length, "output_tokens": len(written)},
            finish="length" if not ended and len(written) >= options["max_new_tokens"] else "stop",
        )

    def _inputs(self, loaded: _Loaded, prompt: Prompt) -> Any:
        """The prompt as tokens, on the device of the model."""
        from jinja2 import TemplateError

        turns = [{"role": turn.role, "content": turn.content} for turn in prompt.turns]
        try:
            inputs = loaded.tokenizer.apply_chat_template(
                turns, add_generation_prompt=True, return_dict=True, return_tensors="pt"
            )
        except TemplateError as error:
            raise ModelRefusedError(
                f"the chat template of {self.name} takes no such dialogue: {one_line(error)}"
            ) from error
        return inputs.to(loaded.model.device)

    def _sampling(self, parameters: JsonObject) -> _Sampling:
        known = _Sampling.__struct_fields__
        if unknown := [name for name in parameters if name not in known]:
            raise ModelRefusedError(f"{self.name} knows no parameter {unknown[0]!r}; there is {', '.join(known)}")
        try:
            return msgspec.convert(parameters, _Sampling)
        except msgspec.ValidationError as error:
            raise ModelRefusedError(f"a parameter of {self.name} cannot be that: {error}") from error

    def _options(self, loaded: _Loaded, sampling: _Sampling, length: int) -> JsonObject:
        """Options of transformers' `generate` for a prompt of so many tokens."""
        most = sampling.max_tokens or sampling.max_completion_tokens or _MAX_TOKENS
        if loaded.context is not None:
            if length >= loaded.context:
                raise ModelRefusedError(
                    f"the prompt has {length:,} tokens, and {self.name} takes {loaded.context:,} with the answer; "
                    "lower chat.turns or chat.tokens"
                )
            most = min(most, loaded.context - length)
        options: JsonObject = {
            "max_new_tokens": most,
            "eos_token_id": list(loaded.ends) or None,
            "pad_token_id": loaded.tokenizer.pad_token_id,
        }
        if sampling.temperature == 0:
            return options | {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
        drawn = {"temperature": sampling.temperature, "top_p": sampling.top_p}
        told = {name: value for name, value in drawn.items() if value is not None}
        return options | ({"do_sample": True} if told else {}) | told


def _failure(name: str, error: Exception) -> ModelError:
    """What somebody else's error is to the one who asked."""
    if "out of memory" in str(error).lower():
        return ModelUnavailableError(f"{name}: the GPU is out of memory")
    return ModelError(f"{name}: {type(error).__name__}: {one_line(error)}")
