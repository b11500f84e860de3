"""The texts of a bundle that are the same for every job: a script for TRL, a module for Axolotl, and the README.

Both programs read all that differs from one job to the next in `job.json`.
"""

TRAIN = '''\
"""Fine-tunes a model with TRL as job.json says, and puts the finished model into model/.

    pip install "trl>=0.24" peft accelerate datasets
    python train.py
"""

import argparse
import dataclasses
import json
from pathlib import Path

import datasets
import torch
import trl
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.trainer_utils import get_last_checkpoint

HERE = Path(__file__).resolve().parent
JOB = json.loads((HERE / "job.json").read_text(encoding="utf-8"))
HOW = JOB["hyperparameters"]
METHOD = JOB["method"]

# For models that have no chat template: ChatML, with the model's own end of text after every turn.
PLAIN_TEMPLATE = """\\
{%- for message in messages -%}
    {%- if not loop.first -%}{{- '\\\\n' -}}{%- endif -%}
    {{- '<|im_start|>' + message['role'] + '\\\\n' + message['content'] + eos_token -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {%- if messages -%}{{- '\\\\n' -}}{%- endif -%}
    {{- '<|im_start|>assistant\\\\n' -}}
{%- endif -%}"""


def plain(message):
    return {"role": message["role"], "content": message["content"]}


def as_trl(row):
    """A row as TRL takes it."""
    messages = [plain(message) for message in row["messages"]]
    if METHOD == "dpo":
        return {"prompt": messages, "chosen": [plain(row["chosen"])], "rejected": [plain(row["rejected"])]}
    pair = {"prompt": messages[:-1], "completion": messages[-1:]}
    return {**pair, "label": row["label"]} if METHOD == "kto" else pair


def length(row, tokenizer):
    """Tokens of a row, with the longer of its replies."""
    replies = [row[side] for side in ("completion", "chosen", "rejected") if side in row]
    return max(len(tokenizer.apply_chat_template(row["prompt"] + reply, return_dict=False)) for reply in replies)


def read(split, tokenizer):
    """The rows of a split; None where there are none."""
    path = HERE / f"{split}.jsonl"
    if not path.exists():
        return None
    rows = [as_trl(json.loads(line)) for line in path.read_bytes().splitlines()]
    short = [row for row in rows if length(row, tokenizer) <= HOW["max_length"]]
    if len(short) < len(rows):
        left_out = f"{len(rows) - len(short)} of {len(rows)} rows of {path.name} have more than {HOW['max_length']} tokens"
        if HOW["longer_rows"] == "refuse":
            raise SystemExit(f"{left_out}; raise max_length in job.json, or set longer_rows to leave them out")
        print(f"{left_out} and are left out")
    text = datasets.Value("string")
    turns = [{"role": text, "content": text}]
    kinds = {name: datasets.Value("bool") if name == "label" else turns for name in short[0]}
    return datasets.Dataset.from_list(short, features=datasets.Features(kinds))


def classes():
    """TRL's trainer and its settings; KTO is experimental in some versions."""
    name = METHOD.upper()
    try:
        return getattr(trl, f"{name}Trainer"), getattr(trl, f"{name}Config")
    except AttributeError:
        from trl.experimental import kto

        return kto.KTOTrainer, kto.KTOConfig


def main():
    options = argparse.ArgumentParser(description="Fine-tune a model with TRL as job.json says.")
    options.add_argument("--model", default=JOB["model"], help="the model to begin with: a directory or a Hub id")
    options.add_argument("--output", type=Path, default=HERE / "model", help="where the finished model goes")
    given = options.parse_args()

    tokenizer = AutoTokenizer.from_pretrained(given.model)
    if not tokenizer.chat_template:
        tokenizer.chat_template = PLAIN_TEMPLATE
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    train, validation = read("train", tokenizer), read("validation", tokenizer)

    cuda = torch.cuda.is_available()
    precision = HOW["precision"]
    if precision == "auto":
        precision = "bf16" if cuda and torch.cuda.is_bf16_supported() else "fp32"
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.float32)
    # Weights that change need fp32; an adapter is trained in it beside weights that never change.
    model = AutoModelForCausalLM.from_pretrained(given.model, dtype=half if HOW["lora"] else torch.float32)
    kept = getattr(model.config, "dtype", None) if HOW["lora"] else None
    model.config.use_cache = False

    trainer_class, config_class = classes()
    known = {field.name for field in dataclasses.fields(config_class)}
    checkpoints = HERE / "checkpoints"
    wanted = {
        "output_dir": str(checkpoints),
        "num_train_epochs": HOW["epochs"],
        "max_steps": HOW.get("max_steps", -1),
        "learning_rate": HOW["learning_rate"],
        "warmup_ratio" if "warmup_ratio" in known else "warmup_steps": HOW["warmup"],
        "per_device_train_batch_size": HOW["batch_size"],
        "per_device_eval_batch_size": HOW["batch_size"],
        "gradient_accumulation_steps": HOW["gradient_accumulation"],
        "gradient_checkpointing": HOW["gradient_checkpointing"] and cuda,
        "bf16": precision == "bf16",
        "fp16": precision == "fp16",
        "use_cpu": not cuda and not torch.backends.mps.is_available(),
        # Longer rows were left out above: TRL must cut none.
        "max_length": None,
        "logging_steps": HOW.get("logging_steps", 0.01),
        "save_strategy": "steps",
        "save_steps": HOW.get("save_steps", 0.1),
        "save_total_limit": 2,
        "eval_strategy": "no" if validation is None else "steps",
        "eval_steps": None if validation is None else HOW.get("save_steps", 0.1),
        "seed": JOB["seed"],
        "report_to": [],
        **({} if METHOD == "sft" else {"beta": HOW["beta"]}),
    }
    adapter = None
    if HOW["lora"]:
        from peft import LoraConfig

        adapter = LoraConfig(
            r=HOW["lora_r"],
            lora_alpha=HOW["lora_alpha"],
            lora_dropout=HOW["lora_dropout"],
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        )
    trainer = trainer_class(
        model=model,
        args=config_class(**wanted),
        train_dataset=train,
        eval_dataset=validation,
        processing_class=tokenizer,
        peft_config=adapter,
    )
    trainer.train(resume_from_checkpoint=get_last_checkpoint(checkpoints) if checkpoints.is_dir() else None)

    model = trainer.accelerator.unwrap_model(trainer.model)
    if HOW["lora"]:
        model = model.merge_and_unload()
    if kept is not None:
        model = model.to(kept)
    model.config.use_cache = True
    model.save_pretrained(given.output)
    tokenizer.save_pretrained(given.output)
    print(f"the model is in {given.output}; bring it back with: trainerlib model add {given.output} --job {JOB['job']}")


if __name__ == "__main__":
    main()
'''
"""`train.py`: needs TRL, and nothing of trainerlib."""

