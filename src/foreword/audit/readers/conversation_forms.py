"""Conversations as observers write them down, made a body that a vendor's reader knows."""

from typing import Any

from foreword.audit.readers.body import dialect, missing_role
from foreword.audit.readers.values import mapping, opened
from foreword.prompt.vendor_forms.blocks import as_json

ROLES = {"human": "user", "ai": "assistant", "AIMessageChunk": "assistant", "model": "assistant", "function": "tool"}


def body_of(given: Any) -> dict[str, Any] | None:
    """A body in chat form from a body, a list of messages (also LangChain's, also lists of lists), or a text; None else."""
    if isinstance(given, str):
        return {"messages": [{"role": "user", "content": given}]} if given else None
    if isinstance(given, dict):
        form = dialect(given)
        if form is not None and missing_role(given, form) is None:
            return dict(given)
        if isinstance(given.get("messages"), list):
            inner = body_of(given["messages"])
            return None if inner is None else {**given, **inner}
        if isinstance(given.get("prompts"), list) and given["prompts"]:
            return body_of(str(given["prompts"][0]))
        return None
    if not isinstance(given, list) or not given:
        return None
    if isinstance(given[0], list):
        return body_of(given[0])
    messages = [message_of(one) for one in given]
    return {"messages": messages} if all(message is not None for message in messages) else None


def message_of(given: Any) -> dict[str, Any] | None:
    """A message in chat form; None for what is none."""
    if isinstance(given, tuple | list) and len(given) == 2:
        return {"role": ROLES.get(str(given[0]), str(given[0])), "content": given[1]}
    told = mapping(given)
    inner = mapping(told.get("kwargs")) or mapping(told.get("data"))
    if inner and "content" in inner:
        told = {"type": _constructed(told), **inner}
    if "parts" in told:
        return _of_parts(told)
    role = told.get("role") or (told.get("type") if "content" in told else None)
    if not isinstance(role, str):
        return None
    message = {key: value for key, value in told.items() if key in ("content", "tool_call_id", "name", "cache_control")}
    message["role"] = ROLES.get(role, role)
    calls = told.get("tool_calls") or mapping(told.get("additional_kwargs")).get("tool_calls")
    if isinstance(calls, list) and calls:
        message["tool_calls"] = [_call(call) for call in calls]
    return message


def _constructed(told: Any) -> Any:
    """The role of a LangChain message by its class: ``[..., "HumanMessage"]``."""
    path = told.get("id")
    name = str(path[-1]) if isinstance(path, list) and path else str(told.get("type"))
    return (
        name.removesuffix("Chunk").removesuffix("Message").lower()
        if name.endswith(("Message", "Chunk"))
        else told.get("type")
    )


def _call(call: Any) -> Any:
    """A call as the chat API has it; LangChain and inspect write name and arguments beside the id."""
    if not isinstance(call, dict) or isinstance(call.get("function"), dict):
        return call
    name = call.get("name") or call.get("function")
    arguments = call.get("args", call.get("arguments"))
    text = arguments if isinstance(arguments, str) else as_json(arguments)
    return {"id": call.get("id"), "type": "function", "function": {"name": name, "arguments": text}}


def _of_parts(told: Any) -> dict[str, Any]:
    """A message of parts, as OpenTelemetry's conventions have it."""
    role = str(told.get("role") or "user")
    texts: list[Any] = []
    calls: list[Any] = []
    call_id = None
    for part in opened(told["parts"]) if isinstance(opened(told["parts"]), list) else ():
        part = mapping(part)
        kind = part.get("type")
        if kind == "tool_call":
            calls.append(_call({"id": part.get("id"), "name": part.get("name"), "arguments": part.get("arguments")}))
        elif kind == "tool_call_response":
            call_id = part.get("id")
            result = part.get("response", part.get("result"))
            texts.append({"type": "text", "text": result if isinstance(result, str) else as_json(result)})
        elif kind in ("text", "reasoning"):
            said = part.get("content")
            texts.append({"type": "text", "text": said if isinstance(said, str) else as_json(said)})
        else:
            texts.append(dict(part))
    message = {"role": ROLES.get(role, role), "content": texts}
    if calls:
        message["tool_calls"] = calls
    if call_id is not None:
        message |= {"role": "tool", "tool_call_id": call_id}
    return message
