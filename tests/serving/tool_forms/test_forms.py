"""Calls are told from text in every form, in whatever pieces they come, as the families' chat templates show them."""

import json
from typing import Any

import pytest

from foreword.serving.tool_forms.base import ToolForm
from foreword.serving.tool_forms.choice import FORMS, form_named
from serving.reading import read, splits

TOOLS: dict[str, Any] = {
    "web": {
        "type": "object",
        "properties": {
            "q": {"type": "string"},
            "most": {"type": "integer"},
            "deep": {"type": "boolean"},
            "at": {"type": "object"},
            "any": {},
            "maybe": {"type": ["string", "null"]},
        },
    },
    "map": {"type": "object", "properties": {}},
    "write": {"type": "object", "properties": {"text": {"type": "string"}}},
}
FOX, NONE = {"q": "fox"}, dict[str, Any]()
DS = ("<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>")
K = (
    "<|tool_calls_section_begin|>",
    "<|tool_call_begin|>",
    "<|tool_call_argument_begin|>",
    "<|tool_call_end|>",
    "<|tool_calls_section_end|>",
)

CASES: list[tuple[str, str, list[Any]]] = [
    # plain text and what only looks like calls
    *((form.name, text, [text]) for form in FORMS for text in ("plain", "  \n", "a < b [x] {y} `z` <tool", "[]", "{ un")),
    ("hermes", "", []),
    ("hermes", '{"name": "other", "arguments": {}}', ['{"name": "other", "arguments": {}}']),
    ("hermes", '{"name": ["web"]}', ['{"name": ["web"]}']),
    ("hermes", '{"an": "object"}', ['{"an": "object"}']),
    ("hermes", '{"name": "web", "description": "a tool"}', ['{"name": "web", "description": "a tool"}']),
    ("hermes", '{"name": "web", "arguments": 5}', ['{"name": "web", "arguments": 5}']),
    ("hermes", '{"name": "web", "arguments": [1]}', ['{"name": "web", "arguments": [1]}']),
    ("hermes", '{"name": "web", "arguments": "fox"}', ['{"name": "web", "arguments": "fox"}']),
    ("hermes", "<tool_call>no JSON</tool_call>!", ["<tool_call>no JSON</tool_call>!"]),
    ("hermes", "see <tool_call>no</tool_call>!", ["see <tool_call>no</tool_call>!"]),
    ("hermes", "see <tool_call>{", ["see <tool_call>{"]),
    ("hermes", "a <<tool_call>b", ["a <<tool_call>b"]),
    ("hermes", "```python\nprint(1)\n```", ["```python\nprint(1)\n```"]),
    ("hermes", 'Like this:\n{"name": "web", "arguments": {}}', ['Like this:\n{"name": "web", "arguments": {}}']),
    ("hermes", 'So:\n```json\n{"name": "map"}\n```', ['So:\n```json\n{"name": "map"}\n```']),
    ("hermes", 'So:\n```json\n{"a": 1}\n```\nYes', ['So:\n```json\n{"a": 1}\n```\nYes']),
    # Hermes, Qwen
    ("hermes", 'I look.\n```json\n{"name": "web", "arguments": {"q": "fox"}}\n```\nSo.', ["I look.", ("web", FOX), "\nSo."]),
    ("hermes", '<tool_call>\n{"name": "web", "arguments": {"q": "fox"}}\n</tool_call>', [("web", FOX)]),
    ("hermes", 'I look.\n<tool_call>{"name": "web", "arguments": {"q": "fox"}}</tool_call>', ["I look.", ("web", FOX)]),
    ("hermes", '<tool_call>{"name": "map"}</tool_call> and then', [("map", NONE), " and then"]),
    ("hermes", '<tool_call>{"name": "map"}', [("map", NONE)]),
    ("hermes", '<tool_call>{"name": "map"}\n</tool_', [("map", NONE)]),
    (
        "hermes",
        '\n[{"name": "web", "arguments": {"q": "fox"}}, {"name": "map", "arguments": {}}]',
        [("web", FOX), ("map", NONE)],
    ),
    ("hermes", '<tool_call>{"name": "map", "arguments": {}}}</tool_call>', [("map", NONE)]),
    ("hermes", '<tool_call>{"name": "web", "arguments": {"q": "fox"}</tool_call>', [("web", FOX)]),
    ("hermes", '<tool_call>{"name": "web", "arguments": {"q": "fox"</tool_call>', [("web", FOX)]),
    ("hermes", '<tool_call>{"arguments": {"q": "fox"}, "name": "web"}</tool_call>', [("web", FOX)]),
    ("hermes", '<tool_call>\n```json\n{"name": "map"}\n```\n</tool_call>', [("map", NONE)]),
    ("hermes", '<tool_call>{"thought": "why", "name": "web", "arguments": {"q": "fox"}}</tool_call>', [("web", FOX)]),
    (
        "hermes",
        '{"id": "1", "type": "function", "function": {"name": "web", "arguments": "{\\"q\\": \\"fox\\"}"}}',
        [("web", FOX)],
    ),
    (
        "hermes",
        '{"tool_calls": [{"name": "map", "arguments": {}}, {"name": "web", "args": {"q": "fox"}}]}',
        [("map", NONE), ("web", FOX)],
    ),
    ("hermes", "{'name': 'web', 'arguments': {'q': 'it\\'s', 'most': None,}}", [("web", {"q": "it's", "most": None})]),
    ("hermes", "{'name': 'web', 'arguments': {'q': 'it's'}}", [("web", {"q": "it's"})]),
    ("hermes", '{name: "web", arguments: {q: "fox"}}', [("web", FOX)]),
    ("hermes", '{"name": "web", "arguments": {"q": "he said "hi" twice"}}', [("web", {"q": 'he said "hi" twice'})]),
    ("hermes", '{"name": "web", "arguments": {"q": "\\d+ \\\'"}}', [("web", {"q": "\\d+ '"})]),
    ("hermes", '{"name": "web", "arguments": "{\\"q\\": \\"a\\nb\\"}"}', [("web", {"q": "a\nb"})]),
    (
        "hermes",
        '{"name": "web", "arguments": {"q": "\\ud83e\\udd8a", "at": {"b": [1, 2.5e3, true, null, []]}}}',
        [("web", {"q": "🦊", "at": {"b": [1, 2500.0, True, None, []]}})],
    ),
    (
        "hermes",
        '{"name": "map", "arguments": {}}\n{"name": "web", "arguments": {"q": "fox"}}',
        [("map", NONE), ("web", FOX)],
    ),
    ("hermes", '{"name": "map", "arguments": {}}\nThat is it.', [("map", NONE), "\nThat is it."]),
    ("hermes", '[TOOL_CALLS] [{"name": "map"}]', [("map", NONE)]),
    ("hermes", '{"name": "functions.map", "arguments": {}}', [("map", NONE)]),
    # Qwen3-Coder
    (
        "qwen-xml",
        'I look.\n<tool_call>\n<function=web>\n<parameter=q>\na </parameter> b\n"c"\n</parameter>\n'
        "<parameter=most>\n3\n</parameter>\n"
        '<parameter=deep>\nTrue\n</parameter>\n<parameter=at>\n{"x": [1, 2]}\n</parameter>\n'
        "<parameter=any>\n7up\n</parameter>\n"
        "<parameter=maybe>\nnull\n</parameter>\n</function>\n</tool_call>\n<tool_call>\n<function=map>\n</function>\n</tool_call>",
        [
            "I look.",
            (
                "web",
                {"q": 'a </parameter> b\n"c"', "most": 3, "deep": True, "at": {"x": [1, 2]}, "any": "7up", "maybe": None},
            ),
            ("map", NONE),
        ],
    ),
    ("qwen-xml", "<function=map></function> So.", [("map", NONE), " So."]),
    ("qwen-xml", "<function=other></function>", ["<function=other></function>"]),
    ("qwen-xml", '<tool_call>{"name": "web", "arguments": {"q": "fox"}}</tool_call>', [("web", FOX)]),
    (
        "qwen-xml",
        "<function=web><parameter=q>007</parameter><parameter=most>many</parameter></function>",
        [("web", {"q": "007", "most": "many"})],
    ),
    # GLM
    (
        "glm",
        "<tool_call>web\n<arg_key>q</arg_key>\n<arg_value>fox</arg_value>\n"
        "<arg_key>most</arg_key>\n<arg_value>3</arg_value>\n</tool_call>",
        [("web", {"q": "fox", "most": 3})],
    ),
    (
        "glm",
        "<tool_call>map</tool_call><tool_call>web<arg_key>q</arg_key><arg_value>fox</arg_value></tool_call>",
        [("map", NONE), ("web", FOX)],
    ),
    ("glm", "<tool_call>other</tool_call>", ["<tool_call>other</tool_call>"]),
    # MiniMax
    (
        "minimax",
        'So.\n<minimax:tool_call>\n<invoke name="web">\n<parameter name="q">a </b> "x"</parameter>\n'
        '<parameter name="most">3</parameter>\n<parameter name="at">{"x": [1]}</parameter>\n</invoke>\n'
        '<invoke name="map">\n</invoke>\n</minimax:tool_call>',
        ["So.", ("web", {"q": 'a </b> "x"', "most": 3, "at": {"x": [1]}}), ("map", NONE)],
    ),
    ("minimax", '<minimax:tool_call>{"name": "web", "arguments": {"q": "fox"}}</minimax:tool_call>', [("web", FOX)]),
    ("minimax", '<invoke name="other"></invoke>', ['<invoke name="other"></invoke>']),
    # DeepSeek V3.2, V4
    *(
        (
            "deepseek-tags",
            f'So.\n\n<｜DSML｜{calls}>\n<｜DSML｜invoke name="web">\n'
            '<｜DSML｜parameter name="q" string="true">5 </b></｜DSML｜parameter>\n'
            '<｜DSML｜parameter name="any" string="true">7</｜DSML｜parameter>\n'
            '<｜DSML｜parameter name="most" string="false">3</｜DSML｜parameter>\n</｜DSML｜invoke>\n'
            f'<｜DSML｜invoke name="map">\n</｜DSML｜invoke>\n</｜DSML｜{calls}>',
            ["So.", ("web", {"q": "5 </b>", "any": "7", "most": 3}), ("map", NONE)],
        )
        for calls in ("function_calls", "tool_calls")
    ),
    # Llama
    (
        "llama",
        '{"name": "web", "parameters": {"q": "fox"}}; {"name": "map", "parameters": {}}',
        [("web", FOX), ("map", NONE)],
    ),
    ("llama", '<|python_tag|>{"name": "web", "parameters": {"q": "fox"}}<|eom_id|>', [("web", FOX)]),
    ("llama", '<|python_tag|>web.call(query="fox", most=3)', [("web", {"query": "fox", "most": 3})]),
    ("llama", "[web(q='fox', deep=True), map()]", [("web", {"q": "fox", "deep": True}), ("map", NONE)]),
    ("llama", '<function=web>{"q": "fox"}</function>', [("web", FOX)]),
    ("llama", "[other(q='fox')]", ["[other(q='fox')]"]),
    # Mistral
    (
        "mistral",
        '[TOOL_CALLS] [{"name": "web", "arguments": {"q": "[TOOL_CALLS]"}, "id": "a1b2c3d4e"}]',
        [("web", {"q": "[TOOL_CALLS]"})],
    ),
    ("mistral", '[TOOL_CALLS]web[ARGS]{"q": "fox"}[TOOL_CALLS]map[ARGS]{}', [("web", FOX), ("map", NONE)]),
    ("mistral", 'So.[TOOL_CALLS]web[CALL_ID]a1b2c3d4e[ARGS]{"q": "fox"}', ["So.", ("web", FOX)]),
    ("mistral", '[TOOL_CALLS]web{"q": "fox"}', [("web", FOX)]),
    ("mistral", "[TOOL_CALLS]other[ARGS]{}", ["[TOOL_CALLS]other[ARGS]{}"]),
    # Gemma
    (
        "gemma",
        '<start_function_call>call:web{q:<escape>a, "b": {<escape>,most:3}<end_function_call>',
        [("web", {"q": 'a, "b": {', "most": 3})],
    ),
    (
        "gemma",
        '<|tool_call>call:web{q:<|"|>fox<|"|>,at:{b:[<|"|>x<|"|>,true]}}<tool_call|>',
        [("web", {"q": "fox", "at": {"b": ["x", True]}})],
    ),
    ("gemma", 'Now.\n```tool_code\nprint(web(q="fox"))\n```', ["Now.", ("web", FOX)]),
    (
        "gemma",
        "```tool_code\nweb('fox', most=3)\nmap()\n```\nDone.",
        [("web", {"q": "fox", "most": 3}), ("map", NONE), "\nDone."],
    ),
    ("gemma", '```json\n{"name": "web", "parameters": {"q": "fox"}}\n```', [("web", FOX)]),
    # Phi
    (
        "phi",
        '<|tool_call|>[{"name": "web", "arguments": {"q": "fox"}}, {"name": "map", "arguments": {}}]<|/tool_call|>',
        [("web", FOX), ("map", NONE)],
    ),
    ("phi", 'Well, functools[{"name": "web", "arguments": {"q": "fox"}}]', ["Well,", ("web", FOX)]),
    # DeepSeek
    (
        "deepseek",
        f'Yes.{DS[0]}{DS[1]}function{DS[2]}web\n```json\n{{"q": "fox"}}\n```{DS[3]}\n'
        f"{DS[1]}function{DS[2]}map\n```json\n{{}}\n```{DS[3]}{DS[4]}",
        ["Yes.", ("web", FOX), ("map", NONE)],
    ),
    (
        "deepseek",
        f'{DS[0]}{DS[1]}web{DS[2]}{{"q": "fox"}}{DS[3]}{DS[1]}map{DS[2]}{{}}{DS[3]}{DS[4]}',
        [("web", FOX), ("map", NONE)],
    ),
    # Kimi
    (
        "kimi",
        f'So.{K[0]}{K[1]}functions.web:0{K[2]}{{"q": "fox"}}{K[3]}{K[1]}functions.map:1{K[2]}{{}}{K[3]}{K[4]}',
        ["So.", ("web", FOX), ("map", NONE)],
    ),
]


@pytest.mark.parametrize(("name", "text", "expected"), CASES, ids=range(len(CASES)))
def test_in_whatever_pieces_it_comes(name: str, text: str, expected: list[Any]) -> None:
    form = form_named(name)
    assert form is not None
    for pieces in splits(text):
        got = read(pieces, TOOLS, form)
        assert [part if isinstance(part, str) else (part[0], json.loads(part[1])) for part in got] == expected, pieces  # type: ignore[index]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_what_a_shape_writes_is_read(form: type[ToolForm]) -> None:
    shape = form.shape
    assert shape is not None
    fox = '{"q": "fox"}' if shape.parameters is None else shape.parameters.written("q", "fox", is_string=True)
    calls = [
        shape.before_name + name + shape.before_arguments + arguments + shape.after_arguments
        for name, arguments in (("web", fox), ("map", "{}" if shape.parameters is None else ""))
    ]
    text = shape.begin + shape.separator.join(calls) + shape.end
    assert read([text], TOOLS, form) == [("web", '{"q": "fox"}'), ("map", "{}")]
    assert set(shape.special) <= set(form.special)
