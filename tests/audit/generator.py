"""Logs with planted faults: for every rule a faulty log, and its clean twin that asks the same without the fault.

Each scenario is a stretch of its own in time and in words, so that all of them can be put into one log.
"""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

START = 1_767_225_600.0
Line = dict[str, Any]


@dataclass
class Planted:
    """A fault as planted: rule code, where (label of the first time), at which character of that piece, how often seen.

    ``lost`` is the number of requests that pay for ``lost_chars`` characters (about) that the clean twin reads from a cache.
    """

    code: str
    label: str
    char: int | None
    seen: int
    lost: int
    lost_chars: int
    faulty: list[Line] = field(default_factory=list)
    clean: list[Line] = field(default_factory=list)


class Words:
    """Text without repetition, the same for the same seed."""

    def __init__(self, seed: str):
        self._rng = random.Random(seed)

    def text(self, chars: int) -> str:
        """Words of about as many characters, ending with a full stop."""
        words: list[str] = []
        size = 0
        while size < chars:
            word = "".join(self._rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(self._rng.randint(3, 9)))
            words.append(word)
            size += len(word) + 1
        return " ".join(words) + "."

    def name(self) -> str:
        return self.text(6)[:-1].title().replace(" ", "")

    def hexadecimal(self, digits: int) -> str:
        return "".join(self._rng.choice("0123456789abcdef") for _ in range(digits))

    def shuffled(self, items: list[Any]) -> list[Any]:
        return self._rng.sample(items, len(items))


def chat(at: float, system: Any, *messages: Any, tools: Any = None, model: str = "gpt-5", **record: Any) -> Line:
    """A line with a chat completions body; plain texts are user and assistant in turn."""
    rows = [{"role": "system", "content": system}] if system is not None else []
    for i, message in enumerate(messages):
        rows.append(message if isinstance(message, dict) else {"role": ("user", "assistant")[i % 2], "content": message})
    body: Line = {"model": model, "messages": rows}
    if tools is not None:
        body["tools"] = tools
    return {"ts": START + at, "duration": 2.0, "request": body, **record}


def marked(at: float, system: list[tuple[str, bool]], *messages: tuple[str, bool], ttl: str = "5m", **record: Any) -> Line:
    """A line with an Anthropic body; each (text, whether a mark stands at its end)."""
    mark = {"type": "ephemeral", "ttl": ttl}

    def block(text: str, has: bool) -> Line:
        return {"type": "text", "text": text, **({"cache_control": mark} if has else {})}

    body = {
        "model": "claude-sonnet-4-5",
        "max_tokens": 100,
        "system": [block(*piece) for piece in system],
        "messages": [{"role": ("user", "assistant")[i % 2], "content": [block(*piece)]} for i, piece in enumerate(messages)],
    }
    return {"ts": START + at, "duration": 2.0, "request": body, **record}


def tool(name: str, words: Words) -> Line:
    properties = {words.name().lower(): {"type": "string", "description": words.text(60)} for _ in range(3)}
    parameters = {"type": "object", "properties": properties, "required": sorted(properties)}
    return {"type": "function", "function": {"name": name, "description": words.text(300), "parameters": parameters}}


def volatile_value(words: Words) -> Planted:
    rules = words.text(12_000)
    plan = Planted("FW101", "system, block 1", len("You answer. Now: 2026-03-01T09:41:1"), 19, 19, 12_000)
    for i in range(20):
        now, question = f"2026-03-01T09:41:{10 + i}", words.text(80)
        plan.faulty.append(chat(60 * i, f"You answer. Now: {now}. {rules}", question))
        plan.clean.append(chat(60 * i, f"You answer. {rules}", f"{question} Now: {now}."))
    return plan


def user_value(words: Words) -> Planted:
    rules = words.text(9_000)
    plan = Planted("FW102", "system, block 1", len("You are the assistant of "), 11, 11, 9_000)
    for i in range(12):
        name, question = f"{chr(65 + i)}{words.name()}", words.text(80)
        for again in range(2):
            asked = question if not again else question + words.text(40)
            at, who = 25 * i + 290 * again, {"user": f"user-{i}"}
            plan.faulty.append(chat(at, f"You are the assistant of {name}. {rules}", asked, **who))
            plan.clean.append(chat(at, f"You are an assistant. {rules}", f"I am {name}. {asked}", **who))
    return plan


def json_order(words: Words) -> Planted:
    tools = [tool(words.name(), words) for _ in range(8)]
    rules = words.text(4_000)
    plan = Planted("FW103", "tools, tool 1", None, 9, 9, 8_000)
    for i in range(10):
        question = words.text(80)
        turned = [{key: given[key] for key in reversed(given)} if i % 2 else given for given in tools]
        if i >= 2:  # every request with an order of its own
            turned = [{**given, "function": _rotated(given["function"], i, words)} for given in tools]
        plan.faulty.append(chat(60 * i, rules, question, tools=turned))
        plan.clean.append(chat(60 * i, rules, question, tools=tools))
    return plan


