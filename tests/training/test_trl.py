"""TRL trains on every export, on all rows of it, and learns the replies. Skipped where TRL is not installed."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from accounts import account, manifest_of
from tiny_model import ASSISTANT, END, make_model, make_tokenizer, render

from trainerlib.formats import FORMATS

# Other people's code warns as it likes.
pytestmark = pytest.mark.filterwarnings("ignore")

STEPS = 2
MASKED = -100
"""What stands in place of a token that is not learned."""


@pytest.fixture(scope="module")
def trl(datasets):  # noqa: ARG001 - TRL imports it, so it has to be offline first
    """TRL, on one thread: the model is smaller than what a second one costs."""
    for name in ("torch", "transformers"):
        pytest.importorskip(name, reason=f"{name} is not installed: pip install torch transformers trl")
    library = pytest.importorskip("trl", reason="trl is not installed: pip install trl")
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield library
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def kto(trl):
    """TRL's classes for KTO: experimental in some versions, in others not."""
    try:
        return trl.KTOTrainer, trl.KTOConfig
    except AttributeError:
        from trl.experimental.kto import KTOConfig, KTOTrainer

        return KTOTrainer, KTOConfig


@pytest.fixture(scope="module")
def tokenizer(trl, exports):  # noqa: ARG001 - without TRL there is nothing to do
    return make_tokenizer(exports["trl-kto"]["train"].path.read_text(encoding="utf-8").splitlines())


@pytest.fixture(scope="module")
def loaded(load, exports):
    """The splits of a format as `datasets` loads them."""
    return lambda form: load({split: export.path for split, export in exports[form].items()})


@pytest.fixture
def prepare(tokenizer, tmp_path):
    """A trainer that has read the train and validation splits, its model new."""

    def prepare(classes, splits, *, peft_config=None, reference=False, **options):
        trainer_class, config_class = classes
        config = config_class(
            output_dir=str(tmp_path / "out"),
            max_steps=STEPS,
            per_device_train_batch_size=4,
            per_device_eval_batch_size=8,
            learning_rate=1e-3,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            disable_tqdm=True,
            seed=7,
            **{"max_length": None, **options},
        )
        return trainer_class(
            model=make_model(tokenizer),
            args=config,
            train_dataset=splits["train"],
            eval_dataset=splits["validation"],
            processing_class=tokenizer,
            peft_config=peft_config,
            **({"ref_model": make_model(tokenizer)} if reference else {}),
        )

    return prepare


@pytest.fixture
def train(prepare):
    """Train such a trainer two steps and evaluate it; its losses are numbers and its weights have changed."""

    def train(*arguments, **options):
        trainer = prepare(*arguments, **options)
        before = weights(trainer.model)
        trainer.train()
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        assert trainer.state.global_step == len(losses) == STEPS
        assert all(map(math.isfinite, losses))
        assert math.isfinite(trainer.evaluate()["eval_loss"])
        after = weights(trainer.model)
        assert any(not before[name].equal(after[name]) for name in before)
        return trainer

    return train


def weights(model):
    """The weights that training may change."""
    return {name: value.detach().clone() for name, value in model.named_parameters() if value.requires_grad}


def keeps_every_row(trainer, splits):
    """Whether a trainer kept as many rows of a format's exports as were written and the manifest counts."""
    for split, kept in (("train", trainer.train_dataset), ("validation", trainer.eval_dataset)):
        dataset, report, _, rows = splits[split]
        needs = FORMATS[report.format].needs
        assert len(kept) == len(rows) == report.rows == account(dataset, needs)[split]["rows"]
        assert report.examples == manifest_of(dataset)["splits"][split]
        if needs != "either":
            assert report.rows == report.examples - report.without - report.repeated
    return True


def recorded(splits):
    """What the examples that a format's train split is made of say: context, good reply, bad reply, as rendered."""
    for example in splits["train"].dataset.read("train"):
        context = [{"role": turn.role, "content": turn.content} for turn in example.context]
        good, bad = (None if side is None else side + END for side in (example.chosen, example.rejected))
        yield render(context) + ASSISTANT, good, bad


def learned(trainer, row):
    """The texts of a prepared row that the loss is about, each stretch of tokens one."""
    batch = trainer.data_collator([row])
    stretches = [[]]
    for token, label in zip(batch["input_ids"][0].tolist(), batch["labels"][0].tolist(), strict=True):
        if label == MASKED:
            stretches.append([])
        else:
            assert label == token
            stretches[-1].append(token)
    return [trainer.processing_class.decode(stretch) for stretch in stretches if stretch]


