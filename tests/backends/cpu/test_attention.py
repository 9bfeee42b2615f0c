"""One conformance suite for all attention backends, against one softmax in float64; then bit identity."""

import itertools
import random
from dataclasses import replace

import pytest
import torch

from engine.batches import Batch, BatchMaker, attend, piece, plainly
from foreword.backends.cpu.attention import BACKENDS, LayerCall, Span, tiled
from foreword.backends.cpu.attention.tiles import SEGMENT
from foreword.backends.cpu.kernels.attention import ENTRY, TILE
from foreword.backends.cpu.kv_memory import LayerShape

SHAPE = LayerShape(heads=2, key_size=16, value_size=16)
SMALL = LayerShape(heads=1, key_size=16, value_size=16)
IDENTICAL = [name for name, kind in BACKENDS.items() if kind.bit_identical]
LONG = 32 * TILE
"""Tokens of a context of many tiles and segments."""


def assert_conforms(name: str, batch: Batch, call: LayerCall, group: int) -> None:
    out = attend(BACKENDS[name](), batch, call)
    torch.testing.assert_close(out.double(), plainly(batch, call, group), rtol=0, atol=2e-6)
    rows = sum(span.end - span.start for span in batch.spans)
    assert not out[rows:].any(), "padding rows are zero"


def assert_rows_alone(name: str, batch: Batch, call: LayerCall, cuts: int, seed: int = 0) -> None:
    """Every sequence's rows, cut at random, each piece in a step of its own: the same bits as in the batch."""
    backend, rng = BACKENDS[name](), random.Random(seed)
    together = attend(backend, batch, call)
    for number, span in enumerate(batch.spans):
        rows = together[span.row : span.row + span.end - span.start]
        at = sorted({span.start, span.end, *(rng.randrange(span.start, span.end) for _ in range(cuts))})
        for start, end in itertools.pairwise(at):
            alone = attend(backend, piece(batch, number, start, end), call)
            assert torch.equal(alone, rows[start - span.start : end - span.start])


def random_batch(seed: int, shape: LayerShape, group: int, size: int, scattered: bool) -> Batch:
    """Random rows of random sequences, which share nothing."""
    rng, maker = random.Random(seed), BatchMaker(shape, group, size, scattered, seed)
    for _ in range(rng.randrange(1, 6)):
        length = rng.choice([1, 15, 17, 256, 257, rng.randrange(1, 600)])
        maker.add(length, rng.choice([0, length - 1, rng.randrange(length)]))
    return maker.make()


