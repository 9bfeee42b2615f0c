"""A chat template cannot fill the memory, in whatever way it makes its texts; and makes of a conversation what it should."""

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from foreword.errors import PromptError
from foreword.prompt.sandbox import Sandbox
from foreword.prompt.template import PromptTemplate
from foreword.prompt.tokenizer import ApproximateTokenizer

ASK = [{"role": "user", "content": "x"}]
ROOM = 3 * 2**30
"""Bytes that the process may take while one of these templates renders, beside what it has."""

DOUBLED = {
    "+": "ns.x + ns.x",
    "+ behind a literal": "'a' + ns.x + 'b' + ns.x",
    "~": "ns.x ~ ns.x",
    "*": "ns.x * 2",
    "%": "'%s%s' % (ns.x, ns.x)",
    "% of a mapping": "'%(a)s%(a)s' % {'a': ns.x}",
    "format": "'{}{}'.format(ns.x, ns.x)",
    "format of one": "'{0}{0}'.format(ns.x)",
    "format_map": "'{a}{a}'.format_map({'a': ns.x})",
    "the filter format": "'%s%s'|format(ns.x, ns.x)",
    "the filter join": "[ns.x, ns.x]|join",
    "the filter join of a slice": "[ns.x, ns.x, ns.x][:2]|join(', ')",
    "join": "''.join([ns.x, ns.x])",
    "join by it": "ns.x.join(['', '', ''])",
    "the filter replace": "ns.x|replace('a', 'aa')",
    "replace": "ns.x.replace('a', 'aa')",
    "replace by it": "'aa'.replace('a', ns.x)",
    "replace nothing": "ns.x|replace('', 'a')",
    "replace bytes": "ns.x.encode().replace('a'.encode(), 'aa'.encode()).decode()",
    "translate": "ns.x.translate({97: 'aa'})",
    "indent": "('a\\na')|indent(ns.x, first=true)",
    "a macro": "two(ns.x)",
    "a macro of all it is given": "all(ns.x, ns.x)",
    "JSON": "ns.x|tojson|tojson",
    "a list as text": "[ns.x, ns.x]|string",
    "a list in lower case": "[ns.x, ns.x]|lower",
    "a mapping as JSON": "{'a': ns.x, 'b': ns.x}|tojson",
    "JSON on lines": "[ns.x, ns.x]|tojson(indent=1)",
    "separators": "[1, 2, 3]|tojson(separators=(ns.x, ns.x))",
    "attributes": "{'a': ns.x, 'b': ns.x}|xmlattr",
    "a wrapped text": "'a a a'|wordwrap(1, wrapstring=ns.x)",
    "map": "[ns.x, ns.x]|map('lower')|join",
    "map replace": "[ns.x]|map('replace', 'a', 'aa')|first",
    "a sum": "(([ns.x, ns.x]|map('list'))|sum(start=[]))|join",
    "a condition": "(ns.x if ns.x else '') ~ (ns.x or '')",
}
"""What is at least twice as long as ns.x, a text with an ``a`` in it."""

NESTED = {
    "a list of lists, written": ("{% set ns.x = [ns.x, ns.x] %}", "{{ ns.x }}"),
    "a list of lists, escaped": ("{% set ns.x = [ns.x, ns.x] %}", "{{ ns.x|e }}"),
    "a list of lists, asked for as a key": ("{% set ns.x = [ns.x, ns.x] %}", "{{ ({})[ns.x].y }}"),
    "a list of lists, in a message": ("{% set ns.x = [ns.x, ns.x] %}", "{{ raise_exception(ns.x) }}"),
    "a list of lists, formatted": ("{% set ns.x = [ns.x, ns.x] %}", "{{ '{}'.format(ns.x) }}"),
    "a list of lists, in percent": ("{% set ns.x = [ns.x, ns.x] %}", "{{ '%s' % ns.x }}"),
    "a list of lists, put in": ("{% set ns.x = [ns.x, ns.x] %}", "{{ 'a'|replace('a', ns.x) }}"),
    "a list of lists, as JSON on lines": ("{% set ns.x = [ns.x, ns.x] %}", "{{ ns.x|tojson(indent=4) }}"),
    "items of mappings": ("{% set ns.x = {'a': ns.x, 'b': ns.x} %}", "{{ ns.x.items() }}"),
    "values of a macro": ("{% set ns.x = [ns.x] %}", "{{ deep(1) }}"),
}
"""What doubles a list, and what makes a text of it."""

