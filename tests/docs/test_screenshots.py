"""Pictures of pages are younger than the pages."""

import json

import pytest

from docs.screenshots import DIGESTS, IMAGES, SHOWN, page_digest


@pytest.mark.parametrize("name", SHOWN)
def test_a_picture_shows_the_page_of_today(name: str) -> None:
    assert (IMAGES / name).stat().st_size > 10_000
    assert json.loads(DIGESTS.read_text("utf-8"))[name] == page_digest(SHOWN[name]), (
        "look at the page, then: make screenshots"
    )


def test_every_picture_of_a_page_is_noted() -> None:
    assert {path.name for path in IMAGES.glob("*.png")} == set(SHOWN)