# --- supervised fine-tuning -------------------------------------------------------------------------------------------


def learns_replies_alone(trainer, splits):
    """Whether each row is a whole example, no two the same, and the loss is on its reply to the end, on nothing else."""
    seen = set()
    for row in trainer.train_dataset:
        [reply] = learned(trainer, row)
        whole = trainer.processing_class.decode(row["input_ids"])
        assert whole.endswith(reply)
        seen.add((whole.removesuffix(reply), reply))
    assert len(seen) == splits["train"].report.rows
    return seen <= {(context, good) for context, good, _ in recorded(splits)}


def test_sft_learns_the_reply_of_every_trl_sft_row_and_nothing_else(trl, train, loaded, exports):
    """Every row is read whole, and is the example that the log has."""
    trainer = train((trl.SFTTrainer, trl.SFTConfig), loaded("trl-sft"))
    assert keeps_every_row(trainer, exports["trl-sft"])
    assert learns_replies_alone(trainer, exports["trl-sft"])


def test_sft_reads_openai_chat_and_learns_every_reply_whatever_its_weight(trl, train, loaded, exports):
    """TRL is not troubled by `weight` and does not heed it: replies of the context are learned too."""
    splits = exports["openai-chat"]
    trainer = train((trl.SFTTrainer, trl.SFTConfig), loaded("openai-chat"), assistant_only_loss=True)
    assert keeps_every_row(trainer, splits)
    whole = {context + good for context, good, _ in recorded(splits) if good is not None}
    unwanted = 0
    for row, source in zip(trainer.train_dataset, splits["train"].rows, strict=True):
        said = [message for message in source["messages"] if message["role"] == "assistant"]
        assert trainer.processing_class.decode(row["input_ids"]) in whole
        assert learned(trainer, row) == [message["content"] + END for message in said]
        unwanted += sum(message.get("weight") == 0 for message in said)
    assert unwanted


def test_sft_reads_sharegpt_with_roles_that_no_template_knows(trl, train, loaded, exports):
    """Its turns arrive as those of `human` and `gpt`, and all of them are learned."""
    trainer = train((trl.SFTTrainer, trl.SFTConfig), loaded("sharegpt"))
    assert keeps_every_row(trainer, exports["sharegpt"])
    for row, source in zip(trainer.train_dataset, exports["sharegpt"]["train"].rows, strict=True):
        turns = [{"role": turn["from"], "content": turn["value"]} for turn in source["conversations"]]
        assert learned(trainer, row) == [render(turns)]


def test_sft_finds_no_reply_to_learn_in_sharegpt_as_it_is(trl, prepare, loaded):
    """Asked to learn replies alone, TRL says that there is none: `gpt` is not `assistant`."""
    with pytest.raises((RuntimeError, ValueError), match=r"no assistant|not conversational"):
        prepare((trl.SFTTrainer, trl.SFTConfig), loaded("sharegpt"), assistant_only_loss=True)


def test_sft_refuses_alpaca_as_it_is(trl, prepare, loaded):
    """TRL looks for a column of whole texts and does not find one."""
    with pytest.raises(KeyError, match="text"):
        prepare((trl.SFTTrainer, trl.SFTConfig), loaded("alpaca"))


def of_sharegpt(row):
    """A sharegpt row as TRL's prompt and completion."""
    names = {"system": "system", "human": "user", "gpt": "assistant"}
    messages = [{"role": names[turn["from"]], "content": turn["value"]} for turn in row["conversations"]]
    return {"prompt": messages[:-1], "completion": messages[-1:]}


def of_alpaca(row):
    """An alpaca row as TRL's prompt and completion."""
    messages = [{"role": "system", "content": row["system"]}] if row.get("system") else []
    for question, reply in [*(row.get("history") or ()), (row["instruction"], row["output"])]:
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": reply}]
    return {"prompt": messages[:-1], "completion": messages[-1:]}


CONVERSIONS = {"sharegpt": of_sharegpt, "alpaca": of_alpaca}