HELD = {
    "a list and itself": "{% set ns.x = ns.x + ns.x if i else ['a'] %}",
    "a list twice": "{% set ns.x = ns.x * 2 if i else ['a'] %}",
    "a number by itself": "{% set ns.n = ns.n * ns.n %}",
    "a power": "{% set ns.n = ns.n ** 2 %}",
    "a block that is set": "{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = y %}",
    "a call with a body": "{% set y %}{% call twice() %}{{ ns.x }}{% endcall %}{% endset %}{% set ns.x = y %}",
    "a filtered block": "{% set y %}{% filter upper %}{{ ns.x }}{{ ns.x }}{% endfilter %}{% endset %}{% set ns.x = y %}",
    "a block with a filter": "{% set y|replace('a', 'aa') %}{{ ns.x }}{% endset %}{% set ns.x = y %}",
    "long texts in a list": "{% set ns.l = ns.l + [long ~ i] %}",
    "slices in a list": "{% set ns.l = ns.l + [long[1:]] %}",
    "stripped texts in a list": "{% set ns.l = ns.l + [(long ~ ' ').strip()] %}",
    "filtered texts in a list": "{% set ns.l = ns.l + [long|upper] %}",
    "reversed texts in a list": "{% set ns.l = ns.l + [long|reverse] %}",
    "letters in lists": "{% set ns.l = ns.l + [long|list] %}",
    "words in lists": "{% set ns.l = ns.l + [long.split('a')] %}",
    "wide texts in a list": "{% set ns.l = ns.l + ['a'|center(5000000)] %}",
    "wide formats in a list": "{% set ns.l = ns.l + ['%5000000d' % 1] %}",
    "wide fields in a list": "{% set ns.l = ns.l + ['{:5000000}'.format(1)] %}",
    "padded texts in a list": "{% set ns.l = ns.l + ['a'.ljust(5000000)] %}",
    "tabs in a list": "{% set ns.l = ns.l + [('\\t' * 1000).expandtabs(5000)] %}",
    "batches in a list": "{% set ns.l = ns.l + ['a'|batch(5000000, 1)|list] %}",
    "slices of nothing in a list": "{% set ns.l = ns.l + ['a'|slice(5000000)|list] %}",
    "negative counts": "{{ 'a'|batch(-10000000)|list }}{{ 'a'|center(-1000000000) }}{{ 'a'|indent(-1000000000) }}{{ long }}",
    "a long text, written": "{{ long }}",
    "a long text as a part, written": "{{ [long][0] }}",
    "a text of the template, written": "{% for j in range(100000) %}abcdefgh{% endfor %}",
    "steps": "{% for j in range(100000) %}{% for k in range(100000) %}{% endfor %}{% endfor %}",
    "a loop in a loop": "{% for j in [1, 2] recursive %}{{ loop([1, 2]) if loop.depth < 60 }}{% endfor %}",
    "a macro in a macro": "{{ fork(0) }}",
    "a block in a block": ("{% block b %}{% set ns.n = ns.n + 1 %}{{ self.b() if ns.n < 60 }}{{ long }}{% endblock %}"),
    "lower-case keys": "{{ ([long] * 1000)|sort|length }}",
    "groups": "{{ ([{'a': long}] * 1000)|groupby('a')|length }}",
    "a text many times, joined": "{{ ([long] * 1000)|join|length }}",
    "a text many times, joined by a method": "{{ ''.join([long] * 1000)|length }}",
    "a text many times, made on the way": "{{ ([long] * 1000)|map('upper')|list|length }}",
    "a width in a field": "{{ '{:{w}}'.format(1, w='9999999999') }}",
    "a width in a filter": "{{ '%9999999999d'|format(1) }}",
    "bytes": "{{ 'a'.encode() * 10**10 }}",
    "bytes of a number": "{{ (1).to_bytes(10**9, 'big') }}",
    "a date": "{{ strftime_now('%1000d' * 1000000) }}",
    "indented lines": "{{ ('\\n' * 100000)|indent('a' * 100000)|length }}",
    "a centred text": "{{ 'a'|center(10**9)|length }}",
}
"""What takes memory when it stands in a loop."""

