"""One conformance suite for the attention of all backends, against one softmax in float64; then bit identity."""

import itertools
import random
from dataclasses import replace

import pytest
import torch

from backends.batches import Batch, BatchMaker, attend, piece, plainly
from foreword.backends.base import LayerCall, LayerShape, Span, slots_of
from foreword.backends.cpu.attention.tiled import TiledAttention
from foreword.backends.cpu.attention.tiles import SEGMENT
from foreword.backends.cpu.kernels.attention import ENTRY
from foreword.backends.cpu.kernels.softmax import TILE
from foreword.backends.cpu.kernels.target import best_target, targets
from foreword.backends.registry import BACKENDS, KV_DTYPES, make_backend

SHAPE = LayerShape(heads=2, key_size=16, value_size=16)
SMALL = LayerShape(heads=1, key_size=16, value_size=16)
IDENTICAL = [name for name in BACKENDS if make_backend(name, 16).attention.bit_identical]
LONG = 32 * TILE
"""Tokens of a context of many tiles and segments."""


def assert_conforms(batch: Batch, call: LayerCall, group: int, within: float = 2e-6) -> None:
    out = attend(batch, call)
    torch.testing.assert_close(out.double(), plainly(batch, call, group), rtol=0, atol=within)
    rows = sum(span.end - span.start for span in batch.spans)
    assert not out[rows:].any(), "padding rows are zero"


def assert_rows_alone(batch: Batch, call: LayerCall, cuts: int, seed: int = 0) -> None:
    """Every sequence's rows, cut at random, each piece in a step of its own: the same bits as in the batch."""
    rng = random.Random(seed)
    together = attend(batch, call)
    for number, span in enumerate(batch.spans):
        rows = together[span.row : span.row + span.end - span.start]
        at = sorted({span.start, span.end, *(rng.randrange(span.start, span.end) for _ in range(cuts))})
        for start, end in itertools.pairwise(at):
            alone = attend(piece(batch, number, start, end), call)
            assert torch.equal(alone, rows[start - span.start : end - span.start])


def random_batch(name: str, seed: int, shape: LayerShape, group: int, size: int, scattered: bool) -> Batch:
    """Random rows of random sequences, which share nothing."""
    rng, maker = random.Random(seed), BatchMaker(shape, group, size, scattered, seed)
    for _ in range(rng.randrange(1, 6)):
        length = rng.choice([1, 15, 17, 256, 257, rng.randrange(1, 600)])
        maker.add(length, rng.choice([0, length - 1, rng.randrange(length)]))
    return maker.make(name)


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
        batch = random_batch(name, 1000 * number + 100 * group + size, shape, group, size, scattered)
        assert_conforms(batch, LayerCall(0, 0.3, window, softcap), group)


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
    assert_conforms(maker.make(name), LayerCall(0, 0.3, window), group)


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("window", [1, 255, 256, 257, 700])
def test_windows_over_many_tiles(name: str, window: int) -> None:
    """Chunks of which the first rows see tiles that the last do not, beside rows that see few."""
    group = 2
    maker = BatchMaker(SHAPE, group, 16, scattered=False)
    for length, rows in ((1500, 600), (1500, 1), (1281, 2), (1024, 1024), (1300, 44)):
        maker.add(length, start=length - rows)
    assert_conforms(maker.make(name), LayerCall(0, 0.3, window), group)


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("scattered", [False, True])
@pytest.mark.parametrize("group", [1, 2, 3, 4, 8])
def test_nested_sharing(name: str, group: int, scattered: bool) -> None:
    for window, softcap in ((None, None), (290, None), (None, 5.0)):
        assert_conforms(nested(group, scattered).make(name), LayerCall(0, 0.3, window, softcap), group)


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("scattered", [False, True])
def test_many_short_tails_side_by_side(name: str, scattered: bool) -> None:
    """Tails of every length up to beyond 128, more than one product takes, single rows and some chunks among them."""
    group, maker = 2, BatchMaker(SHAPE, 2, 16, scattered)
    head = maker.add(512 + 1, start=512)
    for own in (*range(1, 40), 63, 64, 65, 127, 128, 129, 250, 257):
        rows = own if own % 9 == 0 else 1
        maker.add(512 + own, start=512 + own - rows, like=head, shared=512)
    assert_conforms(maker.make(name), LayerCall(0, 0.3), group)


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("kv_dtype", ["bfloat16", "int8"])
@pytest.mark.parametrize("scattered", [False, True])
def test_keys_and_values_kept_in_less(name: str, kv_dtype: str, scattered: bool) -> None:
    """What memory keeps is rounded; what is computed from it is as exact as ever, or by whole numbers of 16 bits."""
    within = 2e-4 if kv_dtype == "int8" else 2e-6
    for window in (None, 290):
        assert_conforms(nested(2, scattered).make(name, kv_dtype), LayerCall(0, 0.3, window), 2, within)


