"""/v1/cache over HTTP: explanations, permissions, bad input."""

import random
import re
from collections.abc import Callable
from importlib import resources
from typing import Any

import pytest

from foreword.observe import ObserverConfig
from foreword.observe.explain import Reason
from foreword.server.tenants import Tenants, new_key
from server.live import Live

RULES = "You answer questions about the garden. " * 6


@pytest.fixture
def ask() -> Callable[..., str]:
    def send(live: Live, prompt: str, key: str = "none", **more: str) -> str:
        """Ask something; returns the answer's id."""
        headers = {"authorization": f"Bearer {key}"}
        body = {"model": "tiny", "prompt": prompt, "max_tokens": 2, "temperature": 0, **more}
        with live.client(headers=headers) as client:
            answer = client.post("/v1/completions", json=body)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    return send


def get(live: Live, path: str, key: str = "none", status: int = 200, salt: str = "") -> Any:
    named = {"x-cache-salt": salt} if salt else {}
    with live.client(headers={"authorization": f"Bearer {key}", **named}) as client:
        answer = client.get(f"/v1/cache/{path}")
    assert answer.status_code == status, answer.text
    return answer.json()


def keyed(*names: str) -> tuple[Tenants, dict[str, str]]:
    """Tenants with a key each."""
    made = {name: new_key(name) for name in names}
    lines = {bytes.fromhex(line.split("sha256:")[1]): name for name, (_, line) in made.items()}
    return Tenants(lines), {name: key for name, (key, _) in made.items()}


def test_a_request_is_explained_to_the_token(serve: Callable[..., Live], ask: Callable[..., str]) -> None:
    live = serve()
    first, second = ask(live, f"It is 12:30. {RULES}"), ask(live, f"It is 12:31. {RULES}")
    found = get(live, f"explain/{second}")
    assert (found["reason"], found["detail"]) == ("volatile_value", "time")
    assert found["cached"] + found["shared_in_flight"] + found["computed"] == found["prompt_tokens"]
    assert found["nearest"]["request_id"] == first
    assert found["shared_text"].endswith("12:3")
    assert (found["old_text"][0], found["new_text"][0]) == ("0", "1")
    assert get(live, f"explain/{second.split('-')[1]}") == found
    get(live, f"explain/{second[-4:]}", status=404)


def test_a_conversation_says_which_message(serve: Callable[..., Live]) -> None:
    live = serve()
    with live.client() as client:
        for word in ("apples", "pears"):
            messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": f"Tell me of {word}."}]
            body = {"model": "tiny", "messages": messages, "max_tokens": 1}
            answer = client.post("/v1/chat/completions", json=body)
    found = get(live, f"explain/{answer.json()['id']}")
    assert (found["reason"], found["place"]) == ("diverged", "message 2 (user)")


def test_counts_recent_prefixes_curve_and_savings_add_up(serve: Callable[..., Live], ask: Callable[..., str]) -> None:
    live = serve()
    for number in range(4):
        ask(live, f"{RULES} Question {number} of four")
    counts, recent = get(live, "counts"), get(live, "recent?limit=3")
    assert counts["requests"] == 4
    assert counts["cached"] + counts["shared_in_flight"] + counts["computed"] == counts["prompt_tokens"]
    assert sum(counts["requests_by_reason"].values()) == 4
    assert [request["reason"] for request in recent["requests"]] == ["diverged"] * 3
    assert "The last 2,048 requests are kept" in recent["kept"]
    prefix = get(live, "prefixes")["prefixes"][0]
    assert (prefix["requests"], prefix["hits"], prefix["text"][:10]) == (4, 3, RULES[:10])
    curve = get(live, "curve")
    assert abs(curve["unlimited"] - counts["hit_rate"]) < 0.05
    assert curve["points"][4]["tokens"] == curve["today_tokens"]
    savings = get(live, "savings?price_per_hour=3.6")
    assert savings["tokens"] == counts["cached"] + counts["shared_in_flight"]
    assert 0 < savings["money"] < savings["money_without_cache"]
    assert get(live, "savings?model=claude-haiku-4-5")["price"]["read_factor"] == 0.1
    assert get(live, "savings")["money"] is None