def nested(group: int, scattered: bool) -> BatchMaker:
    """A system prompt, two documents behind it, three turns behind each, some of them as long as nothing; decodes, chunks,
    a whole document that is being read, and somebody who shares only a part of the system prompt."""
    maker = BatchMaker(SHAPE, group, 16, scattered, seed=group)
    first = maker.add(512 + 300, start=512 + 17)
    second = maker.add(512 + 800, start=512 + 800 - 1, like=first, shared=512)
    for document, length in ((first, 512 + 288), (second, 512 + 800)):
        for own, rows in ((1, 1), (40, 40), (300, 3)):
            maker.add(length + own, start=length + own - rows, like=document, shared=length)
    maker.add(480 + 5, start=484, like=first, shared=480)
    maker.add(512 + 1, start=512, like=first, shared=512)
    return maker


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("scattered", [False, True])
@pytest.mark.parametrize("size", [1, 4, 16, 256])
@pytest.mark.parametrize("group", [1, 2, 4, 8])
def test_conformance(name: str, group: int, size: int, scattered: bool) -> None:
    for number, (window, softcap, value_size) in enumerate(
        [(None, None, 16), (40, None, 16), (None, 5.0, 8), (300, 5.0, 24)]
    ):
        shape = LayerShape(heads=2, key_size=16, value_size=value_size)
        batch = random_batch(1000 * number + 100 * group + size, shape, group, size, scattered)
        assert_conforms(name, batch, LayerCall(0, 0.3, window, softcap), group)


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("scattered", [False, True])
@pytest.mark.parametrize("window", [None, 200, 1000, LONG + 300])
def test_contexts_of_many_segments(name: str, scattered: bool, window: int | None) -> None:
    """Long sequences: single rows, chunks across the border of two segments and behind many of them, and rows that share
    many segments and more. Windows leave out leading tiles and segments, for single rows and for chunks."""
    group = 2
    maker = BatchMaker(SMALL, group, 16, scattered)
    first = maker.add(2 * LONG + 700, start=2 * LONG + 690)
    maker.add(LONG + 60, start=LONG - 50, like=first, shared=TILE * 20)
    maker.add(LONG + 600, start=LONG + 599, like=first, shared=LONG + 512)
    maker.add(LONG, start=LONG - 1)
    maker.add(LONG + 1, start=LONG, like=first, shared=LONG)
    maker.add(30, start=0)
    assert_conforms(name, maker.make(), LayerCall(0, 0.3, window), group)


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("window", [1, 255, 256, 257, 700])
def test_windows_over_many_tiles(name: str, window: int) -> None:
    """Chunks of which the first rows see tiles that the last do not, beside rows that see few."""
    group = 2
    maker = BatchMaker(SHAPE, group, 16, scattered=False)
    for length, rows in ((1500, 600), (1500, 1), (1281, 2), (1024, 1024), (1300, 44)):
        maker.add(length, start=length - rows)
    assert_conforms(name, maker.make(), LayerCall(0, 0.3, window), group)


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("scattered", [False, True])
@pytest.mark.parametrize("group", [1, 2, 3, 4, 8])
def test_nested_sharing(name: str, group: int, scattered: bool) -> None:
    for window, softcap in ((None, None), (290, None), (None, 5.0)):
        assert_conforms(name, nested(group, scattered).make(), LayerCall(0, 0.3, window, softcap), group)


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("scattered", [False, True])
def test_many_short_tails_side_by_side(name: str, scattered: bool) -> None:
    """Tails of every length up to beyond 128, more than one product takes, single rows and some chunks among them."""
    group, maker = 2, BatchMaker(SHAPE, 2, 16, scattered)
    head = maker.add(512 + 1, start=512)
    for own in (*range(1, 40), 63, 64, 65, 127, 128, 129, 250, 257):
        rows = own if own % 9 == 0 else 1
        maker.add(512 + own, start=512 + own - rows, like=head, shared=512)
    assert_conforms(name, maker.make(), LayerCall(0, 0.3), group)


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("scattered", [False, True])
def test_keys_and_values_kept_in_bfloat16(name: str, scattered: bool) -> None:
    """What memory keeps is rounded; what is computed from it is as exact as ever."""
    for window in (None, 290):
        assert_conforms(name, nested(2, scattered).make(dtype=torch.bfloat16), LayerCall(0, 0.3, window), 2)


