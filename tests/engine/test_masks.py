"""What tokens see is read from transformers' own masks."""

import pytest
import torch
from transformers.masking_utils import (
    and_masks,
    bidirectional_mask_function,
    causal_mask_function,
    chunked_causal_mask_function,
    or_masks,
    sliding_window_causal_mask_function,
)

from foreword.engine.masks import MaskFunction, Sight, mask_of, sight_of


def skipping(batch: torch.Tensor, head: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """Every third token is not seen."""
    return (key % 3 != 2) | (key == query) | (batch + head < 0)


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (causal_mask_function, Sight()),
        (sliding_window_causal_mask_function(1), Sight(window=1)),
        (sliding_window_causal_mask_function(40), Sight(window=40)),
        (sliding_window_causal_mask_function(4096), Sight(window=4096)),
        (sliding_window_causal_mask_function(9000), Sight()),
        (chunked_causal_mask_function(48, torch.zeros(1, dtype=torch.long)), Sight(chunk=48)),
        (bidirectional_mask_function, None),
        (and_masks(causal_mask_function, skipping), None),
        (or_masks(causal_mask_function, lambda _, __, query, key: (query < 9) & (key < 9)), None),
        (and_masks(causal_mask_function, lambda _, __, query, key: query > key), None),
    ],
)
def test_a_mask_is_all_or_a_window_or_a_chunk_or_unknown(mask: MaskFunction, expected: Sight | None) -> None:
    assert sight_of(mask, 9000) == expected
    if expected is not None:
        query, key = torch.arange(60)[:, None], torch.arange(60)[None]
        assert torch.equal(mask_of(mask, 60, 60)[0, 0], expected.sees(query, key))