def test_bad_input(serve: Callable[..., Live]) -> None:
    live = serve()
    assert "is not known" in get(live, "explain/nobody", status=404)["error"]["message"]
    assert "limit is 0" in get(live, "recent?limit=0", status=400)["error"]["message"]
    assert "limit" in get(live, "recent?limit=many", status=400)["error"]["message"]
    assert "price_per_hour is -1" in get(live, "savings?price_per_hour=-1", status=400)["error"]["message"]
    assert "price_per_hour is nan" in get(live, "savings?price_per_hour=nan", status=400)["error"]["message"]
    assert "no price for the model 'x'" in get(live, "savings?model=x", status=404)["error"]["message"]
    get(live, "explain/%00%ff<script>", status=404)
    get(live, "nothing", status=404)


def test_a_forgotten_request_says_how_long_they_are_kept(serve: Callable[..., Live], ask: Callable[..., str]) -> None:
    live = serve(observer=ObserverConfig(recent_requests=1))
    first = ask(live, "one")
    ask(live, "two")
    message = get(live, f"explain/{first}", status=404)["error"]["message"]
    assert "has been forgotten" in message
    assert "The last 1 finished requests are kept" in message


def test_a_key_sees_its_own_requests_and_an_operator_sees_all(serve: Callable[..., Live], ask: Callable[..., str]) -> None:
    tenants, keys = keyed("ann", "bob", "boss")
    live = serve(tenants=tenants, operators=("boss",))
    mine, theirs = ask(live, "mine", keys["ann"]), ask(live, "theirs", keys["bob"])
    assert get(live, f"explain/{mine}", keys["ann"])["new_text"]
    told = [get(live, f"explain/{name}", keys["ann"], 404)["error"]["message"] for name in (theirs, "cmpl-" + "0" * 32)]
    assert told[0].replace(theirs, "") == told[1].replace("cmpl-" + "0" * 32, ""), "as if it had never been"
    assert [request["request_id"] for request in get(live, "recent", keys["ann"])["requests"]] == [mine]
    for path in ("counts", "prefixes", "curve", "savings"):
        assert "--operator ann" in get(live, path, keys["ann"], 403)["error"]["message"]
        assert get(live, path, keys["boss"])
    assert {request["tenant"] for request in get(live, "recent", keys["boss"])["requests"]} == {"ann", "bob"}
    get(live, "counts", "wrong", 401)


def test_where_tenants_share_the_other_ones_text_is_not_shown(serve: Callable[..., Live], ask: Callable[..., str]) -> None:
    tenants, keys = keyed("ann", "bob", "boss")
    live = serve(tenants=tenants, operators=("boss",), share="all")
    ask(live, RULES + "The secret of Bob", keys["bob"])
    mine = ask(live, RULES + "What Ann asks", keys["ann"])
    found = get(live, f"explain/{mine}", keys["ann"])
    assert (found["old_text"], found["nearest"], found["reason"]) == ("", None, "diverged")
    assert found["cached"] > 0
    assert "secret of Bob" in get(live, f"explain/{mine}", keys["boss"])["old_text"]


PARTS = ("reason", "detail", "elsewhere", "position", "cached", "computed", "nearest", "eviction", "old_text", "place")


@pytest.mark.parametrize("share", ["tenant", "public-prefix"])
def test_what_another_tenant_asked_is_told_to_operators_alone(
    serve: Callable[..., Live], ask: Callable[..., str], share: str
) -> None:
    tenants, keys = keyed("ann", "bob", "boss")
    told = []
    for first in (keys["bob"], keys["ann"]):
        live = serve(tenants=tenants, operators=("boss",), share=share)
        ask(live, RULES + "The secret is 4711.", first)
        mine = ask(live, RULES + "The secret is 4712.", keys["ann"] if first == keys["bob"] else keys["bob"])
        found = get(live, f"explain/{mine}", keys["ann"] if first == keys["bob"] else keys["bob"])
        told.append({part: found[part] for part in PARTS})
        full = get(live, f"explain/{mine}", keys["boss"])
        assert (full["reason"], full["detail"]) == ("namespace_differs", "tenant")
        get(live, "recent", keys["boss"])
        (seen,) = get(live, "recent", keys["ann"] if first == keys["bob"] else keys["bob"])["requests"]
        assert seen["reason"] == "first_seen", "also after an operator has looked"
        assert get(live, "recent", keys["boss"])["requests"][0]["reason"] == "namespace_differs"
        assert get(live, "counts", keys["boss"])["requests_by_reason"]["namespace_differs"] == 1
    assert told[0] == told[1]
    assert (told[0]["reason"], told[0]["elsewhere"], told[0]["nearest"], told[0]["old_text"]) == ("first_seen", "", None, "")


