"""What becomes of the fields of OpenAI's API, and of its kin, that the schemas do not have; see ``server/body.py``.

Read from the vendor's SDK (openai 3.54, and what 3.57 added), from the references of vLLM, llama.cpp, LiteLLM and
OpenRouter, and from what agents send.
"""

from typing import Any

from foreword.server.body import Fields

_CLIENT = "says something about the client and nothing about the answer"
_CALLERS = "tools are called by the model alone"
_MARK = "another vendor's mark; every prefix is cached"
_ELSEWHERE = "what another server said beside an earlier answer"

_TAKEN = {
    "access_programs": "there are no access programs here",
    "cache_prompt": "prompts are always cached",
    "caching": "prompts are always cached",
    "client_metadata": _CLIENT,
    "guided_decoding_backend": "one library keeps all forms of answers",
    "id_slot": "there are no slots",
    "keep_alive": "the model stays loaded",
    "kv_transfer_params": "no KV is transferred",
    "max_tool_calls": "there are no built-in tools whose calls could be counted",
    "mm_processor_kwargs": "the model reads text",
    "priority": "requests are taken as they come",
    "provider": "this server is the only one",
    "request_id": "the server names requests",
    "session_id": "sharing goes by tokens",
    "stream_options.chunk_include_usage": "the usage is told at the end",
    "stream_options.continuous_usage_stats": "the usage is told at the end",
    "stream_options.include_obfuscation": "events are not padded",
    "timings_per_token": "times are in the metrics",
    "usage": "the usage is always told",
}
_LABELS = {
    "metadata": _CLIENT,
    "safety_identifier": _CLIENT,
    "service_tier": "every request is served alike",
    "store": "answers of this endpoint are not kept",
    "user": _CLIENT,
}
_TOOL = {
    "allowed_callers": _CALLERS,
    "async": "the client runs its tools as it likes",
    "cache_control": _MARK,
    "defer_loading": "every tool stands in the prompt",
    "output_schema": "what a tool gives is taken as it comes",
}

_REFUSED = {
    "add_special_tokens": "the tokenizer's own rule holds",
    "allowed_token_ids": "use structured output to say what may be written",
    "audio": "the model reads and writes text",
    "bad_words": "use structured output to say what may be written",
    "best_of": "ask for n and choose",
    "chat_template": "the model's own is used; chat_template_kwargs are handed to it",
    "documents": "put them into the messages",
    "extra_body": "its fields belong into the body itself, where the SDK puts them",
    "function_call": "use tool_choice",
    "functions": "use tools",
    "image": "the model reads and writes text",
    "length_penalty": "there is no beam search",
    "logit_bias": "the logits are the model's own",
    "logits_processors": "the logits are the model's own",
    "models": "name one as model",
    "moderation": "nothing is moderated here",
    "spaces_between_special_tokens": "special tokens are written as the tokenizer writes them",
    "suffix": "the model continues a text; it does not fill gaps",
    "truncate_prompt_tokens": "prompts are never cut; shorten it",
    "use_beam_search": "use n and temperature",
}
_NAMES_OF_LIMIT = ("max_completion_tokens", "max_new_tokens", "max_output_tokens", "max_tokens", "n_predict", "num_predict")
_NOTHING = {
    "background": False,
    "best_of": 1,
    "deferred": False,
    "detokenize": True,
    "dry_multiplier": 0,
    "dynatemp_range": 0,
    "early_stopping": False,
    "function_call": "none",
    "include_reasoning": True,
    "length_penalty": 1.0,
    "logit_bias": 0,
    "min_keep": 0,
    "mirostat": 0,
    "n_probs": 0,
    "no_repeat_ngram_size": 0,
    "no_stop_trim": False,
    "repeat_penalty": 1.0,
    "return_hidden_states": False,
    "return_token_ids": False,
    "safe_prompt": False,
    "separate_reasoning": True,
    "smoothing_factor": 0,
    "spaces_between_special_tokens": True,
    "tfs_z": 1.0,
    "top_a": 0,
    "top_n_sigma": -1,
    "typical_p": 1.0,
    "use_beam_search": False,
    "xtc_probability": 0,
}

_PENALTIES = {"repeat_penalty": 1.0, "presence_penalty": 0, "frequency_penalty": 0}
_DRY = {"dry_multiplier": 0}
_MIROSTAT = {"mirostat": 0}
_COMPANIONS: dict[str, dict[str, Any]] = {
    "dry_allowed_length": _DRY,
    "dry_base": _DRY,
    "dry_penalty_last_n": _DRY,
    "dry_sequence_breakers": _DRY,
    "dynatemp_exponent": {"dynatemp_range": 0},
    "mirostat_eta": _MIROSTAT,
    "mirostat_tau": _MIROSTAT,
    "penalize_nl": _PENALTIES,
    "penalty_last_n": _PENALTIES,
    "repeat_last_n": _PENALTIES,
    "smoothing_curve": {"smoothing_factor": 0},
    "truncation_side": {"truncate_prompt_tokens": None},
    "xtc_threshold": {"xtc_probability": 0},
}


