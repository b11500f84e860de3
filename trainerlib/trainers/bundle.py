"""Training elsewhere: a directory with everything that TRL, LLaMA-Factory or Axolotl needs, and how to bring the model back.

A bundle is written once and is the same to the byte wherever it is written. The job then waits for its model, which
`trainerlib model add DIRECTORY --job ID` brings back. What the files of the three programs have to say was read in
their sources: `SharegptDatasetConverter` and `DatasetAttr` of LLaMA-Factory, `ChatTemplateStrategy`, the DPO strategy
`chat_template.default` and the loader of KTO strategies of Axolotl.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from hashlib import file_digest
from pathlib import Path
from typing import Any

import msgspec

from trainerlib.builds import Building
from trainerlib.errors import TrainingError
from trainerlib.events import JsonObject, TrainingCancelled, TrainingRequested, TrainingSubmitted
from trainerlib.examples import Turn
from trainerlib.tokens import count_chat
from trainerlib.trainers.bundle_texts import AXOLOTL_KTO, README, TRAIN
from trainerlib.trainers.hyperparameters import BETA, FORMATS, SEED, Hyperparameters, Method, check, parse
from trainerlib.trainers.port import SPLITS, Work, Workshop
from trainerlib.training import TrainingJob, model_name

DIRECTORY = "bundle"
"""Where the bundle is, in the directory of its job."""

SUMS = "SHA256SUMS"
"""The file that ends a bundle: the digests of all others, as `sha256sum --check` takes them."""

WAITING = "waiting for the model"
"""The state of a job whose bundle is written."""

_SHORTEST, _MARGIN = 1024, 1.5
_HERE = ("local:", "openai:")

_encode = msgspec.json.Encoder().encode


class BundleTrainer:
    """Trains nothing itself: it writes what others train with.

    Args:
        workshop: the workspace.
    """

    name = "bundle"
    formats = FORMATS

    def __init__(self, workshop: Workshop) -> None:
        self._workshop = workshop

    def check(self, request: TrainingRequested) -> None:
        """Refuse what cannot go well.

        Raises:
            TrainingError: a hyperparameter is wrong, the model is named as nobody elsewhere would know it, or the new
                one cannot be called that.
        """
        check(request)
        if request.model.startswith(_HERE):
            raise TrainingError(
                f"{request.model} means nothing where a bundle is trained: give the model's id on the Hugging Face Hub, "
                "or its directory there"
            )

    def advance(self, work: Work) -> float:
        """Write the bundle, once.

        Returns:
            Infinity: the next step is somebody's who brings the model back.
        """
        directory = work.directory / DIRECTORY
        if not (directory / SUMS).is_file():
            files = {split: work.file(split) for split in work.job.request.sha256}
            # Where an erasure looks for what is half made.
            with Building(work.directory.parent) as building:
                write_bundle(work.job, files, building)
                shutil.rmtree(directory, ignore_errors=True)
                building.replace(directory)
        if work.job.remote_state != WAITING:
            submitted = TrainingSubmitted(f"models/jobs/{work.job.id}/{DIRECTORY}", WAITING)
            work.record([submitted], [f"training:{work.job.id}:bundle"])
        return math.inf

    def cancel(self, work: Work) -> None:
        """End the job; its bundle goes away."""
        work.record([TrainingCancelled()])
        shutil.rmtree(work.directory / DIRECTORY, ignore_errors=True)

    def pause(self, work: Work) -> None:
        """Refuse: whoever trains the bundle decides that."""
        raise TrainingError(f"{work.job.id} is trained elsewhere: there is nothing to hold here")

    def resume(self, work: Work) -> None:
        """Refuse likewise."""
        raise TrainingError(f"{work.job.id} is trained elsewhere: there is nothing to go on with here")


# --- what is in it ---------------------------------------------------------------------------------------------------


def write_bundle(job: TrainingJob, files: Mapping[str, Path], directory: Path) -> None:
    """Write the bundle of a job into an empty directory: the same job gives the same bytes.

    Args:
        job: it.
        files: the exported file of each split.
        directory: where to.
    """
    longest = max([_write_rows(path, directory / f"{split}.jsonl") for split, path in files.items()])
    facts = _facts(job, longest)
    validated = "validation" in files
    texts = {
        "job.json": msgspec.json.format(_encode(facts), indent=2).decode() + "\n",
        "train.py": TRAIN,
        "dataset_info.json": msgspec.json.format(_encode(_dataset_info(job, files)), indent=2).decode() + "\n",
        "llama-factory.yaml": _yaml(_llama_factory(facts, validated=validated)),
        "axolotl.yaml": _yaml(_axolotl(facts, validated=validated)),
        "README.md": _readme(job, facts),
    }
    if facts["hyperparameters"]["lora"]:
        texts["llama-factory-merge.yaml"] = _yaml(_llama_factory_merge(facts))
    if job.request.method == "kto":
        texts["axolotl_kto.py"] = AXOLOTL_KTO
    for name, text in texts.items():
        (directory / name).write_bytes(text.encode())
    sums = []
    for path in sorted(directory.iterdir()):
        with path.open("rb") as stream:
            sums.append(f"{file_digest(stream, 'sha256').hexdigest()}  {path.name}\n")
    (directory / SUMS).write_bytes("".join(sums).encode())


def in_turn(turns: Iterable[Mapping[str, str]]) -> list[dict[str, str]]:
    r"""A dialogue in which question and answer alternate, the last a question: LLaMA-Factory leaves out any other.

    Turns of one side in a row are joined by an empty line, a greeting that nobody asked for is left out, and where a
    reply follows a reply an empty question comes between. An instruction stays where it is, before them all.

    >>> in_turn([{"role": "assistant", "content": "Здравствуйте!"}, {"role": "user", "content": "Привет"},
    ...          {"role": "user", "content": "Вы открыты?"}])
    [{'role': 'user', 'content': 'Привет\n\nВы открыты?'}]
    """
    system: list[dict[str, str]] = []
    sides: list[dict[str, str]] = []
    for turn in turns:
        content = turn["content"]
        if turn["role"] == "system":
            system = [{"role": "system", "content": content}]
            continue
        role = "assistant" if turn["role"] == "assistant" else "user"
        if sides and sides[-1]["role"] == role:
            sides[-1]["content"] += f"\n\n{content}"
        else:
            sides.append({"role": role, "content": content})
    if sides and sides[0]["role"] == "assistant":
        del sides[0]
    if not sides or sides[-1]["role"] == "assistant":
        sides.append({"role": "user", "content": ""})
    return system + sides


def bundled(row: JsonObject) -> JsonObject:
    """A row of TRL's as the bundle has it: one form that all three programs read.

    Args:
        row: with `prompt`, and `completion` or `chosen` and `rejected`, each a list of messages; `label` for KTO.

    >>> bundled({"prompt": [{"role": "user", "content": "Open?"}], "completion": [{"role": "assistant", "content": "Yes"}]})
    {'messages': [{'role': 'user', 'content': 'Open?'}, {'role': 'assistant', 'content': 'Yes', 'weight': 1}]}
    """
    context: list[JsonObject] = list(in_turn(row["prompt"]))
    if "chosen" in row:
        return {"messages": context, "chosen": row["chosen"][0], "rejected": row["rejected"][0]}
    [reply] = row["completion"]
    if "label" in row:
        return {"messages": [*context, reply], "label": row["label"]}
    # The weights are OpenAI's; Axolotl learns what has one above 0, and the other programs the last message alone.
    weighted = [{**turn, "weight": 0} if turn["role"] == "assistant" else turn for turn in context]
    return {"messages": [*weighted, {**reply, "weight": 1}]}


def _write_rows(source: Path, target: Path) -> int:
    """Write the rows of a split; the tokens of the longest, estimated."""
    longest = 0
    with source.open("rb") as lines, target.open("wb") as out:
        for line in lines:
            row = bundled(msgspec.json.decode(line))
            out.write(_encode(row) + b"\n")
            sides = [row["messages"] + [row[side]] for side in ("chosen", "rejected") if side in row] or [
                row["messages"]
            ]
            lengths = [count_chat([Turn(turn["role"], turn["content"]) for turn in turns]) for turns in sides]
            longest = max(longest, *lengths)
    return longest


def _facts(job: TrainingJob, longest: int) -> JsonObject:
    """What `job.json` says: everything the other files are made of."""
    request = job.request
    how = parse(request.hyperparameters, request.method)
    length = _SHORTEST
    while length < longest * _MARGIN:
        length *= 2
    return {
        "job": job.id,
        "dataset": request.dataset,
        "dataset_version": request.dataset_version,
        "method": request.method,
        "model": request.model,
        "name": model_name(request),
        "rows": request.rows,
        "sha256": request.sha256,
        "seed": SEED if request.seed is None else request.seed,
        "longest_row": longest,
        "hyperparameters": _resolved(how, length, request.method),
    }


def _resolved(how: Hyperparameters, length: int, method: Method) -> JsonObject:
    """Hyperparameters with what was left open decided."""
    values: JsonObject = msgspec.to_builtins(how)
    values["learning_rate"] = float(f"{how.rate(method):g}")
    values["max_length"] = how.max_length or length
    # Where nobody set a limit no row is to be left out, or cut, without a word.
    values["longer_rows"] = "refuse" if how.max_length is None else "leave out"
    values["beta"] = None if method == "sft" else how.beta or BETA
    values["gradient_checkpointing"] = how.gradient_checkpointing is not False
    return {name: value for name, value in values.items() if value is not None}


def _dataset_info(job: TrainingJob, files: Iterable[str]) -> JsonObject:
    """LLaMA-Factory's description of each file: the ShareGPT form under OpenAI's names."""
    method = job.request.method
    entry: JsonObject = {"formatting": "sharegpt"}
    columns = {"messages": "messages"}
    if method == "dpo":
        entry["ranking"] = True
        columns |= {"chosen": "chosen", "rejected": "rejected"}
    elif method == "kto":
        columns["kto_tag"] = "label"
    tags = {
        "role_tag": "role",
        "content_tag": "content",
        "user_tag": "user",
        "assistant_tag": "assistant",
        "system_tag": "system",
    }
    return {split: {"file_name": f"{split}.jsonl", **entry, "columns": columns, "tags": tags} for split in files}


_Entries = list[tuple[str, Any]]
"""Keys and values of a YAML file; a key that is empty is a comment."""


def _llama_factory(facts: JsonObject, *, validated: bool) -> _Entries:
    how, method = facts["hyperparameters"], facts["method"]
    entries: _Entries = [
        ("", "LLaMA-Factory: llamafactory-cli train llama-factory.yaml"),
        ("model_name_or_path", facts["model"]),
        (
            "",
            "By default the chat template of the model itself. LLaMA-Factory's own for its family: template: qwen3, say.",
        ),
        ("stage", method),
        ("do_train", True),
        ("finetuning_type", "lora" if how["lora"] else "full"),
    ]
    if how["lora"]:
        entries += [
            ("lora_rank", how["lora_r"]),
            ("lora_alpha", round(how["lora_alpha"])),
            ("lora_dropout", how["lora_dropout"]),
            ("lora_target", "all"),
        ]
    if method == "sft":
        entries += [("", "The last reply of each row is learned, not those before it."), ("mask_history", True)]
    else:
        entries += [("pref_beta", how["beta"])]
    if method == "dpo":
        entries += [("pref_loss", "sigmoid")]
    entries += [("dataset_dir", "."), ("dataset", "train")]
    if validated:
        entries += [
            ("eval_dataset", "validation"),
            ("eval_strategy", "epoch"),
            ("per_device_eval_batch_size", how["batch_size"]),
        ]
    entries += [
        ("", "LLaMA-Factory cuts longer rows."),
        ("cutoff_len", how["max_length"]),
        ("output_dir", _trained("llama-factory", how)),
        ("per_device_train_batch_size", how["batch_size"]),
        ("gradient_accumulation_steps", how["gradient_accumulation"]),
        ("num_train_epochs", how["epochs"]),
        *([("max_steps", how["max_steps"])] if "max_steps" in how else []),
        ("learning_rate", how["learning_rate"]),
        ("lr_scheduler_type", "linear"),
        ("warmup_ratio", how["warmup"]),
        ("", "bf16 needs a GPU that has it; otherwise fp16: true, or neither."),
        *[
            (kind, True)
            for kind in ("bf16", "fp16")
            if kind == ("bf16" if how["precision"] == "auto" else how["precision"])
        ],
        *([] if how["gradient_checkpointing"] else [("disable_gradient_checkpointing", True)]),
        ("seed", facts["seed"]),
        ("logging_steps", how.get("logging_steps", 10)),
        ("save_strategy", "steps" if "save_steps" in how else "epoch"),
        *([("save_steps", how["save_steps"])] if "save_steps" in how else []),
        ("save_total_limit", 2),
        ("report_to", "none"),
    ]
    return entries


def _llama_factory_merge(facts: JsonObject) -> _Entries:
    return [
        ("", "Puts the adapter into its model: llamafactory-cli export llama-factory-merge.yaml"),
        ("model_name_or_path", facts["model"]),
        ("adapter_name_or_path", _trained("llama-factory", facts["hyperparameters"])),
        ("export_dir", "llama-factory-model"),
        ("export_device", "cpu"),
        ("export_legacy_format", False),
    ]


def _axolotl(facts: JsonObject, *, validated: bool) -> _Entries:
    how, method = facts["hyperparameters"], facts["method"]
    template = "tokenizer_default_fallback_chatml"
    kinds: dict[str, JsonObject] = {
        "sft": {
            "type": "chat_template",
            "chat_template": template,
            "field_messages": "messages",
            "message_property_mappings": {"role": "role", "content": "content"},
            # Nothing is learned by its role: what has a weight is, and its end of turn with it.
            "roles_to_train": [],
            "message_field_training": "weight",
            "train_on_eos": "turn",
        },
        "dpo": {
            "type": "chat_template.default",
            "field_messages": "messages",
            "field_chosen": "chosen",
            "field_rejected": "rejected",
        },
        "kto": {"type": "axolotl_kto.chat"},
    }
    data = [{"path": f"{split}.jsonl", "ds_type": "json", "split": "train", **kinds[method]} for split in SPLITS]
    entries: _Entries = [
        ("", "Axolotl: axolotl train axolotl.yaml, from this directory"),
        ("base_model", facts["model"]),
        ("chat_template", template),
        *([] if method == "sft" else [("rl", method), ("rl_beta", how["beta"])]),
        *([("remove_unused_columns", False)] if method == "kto" else []),
        ("datasets", data[:1]),
        *([("test_datasets", data[1:])] if validated else [("val_set_size", 0)]),
        ("dataset_prepared_path", "axolotl-prepared"),
        ("sequence_len", how["max_length"]),
        ("excess_length_strategy", "raise" if how["longer_rows"] == "refuse" else "drop"),
        ("sample_packing", False),
    ]
    if how["lora"]:
        entries += [
            ("adapter", "lora"),
            ("lora_r", how["lora_r"]),
            ("lora_alpha", round(how["lora_alpha"])),
            ("lora_dropout", how["lora_dropout"]),
            ("lora_target_linear", True),
        ]
    entries += [
        ("output_dir", _trained("axolotl", how)),
        ("micro_batch_size", how["batch_size"]),
        ("gradient_accumulation_steps", how["gradient_accumulation"]),
        ("num_epochs", how["epochs"]),
        *([("max_steps", how["max_steps"])] if "max_steps" in how else []),
        ("learning_rate", how["learning_rate"]),
        ("lr_scheduler", "linear"),
        ("optimizer", "adamw_torch"),
        ("warmup_ratio", how["warmup"]),
        ("bf16", {"auto": "auto", "bf16": True}.get(how["precision"], False)),
        *([("fp16", True)] if how["precision"] == "fp16" else []),
        ("gradient_checkpointing", how["gradient_checkpointing"]),
        ("seed", facts["seed"]),
        ("logging_steps", how.get("logging_steps", 10)),
        *([("save_steps", how["save_steps"])] if "save_steps" in how else [("saves_per_epoch", 1)]),
        *([("evals_per_epoch", 1)] if validated else []),
        ("save_total_limit", 2),
    ]
    return entries


def _trained(program: str, how: JsonObject) -> str:
    """Where a program puts what it trained."""
    return f"{program}-adapter" if how["lora"] else f"{program}-model"


def _yaml(entries: Sequence[tuple[str, Any]]) -> str:
    """A YAML file: each value is JSON, which YAML reads; of a list of tables each table is a block."""
    lines: list[str] = []
    for key, value in entries:
        if not key:
            lines.append(f"# {value}")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            lines.append(f"{key}:")
            for table in value:
                inner = [f"{name}: {_value(one)}" for name, one in table.items()]
                lines += [f"  - {inner[0]}", *[f"    {line}" for line in inner[1:]]]
        else:
            lines.append(f"{key}: {_value(value)}")
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    r"""A value as JSON, and a number so that PyYAML sees that it is one.

    >>> _value(1e-07), _value("Ёлка: 1"), _value({"role": ["from", True]})
    ('1.0e-7', '"Ёлка: 1"', '{"role": ["from", true]}')
    """
    if isinstance(value, dict):
        return "{" + ", ".join([f"{_value(key)}: {_value(inner)}" for key, inner in value.items()]) + "}"
    if isinstance(value, list):
        return "[" + ", ".join([_value(inner) for inner in value]) + "]"
    written = _encode(value).decode()
    if isinstance(value, float) and "e" in written and "." not in written:
        return written.replace("e", ".0e")
    return written


def _readme(job: TrainingJob, facts: JsonObject) -> str:
    how, request = facts["hyperparameters"], job.request
    rows = " and ".join([f"{count:,} to {_USES[split]}" for split, count in request.rows.items()])
    merged = {
        "llama_factory": "llama-factory-model" if how["lora"] else _trained("llama-factory", how),
        "axolotl": f"{_trained('axolotl', how)}/merged" if how["lora"] else _trained("axolotl", how),
    }
    merge = {
        "llama_factory": "    llamafactory-cli export llama-factory-merge.yaml\n" if how["lora"] else "",
        "axolotl": "    axolotl merge-lora axolotl.yaml\n" if how["lora"] else "",
    }
    longer = (
        "train.py and Axolotl stop at a longer row; LLaMA-Factory cuts it."
        if how["longer_rows"] == "refuse"
        else "train.py and Axolotl leave longer rows out; LLaMA-Factory cuts them."
    )
    kto = "| `axolotl_kto.py` | how Axolotl reads rows for KTO |\n" if request.method == "kto" else ""
    merging = "| `llama-factory-merge.yaml` | LLaMA-Factory: put the adapter into its model |\n" if how["lora"] else ""
    split = "| `validation.jsonl` | rows to measure on, not to learn |\n" if "validation" in request.rows else ""
    return README.format(
        name=facts["name"],
        dataset=request.dataset,
        version=request.dataset_version,
        method=_METHODS[request.method],
        model=request.model,
        rows=rows,
        row=_ROWS[request.method],
        longest=f"{facts['longest_row']:,}",
        length=f"{how['max_length']:,}",
        longer=longer,
        kto=kto,
        merging=merging,
        validation=split,
        merge_llama_factory=merge["llama_factory"],
        merge_axolotl=merge["axolotl"],
        model_llama_factory=merged["llama_factory"],
        model_axolotl=merged["axolotl"],
        job=job.id,
    )


_USES = {"train": "learn", "validation": "measure on"}
_METHODS = {
    "sft": "supervised fine-tuning: the last reply of each row is learned",
    "dpo": "preference tuning (DPO): of two replies to the same question, `chosen` is preferred to `rejected`",
    "kto": "preference tuning (KTO): each reply is one to give (`label` true) or one to avoid",
}
_ROWS = {
    "sft": '{"messages": [{"role": "user", ...}, {"role": "assistant", ..., "weight": 1}]}',
    "dpo": '{"messages": [{"role": "user", ...}], "chosen": {"role": "assistant", ...}, "rejected": {...}}',
    "kto": '{"messages": [{"role": "user", ...}, {"role": "assistant", ...}], "label": true}',
}
