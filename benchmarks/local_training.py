"""Local training and answering at a realistic size: `python benchmarks/local_training.py [--quick]`.

A corrected history is made up, a dataset built from it, and a model made on the spot, random weights in the shape of
Qwen2.5-0.5B (494 million parameters, bf16): nothing is downloaded, and speed does not depend on what a model knows. It is
fine-tuned with LoRA, by SFT and by DPO, through the same calls that a user makes; the SFT worker is killed in the middle
once. Then the fine-tuned model answers as it does in a chat. `--quick` is a tiny model and a few steps on any machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Self

import workload

import trainerlib
from trainerlib import Recipe, Split
from trainerlib.chat.local import LocalModel
from trainerlib.chat.port import Completion, Prompt
from trainerlib.events import TrainingProgressed
from trainerlib.examples import Turn

REAL = {
    "vocab_size": 151_936,
    "hidden_size": 896,
    "intermediate_size": 4_864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32_768,
    "tie_word_embeddings": True,
}
"""Shape of Qwen2.5-0.5B, as its config.json says."""

TINY = {
    "vocab_size": 2_048,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2_048,
}

TEMPLATE = (
    "{%- for message in messages -%}{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' -}}"
    "{%- endfor -%}{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)


def tell(ws: trainerlib.Workspace, conversations: int) -> None:
    """Conversations of four questions each, half in Russian; every reply was wrong and is corrected."""
    for number in range(conversations):
        chat = ws.conversation(f"bench:{number}")
        for turn in range(4):
            texts = [workload.text(number, turn * 3 + part) for part in range(3)]
            chat.record("user", f"{texts[0]} {number}.{turn}")
            ws.correct(chat.record("assistant", texts[1]).id, texts[2], by="anna")


def make_base(directory: Path, texts: list[str], shape: dict[str, Any]) -> int:
    """Write a model with random weights; how many parameters it has."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    size = min(shape["vocab_size"], 32_000)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    learn = trainers.BpeTrainer(vocab_size=size, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator(texts, learn)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token=special[0], eos_token=special[2])
    tokenizer.chat_template = TEMPLATE
    torch.manual_seed(7)
    ends = {"pad_token_id": 0, "bos_token_id": None, "eos_token_id": 2}
    model = LlamaForCausalLM(LlamaConfig(**shape, **ends)).to(torch.bfloat16)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return sum(value.numel() for value in model.parameters())