def _limit(*names: str) -> dict[str, str]:
    """Of other endpoints and servers what says how long an answer may be: the names that it has in this one."""
    return {name: f"this endpoint calls it {names[0]}" for name in _NAMES_OF_LIMIT if name not in names}


CHAT = Fields(
    taken={
        **_TAKEN,
        **_LABELS,
        **{f"tools.{name}": why for name, why in _TOOL.items()},
        "messages.annotations": _ELSEWHERE,
        "messages.cache_control": _MARK,
        "messages.content.annotations": _ELSEWHERE,
        "messages.content.cache_control": _MARK,
        "messages.content.logprobs": _ELSEWHERE,
        "messages.id": _ELSEWHERE,
        "messages.parsed": "the content once more, as an object",
        "messages.provider_specific_fields": _ELSEWHERE,
        "messages.reasoning_details": "what another model thought, in its server's own form",
        "messages.thinking_blocks": "what another model thought, in its server's own form",
        "messages.tool_calls.function.parsed_arguments": "the arguments once more, as an object",
        "messages.tool_calls.function.provider_specific_fields": _ELSEWHERE,
        "messages.tool_calls.index": "its place in an earlier stream",
        "messages.tool_calls.provider_specific_fields": _ELSEWHERE,
        "tools.function.cache_control": _MARK,
        "verbosity": "a wish to hosted models; say in the prompt how long the answer should be",
        "web_search_options": "there is no web search",
    },
    refused={
        **_REFUSED,
        **_limit("max_tokens", "max_completion_tokens"),
        "background": "an answer is given in the request that asks for it",
        "enable_thinking": "hand it to the chat template, in chat_template_kwargs",
        "input": "this endpoint calls it messages",
        "instructions": "say it in a message of the role system",
        "prompt": "this endpoint calls it messages",
        "reasoning": "this endpoint has its effort in reasoning_effort",
    },
    nothing={**_NOTHING, "add_special_tokens": False, "echo": False},
    companions=_COMPANIONS,
    kinds={"tools": ("function",)},
)
COMPLETIONS = Fields(
    taken={**_TAKEN, **_LABELS},
    refused={
        **_REFUSED,
        **_limit("max_tokens"),
        "continue_final_message": "a completion goes on with its prompt",
        "input": "this endpoint calls it prompt",
        "instructions": "say it at the beginning of the prompt",
        "messages": "use /v1/chat/completions",
        "reasoning_effort": "use /v1/chat/completions",
        "tool_choice": "use /v1/chat/completions",
        "tools": "use /v1/chat/completions",
        "top_logprobs": "this endpoint has their count in logprobs",
    },
    nothing={
        **_NOTHING,
        "add_generation_prompt": True,
        "add_special_tokens": True,
        "continue_final_message": False,
        "tool_choice": "none",
        "top_logprobs": 0,
    },
    companions=_COMPANIONS,
)
RESPONSES = Fields(
    taken={
        **_TAKEN,
        **{f"tools.{name}": why for name, why in _TOOL.items()},
        **{f"tools.tools.{name}": why for name, why in _TOOL.items()},
        "background_options": "an answer is given in the request that asks for it",
        "context_management": "the conversation is taken as it is sent; nothing is compacted",
        "image": "the model reads text; there is no image to compress",
        "input.async": "the client runs its tools as it likes",
        "input.caller": _CALLERS,
        "input.content.annotations": _ELSEWHERE,
        "input.content.cache_control": _MARK,
        "input.content.logprobs": _ELSEWHERE,
        "input.id": "a name of an earlier answer",
        "input.phase": "a word of hosted models about an earlier answer",
        "input.status": "how an earlier answer ended",
        "reasoning.context": "the chat template decides which earlier reasoning is read",
        "reasoning.generate_summary": "reasoning is not summarized",
        "reasoning.mode": "there is one mode",
        "reasoning.summary": "reasoning is not summarized",
        "stream_options.include_usage": "the usage is told at the end",
        "text.verbosity": "a wish to hosted models; say in the prompt how long the answer should be",
        "truncation": "nothing is cut; a prompt that is too long is refused",
    },
    refused={
        **{name: why for name, why in _REFUSED.items() if name != "image"},
        **_limit("max_output_tokens"),
        "background": "an answer is given in the request that asks for it",
        "continue_final_message": "use /v1/chat/completions",
        "conversation": "send the messages, or previous_response_id",
        "messages": "this endpoint calls it input",
        "prompt": "there are no stored prompts here; send instructions and input",
        "reasoning_effort": "this endpoint has it in reasoning.effort",
        "response_format": "this endpoint has it in text.format",
    },
    nothing={**_NOTHING, "add_generation_prompt": True, "continue_final_message": False, "echo": False, "n": 1},
    companions=_COMPANIONS,
    kinds={"tools": ("function", "namespace"), "tools.tools": ("function",)},
    skipped={"input": ("mcp_list_tools", "web_search_call")},
)