def test_two_salts_under_one_key_are_apart(serve: Callable[..., Live], ask: Callable[..., str]) -> None:
    tenants, keys = keyed("ann", "boss")
    live = serve(tenants=tenants, operators=("boss",))
    theirs = ask(live, RULES + "The secret is 4711.", keys["ann"], cache_salt="one")
    mine = ask(live, RULES + "The secret is 4712.", keys["ann"], cache_salt="two")
    plain = ask(live, RULES + "The secret is 4713.", keys["ann"])
    assert get(live, f"explain/{mine}", keys["ann"], salt="two")["reason"] == "first_seen"
    get(live, f"explain/{theirs}", keys["ann"], 404, salt="two")
    get(live, f"explain/{mine}", keys["ann"], 404)
    assert [seen["request_id"] for seen in get(live, "recent", keys["ann"], salt="two")["requests"]] == [mine]
    assert [seen["request_id"] for seen in get(live, "recent", keys["ann"])["requests"]] == [plain]
    assert len(get(live, "recent", keys["boss"])["requests"]) == 3
    assert get(live, f"explain/{mine}", keys["boss"])["detail"] == "cache_salt"


def test_a_public_prefix_is_compared_with_ones_own_prompts_alone(serve: Callable[..., Live]) -> None:
    """Bob's system prompt with another time is not told to Ann; her own is."""
    tenants, keys = keyed("ann", "bob", "boss")
    live = serve(tenants=tenants, operators=("boss",), share="public-prefix")

    def chat(key: str, minute: int) -> str:
        messages = [{"role": "system", "content": f"It is 12:{minute}. {RULES}"}, {"role": "user", "content": "Hello?"}]
        with live.client(headers={"authorization": f"Bearer {key}"}) as client:
            answer = client.post("/v1/chat/completions", json={"model": "tiny", "messages": messages, "max_tokens": 1})
        return str(answer.json()["id"])

    chat(keys["bob"], 30)
    mine = chat(keys["ann"], 31)
    found = get(live, f"explain/{mine}", keys["ann"])
    assert (found["reason"], found["detail"], found["nearest"], found["old_text"]) == ("diverged", "", None, "")
    assert get(live, f"explain/{mine}", keys["boss"])["reason"] == "volatile_value"
    again = get(live, f"explain/{chat(keys['ann'], 32)}", keys["ann"])
    assert (again["reason"], again["detail"]) == ("volatile_value", "time")
    assert again["nearest"]["request_id"] == mine


def test_only_the_pages_own_files_are_served(serve: Callable[..., Live]) -> None:
    live = serve()
    with live.client(follow_redirects=True) as client:
        page = client.get("/dashboard")
        assert page.status_code == 200
        assert "script-src 'self'" in page.headers["content-security-policy"]
        assert client.get("/dashboard/main.js").status_code == 200
        for path in ("__init__.py", "../cache_api.py", "%2e%2e/cache_api.py", "vendor/", "nothing.js"):
            assert client.get(f"/dashboard/{path}").status_code == 404


def test_what_enters_and_leaves_the_cache_is_counted(serve: Callable[..., Live], ask: Callable[..., str]) -> None:
    live = serve(engine={"kv_cache_memory_bytes": 2**18})
    first = ask(live, RULES)
    before = get(live, "counts")
    assert before["stored_tokens"] >= before["computed"]
    for word in ("plums", "pears", "roses"):
        ask(live, f"{word} " * 40)
    assert get(live, "counts")["removed_tokens"] > before["removed_tokens"] + 100
    again = get(live, f"explain/{ask(live, RULES)}")
    assert again["reason"] == "evicted"
    assert again["eviction"]["lost_tokens"] > 0
    assert again["eviction"]["at"] <= again["finished"]
    assert first not in [name for name, _ in again["eviction"]["pressure"]]


