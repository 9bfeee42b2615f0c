"""What must hold of an engine whenever nothing runs."""

from foreword.engine import LLM, Engine


def assert_settled(engine: Engine | LLM) -> None:
    """No request, no held block, and books that add up."""
    engine = engine.engine if isinstance(engine, LLM) else engine
    assert not engine.has_unfinished_requests()
    state = engine.state()
    assert (state.running, state.waiting, state.usage.held_blocks) == (0, 0, 0)
    engine.check_integrity()
