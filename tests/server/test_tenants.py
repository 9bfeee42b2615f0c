"""API keys, and who shares with whom, through HTTP."""

from pathlib import Path
from typing import Any

import pytest

from foreword.errors import ConfigError, CredentialsError
from foreword.server.tenants import KeyRing, Tenants, check_operators, load_tenants, new_key
from server.live import Live

KEYS = {"FOREWORD_API_KEYS": "alice:key-a,bob:key-b"}
SYSTEM = "You are a quick brown fox. " * 4
PRIVATE = "My secret is a lazy dog. " * 4


def cached(live: Live, key: str, system: str = SYSTEM, user: str = PRIVATE, **more: Any) -> int:
    """Ask as somebody; how many prompt tokens were cached."""
    found: int = usage(live, key, system, user, **more)["prompt_tokens_details"]["cached_tokens"]
    return found


def usage(live: Live, key: str, system: str = SYSTEM, user: str = PRIVATE, **more: Any) -> dict[str, Any]:
    messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    body = {"model": "tiny", "messages": messages, "max_tokens": 2, "temperature": 0, **more}
    with live.client(headers={"authorization": f"Bearer {key}"}) as client:
        answer = client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["usage"]
    return found


def test_by_default_tenants_never_share_and_one_shares_with_itself(serve: Any) -> None:
    live = serve(tenants=load_tenants(None, KEYS))
    assert [cached(live, "key-a"), cached(live, "key-b")] == [0, 0]
    whole = usage(live, "key-a")["prompt_tokens"] - 1
    assert [cached(live, "key-a"), cached(live, "key-b")] == [whole, whole]


def test_two_keys_of_one_tenant_share(serve: Any) -> None:
    live = serve(tenants=load_tenants(None, {"FOREWORD_API_KEYS": "alice:key-1,alice:key-2"}))
    assert cached(live, "key-1") == 0
    assert cached(live, "key-2") > 0


def test_share_all_shares_everything(serve: Any) -> None:
    live = serve(tenants=load_tenants(None, KEYS), share="all")
    assert cached(live, "key-a") == 0
    assert cached(live, "key-b") == usage(live, "key-b")["prompt_tokens"] - 1


def test_public_prefix_shares_the_system_prompt_and_isolates_what_follows(serve: Any) -> None:
    live = serve(tenants=load_tenants(None, KEYS), share="public-prefix")
    system_tokens = len(live.encode(f"<system>{SYSTEM}\n"))
    assert cached(live, "key-a") == 0
    assert cached(live, "key-b") == system_tokens, "the system prompt, and not one token of what Alice said"
    whole = usage(live, "key-a")["prompt_tokens"] - 1
    assert [cached(live, "key-a"), cached(live, "key-b")] == [whole, whole], "each hits what it said itself"
    live.settle()


def test_public_prefix_does_not_share_answers(serve: Any) -> None:
    """Bob sends Alice's whole conversation, her answer included, as if it were his own history, or as his system prompt."""
    live = serve(tenants=load_tenants(None, KEYS), share="public-prefix")
    system_tokens = len(live.encode(f"<system>{SYSTEM}\n"))
    cached(live, "key-a", max_tokens=30)
    assert cached(live, "key-b", user=PRIVATE + "And more.") == system_tokens
    guess = f"{SYSTEM}\n<user>{PRIVATE}"
    assert cached(live, "key-b", system=guess, user="x") <= system_tokens


def test_public_prefix_answers_are_those_of_no_sharing(serve: Any) -> None:
    """The cache's names for private tokens never reach the model."""
    answers = []
    for share in ("tenant", "public-prefix"):
        live = serve(tenants=load_tenants(None, KEYS), share=share)
        body = {
            "model": "tiny",
            "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": PRIVATE}],
            "max_tokens": 12,
            "temperature": 0,
            "frequency_penalty": 0.5,
        }
        for key in ("key-a", "key-b", "key-a"):
            with live.client(headers={"x-api-key": key}) as client:
                answers.append(client.post("/v1/chat/completions", json=body).json()["choices"][0]["message"]["content"])
    assert len(set(answers)) == 1


