"""Which form a model writes is known by what its chat template writes for a call."""

import pytest

from foreword.serving.reasoning import reasoning_named, reasoning_of
from foreword.serving.tool_forms.choice import FORMS, form_named, form_of

QWEN = "{{- '<tool_call>\\n{\"name\": \"' + tool_call.name + '\", \"arguments\": ' }}{{- '}\\n</tool_call>' }}"
TEMPLATES = [
    (None, "hermes"),
    ("{% for message in messages %}{{ message.content }}{% endfor %}", "hermes"),
    (QWEN, "hermes"),
    (QWEN + "<|python_tag|>", "hermes"),
    ("{{- '<tool_call>\\n<function=' + tool_call.name + '>\\n' }}{{- '<parameter=' + name + '>\\n' }}", "qwen-xml"),
    ("{{- '<|start_header_id|>' }}{{- '{\"name\": \"' + name + '\", ' }}{{- '\"parameters\": ' }}", "llama"),
    ('{{- "<|python_tag|>" + tool_call.name + ".call(" }}', "llama"),
    ("{{ '[TOOL_CALLS] [' }}{{ '{\"name\"' }}", "mistral-json"),
    ("{{ '[TOOL_CALLS]' + name + '[ARGS]' + arguments }}", "mistral"),
    ("{{ '<start_of_turn>' + role }}", "gemma"),
    ("{{- '<start_function_call>call:' + name + '{' }}", "gemma"),
    ("{{- '<|tool_call>call:' + name + '{' }}<|channel>", "gemma"),
    ("{{ '<|' + message['role'] + '|>' + message['content'] + '<|tool|>' + message['tools'] + '<|/tool|>' }}", "phi"),
    ("{{'<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>' + tool['type'] + '<｜tool▁sep｜>'}}", "deepseek"),
    ("{%- set dsml = '｜DSML｜' %}{{ '<' + dsml + 'invoke name=' }}", "deepseek-tags"),
    ("{%- set begin = '<minimax:tool_call>' -%}{{ '<invoke name=' }}", "minimax"),
    ("<tool_call>{{ tc.name }}<arg_key>{{ k }}</arg_key>\n<arg_value>{{ v }}</arg_value></tool_call>", "glm"),
    ("<|tool_calls_section_begin|><|tool_call_begin|>{{ id }}<|tool_call_argument_begin|>", "kimi"),
    ("<|start|>assistant<|channel|>commentary to=functions.{{ name }}<|message|>", "gpt-oss"),
]


@pytest.mark.parametrize(("template", "name"), TEMPLATES, ids=range(len(TEMPLATES)))
def test_a_template_tells_its_form(template: str | None, name: str) -> None:
    assert form_of(template).name == name
    assert form_named(name) is form_of(template)


def test_every_form_has_a_template_here_and_a_name_of_its_own() -> None:
    assert {form.name for form in FORMS} == {name for _, name in TEMPLATES}
    assert len({form.name for form in FORMS}) == len(FORMS)
    assert form_named("none of them") is None


@pytest.mark.parametrize(
    ("template", "name"),
    [
        (None, "think"),
        ("{{ content.split('</think>')[-1] }}", "think"),
        ("[THINK]{{ thinking }}[/THINK]", "mistral"),
        ("<|channel>thought\n<channel|>", "gemma"),
        ("<seed:think>", "seed"),
    ],
)
def test_a_template_tells_how_its_model_thinks(template: str | None, name: str) -> None:
    assert reasoning_of(template) is reasoning_named(name)