@pytest.mark.parametrize("name", BACKENDS)
def test_scores_that_overflow_their_exponentials(name: str) -> None:
    """Sharp attention: scores in the hundreds, one key with nearly all the weight, in any of the tiles and segments."""
    maker = BatchMaker(SMALL, 2, 16)
    maker.add(LONG + 300, start=LONG + 290)
    maker.add(700, start=600)
    batch = maker.make(name)
    out = attend(batch, LayerCall(0, 30.0))
    torch.testing.assert_close(out.double(), plainly(batch, LayerCall(0, 30.0), 2), rtol=0, atol=1e-3)


@pytest.mark.parametrize("kv_dtype", KV_DTYPES)
@pytest.mark.parametrize("shape", [LayerShape(1, 17, 20), LayerShape(1, 64, 64), LayerShape(1, 576, 512)])
@pytest.mark.parametrize("size", [16, 4])
def test_every_path_gives_the_same_bits(kv_dtype: str, shape: LayerShape, size: int) -> None:
    """Odd sizes, blocks of no whole panels, and as many numbers as sums of 32 bits hold only of coarser queries."""
    maker = BatchMaker(shape, 3, size)
    first = maker.add(20 * size, start=20 * size - 9)
    maker.add(20 * size + 300, start=20 * size + 280, like=first, shared=20 * size)
    batch, call = maker.make("cpu", kv_dtype), LayerCall(0, shape.key_size**-0.5)
    found = [attend(replace(batch, attention=TiledAttention(target)), call) for target in targets()]
    assert all(torch.equal(out, found[0]) for out in found), [target.path for target in targets()]
    within = 2e-4 if kv_dtype == "int8" else 2e-6
    torch.testing.assert_close(found[0].double(), plainly(batch, call, 3), rtol=0, atol=within)


@pytest.mark.parametrize("kv_dtype", KV_DTYPES)
@pytest.mark.parametrize("broken", ["keys", "values"])
def test_what_is_no_number_makes_none_of_what_is_behind_it_and_of_no_tile_before_it(kv_dtype: str, broken: str) -> None:
    maker, at = BatchMaker(SHAPE, 2, 16), 270
    maker.add(300, start=0)
    batch = maker.make("cpu", kv_dtype)
    whole = attend(batch, LayerCall(0, 0.3))
    keys, values = batch.keys[0][:, at : at + 1].clone(), batch.values[0][:, at : at + 1].clone()
    (keys if broken == "keys" else values)[..., 3] = torch.nan
    slot = slots_of([Span(0, at, at + 1, batch.spans[0].table)], 16)
    batch.memory.write(0, slot, keys, values)
    out = attend(batch, LayerCall(0, 0.3))
    assert out[at:300].isnan().any(-1).all()
    assert torch.equal(out[:256], whole[:256])


@pytest.mark.parametrize("name", IDENTICAL)
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("seed", range(6))
def test_bits_do_not_depend_on_chunk_neighbours_or_place(name: str, threads: int, seed: int) -> None:
    """A row alone, with its chunk, and in the packed batch; blocks in a run and scattered."""
    torch.set_num_threads(threads)
    group = [1, 2, 4, 8, 2, 4][seed]
    call = LayerCall(0, 0.3, *[(None, None), (40, None), (None, 5.0), (300, 5.0), (None, None), (256, None)][seed])
    run, scattered = (random_batch(name, seed, SHAPE, group, 16, scattered=kind) for kind in (False, True))
    assert torch.equal(attend(scattered, call), attend(run, call))
    assert_rows_alone(run, call, cuts=3, seed=seed)


