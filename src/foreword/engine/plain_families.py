"""How families of models differ from Llama, in a table: what the plain model computes without transformers' code.

transformers' own modelling code says the same of each at length; tests compare the two.
"""

from dataclasses import dataclass, replace
from typing import Literal

Gate = Literal["silu", "gelu"]
"""The activation of the gated part; gelu is that by tanh."""
FIRST, SECOND = "input_layernorm", "post_attention_layernorm"


@dataclass(frozen=True)
class PlainFamily:
    """One family.

    before, behind
        Norms of a layer by their names: of what goes into attention and into the gated part, and of what comes out of each.
    head_norms
        Of queries and keys: none, of each head, or of all heads together.
    joined
        Whether queries, keys and values are one linear layer, and gate and up another.
    norm_offset
        What is added to the weights of norms.
    gate
        The activation.
    scaled_embedding
        Whether rows of the embedding are multiplied by the root of their width.
    """

    before: tuple[str | None, str | None] = (FIRST, SECOND)
    behind: tuple[str | None, str | None] = (None, None)
    head_norms: Literal["none", "each", "all"] = "none"
    joined: bool = False
    norm_offset: float = 0.0
    gate: Gate = "silu"
    scaled_embedding: bool = False

    @property
    def norms(self) -> tuple[str, ...]:
        """Their names, those of heads among them."""
        heads = () if self.head_norms == "none" else ("self_attn.q_norm", "self_attn.k_norm")
        return tuple(name for name in (*self.before, *self.behind, *heads) if name is not None)

    @property
    def linear(self) -> tuple[str, ...]:
        """Names of the linear layers of a layer."""
        if self.joined:
            return ("self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj")
        return (
            *(f"self_attn.{name}_proj" for name in ("q", "k", "v", "o")),
            *(f"mlp.{name}_proj" for name in ("gate", "up", "down")),
        )


GEMMA = PlainFamily(norm_offset=1.0, gate="gelu", scaled_embedding=True)
GEMMA_2 = replace(GEMMA, before=(FIRST, "pre_feedforward_layernorm"), behind=(SECOND, "post_feedforward_layernorm"))
PLAIN_FAMILIES: dict[str, PlainFamily] = {
    "llama": PlainFamily(),
    "mistral": PlainFamily(),
    "qwen2": PlainFamily(),
    "qwen3": PlainFamily(head_norms="each"),
    "smollm3": PlainFamily(),
    "granite": PlainFamily(),
    "phi3": PlainFamily(joined=True),
    "gemma": GEMMA,
    "gemma2": GEMMA_2,
    "gemma3_text": replace(GEMMA_2, head_norms="each"),
    "olmo2": PlainFamily(before=(None, None), behind=(SECOND, "post_feedforward_layernorm"), head_norms="all"),
}
"""By transformers' names."""
