"""What must hold of an engine whenever nothing runs."""

from foreword.engine import LLM, Engine


def assert_settled(engine: Engine | LLM) -> None:
    """No request, no held block, and books that add up."""
    engine = engine.engine if isinstance(engine, LLM) else engine
    assert not engine.has_unfinished_requests()
    assert not engine.scheduler.waiting
    assert not engine.scheduler.running
    assert engine.usage().held_blocks == 0
    engine.cache.check_integrity()
