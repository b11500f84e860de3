"""A local model answers in pieces, one prompt after the other, and stops when nobody listens. Skipped without its extra."""

from __future__ import annotations

import asyncio
import threading
from contextlib import aclosing

import pytest
from local_jobs import need_local
from tiny import write_base
from workshop_history import ODD, TOPICS

from trainerlib.chat.local import LocalModel, Pieces
from trainerlib.chat.port import Completion, Prompt, complete
from trainerlib.errors import ModelError, ModelRefusedError
from trainerlib.examples import Turn

need_local()

# Other people's code warns as it likes.
pytestmark = pytest.mark.filterwarnings("ignore")

TEXTS = [text for language in TOPICS for topic in language for text in topic]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return write_base(tmp_path_factory.mktemp("model") / "tiny", TEXTS)


@pytest.fixture
def ask(directory):
    """Ask a model that is opened and closed for it."""

    def ask(*said, directory=directory, **parameters):
        async def go():
            model = LocalModel("local:tiny", directory, device="cpu")
            try:
                return await complete(model, prompt(*said, **parameters))
            finally:
                await model.close()

        return asyncio.run(go())

    return ask


def prompt(*said, **parameters):
    roles = ("user", "assistant")
    turns = tuple(Turn(roles[number % 2], text) for number, text in enumerate(said or ("Есть педали?",)))
    return Prompt(turns, parameters={"max_tokens": 12, "temperature": 0, **parameters})


def test_an_answer_comes_in_pieces_with_what_it_took_at_the_end(directory):
    async def go():
        model = LocalModel("local:tiny", directory, device="cpu")
        pieces = [piece async for piece in model.stream(prompt())]
        await model.close()
        return pieces

    *pieces, completion = asyncio.run(go())
    assert isinstance(completion, Completion)
    assert "".join(pieces) == completion.text
    assert len(pieces) > 1
    assert completion.usage["input_tokens"] > 0
    assert completion.usage["output_tokens"] == 12
    assert (completion.model, completion.finish, completion.known) == ("local:tiny", "length", True)


def test_the_likeliest_answer_is_always_the_same(ask):
    assert ask().text == ask(seed=1).text == ask(seed=2).text


def test_a_seed_makes_a_drawn_answer_the_same_again(ask):
    drawn = [ask(temperature=1.5, seed=seed).text for seed in (1, 1, 2, 3)]
    assert drawn[0] == drawn[1]
    assert len({*drawn}) > 1


def test_the_answer_is_what_generate_and_decode_give(ask, directory):
    """The pieces are put together to the same text that the whole answer decodes to."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(directory), AutoTokenizer.from_pretrained(directory)
    inputs = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Есть педали?"}],
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
    )
    with torch.inference_mode():
        output = model.generate(**inputs, max_new_tokens=12, do_sample=False)
    whole = tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert ask().text == whole


@pytest.mark.parametrize("text", [*ODD, *(better for language in TOPICS for _, _, better in language)])
def test_pieces_are_whole_characters_and_make_the_text(directory, text):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(directory)
    pieces = Pieces(lambda tokens: tokenizer.decode(tokens, skip_special_tokens=True))
    made = [pieces.add([token]) for token in tokenizer.encode(text, add_special_tokens=False)]
    assert "".join(made) == text
    assert not any("\ufffd" in piece for piece in made)
    assert pieces.rest() == ""


def test_closing_the_answer_early_stops_the_model(directory):
    """Otherwise the next question would wait for two thousand tokens that nobody reads."""

    async def go():
        model = LocalModel("local:tiny", directory, device="cpu")
        async with aclosing(model.stream(prompt(max_tokens=1900))) as answer:
            first = await anext(answer)
        next_one = await complete(model, prompt(max_tokens=2))
        await model.close()
        return first, next_one

    first, next_one = asyncio.run(go())
    assert isinstance(first, str)
    assert next_one.usage["output_tokens"] <= 2


def test_questions_at_once_are_answered_one_after_the_other(directory):
    async def go():
        model = LocalModel("local:tiny", directory, device="cpu")
        answers = await asyncio.gather(*(complete(model, prompt(text)) for text in ("a", "b", "a", "b")))
        alone = [await complete(model, prompt(text)) for text in ("a", "b")]
        await model.close()
        return answers, alone

    answers, alone = asyncio.run(go())
    assert answers == alone * 2


def test_the_event_loop_goes_on_while_the_model_loads_and_writes(directory):
    async def go():
        model = LocalModel("local:tiny", directory, device="cpu")
        answer = asyncio.create_task(complete(model, prompt(max_tokens=100)))
        turns = 0
        while not answer.done():
            await asyncio.sleep(0)
            turns += 1
        await model.close()
        return turns

    assert asyncio.run(go()) > 100


def test_closing_leaves_no_thread(directory):
    async def go():
        model = LocalModel("local:closing", directory, device="cpu")
        await complete(model, prompt())
        await model.close()
        with pytest.raises(ModelError, match="is closed"):
            await complete(model, prompt())

    asyncio.run(go())
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("local:closing")]


def test_a_model_without_a_template_is_asked_with_the_plain_one(ask, tmp_path):
    plain = write_base(tmp_path / "plain", TEXTS, template=False)
    assert ask("Есть педали?", "Да.", "Сколько?", directory=plain).usage["output_tokens"] > 0


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"frequency_penalty": 1}, "knows no parameter 'frequency_penalty'"),
        ({"stop": "x"}, "there is temperature"),
        ({"temperature": "hot"}, r"cannot be that: .*temperature"),
        ({"max_tokens": 0}, r"cannot be that: .*max_tokens"),
    ],
)
def test_a_parameter_that_is_unknown_or_impossible_is_refused(ask, parameters, message):
    with pytest.raises(ModelRefusedError, match=message):
        ask(**parameters)


def test_a_prompt_that_is_too_long_is_refused_with_the_numbers(ask):
    with pytest.raises(ModelRefusedError, match=r"tokens, and local:tiny takes 2,048 with the answer"):
        ask("педали " * 9000)


def test_a_dialogue_that_the_template_does_not_take_is_refused(ask, tmp_path):
    strict = write_base(tmp_path / "strict", TEXTS)
    template = strict / "chat_template.jinja"
    template.write_text("{{ raise_exception('roles must alternate') }}")
    with pytest.raises(ModelRefusedError, match="roles must alternate"):
        ask(directory=strict)


def test_a_directory_that_is_gone_is_an_error(ask, tmp_path):
    with pytest.raises(ModelError, match="there is no model in"):
        ask(directory=tmp_path / "gone")


def test_weights_that_do_not_load_are_an_error_in_one_line(ask, tmp_path):
    broken = write_base(tmp_path / "broken", TEXTS)
    (broken / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelError) as caught:
        ask(directory=broken)
    assert "\n" not in str(caught.value)
