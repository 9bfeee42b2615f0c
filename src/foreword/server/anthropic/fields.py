"""What becomes of the fields of Anthropic's API that the schemas do not have; see ``server/body.py``.

Read from the vendor's SDK (anthropic 2.12, its beta types included), and from what agents send.
"""

from foreword.server.body import Fields

_CALLERS = "tools are called by the model alone"
_PRICE = "nothing is billed here"
_SCOPE = "with whom a prefix is shared is decided by this server"
_ELSEWHERE = "what another server said beside an earlier answer"

_PROMPT = {
    "anthropic_beta": "what is served is served without them",
    "anthropic_version": "there is one version",
    "betas": "what is served is served without them",
    "cache_control.scope": _SCOPE,
    "context_management": "the conversation is taken as it is sent; nothing is cleared or compacted",
    "inference_geo": "the model runs where this server runs",
    "messages.content.cache_control.scope": _SCOPE,
    "messages.content.caller": _CALLERS,
    "messages.content.citations": _ELSEWHERE,
    "messages.content.content.cache_control.scope": _SCOPE,
    "messages.content.content.citations": _ELSEWHERE,
    "messages.content.toolset_name": _ELSEWHERE,
    "messages.id": "a name of an earlier answer",
    "output_config.effort": "a wish to hosted models",
    "output_config.task_budget": "a wish to hosted models",
    "speed": "there is one speed",
    "system.cache_control.scope": _SCOPE,
    "system.citations": _ELSEWHERE,
    "tools.allowed_callers": _CALLERS,
    "tools.cache_control.scope": _SCOPE,
    "tools.defer_loading": "every tool stands in the prompt",
    "tools.eager_input_streaming": "a tool's input comes as the model writes it",
    "user_profile_id": "there are no user profiles",
    "workspace_id": "there are no workspaces; the API key says who asks",
}
_REFUSED = {
    "compaction": "ask for a summary in a message of the user",
    "container": "there is no code execution here",
    "mcp_servers": "tools are run by the client",
    "prompt": "this endpoint calls it messages",
    "response_format": "this endpoint has it in output_config.format",
    "stop": "this endpoint calls it stop_sequences",
}

_KINDS = {"tools": ("custom",)}

_COUNTED = "only the prompt is counted"

COUNT_TOKENS = Fields(
    taken={
        **_PROMPT,
        "billing_policy": _PRICE,
        "diagnostics": _COUNTED,
        "fallback_credit_token": _PRICE,
        "fallbacks": _COUNTED,
        "max_tokens": _COUNTED,
        "metadata": "says something about the client",
        "service_tier": _COUNTED,
        "stop_sequences": _COUNTED,
        "stream": _COUNTED,
        "temperature": _COUNTED,
        "top_k": _COUNTED,
        "top_p": _COUNTED,
    },
    refused=_REFUSED,
    kinds=_KINDS,
)
MESSAGES = Fields(
    taken={
        **_PROMPT,
        "billing_policy": _PRICE,
        "fallback_credit_token": _PRICE,
        "fallbacks": "this server has one model, which refuses nothing by a policy",
        "metadata": "says something about the client",
        "service_tier": "every request is served alike",
    },
    refused=_REFUSED,
    kinds=_KINDS,
)