def test_completions_have_no_public_part(serve: Any) -> None:
    live = serve(tenants=load_tenants(None, KEYS), share="public-prefix")
    found = []
    for key in ("key-a", "key-b", "key-a"):
        with live.client(headers={"x-api-key": key}) as client:
            answer = client.post("/v1/completions", json={"model": "tiny", "prompt": SYSTEM, "max_tokens": 2})
            found.append(answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"])
    assert found[:2] == [0, 0]
    assert found[2] > 0


def test_a_salt_only_narrows(serve: Any) -> None:
    for share in ("tenant", "public-prefix"):
        live = serve(tenants=load_tenants(None, KEYS), share=share)
        cached(live, "key-a", cache_salt="s")
        assert cached(live, "key-a") == 0
        whole = usage(live, "key-a")["prompt_tokens"] - 1
        assert cached(live, "key-b", cache_salt="s") < whole, "the same salt does not open another tenant's cache"
        assert cached(live, "key-a", cache_salt="s") == whole


def test_one_tenant_cannot_compare_with_anothers_answer_or_read_it(serve: Any) -> None:
    live = serve(tenants=load_tenants(None, KEYS))
    body = {"model": "tiny", "input": "fox", "max_output_tokens": 2}
    with live.client(headers={"x-api-key": "key-a"}) as alice, live.client(headers={"x-api-key": "key-b"}) as bob:
        first = alice.post("/v1/responses", json=body).json()["id"]
        compare = {**body, "prompt_cache_options": {"comparison_response_id": first}}
        assert alice.post("/v1/responses", json=compare).json()["prompt_cache_diagnostics"]["type"] == "cache_hit"
        told = bob.post("/v1/responses", json=compare).json()["prompt_cache_diagnostics"]["type"]
        assert told == "comparison_response_not_found"
        assert bob.get(f"/v1/responses/{first}").status_code == 404
        assert bob.post("/v1/responses", json={**body, "previous_response_id": first}).status_code == 404
        assert bob.delete(f"/v1/responses/{first}").status_code == 404
        assert alice.get(f"/v1/responses/{first}").status_code == 200


@pytest.mark.parametrize(
    "headers", [{}, {"authorization": "Bearer wrong"}, {"authorization": "Basic key-a"}, {"x-api-key": ""}]
)
def test_without_a_key_nobody_gets_in(serve: Any, headers: dict[str, str]) -> None:
    live = serve(tenants=load_tenants(None, KEYS))
    with live.client(headers=headers) as client:
        for path in ("/v1/models", "/v1/nothing"):
            answer = client.get(path)
            assert (answer.status_code, answer.json()["error"]["type"]) == (401, "authentication_error")
        answer = client.post("/v1/messages", json={})
        assert (answer.status_code, answer.json()["error"]["type"]) == (401, "authentication_error")
        assert client.get("/health").status_code == client.get("/ready").status_code == 200


def test_keys_from_a_file_are_kept_as_hashes_only(tmp_path: Path) -> None:
    key, line = new_key("alice")
    file = tmp_path / "keys"
    file.write_text(f"# keys\n\n{line}\n")
    tenants = load_tenants(str(file), KEYS)
    assert key not in file.read_text()
    assert key not in repr(tenants)
    assert [tenants.identify(known)[0] for known in (key, "key-a", "key-b")] == ["alice", "alice", "bob"]
    with pytest.raises(CredentialsError):
        tenants.identify(key + "x")


def test_without_keys_everyone_is_the_same_tenant() -> None:
    assert Tenants({}).identify(None)[0] == Tenants({}).identify("any")[0] == "anonymous"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has none"),
        ("alice", "line 1"),
        ("# c\nalice key", "line 2: a line is"),
        ("alice sha256:zz", "a line is"),
        ("alice sha256:abcd", "a line is"),
    ],
)
def test_bad_files_of_keys_are_refused(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "keys"
    file.write_text(content)
    with pytest.raises(ConfigError, match=message):
        load_tenants(str(file), {})


def test_bad_keys_elsewhere_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_tenants(str(tmp_path / "none"), {})
    with pytest.raises(ConfigError, match="not TENANT:KEY"):
        load_tenants(None, {"FOREWORD_API_KEYS": "alice"})
    for tenant in ("", "a b", "#a"):
        with pytest.raises(ConfigError, match="Tenant"):
            new_key(tenant)


def test_nobody_else_bears_the_name_of_whoever_has_the_servers_own_key(tmp_path: Path) -> None:
    """That tenant sees all, so a key of a file must not be its by a name."""
    key, line = new_key("anonymous")
    file = tmp_path / "keys"
    file.write_text(line + "\n")
    assert load_tenants(str(file), {}).identify(key)[0] == "anonymous"
    with pytest.raises(ConfigError, match="'anonymous' stands beside --api-key"):
        load_tenants(str(file), {}, api_key="the-servers-own")
    with pytest.raises(ConfigError, match="'anonymous' stands beside --api-key"):
        load_tenants(None, {"FOREWORD_API_KEYS": "anonymous:other"}, api_key="the-servers-own")
    assert load_tenants(None, {"FOREWORD_API_KEYS": "ann:other"}, api_key="mine").identify("mine")[0] == "anonymous"


def test_keys_are_read_again_and_a_broken_file_changes_nothing(tmp_path: Path) -> None:
    file, keys = tmp_path / "keys", {name: new_key(name) for name in ("ann", "bob", "cid")}
    file.write_text(f"{keys['ann'][1]}\n{keys['bob'][1]}\n")
    ring = KeyRing(load_tenants(str(file), {}), lambda: load_tenants(str(file), {}))
    file.write_text(f"{keys['ann'][1]}\n{keys['cid'][1]}\n")
    assert ring.identify(keys["bob"][0])[0] == "bob", "not before it is told"
    assert ring.reload() == (1, 1)
    assert ring.identify(keys["cid"][0])[0] == "cid"
    with pytest.raises(CredentialsError):
        ring.identify(keys["bob"][0])
    for broken in ("", "no line of keys\n"):
        file.write_text(broken)
        with pytest.raises(ConfigError):
            ring.reload()
    file.unlink()
    with pytest.raises(ConfigError):
        ring.reload()
    assert ring.identify(keys["ann"][0])[0] == "ann"


def test_an_operator_that_no_key_belongs_to_is_named() -> None:
    tenants = load_tenants(None, {"FOREWORD_API_KEYS": "ann:a,boss:b"})
    check_operators(("boss",), tenants)
    with pytest.raises(ConfigError, match=r"--operator bos:.*'boss'.*ann, boss"):
        check_operators(("boss", "bos"), tenants)
    with pytest.raises(ConfigError, match="no API keys"):
        check_operators(("boss",), load_tenants(None, {}))
