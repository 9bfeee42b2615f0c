"""What is to be carried out, in which order, and what is taken back."""

from cache.harness import machine, run_ids
from foreword.cache import CopyBlock
from foreword.cache.actions import Actions


def test_actions_are_taken_in_their_order_and_once() -> None:
    actions = Actions()
    first, second = CopyBlock(1, 2, 3), CopyBlock(1, 4, 3)
    actions.add(first)
    actions.add(second)
    assert actions.take() == (first, second)
    assert actions.take() == ()


def test_the_very_action_is_withdrawn_and_not_one_that_is_equal() -> None:
    actions = Actions()
    first, twin = CopyBlock(1, 2, 3), CopyBlock(1, 2, 3)
    actions.add(first)
    actions.add(twin)
    actions.withdraw(first)
    actions.withdraw(CopyBlock(1, 2, 3))
    (left,) = actions.take()
    assert left is twin


def test_a_plan_that_is_abandoned_asks_for_no_copy_and_the_next_one_asks_again() -> None:
    m = machine()
    m.run(run_ids(0, 9))
    request = m.must_start([*run_ids(0, 6), 90, 91])
    assert m.cache.plan(request.reservation, 8, 100) is not None
    m.cache.abandon(request.reservation)
    assert m.cache.actions.take() == ()
    assert m.cache.plan(request.reservation, 8, 100) is not None
    (copy,) = m.cache.actions.take()
    assert copy.tokens == 2
    m.cache.abandon(request.reservation)
    assert m.cache.plan(request.reservation, 8, 100) is not None, "the step that had taken the copy failed"
    assert m.cache.actions.take() == (copy,)
    m.cache.abandon(request.reservation)
    m.drain()


def test_who_lets_go_before_his_step_has_run_leaves_no_copy_behind() -> None:
    m = machine()
    m.run(run_ids(0, 9))
    request = m.must_start([*run_ids(0, 6), 90, 91])
    assert m.cache.plan(request.reservation, 8, 100) is not None
    m.finish(request)
    assert m.cache.actions.take() == ()
    m.check()