def _rotated(function: Line, by: int, words: Words) -> Line:
    parameters = dict(words.shuffled(list(function["parameters"].items())))
    parameters["properties"] = dict(words.shuffled(list(parameters["properties"].items())))
    keys = [*function][by % 3 :] + [*function][: by % 3]
    return {key: parameters if key == "parameters" else function[key] for key in keys}


def static_after_dynamic(words: Words) -> Planted:
    rules = words.text(8_000)
    plan = Planted("FW104", "message 1 (user), block 1", len("Passages: "), 14, 14, 8_000)
    for i in range(15):
        passages, question = words.text(900), words.text(60)
        plan.faulty.append(chat(60 * i, "You answer from passages.", f"Passages: {passages} {question} Rules: {rules}"))
        plan.clean.append(chat(60 * i, "You answer from passages.", f"Rules: {rules} Passages: {passages} {question}"))
    return plan


def whitespace_drift(words: Words) -> Planted:
    lines = [words.text(70) for _ in range(120)]
    plan = Planted("FW105", "system, block 1", len(lines[0]), 7, 7, 8_500)
    for i in range(8):
        question = words.text(80)
        ends = ["\n"] * 120
        ends[i] = "\r\n" if i % 2 else " \n"
        plan.faulty.append(chat(60 * i, "".join(line + end for line, end in zip(lines, ends, strict=True)), question))
        plan.clean.append(chat(60 * i, "\n".join(lines), question))
    return plan


