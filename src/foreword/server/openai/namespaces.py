"""Tools of a namespace: under which names the model knows them, and back.

A function has the name that its client gave it, unless another one has it too: then its namespace stands before it.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from foreword.server.openai.responses_schema import AnyTool, NamespaceTool, ResponseTool
from foreword.serving.neutral import Namespaced

BETWEEN = "__"


class OfferedTools:
    """The functions of a request as the model is told of them.

    functions
        In the order of the request, those of namespaces among them.
    namespaces
        By the name that the model knows, those of a namespace.
    """

    def __init__(self, tools: Sequence[AnyTool]):
        self.functions: list[ResponseTool] = []
        self.namespaces: dict[str, Namespaced] = {}
        groups = (tool.tools if isinstance(tool, NamespaceTool) else [tool] for tool in tools)
        often = Counter(function.name for group in groups for function in group)
        for tool in tools:
            if not isinstance(tool, NamespaceTool):
                self.functions.append(tool)
                continue
            for number, inner in enumerate(tool.tools):
                name = inner.name if often[inner.name] == 1 else f"{tool.name}{BETWEEN}{inner.name}"
                self.namespaces[name] = Namespaced(tool.name, inner.name)
                described = {"description": _described(tool, inner)} if number == 0 and tool.description else {}
                self.functions.append(inner.model_copy(update={"name": name, **described}))
        self._names: dict[tuple[Any, Any], str] = {
            (known.namespace, known.name): name for name, known in self.namespaces.items()
        }

    def readable(self, items: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        """Items of a conversation in the forms that make messages, calls under the names that the model knows.

        A call of a tool that takes a text, which another model made, is one of a function with that as ``input``.
        """
        for item in items:
            kind, name = item.get("type"), item.get("name")
            if kind == "function_call":
                yield {**item, "name": self._names.get((item.get("namespace"), name), name)}
            elif kind == "custom_tool_call":
                arguments = json.dumps({"input": item["input"]}, ensure_ascii=False)
                yield {"type": "function_call", "call_id": item["call_id"], "name": name, "arguments": arguments}
            elif kind == "custom_tool_call_output":
                yield {**item, "type": "function_call_output"}
            else:
                yield item


def _described(group: NamespaceTool, first: ResponseTool) -> str:
    """What the first function of a group says, behind what the group says of all of them."""
    return "\n\n".join(filter(None, (f"{group.name}: {group.description}", first.description)))