TOO_MUCH = "makes more text than any prompt of this conversation could hold"
WRITTEN = [
    "{{ s + '!' }}{{ 1 + n + 2 }}{{ 1.5 + n }}{{ names + ['c'] }}{{ (1, 2) + (3,) }}{{ ('a'|safe) + '<' }}",
    "{{ s ~ n ~ none ~ missing ~ names ~ x }}{{ ('<'|e) ~ '<' }}{{ '<' ~ ('<'|e) }}",
    "{% autoescape true %}{{ '<' ~ s }}{{ '<' + s }}{{ x }}{% endautoescape %}",
    "{{ s[1:] }}{{ s[::-1] }}{{ names[:2] }}{{ s|reverse }}{{ names|reverse|list }}{{ s[-1] }}{{ x['a'][0] }}{{ x.a[9] }}",
    "{{ s|upper }}{{ s|title }}{{ n|string }}{{ s|trim('a') }}{{ x|string }}{{ s|truncate(5, end='') }}{{ s|e }}",
    "{{ names|join }}{{ names|join('-') }}{{ [x, x]|join(',', attribute='a') }}{{ names|map('upper')|join(' ') }}",
    "{{ s|replace('a', 'xy') }}{{ s|replace('a', 'b', 1) }}{{ n|replace(7, 8) }}{{ s.replace('a', 'b') }}",
    "{{ s|indent }}{{ s|indent(2, true) }}{{ s|indent('>', blank=true) }}{{ s|center(20) }}{{ s|wordwrap(3) }}",
    "{{ '%s %05d'|format(s, n) }}{{ '%(a)s'|format(a=1) }}{{ '{} {a:>5}'.format(s, a=n) }}{{ '{0.a}'.format(x) }}",
    "{{ '%s-%s' % (s, n) }}{{ n % 4 }}{{ 3 * n }}{{ 'a' * 3 }}{{ [1] * 2 }}{{ 2 ** 10 }}{{ 2 ** -1 }}{{ 2 ** 0.5 }}",
    "{{ [1, 2, 3]|sum }}{{ [[1], [2]]|sum(start=[]) }}{{ [{'a': 1}, {'a': 2}]|sum(attribute='a') }}{{ []|sum }}",
    "{{ names|batch(2, 'z')|list }}{{ names|slice(2)|list }}{{ names|sort }}{{ names|unique|list }}{{ x|dictsort }}",
    "{{ names|select('eq', 'b')|list }}{{ names|first }}{{ names|last }}{{ names|length }}{{ missing|default('d') }}",
    "{{ [{'a': 1}, {'a': 1}]|groupby('a') }}{{ x|items|list }}{{ {'a': 1}|xmlattr }}{{ names|max }}{{ ('a', 'b')|list }}",
    "{{ m(1) }}{{ m('a', b=x) }}{% call m(3) %}in {{ n }}{% endcall %}{% filter upper %}b{{ s }}{% endfilter %}",
    "{% set y %}{{ s }}{% endset %}{{ y }}{% set z|upper %}{{ s }}{% endset %}{{ z }}{% block b %}{{ n }}{% endblock %}",
    "{% for i in range(3) %}{{ loop.index }}{{ loop.last }}{{ loop.cycle('a', 'b') }}{% else %}none{% endfor %}",
    "{% for i in [1, [2, [3]]] recursive %}{{ loop(i) if i is iterable else i }}{% endfor %}{{ s.split()|list }}",
    "{% for a in names if a != 'A' %}{{ a if a else 'x' }}{{ a is string }}{{ not a }}{% endfor %}{{ dict(b=1, **x) }}",
    "{{ ''.join(['a', 'b']) }}{{ s.join('xy') }}{{ s.encode().decode() }}{{ s.center(20) }}{{ s.translate({97: 'q'}) }}",
]
"""Jinja whose results are the same in a plain environment."""