@pytest.mark.parametrize("form", CONVERSIONS)
def test_sft_learns_the_same_from_formats_of_other_trainers_once_converted(trl, train, loaded, exports, form):
    """A few lines make prompt and completion of each row: the examples that the log has."""
    splits = loaded(form)
    splits = splits.map(CONVERSIONS[form], remove_columns=splits["train"].column_names)
    trainer = train((trl.SFTTrainer, trl.SFTConfig), splits)
    assert keeps_every_row(trainer, exports[form])
    assert learns_replies_alone(trainer, exports[form])


def test_an_adapter_learns_from_every_row_as_well(trl, train, loaded, exports):
    """LoRA through peft: the same rows, fewer weights."""
    peft = pytest.importorskip("peft", reason="peft is not installed: pip install peft")
    adapter = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    trainer = train((trl.SFTTrainer, trl.SFTConfig), loaded("trl-sft"), peft_config=adapter)
    assert keeps_every_row(trainer, exports["trl-sft"])
    assert learns_replies_alone(trainer, exports["trl-sft"])
    assert all("lora" in name for name in weights(trainer.model))


def test_a_length_limit_that_is_too_small_loses_replies_without_a_word(trl, prepare, loaded, exports):
    """TRL's `max_length`, 1024 tokens unless it is set, has to hold what the recipe's `context_tokens` allow."""
    trainer = prepare((trl.SFTTrainer, trl.SFTConfig), loaded("trl-sft"), max_length=64)
    written = Counter(row["completion"][0]["content"] + END for row in exports["trl-sft"]["train"].rows)
    assert written - Counter(text for row in trainer.train_dataset for text in learned(trainer, row))


# --- preferences ------------------------------------------------------------------------------------------------------


def compares_every_pair(trainer, splits):
    """Whether a trainer's pairs are those of the examples that have both sides, whole, each once."""
    decode = trainer.processing_class.decode
    keys = ("prompt_ids", "chosen_ids", "rejected_ids")
    pairs = [tuple(decode(row[key]) for key in keys) for row in trainer.train_dataset]
    return Counter(pairs) == Counter(one for one in recorded(splits) if None not in one)


def test_dpo_compares_the_sides_of_every_trl_preference_row(trl, train, loaded, exports):
    """Prompt, good reply and bad reply are those that the log has."""
    trainer = train((trl.DPOTrainer, trl.DPOConfig), loaded("trl-preference"), reference=True)
    assert keeps_every_row(trainer, exports["trl-preference"])
    assert compares_every_pair(trainer, exports["trl-preference"])


def test_dpo_refuses_openai_preference_as_it_is(trl, prepare, loaded):
    """TRL looks for a pair under names of its own."""
    with pytest.raises(KeyError, match="chosen"):
        prepare((trl.DPOTrainer, trl.DPOConfig), loaded("openai-preference"), reference=True)


def of_openai_preference(row):
    """An openai-preference row as TRL's prompt, chosen and rejected."""
    prompt = row["input"]["messages"]
    return {"prompt": prompt, "chosen": row["preferred_output"], "rejected": row["non_preferred_output"]}


def test_dpo_compares_the_same_pairs_of_openai_preference_once_converted(trl, train, loaded, exports):
    """The same three things under TRL's names."""
    splits = loaded("openai-preference")
    splits = splits.map(of_openai_preference, remove_columns=splits["train"].column_names)
    trainer = train((trl.DPOTrainer, trl.DPOConfig), splits, reference=True)
    assert keeps_every_row(trainer, exports["openai-preference"])
    assert compares_every_pair(trainer, exports["openai-preference"])


def test_kto_takes_every_side_of_trl_kto_with_its_label(kto, train, loaded, exports):
    """Each good and each bad reply of the log is a row, whole, and under the right label."""
    trainer = train(kto, loaded("trl-kto"), reference=True)
    assert keeps_every_row(trainer, exports["trl-kto"])
    decode = trainer.processing_class.decode
    seen = set()
    for row in trainer.train_dataset:
        # TRL before 1.3 has other columns, and labels for the whole row, masked where the prompt is.
        prompt = row["prompt_ids"] if "prompt_ids" in row else row["prompt_input_ids"]
        reply = row["completion_ids"] if "completion_ids" in row else row["completion_labels"]
        seen.add((decode(prompt), decode([token for token in reply if token != MASKED]), row["label"]))
    assert len(seen) == exports["trl-kto"]["train"].report.rows
    assert {label for _, _, label in seen} == {True, False}
    assert seen <= {
        (context, side, label)
        for context, good, bad in recorded(exports["trl-kto"])
        for side, label in ((good, True), (bad, False))
    }