AXOLOTL_KTO = '''\
"""How Axolotl reads the rows of this bundle for KTO: it has no strategy of its own for dialogues."""


def chat(cfg, **_):
    def render(row, tokenizer=None):
        *context, reply = [{"role": turn["role"], "content": turn["content"]} for turn in row["messages"]]
        prompt = tokenizer.apply_chat_template(context, add_generation_prompt=True, tokenize=False)
        whole = tokenizer.apply_chat_template([*context, reply], tokenize=False)
        # Some templates change what came before the last reply; the reply itself is what they end with.
        start = len(prompt) if whole.startswith(prompt) else whole.rindex(reply["content"].strip())
        return {"prompt": prompt, "completion": whole[start:].rstrip(), "label": row["label"]}

    return render, {"remove_columns": ["messages"]}
'''
"""`axolotl_kto.py`: a dataset type of one's own, as Axolotl loads it by `module.function`."""

README = """\
# {name}

Everything needed to fine-tune `{model}` elsewhere: dataset `{dataset}` version {version}, {rows}.
Method: {method}.

| file | what it is |
|---|---|
| `train.jsonl` | rows to learn, one a line: `{row}` |
{validation}| `train.py` | trains with TRL |
| `llama-factory.yaml`, `dataset_info.json` | train with LLaMA-Factory |
{merging}| `axolotl.yaml` | trains with Axolotl |
{kto}| `job.json` | what is trained and how, for `train.py` and for people |
| `SHA256SUMS` | `sha256sum --check SHA256SUMS` tells whether every file is whole |

The longest row has about {longest} tokens (estimate), and rows may have {length}. {longer}

## 1. Train, in this directory, with one of the three

TRL:

    pip install "trl>=0.24" peft accelerate datasets
    python train.py

LLaMA-Factory:

    llamafactory-cli train llama-factory.yaml
{merge_llama_factory}
Axolotl:

    axolotl train axolotl.yaml
{merge_axolotl}
A run of `train.py` that was stopped goes on from its last checkpoint; delete `checkpoints` to begin anew.

## 2. Bring the model back

Copy the finished model to the machine of the workspace. It is in `model` (TRL), `{model_llama_factory}` (LLaMA-Factory) or
`{model_axolotl}` (Axolotl): a directory with `config.json`, weights and tokenizer, not an adapter alone. Then:

    trainerlib model add DIRECTORY --job {job}
    trainerlib evaluate local:{name} --against current
    trainerlib model promote local:{name}

These files hold what people said. Treat them as you treat the conversations, and delete them when you are done.
"""
"""`README.md`, with its places to fill."""