def media_re_encoded(words: Words) -> Planted:
    plan = Planted("FW106", "message 1 (user), block 2", 0, 5, 5, 4 * 1_024)
    history: list[Any] = []
    for i in range(6):
        if i:
            history.append(words.text(1_200))
        history.append(words.text(300))
        for log, picture in ((plan.faulty, words.hexadecimal(400)), (plan.clean, "cafe" * 100)):
            image = {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{picture}"}}
            first = {"role": "user", "content": [{"type": "text", "text": "What is in this picture?"}, image]}
            log.append(chat(60 * i, "You look at pictures.", first, words_answer(0), *history[:-1], history[-1], user="m1"))
    for log in (plan.faulty, plan.clean):
        for line in log:
            rows = line["request"]["messages"]
            for j, row in enumerate(rows[1:]):
                row["role"] = ("user", "assistant")[j % 2]
    return plan


def words_answer(number: int) -> str:
    return Words(f"answer {number}").text(2_000)


def nonce_at_head(words: Words) -> Planted:
    rules = words.text(10_000)
    plan = Planted("FW107", "system, block 1", None, 11, 11, 10_000)
    for i in range(12):
        question = words.text(80)
        header, nonce = "x-client-header: version=2.1.37; entry=cli; cch=", f"{i:x}{words.hexadecimal(3)}7;"
        plan.faulty.append(marked(60 * i, [(header + nonce, False), (rules, True)], (question, False)))
        plan.clean.append(marked(60 * i, [(header, False), (rules, True)], (question + nonce, False)))
        plan.char = len(header)
    return plan


def tools_changed(words: Words) -> Planted:
    tools = [tool(words.name(), words) for _ in range(6)]
    rules, history = words.text(4_000), [words.text(300)]
    plan = Planted("FW201", "tools, tool 4", None, 3, 3, 7_000)
    for i in range(4):
        plan.faulty.append(chat(60 * i, rules, *history, tools=tools[: 3 + i]))
        plan.clean.append(chat(60 * i, rules, *history, tools=tools))
        history += [words.text(1_500), words.text(200)]
    return plan


def tools_reordered(words: Words) -> Planted:
    tools = sorted((tool(words.name(), words) for _ in range(8)), key=lambda given: given["function"]["name"])
    rules = words.text(5_000)
    plan = Planted("FW202", "tools, tool 1", None, 9, 9, 9_000)
    for i in range(10):
        question = words.text(80)
        order = tools[i % 8 :] + tools[: i % 8] if i < 8 else words.shuffled(tools)
        plan.faulty.append(chat(60 * i, rules, question, tools=order))
        plan.clean.append(chat(60 * i, rules, question, tools=tools))
    return plan


def history_rewritten(words: Words) -> Planted:
    rules = words.text(2_000)
    plan = Planted("FW203", "message 3 (tool), block 1", 0, 5, 5, 9_000)
    rows: list[Line] = [{"role": "user", "content": words.text(300)}]
    for i in range(9):
        results = [j for j, row in enumerate(rows) if row["role"] == "tool"]
        cleared = [{**row, "content": "[removed]"} if j in results[:-3] else row for j, row in enumerate(rows)]
        plan.clean.append(chat(60 * i, rules, *rows, user="h1"))
        plan.faulty.append(chat(60 * i, rules, *cleared, user="h1"))
        call = {"id": f"call_{i}", "type": "function", "function": {"name": "search", "arguments": '{"q": "x"}'}}
        said = {"role": "assistant", "content": words.text(200), "tool_calls": [call]}
        rows = [*rows, said, {"role": "tool", "tool_call_id": call["id"], "content": words.text(3_000)}]
    return plan


def model_switched(words: Words) -> Planted:
    rules, history = words.text(6_000), [words.text(400)]
    plan = Planted("FW204", "model", None, 2, 1, 9_000)
    for i in range(6):
        plan.faulty.append(chat(60 * i, rules, *history, model="gpt-5-mini" if i in (2, 3) else "gpt-5", user="s1"))
        plan.clean.append(chat(60 * i, rules, *history, user="s1"))
        history += [words.text(1_000), words.text(200)]
    return plan


def marks_missing(words: Words) -> Planted:
    rules = words.text(10_000)
    plan = Planted("FW301", "system, block 1", None, 9, 9, 10_000)
    for i in range(10):
        question = words.text(80)
        plan.faulty.append(marked(60 * i, [(rules, False)], (question, False)))
        plan.clean.append(marked(60 * i, [(rules, True)], (question, False)))
    return plan


def marks_misplaced(words: Words) -> Planted:
    rules = words.text(10_000)
    plan = Planted("FW302", "system, block 1", None, 9, 9, 10_000)
    for i in range(10):
        state, question = words.text(300), words.text(80)
        plan.faulty.append(marked(60 * i, [(rules, False), (state, True)], (question, False)))
        plan.clean.append(marked(60 * i, [(rules, True), (state, False)], (question, False)))
    return plan


def marks_below_minimum(words: Words) -> Planted:
    rules, examples = words.text(1_000), words.text(8_000)
    plan = Planted("FW303", "system, block 1", None, 5, 5, 9_000)
    history = [(examples, False)]
    for i in range(6):
        plan.faulty.append(marked(60 * i, [(rules, True)], *history))
        plan.clean.append(marked(60 * i, [(rules, False)], *history[:-1], (history[-1][0], True)))
        history += [(words.text(100), False), (words.text(100), False)]
    return plan


def lifetime_too_short(words: Words) -> Planted:
    document = words.text(12_000)
    plan = Planted("FW304", "system, block 1", None, 9, 9, 12_000)
    for i in range(10):
        question = words.text(80)
        plan.faulty.append(marked(900 * i, [(document, True)], (question, False)))
        plan.clean.append(marked(900 * i, [(document, True)], (question, False), ttl="1h"))
    return plan


def parallel_first_requests(words: Words) -> Planted:
    document = words.text(12_000)
    plan = Planted("FW305", "system, block 1", None, 7, 7, 12_000)
    for i in range(8):
        question = words.text(80)
        plan.faulty.append(marked(0.05 * i, [(document, True)], (question, False)))
        plan.clean.append(marked(0.05 * i if not i else 3 + 0.05 * i, [(document, True)], (question, False)))
    return plan


SCENARIOS: dict[str, Callable[[Words], Planted]] = {
    "FW101": volatile_value,
    "FW102": user_value,
    "FW103": json_order,
    "FW104": static_after_dynamic,
    "FW105": whitespace_drift,
    "FW106": media_re_encoded,
    "FW107": nonce_at_head,
    "FW201": tools_changed,
    "FW202": tools_reordered,
    "FW203": history_rewritten,
    "FW204": model_switched,
    "FW301": marks_missing,
    "FW302": marks_misplaced,
    "FW303": marks_below_minimum,
    "FW304": lifetime_too_short,
    "FW305": parallel_first_requests,
}


def planted(code: str) -> Planted:
    """One scenario by the code of its rule."""
    return SCENARIOS[code](Words(code))


def whole_log(faulty: bool) -> Iterator[Line]:
    """All scenarios, one after another, two hours apart."""
    for i, code in enumerate(SCENARIOS):
        plan = planted(code)
        for line in plan.faulty if faulty else plan.clean:
            yield {**line, "ts": line["ts"] + 14_400 * i}


def encoded(lines: list[Line] | Iterator[Line]) -> list[bytes]:
    """Lines as they stand in a file."""
    return [json.dumps(line).encode() + b"\n" for line in lines]