HEAD = """{%- macro two(x) %}{{ x }}{{ x }}{% endmacro %}
{%- macro all() %}{{ varargs }}{% endmacro %}
{%- macro twice() %}{{ caller() }}{{ caller() }}{% endmacro %}
{%- macro deep(n) %}{% if n < 60 %}{{ deep(n + 1, varargs, varargs) }}{% else %}{{ varargs }}{% endif %}{% endmacro %}
{%- macro fork(n) %}{% if n < 60 %}{{ fork(n + 1) }}{{ fork(n + 1) }}{% endif %}{% endmacro %}
{%- set ns = namespace(x='"a"', l=[], n=3) %}{% set long = 'ab' * 2500000 %}"""


@pytest.fixture(autouse=True)
def little_memory() -> Iterator[None]:
    """A template that is not stopped meets this wall, and says so: it does not take the machine with it."""
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (taken + ROOM, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def refused(body: str, behind: str = "", times: int = 5000) -> str:
    source = f"{HEAD}{{% for i in range({times}) %}}{body}{{% endfor %}}{behind}"
    with pytest.raises(PromptError) as caught:
        PromptTemplate(source, ApproximateTokenizer()).render(ASK)
    return str(caught.value)


@pytest.mark.parametrize("way", DOUBLED)
def test_a_text_that_is_doubled_in_a_loop_is_refused(way: str) -> None:
    assert TOO_MUCH in refused(f"{{% set ns.x = {DOUBLED[way]} %}}")


@pytest.mark.parametrize("way", NESTED)
def test_a_list_that_holds_itself_twice_is_refused_where_it_becomes_a_text(way: str) -> None:
    said = refused(*NESTED[way], times=50)
    assert TOO_MUCH in said or "a list" in said


@pytest.mark.parametrize("way", HELD)
def test_whatever_takes_memory_in_a_loop_is_refused(way: str) -> None:
    said = refused(HELD[way])
    assert TOO_MUCH in said or "a number of more than 10000 bits" in said or "has a field in it" in said


def test_what_is_gathered_of_a_long_conversation_is_no_more_than_it_may_be() -> None:
    source = "{% set ns = namespace(x='', l=[]) %}{% for m in messages %}{% set ns.x = ns.x + m.content|trim ~ '\n' %}"
    source += "{% set ns.l = ns.l + [m] %}{% endfor %}{{ ns.x }}{{ ns.l|length }}"
    messages = [{"role": "user", "content": f"{i} of many things that were said"} for i in range(3000)]
    text = PromptTemplate(source, ApproximateTokenizer()).render(messages)
    assert text == "".join(f"{m['content']}\n" for m in messages) + "3000"


def test_a_text_of_a_million_tokens_is_rendered() -> None:
    long = "word " * 1_000_000
    source = "{% for m in messages %}{{ '<' + m.role + '>' + m.content.split('</think>')[-1].lstrip() }}{{ m.content|trim }}"
    text = PromptTemplate(source + "{% endfor %}", ApproximateTokenizer()).render([{"role": "user", "content": long}] * 3)
    assert text == 3 * (f"<user>{long}" + long.rstrip())


@pytest.mark.parametrize("written", WRITTEN)
def test_what_is_counted_is_what_jinja_makes(written: str) -> None:
    given = {"x": {"a": [1, 2.5, None, True, "é<"]}, "s": "a-b c\nd", "names": ["b", "A", "b"], "n": 7}
    head = "{% macro m(a, b=2) %}[{{ a }}{{ b }}{{ caller() if caller else '' }}]{% endmacro %}"
    plain = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    assert Sandbox().from_string(head + written).render(given) == plain.from_string(head + written).render(given)
