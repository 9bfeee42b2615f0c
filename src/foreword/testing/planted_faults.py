"""The faults that are planted into agents' logs, and the controls: what is changed and is no fault."""

import copy
import hashlib
import json
import unicodedata

from foreword.testing.planted_logs import DATED, MARK, PARALLEL, Fault, Prose, Turn, jpeg
from foreword.testing.provider_replay import Body

BRIEF = "Be brief and answer in bullet points."
ACCENTS = "Réponds à Zoë, près de l'Élysée, où il y a un café."
REMINDER = "<system-reminder>The list of tasks has not been used lately. {}</system-reminder>"


def _digest(*of: object) -> str:
    """A value that is another one for every argument."""
    return hashlib.sha256(repr(of).encode()).hexdigest()


def _in_front_of_the_system(turn: Turn, text: str) -> None:
    """Put text at the head of the system prompt's long block."""
    turn.system["text"] = text + "\n" + turn.system["text"]


def _billing_header(turn: Turn) -> None:
    nonce = _digest(turn.session, turn.number)
    header = f"x-anthropic-billing-header: cc_version=2.1.177.{nonce[:3]}; cc_entrypoint=cli; cch={nonce[3:8]};"
    turn.body["system"].insert(0, {"type": "text", "text": header})


def _git_status(turn: Turn) -> None:
    files = "\n".join(f" M src/m{i}.py" for i in range(turn.number + 1))
    _in_front_of_the_system(turn, f"<env>\nDirectory: /home/dev/app\nGit status:\n{files}\n</env>")


def _variant_for_each_request(turn: Turn) -> None:
    if turn.chance("variant", turn.session, turn.number).random() < 0.5:
        _in_front_of_the_system(turn, BRIEF)


def _variant_for_each_user(turn: Turn) -> None:
    if turn.session % 2:
        _in_front_of_the_system(turn, BRIEF)


def _unicode_form(turn: Turn) -> None:
    _in_front_of_the_system(turn, ACCENTS)
    turn.system["text"] = unicodedata.normalize("NFD" if turn.odd else "NFC", turn.system["text"])


def _examples(turn: Turn) -> list[str]:
    """Eight examples in an order of the request's own."""
    shots = [f"Example {i}:\nQ: {Prose(f'q{i}').of(30)}\nA: {Prose(f'a{i}').of(60)}\n" for i in range(8)]
    turn.chance("examples", turn.session, turn.number).shuffle(shots)
    return shots


def _examples_shuffled(turn: Turn) -> None:
    _in_front_of_the_system(turn, "Some examples.\n" + "\n".join(_examples(turn)))


def _examples_last(turn: Turn) -> None:
    turn.body["messages"][-1]["content"].append({"type": "text", "text": "\n".join(_examples(turn))})


def _passages_in_front(turn: Turn) -> None:
    rules, passages = _question(turn)
    turn.body["system"] = [
        {"type": "text", "text": f"Answer from these.\n{passages}\n\nRules:\n{rules}", "cache_control": MARK}
    ]


def _passages_last(turn: Turn) -> None:
    rules, passages = _question(turn)
    turn.body["system"] = [{"type": "text", "text": f"Answer from these.\n\nRules:\n{rules}", "cache_control": MARK}]
    turn.body["messages"][0]["content"].append({"type": "text", "text": passages})


def _question(turn: Turn) -> tuple[str, str]:
    """Make it a lone question to a few passages, in an order of its own; returns rules and passages."""
    passages = [f"[passage {i}] {Prose(f'p{i}').of(150)}" for i in range(5)]
    turn.chance("passages", turn.session, turn.number).shuffle(passages)
    question = Prose(_digest(turn.session, turn.number)).of(30)
    turn.body["messages"] = [{"role": "user", "content": [{"type": "text", "text": question}]}]
    del turn.body["tools"]
    return turn.system["text"], "\n\n".join(passages)


