"""Units of work of a product: whatever the rows, panels and threads, each panel is computed, and once."""

import pytest
import torch

from foreword.backends.cpu.formats import weight_format
from foreword.backends.cpu.kernels.target import Target, targets
from foreword.backends.cpu.kernels.tiles import FEW_ROWS, LONG, PANEL, TOGETHER, TURNS, items_of, panels_of

INSIDE = 32
MANY = TOGETHER * LONG * (TURNS + 1)
"""Panels, of which a thread alone makes more units than its turns."""


@pytest.mark.parametrize("target", targets(), ids=lambda target: target.path)
@pytest.mark.parametrize("name", ["int8", "q4_0"])
@pytest.mark.parametrize("rows", [1, 3, FEW_ROWS - 1, FEW_ROWS])
def test_each_panel_is_computed(target: Target, name: str, rows: int) -> None:
    format = weight_format(name, target)
    random = torch.Generator().manual_seed(rows)
    most = torch.randn(MANY * PANEL, INSIDE, generator=random)
    given = torch.randn(rows, INSIDE, generator=random)
    for panels in (*range(1, 20), 37, MANY - 1, MANY):
        packed = format.pack(most[: panels * PANEL])
        out = torch.full((rows, panels * PANEL), torch.nan)
        for call in format.calls(given, (panels * PANEL, INSIDE), packed.parts, out):
            call.run()
        lone = [torch.empty(1, panels * PANEL) for _ in range(rows)]
        for row, into in zip(given, lone, strict=True):
            for call in format.calls(row[None], (panels * PANEL, INSIDE), packed.parts, into):
                call.run()
        assert torch.equal(out, torch.cat(lone))
        assert (out - given @ format.rows(packed, torch.arange(panels * PANEL)).T).abs().max() < 0.2


@pytest.mark.parametrize("threads", [1, 2, 7, 64])
def test_units_of_few_rows_are_few_and_of_many_rows_small(threads: int) -> None:
    for panels in (1, 2, 36, 192, 3072):
        pairs = panels_of(panels * PANEL) // 2 + panels % 2
        assert items_of(panels, FEW_ROWS, threads) == pairs
        few = items_of(panels, 1, threads)
        assert min(pairs, threads) <= few <= min(pairs, max(TURNS * threads, pairs // LONG))