@pytest.mark.parametrize("name", IDENTICAL)
@pytest.mark.parametrize("group", [1, 2, 3, 8])
def test_bits_do_not_depend_on_who_shares(name: str, group: int) -> None:
    for window, softcap in ((None, None), (290, None), (None, 5.0)):
        for dtype in KV_DTYPES:
            assert_rows_alone(nested(group, scattered=False).make(name, dtype), LayerCall(0, 0.3, window, softcap), 2)


@pytest.mark.parametrize("name", IDENTICAL)
@pytest.mark.parametrize("scattered", [False, True])
def test_bits_do_not_depend_on_neighbours_behind_many_segments(name: str, scattered: bool) -> None:
    for window in (None, 1000):
        maker = BatchMaker(SMALL, 2, 16, scattered)
        first = maker.add(LONG + 900, start=LONG - 40)
        maker.add(LONG + 560, start=LONG + 540, like=first, shared=LONG + 512)
        maker.add(LONG + 300, start=LONG + 299, like=first, shared=TILE * 7)
        maker.add(300, start=290)
        assert_rows_alone(maker.make(name), LayerCall(0, 0.3, window), cuts=2)


@pytest.mark.parametrize("readers", [2, 7, 40])
def test_sequences_that_share_blocks_read_them_together(readers: int) -> None:
    """Shared tiles are read in one product."""
    maker = BatchMaker(SHAPE, 2)
    first = maker.add(512 + 16, start=512 + 15)
    for _ in range(readers - 1):
        maker.add(512 + 16, start=512 + 15, like=first, shared=512)
    batch = maker.make()
    prepared = batch.attention.prepare(batch.spans, batch.rows, batch.memory)
    begins = prepared.entries[:, ENTRY.index("begin")].tolist()
    assert begins == [0, TILE, *[2 * TILE] * readers]
    assert prepared.entries[:2, ENTRY.index("rows")].tolist() == [readers, readers]
    assert_rows_alone(batch, LayerCall(0, 0.3), cuts=0)


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("ends", [(45, 41), (41, 45), (300, 290, 45)])
def test_sequences_that_end_in_the_same_block(name: str, ends: tuple[int, ...]) -> None:
    """A tile that is read by one to here and by another to there."""
    maker = BatchMaker(SHAPE, 2)
    maker.add(max(ends), start=max(ends) - 1)
    whole = maker.make(name)
    table, keys, values = whole.spans[0].table, whole.keys[0], whole.values[0]
    spans = [Span(row, end - 1, end, table[: -(-end // 16)]) for row, end in enumerate(ends)]
    rows = len(ends) + len(ends) % 2
    batch = Batch(
        whole.attention,
        whole.memory,
        spans,
        rows,
        [keys[:, :end] for end in ends],
        [values[:, :end] for end in ends],
        torch.randn(4, rows, 16),
    )
    assert_conforms(batch, LayerCall(0, 0.3), 2)


@pytest.mark.parametrize("name", BACKENDS)
def test_a_batch_without_rows_that_see_anything_is_zero(name: str) -> None:
    maker = BatchMaker(SHAPE, 2)
    maker.add(5, start=4)
    batch = maker.make(name)
    assert batch.rows == 2
    assert not attend(batch, LayerCall(0, 0.3))[1].any()


@pytest.mark.parametrize("window", [None, 1500])
def test_segments_gone_through_in_turns_give_the_same_bits(window: int | None) -> None:
    """A context so long that its partial results are not held at once."""
    maker = BatchMaker(SHAPE, 2)
    first = maker.add(5 * SEGMENT + 300, start=5 * SEGMENT + 290)
    maker.add(3 * SEGMENT + 20, start=3 * SEGMENT - 10, like=first, shared=2 * SEGMENT)
    maker.add(30, start=0)
    batch, call = maker.make(), LayerCall(0, 0.3, window)
    at_once = attend(batch, call)
    assert torch.equal(attend(replace(batch, attention=TiledAttention(best_target(), state_bytes=1)), call), at_once)


def test_a_query_need_not_be_contiguous() -> None:
    batch, call = nested(2, False).make(), LayerCall(0, 0.3)
    expected = attend(batch, call)
    strided = torch.stack([batch.query, batch.query], -1)[..., 0]
    assert strided.stride(-1) == 2
    assert torch.equal(attend(replace(batch, query=strided), call), expected)