def _tools_of_servers_reordered(turn: Turn) -> None:
    """Every fourth turn they connect anew, and answer in another order."""
    own = [tool for tool in turn.body["tools"] if not tool["name"].startswith("mcp")]
    servers = [tool for tool in turn.body["tools"] if tool["name"].startswith("mcp")]
    turn.chance("servers", turn.session, turn.number // 4).shuffle(servers)
    turn.body["tools"] = own + servers


def _tools_come_late(turn: Turn) -> None:
    if turn.number < 2:
        turn.body["tools"] = [tool for tool in turn.body["tools"] if "db" not in tool["name"]]


def _notes_edited(turn: Turn) -> None:
    if turn.number >= 5:
        block = turn.body["messages"][0]["content"][0]
        block["text"] = block["text"].replace("# Notes\n", f"# Notes\n- Session {turn.session}: run the tests with -x.\n")


def _reminder_moves(turn: Turn) -> None:
    content = turn.body["messages"][-1]["content"]
    del content[-1]["cache_control"]
    content.append({"type": "text", "text": REMINDER.format(Prose("reminder").of(60)), "cache_control": MARK})


def _reminder_behind_the_mark(turn: Turn) -> None:
    turn.body["messages"][-1]["content"].append({"type": "text", "text": REMINDER.format(Prose("reminder").of(60))})


def _image_encoded_anew(turn: Turn) -> None:
    for block in turn.blocks("image"):
        block["source"] = jpeg(_digest(turn.session, turn.number) * 6)


def _numbers_without_a_point(turn: Turn) -> None:
    for block in turn.blocks("tool_use"):
        block["input"]["limit"] = int(block["input"]["limit"]) if turn.odd else block["input"]["limit"]


def _texts_trimmed(turn: Turn) -> None:
    for message in turn.body["messages"]:
        for block in message["content"]:
            if turn.odd and message["role"] == "assistant" and block["type"] == "text":
                block["text"] = block["text"].rstrip()


def _thinking_stripped(turn: Turn) -> None:
    answers = [message for message in turn.body["messages"] if message["role"] == "assistant"]
    for message in answers[:-1]:
        message["content"] = [block for block in message["content"] if block["type"] != "thinking"]


def _results_cleared(turn: Turn) -> None:
    for block in turn.blocks("tool_result")[:-3]:
        block["content"] = "[Old result cleared]"


def _results_cleared_once(turn: Turn) -> None:
    if turn.number >= 8:
        for block in turn.blocks("tool_result")[:5]:
            block["content"] = "[Old result cleared]"


def _results_with_the_time(turn: Turn) -> None:
    for block in turn.blocks("tool_result"):
        block["content"] = f"[shown 2026-03-01 10:{turn.number:02d}:{turn.session + 7:02d}] " + block["content"]


def _call_ids_renewed(turn: Turn) -> None:
    for block in turn.blocks("tool_use"):
        block["id"] = "toolu_" + _digest(block["id"], turn.number)[:20]
    for block in turn.blocks("tool_result"):
        block["tool_use_id"] = "toolu_" + _digest(block["tool_use_id"], turn.number)[:20]


def _alias(turn: Turn) -> None:
    if turn.odd:
        turn.body["model"] = DATED


def _thinking_budget(turn: Turn) -> None:
    turn.body["thinking"] = {"type": "enabled", "budget_tokens": 1_024 if turn.odd else 8_192}


def _tool_choice(turn: Turn) -> None:
    turn.body["tool_choice"] = {"type": "any" if turn.odd else "auto"}


def _many_blocks(turn: Turn) -> None:
    """A turn has thirty calls and results: the last entry lies 60 blocks before the mark."""
    for message in turn.body["messages"][1:]:
        message["content"] = [copied for block in message["content"] for copied in _parallel(block)]


def _many_blocks_marked(turn: Turn) -> None:
    _many_blocks(turn)
    if turn.number:
        turn.body["messages"][-3]["content"][-1]["cache_control"] = MARK


def _parallel(block: Body) -> list[Body]:
    key = {"tool_use": "id", "tool_result": "tool_use_id"}.get(block["type"])
    if key is None:
        return [block]
    copies = [{**copy.deepcopy(block), key: f"{block[key]}{i}"} for i in range(PARALLEL)]
    for i, one in enumerate(copies):
        if "content" in one:
            one["content"] = one["content"][:200] + str(i)
        if i < PARALLEL - 1:
            one.pop("cache_control", None)
    return copies


def _one_growing_text(turn: Turn) -> None:
    said = [
        f"{message['role']}: {block.get('text') or block.get('content') or block.get('input')}"
        for message in turn.body["messages"]
        for block in message["content"]
    ]
    text = {"type": "text", "text": "\n\n".join(said), "cache_control": MARK}
    turn.body["messages"] = [{"role": "user", "content": [text]}]


def _routed(turn: Turn) -> None:
    turn.record["model_id"] = f"deployment-{turn.number % 3}"


def _one_deployment(turn: Turn) -> None:
    turn.record["model_id"] = "deployment-0"


def _separators(turn: Turn) -> None:
    for message in turn.body["messages"]:
        for call in message.get("tool_calls", ()) if turn.odd else ():
            call["function"]["arguments"] = json.dumps(json.loads(call["function"]["arguments"]), separators=(",", ":"))


def _cache_key(turn: Turn) -> None:
    turn.body["prompt_cache_key"] = _digest(turn.session, turn.number)


def _metadata(turn: Turn) -> None:
    turn.body["metadata"] = {"user_id": "user_" + _digest(turn.session, turn.number)}


def _mark_comes_and_goes(turn: Turn) -> None:
    if turn.odd:
        turn.body["tools"][-1]["cache_control"] = MARK


def _deferred_tools(turn: Turn) -> None:
    late = [
        {"name": f"late_{i}", "description": Prose(f"{i}").of(40), "defer_loading": True} for i in range(turn.number // 3)
    ]
    turn.body["tools"] += late


def _nothing(_turn: Turn) -> None:
    """The log as it is."""


THINKING, IMAGES, OPENAI = frozenset({"thinking"}), frozenset({"images"}), frozenset({"openai"})
FAULTS = (
    Fault("billing header", "FW107", _billing_header),
    Fault("state of the tree in the system prompt", "FW104", _git_status),
    Fault("a variant of the system prompt for each request", "FW104", _variant_for_each_request),
    Fault("a variant of the system prompt for each user", "FW102", _variant_for_each_user),
    Fault("examples in another order", "FW104", _examples_shuffled, _examples_last),
    Fault("passages in front of the rules", "FW104", _passages_in_front, _passages_last),
    Fault("accents decomposed", "FW108", _unicode_form),
    Fault("tools of servers in another order", "FW202", _tools_of_servers_reordered),
    Fault("tools that come late", "FW201", _tools_come_late),
    Fault("notes edited in the first message", "FW203", _notes_edited),
    Fault("reminder that moves", "FW203", _reminder_moves, _reminder_behind_the_mark),
    Fault("thinking taken out", "FW203", _thinking_stripped, has=THINKING),
    Fault("results cleared in every turn", "FW203", _results_cleared),
    Fault("results shown with the time", "FW101", _results_with_the_time),
    Fault("image encoded anew", "FW106", _image_encoded_anew, has=IMAGES),
    Fault("numbers in two forms", "FW103", _numbers_without_a_point),
    Fault("texts trimmed", "FW105", _texts_trimmed),
    Fault("separators of arguments", "FW105", _separators, has=OPENAI),
    Fault("ids of calls made anew", "FW206", _call_ids_renewed),
    Fault("alias and dated name of a model", "FW204", _alias),
    Fault("thinking budget", "FW205", _thinking_budget),
    Fault("choice of a tool", "FW205", _tool_choice),
    Fault("sixty blocks behind the last entry", "FW302", _many_blocks, _many_blocks_marked),
    Fault("one growing text", "FW306", _one_growing_text),
    Fault("three deployments", "FW402", _routed, _one_deployment, usage=True),
    Fault("gateway that drops the marks", "FW401", _nothing, usage=True, forgets=True),
    Fault("a cache key for each request", "FW401", _cache_key, has=OPENAI, usage=True, forgets=True),
    Fault("nothing", "", _nothing),
    Fault("nothing, OpenAI", "", _nothing, has=OPENAI),
    Fault("metadata for each request", "", _metadata),
    Fault("a mark comes and goes", "", _mark_comes_and_goes),
    Fault("results cleared once", "", _results_cleared_once),
    Fault("tools that are loaded later", "", _deferred_tools),
    Fault("what the provider reported", "", _nothing, usage=True),
)
"""Each is planted into a log of its own."""
