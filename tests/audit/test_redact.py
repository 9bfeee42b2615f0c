"""Secrets are hidden, also where an excerpt cuts them in two; ordinary text stays."""

import json

import pytest

from audit.generator import encoded, planted
from foreword.audit import AuditConfig, ByteTokens, audit
from foreword.audit.case import AROUND, excerpt
from foreword.audit.redact import HIDDEN, redact, redacted_excerpt, redacted_pair
from foreword.prompt.prices import PriceTable

SECRETS = [
    "sk-proj-abcdEFGH1234abcdEFGH1234",
    "sk-ant-api03-abcdefgh12345678-abcdefgh",
    "ghp_abcdefghijklmnop1234567890",
    "AKIAIOSFODNN7EXAMPLE",
    "xoxb-123456789012-abcdefghijkl",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    "maria.lopez@example.com",
    "4111 1111 1111 1111",
    "123456789",
    "3782 822463 10005",
    "+49 170 1234567",
    "(555) 123-4567",
    "123-45-6789",
    "deadbeef0123456789deadbeef012345",
    "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg\n-----END PRIVATE KEY-----",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_secrets_are_hidden(secret: str) -> None:
    shown = redact(f"Use {secret} for it.")
    assert HIDDEN in shown
    assert shown.startswith("Use ")
    assert shown.endswith(" for it.")
    assert secret[4:] not in shown
    assert not any(secret[i : i + 6] in shown for i in range(len(secret) - 5))


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("password: hunter2!", "hunter2!"),
        ('{"api_key": "abc123"}', "abc123"),
        ("Authorization: Bearer abcdefgh", "abcdefgh"),
        ("postgres://admin:s3cret@db.local/x", "s3cret"),
        ('{"password": "horse battery staple"}', "battery staple"),
        (json.dumps({"arguments": json.dumps({"password": "hunter2"})}), "hunter2"),
        ("DB_PWD=hunter2", "hunter2"),
        ("AccountKey=abc+def/ghi==", "abc+def"),
        ("secret_key = 'abc'", "'abc"),
        ("The password is swordfish.", "swordfish"),
        ("token: 123456", "123456"),
        ('{"tokens": "1234567"}', "1234567"),
        ("tokens=12ab34", "12ab34"),
    ],
)
def test_what_is_named_a_secret_is_hidden(text: str, hidden: str) -> None:
    assert hidden not in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "You are a helpful assistant. Now: 2026-03-01 09:41:07.",
        "In 1999 there were 12,345,678 people; version 3.11.7 costs $20.",
        "The function get_weather_for_city_and_country takes a city.",
        "Passengers: four; tokenizer: the usual one; accounts: none.",
        'Schema: {"password":{"type":"string"},"pwd":""}; the token is sent on, 127.0.0.1 and 100.200.300 too.',
        "Grüße aus Köln – naïve façade.",
        '{"type":"enabled","budget_tokens":8192}, max_tokens=4096, tokens: 12',
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize("offset", range(-70, 71, 5))
def test_a_secret_cut_by_the_excerpt_is_hidden(offset: int) -> None:
    key = "sk-abcdefghijklmnopqrstuvwxyz0123456789"
    text = "word " * 100 + key + " word" * 100
    shown = redacted_excerpt(excerpt(text, 500 + offset))
    assert not any(key[i : i + 5] in shown for i in range(4, len(key) - 4))
    assert len(shown) <= 2 * AROUND + len(HIDDEN) + 3


@pytest.mark.parametrize(
    ("old", "new", "shown"),
    [
        ("the toolu_01a2b3c4d5e6f7a8b9c0d1e2f3", "the toolu_09f8e7d6c5b4a3928170f6e5d4", ("the too[… 1]", "the too[… 2]")),
        (
            "password=hunter2 and secret=abc",
            "password=hunter2 and secret=abd",
            ("pas[… 1] and sec[… 2]", "pas[… 1] and sec[… 3]"),
        ),
        ("hun1@x.com hun2@x.com", "hun2@x.com hun1@x.com", ("hun[… 1] hun[… 2]", "hun[… 2] hun[… 1]")),
        ("Now 09:41, hunter@x.com", "Now 09:42, hunter@x.com", ("Now 09:41, hun[…]", "Now 09:42, hun[…]")),
        ("mail hunter@x.com", "mail hunter@x.com", ("mail hun[…]", "mail hun[…]")),
    ],
)
def test_two_excerpts_that_differ_only_in_what_is_hidden_are_told_apart(old: str, new: str, shown: tuple[str, str]) -> None:
    assert redacted_pair(excerpt(old, 0), excerpt(new, 0)) == shown


def test_nothing_secret_in_a_report_unless_asked_for() -> None:
    key = "sk-live-0123456789abcdefghijklmnop"
    lines = planted("FW101").faulty
    for line in lines:
        system = line["request"]["messages"][0]
        system["content"] = system["content"].replace("Now:", f"Key {key}. Now:")
    log = [*encoded(lines), json.dumps({key: 1}).encode()]
    shown = [
        str(audit(lambda _purpose: log, ByteTokens(), PriceTable.built_in(), AuditConfig(redact=wanted)))
        for wanted in (True, False)
    ]
    assert key not in shown[0]
    assert "0123456789abc" not in shown[0]
    assert shown[1].count(key) >= 2
