"""Chat templates: the text that transformers gives, and what is said when there is none."""

import itertools
import json
from datetime import datetime
from typing import Any

import pytest

from foreword.errors import ModelError, PromptError
from foreword.prompt.segments import segment
from foreword.prompt.template import PromptTemplate
from foreword.prompt.tokenizer import ApproximateTokenizer
from prompt.families import FAMILIES, files, template

NOW = datetime(2026, 11, 22, 10, 30)
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather <now> & later, in °C",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Zürich", "days": 2}}}
CONVERSATIONS: dict[str, list[dict[str, Any]]] = {
    "one question": [{"role": "user", "content": "Hello"}],
    "with system": [{"role": "system", "content": " Be brief.\n"}, {"role": "user", "content": "Hello "}],
    "several turns": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi, 你好 & <b>"},
        {"role": "user", "content": "More"},
    ],
    "tool use": [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "name": "weather", "content": "rain"},
    ],
    "thinking": [
        {"role": "user", "content": "2+2?"},
        {"role": "assistant", "content": "4", "reasoning_content": "Two and two."},
        {"role": "user", "content": "3+3?"},
        {"role": "assistant", "content": "<think>\nThree.\n</think>\n\n6"},
    ],
}


@pytest.fixture(scope="module", params=FAMILIES)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[PromptTemplate, Any]:
    """A family's template as Foreword reads it, and as transformers does."""
    transformers = pytest.importorskip("transformers")
    directory = tmp_path_factory.mktemp(request.param)
    given = files(request.param)
    config = {**json.loads(given["tokenizer_config.json"]), "tokenizer_class": "PreTrainedTokenizerFast"}
    for name, text in {**given, "tokenizer_config.json": json.dumps(config)}.items():
        (directory / name).write_text(text)
    return template(request.param), transformers.AutoTokenizer.from_pretrained(directory)


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_the_text_and_the_tokens_are_those_of_transformers(both: tuple[PromptTemplate, Any], name: str) -> None:
    ours, theirs = both
    options: dict[str, Any] = {"date_string": "22 Nov 2026"}
    for tools, generation in itertools.product((None, [TOOL]), (True, False)):
        try:
            expected = theirs.apply_chat_template(
                CONVERSATIONS[name], tools=tools, tokenize=False, add_generation_prompt=generation, **options
            )
        except Exception:
            with pytest.raises(PromptError, match="did not take the conversation"):
                ours.render(CONVERSATIONS[name], tools, generation, **options)
            continue
        text = ours.render(CONVERSATIONS[name], tools, generation, **options)
        assert text == expected
        assert ours.encode(text) == theirs.encode(expected, add_special_tokens=False)


def test_an_answer_that_has_begun_is_the_end_of_the_text(both: tuple[PromptTemplate, Any]) -> None:
    ours, theirs = both
    options: dict[str, Any] = {"date_string": "22 Nov 2026"}
    for begun in ("The", " The answer:\n- one"):
        messages = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": begun}]
        text = ours.render(messages, go_on=True, **options)
        assert text == theirs.apply_chat_template(messages, tokenize=False, continue_final_message=True, **options)
        assert ours.render([messages[0], {**messages[1], "content": begun + " "}], go_on=True, **options) == text + " "
        assert segment(ours, messages, go_on=True, **options).text == text


@pytest.mark.parametrize(
    "last",
    [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": ""},
        {"role": "assistant", "content": "x", "tool_calls": [CALL]},
    ],
)
def test_what_cannot_be_gone_on_with_is_refused(last: dict[str, Any]) -> None:
    with pytest.raises(PromptError, match="must be of the role 'assistant', have a text, and call no tool"):
        template("chatml").render([{"role": "user", "content": "Hello"}, last], go_on=True)


def test_text_parts_are_given_as_parts_or_joined_as_the_template_wants_them() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    assert "one\ntwo<|im_end|>" in template("chatml").render([{"role": "user", "content": parts}])
    source = "{% for m in messages %}{% for part in m.content %}[{{ part.text }}]{% endfor %}{% endfor %}"
    assert PromptTemplate(source, ApproximateTokenizer()).render([{"role": "user", "content": parts}]) == "[one][two]"


def test_arguments_as_json_text_are_rendered_as_what_they_say() -> None:
    calls = [{"function": {"name": "f", "arguments": '{"b":  1}'}}, {"function": {"name": "f", "arguments": {"b": 1}}}]
    texts = {template("qwen2_5").render([{"role": "assistant", "content": "", "tool_calls": [call]}]) for call in calls}
    assert len(texts) == 1


def test_broken_arguments_stay_the_text_that_they_are() -> None:
    call = {"function": {"name": "f", "arguments": '{"b": '}}
    assert '"{\\"b\\": "' in template("qwen2_5").render([{"role": "assistant", "content": "", "tool_calls": [call]}])


def test_the_date_is_the_callers() -> None:
    messages = [{"role": "user", "content": "Hello"}]
    assert "Today Date: 22 Nov 2026" in template("llama3").render(messages, now=NOW)
    with pytest.raises(PromptError, match="pass it as now="):
        template("llama3").render(messages)


