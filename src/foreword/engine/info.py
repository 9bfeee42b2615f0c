"""What never changes while an engine runs: plain values that can be kept, compared and sent. Imports no torch."""

from dataclasses import dataclass

from foreword.cache import ModelFingerprint, Usage
from foreword.sampling_params import SamplingParams


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """An engine in figures.

    max_model_len
        Longest prompt and answer together, in tokens.
    bytes_per_token
        Of KV memory, in all layers together.
    prefix_caching
        Whether prefixes are shared between requests at all.
    end_token_ids
        With which the model ends an answer.
    fingerprint
        All that the bits of a block depend on besides its tokens.
    default_sampling
        What a request to a server is sampled with where it says nothing.
    """

    model_name: str
    max_model_len: int
    vocab_size: int
    num_blocks: int
    block_size: int
    bytes_per_token: float
    max_num_seqs: int
    prefix_caching: bool
    end_token_ids: frozenset[int]
    fingerprint: ModelFingerprint
    default_sampling: SamplingParams = SamplingParams()

    @property
    def cache_tokens(self) -> int:
        """Tokens whose KV can be kept at a time."""
        return self.num_blocks * self.block_size


@dataclass(frozen=True, slots=True)
class EngineState:
    """An engine between two steps: requests running and waiting, preemptions so far, and the cache's blocks.

    draft_faults
        How often a drafter has raised, or proposed what is no token.
    """

    running: int
    waiting: int
    preemptions: int
    usage: Usage
    draft_faults: int = 0