def test_for_whom_room_was_made_is_told_to_operators_alone(serve: Callable[..., Live], ask: Callable[..., str]) -> None:
    tenants, keys = keyed("ann", "bob", "boss")
    live = serve(tenants=tenants, operators=("boss",), engine={"kv_cache_memory_bytes": 2**18})
    ask(live, RULES, keys["ann"])
    for word in ("plums", "pears", "roses"):
        ask(live, f"{word} " * 40, keys["bob"])
    again = ask(live, RULES, keys["ann"])
    told = get(live, f"explain/{again}", keys["ann"])
    assert told["reason"] == "evicted"
    assert told["eviction"] == {"lost_tokens": told["eviction"]["lost_tokens"], "at": None, "pressure": []}
    assert get(live, f"explain/{again}", keys["boss"])["eviction"]["pressure"]


def test_prompts_below_the_minimum_are_not_cached_and_it_says_so(
    serve: Callable[..., Live], ask: Callable[..., str]
) -> None:
    live = serve(min_cached_tokens=60)
    short = [get(live, f"explain/{ask(live, 'How are you?')}") for _ in range(2)][-1]
    assert (short["reason"], short["cached"]) == ("below_minimum", 0)
    assert short["detail"] == "at least 60 tokens are cached"
    long = [get(live, f"explain/{ask(live, RULES)}") for _ in range(2)][-1]
    assert (long["reason"], long["computed"]) == ("complete", 1)
    assert get(live, "counts")["requests_by_reason"]["below_minimum"] == 2


def test_prefixes_have_labels_and_near_twins_their_kind_and_place(serve: Callable[..., Live]) -> None:
    live = serve()
    with live.client() as client:
        for minute in range(10, 22):
            system = {"role": "system", "content": f"Be kind to all. It is 12:{minute}:05. {RULES}"}
            messages = [system, {"role": "user", "content": "Hello?"}]
            answer = client.post("/v1/chat/completions", json={"model": "tiny", "messages": messages, "max_tokens": 1})
            assert answer.status_code == 200
    found = get(live, "prefixes")
    head = next(prefix for prefix in found["prefixes"] if prefix["parent"] is None)
    assert head["label"] == "system"
    assert any(prefix["label"] == "system to generation prompt" for prefix in found["prefixes"])
    (group,) = found["near_twins"]
    assert (group["kind"], group["requests"] >= 10) == ("time", True)
    assert group["prefix"] in [prefix["number"] for prefix in found["prefixes"]]
    assert group["before"].endswith("It is 12:")


def test_binary_rubbish_is_answered_and_explained(serve: Callable[..., Live]) -> None:
    live, source = serve(), random.Random(3)
    rubbish = [source.randrange(2, 320) for _ in range(200)]
    prompts = (rubbish, [*rubbish[:150], *reversed(rubbish)], "\x00\x01\ufffd\u202e\x7f" * 40, "\x00\x01\ufffd!" * 40)
    with live.client() as client:
        for prompt in prompts:
            answer = client.post("/v1/completions", json={"model": "tiny", "prompt": prompt, "max_tokens": 2})
            assert answer.status_code == 200, answer.text
            found = get(live, f"explain/{answer.json()['id']}")
            assert found["cached"] + found["shared_in_flight"] + found["computed"] == found["prompt_tokens"]
    assert [request["position"] for request in get(live, "recent")["requests"]][2] == 150
    assert get(live, "prefixes")["prefixes"]


def test_the_page_says_of_every_reason_what_it_means() -> None:
    script = (resources.files("foreword.server.operator.dashboard") / "charts.js").read_text("utf-8")
    table = re.search(r"^const MEANINGS = \{\n(.*?)^\};", script, flags=re.DOTALL | re.MULTILINE)
    assert table is not None
    assert set(re.findall(r"^  (\w+): \"", table[1], flags=re.MULTILINE)) == set(Reason)