@pytest.mark.parametrize("name", BACKENDS)
def test_scores_that_overflow_their_exponentials(name: str) -> None:
    """Sharp attention: scores in the hundreds, one key with nearly all the weight, in any of the tiles and segments."""
    maker = BatchMaker(SMALL, 2, 16)
    maker.add(LONG + 300, start=LONG + 290)
    maker.add(700, start=600)
    batch = maker.make()
    out = attend(BACKENDS[name](), batch, LayerCall(0, 30.0))
    torch.testing.assert_close(out.double(), plainly(batch, LayerCall(0, 30.0), 2), rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", IDENTICAL)
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("seed", range(6))
def test_bits_do_not_depend_on_chunk_neighbours_or_place(name: str, threads: int, seed: int) -> None:
    """A row alone, with its chunk, and in the packed batch; blocks in a run and scattered."""
    torch.set_num_threads(threads)
    group = [1, 2, 4, 8, 2, 4][seed]
    call = LayerCall(0, 0.3, *[(None, None), (40, None), (None, 5.0), (300, 5.0), (None, None), (256, None)][seed])
    run, scattered = (random_batch(seed, SHAPE, group, 16, scattered=kind) for kind in (False, True))
    assert torch.equal(attend(BACKENDS[name](), scattered, call), attend(BACKENDS[name](), run, call))
    assert_rows_alone(name, run, call, cuts=3, seed=seed)


@pytest.mark.parametrize("name", IDENTICAL)
@pytest.mark.parametrize("group", [1, 2, 3, 8])
def test_bits_do_not_depend_on_who_shares(name: str, group: int) -> None:
    for window, softcap in ((None, None), (290, None), (None, 5.0)):
        for dtype in (torch.float32, torch.bfloat16):
            assert_rows_alone(name, nested(group, scattered=False).make(dtype=dtype), LayerCall(0, 0.3, window, softcap), 2)


@pytest.mark.parametrize("name", IDENTICAL)
@pytest.mark.parametrize("scattered", [False, True])
def test_bits_do_not_depend_on_neighbours_behind_many_segments(name: str, scattered: bool) -> None:
    for window in (None, 1000):
        maker = BatchMaker(SMALL, 2, 16, scattered)
        first = maker.add(LONG + 900, start=LONG - 40)
        maker.add(LONG + 560, start=LONG + 540, like=first, shared=LONG + 512)
        maker.add(LONG + 300, start=LONG + 299, like=first, shared=TILE * 7)
        maker.add(300, start=290)
        assert_rows_alone(name, maker.make(), LayerCall(0, 0.3, window), cuts=2)


@pytest.mark.parametrize("readers", [2, 7, 40])
def test_sequences_that_share_blocks_read_them_together(readers: int) -> None:
    """Shared tiles are read in one product."""
    maker = BatchMaker(SHAPE, 2)
    first = maker.add(512 + 16, start=512 + 15)
    for _ in range(readers - 1):
        maker.add(512 + 16, start=512 + 15, like=first, shared=512)
    batch, backend = maker.make(), BACKENDS["tiled"]()
    prepared = backend.prepare(batch.spans, batch.rows, batch.memory)
    begins = prepared.entries[:, ENTRY.index("begin")].tolist()
    assert begins == [0, TILE, *[2 * TILE] * readers]
    assert prepared.entries[:2, ENTRY.index("rows")].tolist() == [readers, readers]
    assert_rows_alone("tiled", batch, LayerCall(0, 0.3), cuts=0)


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("ends", [(45, 41), (41, 45), (300, 290, 45)])
def test_sequences_that_end_in_the_same_block(name: str, ends: tuple[int, ...]) -> None:
    """A tile that is read by one to here and by another to there."""
    maker = BatchMaker(SHAPE, 2)
    maker.add(max(ends), start=max(ends) - 1)
    whole = maker.make()
    table, keys, values = whole.spans[0].table, whole.keys[0], whole.values[0]
    spans = [Span(row, end - 1, end, table[: -(-end // 16)]) for row, end in enumerate(ends)]
    rows = len(ends) + len(ends) % 2
    batch = Batch(
        whole.memory,
        spans,
        rows,
        [keys[:, :end] for end in ends],
        [values[:, :end] for end in ends],
        torch.randn(4, rows, 16),
    )
    assert_conforms(name, batch, LayerCall(0, 0.3), 2)


@pytest.mark.parametrize("name", BACKENDS)
def test_a_batch_without_rows_that_see_anything_is_zero(name: str) -> None:
    maker = BatchMaker(SHAPE, 2)
    maker.add(5, start=4)
    batch = maker.make()
    assert batch.rows == 2
    assert not attend(BACKENDS[name](), batch, LayerCall(0, 0.3))[1].any()


@pytest.mark.parametrize("window", [None, 1500])
def test_segments_gone_through_in_turns_give_the_same_bits(monkeypatch: pytest.MonkeyPatch, window: int | None) -> None:
    """A context so long that its partial results are not held at once."""
    maker = BatchMaker(SHAPE, 2)
    first = maker.add(5 * SEGMENT + 300, start=5 * SEGMENT + 290)
    maker.add(3 * SEGMENT + 20, start=3 * SEGMENT - 10, like=first, shared=2 * SEGMENT)
    maker.add(30, start=0)
    batch, call = maker.make(), LayerCall(0, 0.3, window)
    at_once = attend(BACKENDS["tiled"](), batch, call)
    monkeypatch.setattr(tiled, "STATE_BYTES", 1)
    assert torch.equal(attend(BACKENDS["tiled"](), batch, call), at_once)


def test_a_query_need_not_be_contiguous() -> None:
    batch, call = nested(2, False).make(), LayerCall(0, 0.3)
    expected = attend(BACKENDS["tiled"](), batch, call)
    strided = torch.stack([batch.query, batch.query], -1)[..., 0]
    assert strided.stride(-1) == 2
    assert torch.equal(attend(BACKENDS["tiled"](), replace(batch, query=strided), call), expected)