class Memory:
    """The most memory of the GPU that is taken while this is open, or of a worker where there is no GPU; MiB."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.peak = 0.0
        self.of = "GPU" if shutil.which("nvidia-smi") else "worker"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.5):
            self.peak = max(self.peak, self._now())

    def _now(self) -> float:
        if self.of == "GPU":
            command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
            return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0])
        try:
            status = Path(f"/proc/{(self._directory / 'worker.pid').read_text()}/status").read_text()
            return float(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024
        except (OSError, StopIteration):
            return 0.0


def train(
    ws: trainerlib.Workspace, method: str, options: dict[str, Any], *, kill_at: int | None = None
) -> dict[str, Any]:
    """Follow a job to its end, killing its worker once at a step if so wanted; what it took."""
    began, cpu = time.perf_counter(), time.process_time()
    job = ws.jobs.start(
        "support", model="local:base", trainer="local", method=method, hyperparameters=options, seed=7, suffix=method
    )
    planned = time.perf_counter() - began
    killed = resumed = None
    furthest = 0
    with Memory(job.directory) as memory:
        while not (state := job.state).ended:
            wait = job.advance()
            state = job.state
            if kill_at is not None and killed is None and state.step >= kill_at:
                os.kill(int((job.directory / "worker.pid").read_text()), signal.SIGKILL)
                killed, furthest = time.perf_counter(), state.step
            if killed is not None and resumed is None and state.step > furthest:
                resumed = time.perf_counter() - killed
            time.sleep(min(wait or 0, 0.1))
    if state.state != "succeeded":
        raise SystemExit(
            f"{method}: {state.state}: {state.error}\n{(job.directory / 'worker.log').read_text()[-4000:]}"
        )
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    told = [one.event for one in job.events() if isinstance(one.event, TrainingProgressed)]
    steps = [event for event in told if event.step and event.at and "loss" in event.metrics]
    at = {event.state: event.at for event in told if event.state and event.at}
    # Without the first, which compiles and warms up; with checkpoints and what else belongs to training.
    seconds = (steps[-1].at - steps[0].at).total_seconds() if killed is None else None
    trained = (state.tokens or 0) * (steps[-1].step - steps[0].step) / steps[-1].step
    return {
        "method": method,
        "rows": state.request.rows["train"],
        "steps": state.step,
        "tokens": state.tokens,
        "planned_s": planned,
        "wall_s": wall,
        "load_s": (at["training"] - at["loading"]).total_seconds() if killed is None else None,
        "tokens_per_s": trained / seconds if seconds else None,
        "steps_per_s": (steps[-1].step - steps[0].step) / seconds if seconds else None,
        "memory_mib": memory.peak,
        "memory_of": memory.of,
        "supervisor_cpu_share": cpu / wall,
        "events": job.state.version,
        "killed_at_step": furthest or None,
        "resume_s": resumed,
        "first_loss": steps[0].metrics["loss"],
        "last_loss": steps[-1].metrics["loss"],
    }


def answer(ws: trainerlib.Workspace, name: str, tokens: int) -> dict[str, Any]:
    """Stream answers from a fine-tuned model; the second one is measured."""

    async def once(model: LocalModel) -> tuple[float, float, Completion]:
        began = time.perf_counter()
        first = 0.0
        prompt = Prompt((Turn("user", workload.text(1, 1) * 4),), parameters={"temperature": 0, "max_tokens": tokens})
        async for piece in model.stream(prompt):
            first = first or time.perf_counter() - began
            if isinstance(piece, Completion):
                return first, time.perf_counter() - began, piece
        raise SystemExit("no answer")

    async def go() -> dict[str, Any]:
        model = LocalModel(f"local:{name}", ws.path / "models" / name)
        _, cold, _ = await once(model)
        first, whole, completion = await once(model)
        await model.close()
        written = completion.usage["output_tokens"]
        return {
            "loaded_and_answered_s": cold,
            "first_piece_s": first,
            "prompt_tokens": completion.usage["input_tokens"],
            "output_tokens": written,
            "tokens_per_s": (written - 1) / (whole - first) if written > 1 else None,
        }

    return asyncio.run(go())


def figure(value: float | None, unit: str = "", digits: int = 0) -> str:
    return "-" if value is None else f"{value:,.{digits}f}{unit}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tiny model and a few steps")
    parser.add_argument("--conversations", type=int, help="default 1,000, each of four corrected replies")
    parser.add_argument("--steps", type=int, help="optimiser steps of each job; default 100")
    parser.add_argument("--batch", type=int, help="rows a step; default 16")
    parser.add_argument("--tokens", type=int, help="tokens of an answer; default 256")
    parser.add_argument("--directory", type=Path, help="where the files go, in place of the temporary directory")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    given = parser.parse_args()
    quick = given.quick
    conversations = given.conversations or (60 if quick else 1_000)
    steps = given.steps or (12 if quick else 100)
    batch = given.batch or (4 if quick else 16)
    tokens = given.tokens or (24 if quick else 256)
    options = {"max_steps": steps, "batch_size": batch, "save_steps": max(2, steps // 5), "logging_steps": 1}

    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} cores, no GPU"
    print(f"{device} · Python {platform.python_version()} · torch {torch.__version__}")
    results: dict[str, Any] = {"device": device, "torch": torch.__version__}
    with tempfile.TemporaryDirectory(dir=given.directory) as place, trainerlib.open(Path(place) / "ws") as ws:
        tell(ws, conversations)
        dataset = ws.datasets.build(
            "support",
            Recipe(targets="corrected", near_duplicates=0.0, split=Split(train=0.99, validation=0.0, test=0.01)),
        )
        texts = [text for number in range(200) for text in (workload.text(number, part) for part in range(12))]
        parameters = make_base(ws.path / "models" / "base", texts, TINY if quick else REAL)
        print(f"{parameters / 1e6:,.1f} million parameters, bf16 · dataset of {dataset.examples:,} examples\n")
        results["parameters"] = parameters
        results["training"] = [
            train(ws, "sft", options),
            train(ws, "dpo", {**options, "batch_size": max(2, batch // 2)}),
            train(ws, "sft", {**options, "learning_rate": 1.9e-4}, kill_at=steps // 2),
        ]
        for row in results["training"]:
            killed = f", killed at step {row['killed_at_step']}" if row["killed_at_step"] else ""
            print(
                f"{row['method']} with LoRA{killed}: {row['steps']} steps of {row['rows']:,} rows in {row['wall_s']:.1f} s"
            )
            print(
                f"  tokens a second      {figure(row['tokens_per_s'])} ({figure(row['steps_per_s'], digits=2)} steps)"
            )
            print(f"  memory, {row['memory_of']:<6}       {figure(row['memory_mib'], ' MiB')}")
            print(f"  libraries and model  {figure(row['load_s'], ' s', 1)}")
            print(f"  supervisor           {100 * row['supervisor_cpu_share']:.1f} % of a core, {row['events']} events")
            if row["resume_s"] is not None:
                print(f"  SIGKILL to next step {row['resume_s']:.1f} s")
            print(f"  loss                 {row['first_loss']:.3f} -> {row['last_loss']:.3f}\n")
        results["answering"] = told = answer(ws, "sft", tokens)
        print(f"answering, {told['prompt_tokens']} tokens in, {told['output_tokens']} out")
        print(f"  tokens a second      {figure(told['tokens_per_s'], digits=1)}")
        print(f"  first piece          {figure(1000 * told['first_piece_s'], ' ms')}")
        print(f"  loaded and answered  {told['loaded_and_answered_s']:.1f} s")
    if given.json:
        given.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
