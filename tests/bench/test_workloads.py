"""What the workloads send, and what is read from their rounds."""

import itertools

import pytest

from foreword.bench import WORKLOADS, choose_workloads
from foreword.bench.workloads import Answer, Ask, Round
from foreword.errors import ConfigError, ParameterError


def answer_all(asks: list[Ask]) -> list[Answer]:
    """Token 7 again and again; the first after a second, each further one after half a second."""
    return [Answer([7] * ask.n_out, 0, 1.0, 1.0 + 0.5 * (ask.n_out - 1)) for ask in asks]


def rounds_of(name: str, seed: str = "0", scale: float = 1 / 16) -> list[Round]:
    return WORKLOADS[name].fitted(scale, 10_000).run(seed, 2**20, answer_all)


def common(prompts: list[list[int]]) -> int:
    """Tokens that all share."""
    return len(list(itertools.takewhile(lambda column: len(set(column)) == 1, zip(*prompts, strict=False))))


def test_sizes_are_those_that_other_engines_were_measured_with() -> None:
    sizes = {name: workload.sizes for name, workload in WORKLOADS.items()}
    assert [(s.prefix, s.own, s.n_out, s.requests, s.turns) for s in sizes.values()] == [
        (2048, 24, 32, 16, 1),
        (2048, 64, 64, 32, 1),
        (512, 64, 64, 8, 6),
        (8192, 16, 64, 8, 1),
    ]
    assert list(sizes) == ["table", "crowd", "chat", "long"]
    assert [workload.requests for workload in WORKLOADS.values()] == [16, 64, 48, 9]


@pytest.mark.parametrize("name", WORKLOADS)
def test_every_run_has_its_own_prefix_and_is_the_same_again(name: str) -> None:
    first, again, other = rounds_of(name, "0"), rounds_of(name, "0"), rounds_of(name, "1")
    assert first == again
    assert common([first[0].asks[0].prompt, other[0].asks[0].prompt]) < 4
    sizes = WORKLOADS[name].fitted(1 / 16, 10_000).sizes
    prompts = [ask.prompt for each in first for ask in each.asks]
    assert sizes.prefix <= common(prompts) < sizes.prefix + 3
    assert len(set(map(tuple, prompts))) == len(prompts)


def test_table_asks_one_after_another_and_the_crowd_all_at_once() -> None:
    assert [len(each.asks) for each in rounds_of("table")] == [1] * 16
    assert [len(each.asks) for each in rounds_of("crowd")] == [32, 32]
    assert [len(each.asks) for each in rounds_of("long")] == [1, 8]
    assert [each.asks[0].n_out for each in rounds_of("long")] == [1, 4]


def test_a_chat_grows_by_its_answers() -> None:
    rounds = rounds_of("chat")
    assert [len(each.asks) for each in rounds] == [8] * 6
    for before, after in itertools.pairwise(rounds):
        for ask, answer, later in zip(before.asks, before.answers, after.asks, strict=True):
            assert later.prompt[: len(ask.prompt) + 4] == ask.prompt + answer.tokens
            assert len(later.prompt) == len(ask.prompt) + 4 + 4


def test_figures_are_read_from_the_rounds() -> None:
    read = {m.name: m.read(rounds_of("table")) for m in WORKLOADS["table"].measures}
    assert read == {"first token, cold": 1.0, "first token, warm": 1.0, "decode": 2.0}
    read = {m.name: m.read(rounds_of("crowd")) for m in WORKLOADS["crowd"].measures}
    assert read["cold"] == read["warm"] == 32 * 4 / 2.5
    read = {m.name: m.read(rounds_of("chat")) for m in WORKLOADS["chat"].measures}
    assert (read["all turns"], read["generated"]) == (15.0, 48 * 4 / 15.0)
    read = {m.name: m.read(rounds_of("long")) for m in WORKLOADS["long"].measures}
    assert (read["first token, cold"], read["warm"], read["decode"]) == (1.0, 8 * 4 / 2.5, 8 * 3 / 1.5)


def test_a_short_context_cuts_the_prefix_first_and_then_the_rest() -> None:
    long = WORKLOADS["long"]
    fitted = long.fitted(1.0, 2048).sizes
    assert (fitted.prefix, fitted.own, fitted.n_out) == (2048 - 80, 16, 64)
    for context in (200, 60, 17, 10):
        for workload in WORKLOADS.values():
            if workload.name != "chat" or context > 18:
                assert workload.fitted(1.0, context).sizes.longest <= context
    with pytest.raises(ConfigError, match="'chat' needs 19 tokens; the context has 18"):
        WORKLOADS["chat"].fitted(1.0, 18)


def test_workloads_are_chosen_by_name() -> None:
    assert [each.name for each in choose_workloads([], 1.0, 9000)] == list(WORKLOADS)
    assert [each.name for each in choose_workloads(["long", "table", "long"], 0.5, 9000)] == ["long", "table"]
    with pytest.raises(ParameterError, match=r"Unknown workload 'tabel'. Did you mean 'table'"):
        choose_workloads(["tabel"], 1.0, 9000)
