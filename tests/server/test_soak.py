"""A minute of everything at once; ten minutes by hand, see soak.py."""

from collections.abc import Callable

from foreword.engine import EngineConfig
from server.live import live_server
from server.soak import ENGINE, SERVER, soak

SECONDS = 60


def test_a_minute_under_load_leaves_nothing_behind(engine_config: Callable[..., EngineConfig]) -> None:
    config = engine_config(**ENGINE)
    with live_server(config, **SERVER) as live:
        report = soak(live, SECONDS)
        assert report.unexpected == []
        for kind in ("chat/completions", "completions", "responses", "messages"):
            assert report.counts[kind] > 0
            assert report.counts[f"{kind} streamed"] > 0
        assert report.counts["left"] > 0
        assert report.counts["refused as wrong"] > 0
        assert live.engine.usage().evicted_tokens > 0, "the cache was too large to be tried"
        half, end = report.megabytes[4], report.megabytes[-1]
        assert end < half * 1.2, f"memory grew from {half:.0f} to {end:.0f} MB: {report.megabytes}"
