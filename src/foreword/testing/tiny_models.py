"""Tiny random models of several families, written in Hugging Face layout. Needs torch and transformers."""

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers import models as tokenizer_models

VOCAB = 320
COMMON: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 1024,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
    "initializer_range": 0.2,
}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "mistral": ("Mistral", {"sliding_window": 40}),
    "qwen2": ("Qwen2", {"use_sliding_window": True, "sliding_window": 40, "max_window_layers": 1}),
    "qwen3": ("Qwen3", {}),
    "gemma": ("Gemma", {}),
    "gemma2": ("Gemma2", {"sliding_window": 40, "query_pre_attn_scalar": 16, "attn_logit_softcapping": 5.0}),
    "gemma3": ("Gemma3", {"sliding_window": 40, "query_pre_attn_scalar": 16}),
    "phi3": ("Phi3", {"sliding_window": 40}),
}
"""Family → class prefix in transformers and options beside COMMON. Windows are short so that prompts outgrow them."""

TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)


def write_tokenizer(path: Path) -> None:
    """Write a byte-level tokenizer with <s> and </s>, and a chat template."""
    tokenizer = Tokenizer(tokenizer_models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the quick brown fox jumps over the lazy dog " * 3], trainer)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    fast.chat_template = TEMPLATE
    fast.save_pretrained(path)


def write_model(path: Path, family: str, **options: Any) -> Path:
    """Write a model with seeded random weights; returns its directory.

    ``family`` is one of FAMILIES, or what the names of transformers' classes begin with.
    """
    prefix, own = FAMILIES.get(family, (family, {}))
    name = f"{prefix}TextConfig" if family == "gemma3" else f"{prefix}Config"
    config = getattr(transformers, name)(**{**COMMON, **own, **options})
    torch.manual_seed(7)
    written = getattr(transformers, f"{prefix}ForCausalLM")(config).float()
    with torch.no_grad():
        for key, weight in written.named_parameters():
            if "norm" in key:
                weight.normal_(0.0 if family.startswith("gemma") else 1.0, 0.1)
    written.save_pretrained(path)
    write_tokenizer(path)
    return path