def test_tools_are_given_in_the_variable_that_a_template_takes_them_in() -> None:
    source = "{% if xml_tools %}<tools>{{ xml_tools | tojson }}</tools>{% endif %}"
    source += "{% for message in messages %}{{ message.content }}{% endfor %}"
    said, tools = [{"role": "user", "content": "ask"}], [{"type": "function", "function": {"name": "look"}}]
    own = PromptTemplate(source, ApproximateTokenizer())
    assert own.render(said, tools) == f"<tools>{json.dumps(tools)}</tools>ask"
    assert own.render(said) == "ask"
    assert own.render(said, xml_tools=tools) == own.render(said, tools), "as a variable it is the client's to give"
    assert own.abilities(tools).tools
    both = PromptTemplate(source + "{{ tools | tojson }}", ApproximateTokenizer())
    assert both.render(said, tools) == f"ask{json.dumps(tools)}"


def test_a_template_of_its_own_file_goes_first_and_tool_use_is_for_tools() -> None:
    config = {"chat_template": [{"name": "default", "template": "config"}, {"name": "tool_use", "template": "with tools"}]}
    given = {**files("chatml"), "tokenizer_config.json": json.dumps(config)}
    del given["chat_template.jinja"]
    ask = [{"role": "user", "content": "x"}]
    two = PromptTemplate.from_files(given)
    assert (two.render(ask), two.render(ask, [TOOL])) == ("config", "with tools")
    assert PromptTemplate.from_files({**given, "chat_template.jinja": "file"}).render(ask, [TOOL]) == "file"
    extra = {"chat_template.jinja": "file", "additional_chat_templates/tool_use.jinja": "tools"}
    assert PromptTemplate.from_files({**given, **extra}).render(ask, [TOOL]) == "tools"


def test_the_generation_tag_and_loop_controls_are_known() -> None:
    source = (
        "{% for m in messages %}{% if loop.index > 1 %}{% break %}{% endif %}"
        "{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}"
    )
    made = PromptTemplate(source, ApproximateTokenizer())
    assert made.render([{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]) == "a"


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages.append(1) }}",
        "{{ ''.__class__.__mro__ }}",
        "{% set ns = namespace(__class__=1) %}",
        "{{ raise_exception('no') }}",
        "{{ 1 / 0 }}",
        "{% for i in range(10**9) %}{% endfor %}",
        "{{ missing.attribute }}",
        "{{ 'x' * 10**10 }}",
        "{{ 10**10 * messages[0].content }}",
        "{{ [messages] * 10**9 }}",
        "{{ 10 ** (10 ** 8) }}",
        "{{ '%9999999999d' % 1 }}",
        "{{ '%*d' % (10**10, 1) }}",
        "{{ '{:9999999999}'.format(1) }}",
        "{{ 'a'.center(10**10) }}",
        "{{ lipsum(n=10**9) }}",
    ],
)
def test_a_hostile_or_failing_template_is_a_prompt_error(source: str) -> None:
    with pytest.raises(PromptError, match="did not take the conversation"):
        PromptTemplate(source, ApproximateTokenizer()).render([{"role": "user", "content": "x"}])


def test_ordinary_operations_are_what_they_are() -> None:
    source = "{{ '-' * 40 }}{{ 3 * 4 }}{{ 2 ** 10 }}{{ 7 % 4 }}{{ '%05d' % 42 }}{{ '{:>3}'.format(1) }}{{ 'a'.center(3) }}"
    made = PromptTemplate(source, ApproximateTokenizer()).render([{"role": "user", "content": "x"}])
    assert made == "-" * 40 + "12" + "1024" + "3" + "00042" + "  1" + " a "


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "no tokenizer.json"),
        ({"tokenizer.json": "x", "chat_template.jinja": "y"}, "cannot be read"),
        ({"tokenizer.json": files("chatml")["tokenizer.json"]}, "no chat template"),
        ({**files("chatml"), "chat_template.jinja": "{% for %}"}, "not valid Jinja, line 1"),
        ({**files("chatml"), "chat_template.jinja": "{{" + "(" * 5000}, r"'default' cannot be read \(RecursionError\)"),
        ({**files("chatml"), "chat_template.jinja": "{% for x in y %}" * 30 + "{% endfor %}" * 30}, "nested too deeply"),
        ({**files("chatml"), "chat_template.jinja": "{% if x %}" * 200 + "{% endif %}" * 200}, "nested too deeply"),
        ({**files("chatml"), "tokenizer_config.json": "["}, "tokenizer_config.json is not JSON"),
        ({**files("chatml"), "tokenizer_config.json": "[]"}, "holds a list"),
        *(
            (
                {**files("chatml"), "tokenizer_config.json": json.dumps({"chat_template": harmed})},
                "is neither a text, nor texts",
            )
            for harmed in (3, [3], [{"name": "default"}], [{"name": 3, "template": "x"}], {"default": 3})
        ),
    ],
)
def test_a_broken_directory_is_named(given: dict[str, str], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        PromptTemplate.from_files(given)


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "empty"),
        (["hello"], "not str"),
        ([{"content": "x"}], "no 'role'"),
        ([{"role": "user", "content": b"x"}], "bytes"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "'image_url'"),
    ],
)
def test_bad_messages_are_named(messages: Any, message: str) -> None:
    with pytest.raises(PromptError, match=message):
        template("chatml").render(messages)
