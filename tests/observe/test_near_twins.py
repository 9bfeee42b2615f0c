"""Planted near-twins are found, and the saving foretold is the one that a replay with the fault mended brings."""

import random
from collections.abc import Callable

import pytest

from foreword.cache import pack_tokens
from foreword.observe import Observer
from observe.events import Requests, ids


def prompts(value: Callable[[random.Random, int], str], count: int = 150) -> list[str]:
    source = random.Random(5)
    documents = ["".join(source.choices("abcdefgh ", k=400)) for _ in range(5)]
    made = []
    for number in range(count):
        document, question = source.choice(documents), source.randrange(10**6)
        said = value(random.Random(number), number)
        made.append(f"You help people. {said}. Answer from the document, and be brief. {document} Question {question}?")
    return made


def run(texts: list[str]) -> tuple[int, Observer]:
    requests, observer = Requests(), Observer()
    for text in texts:
        observer(requests.run(text))
    return requests.computed, observer


VALUES: dict[str, Callable[[random.Random, int], str]] = {
    "time": lambda source, _: f"It is {source.randrange(24):02}:{source.randrange(60):02}:{source.randrange(60):02}",
    "uuid": lambda source, _: f"Request {source.getrandbits(128):032x}",
    "counter": lambda _, number: f"Turn {number}",
    "user": lambda source, _: f"The user is {source.choice(['Ann', 'Bob', 'Christopher', 'Dee'])}{source.randrange(500)}",
}


@pytest.mark.parametrize("kind", VALUES)
def test_planted_twins_are_found_with_their_saving(kind: str) -> None:
    computed, observer = run(prompts(VALUES[kind]))
    mended, _ = run(prompts(lambda *_: "The same for all"))
    group = observer.near_twins()[0]
    assert group.requests >= 140
    assert abs(group.saved_tokens / computed - (computed - mended) / computed) < 0.05
    assert abs(group.position - len("You help people. ")) < 20
    assert b"Answer from" in bytes(group.anchor[::4]) or b"nswer from" in bytes(group.anchor[::4])


def test_a_nonce_at_the_very_head() -> None:
    texts = [f"{random.Random(n).getrandbits(64):016x} " + "The rules are these and no others. " * 10 for n in range(60)]
    computed, observer = run(texts)
    group = observer.near_twins()[0]
    assert group.position <= 1
    assert group.saving > 0.9
    assert group.computed_tokens <= computed


def test_unrelated_prompts_are_no_twins() -> None:
    source = random.Random(1)
    _, observer = run(["".join(source.choices("abcdefghijklmnop ", k=400)) for _ in range(100)])
    assert observer.near_twins() == ()


@pytest.mark.parametrize("every", [8, 10])
def test_twins_among_many_unrelated_prompts_are_found_soon(every: int) -> None:
    """Searches that long found nothing become seldom; a twin in so many prompts is found all the same."""
    source, rules = random.Random(1), "The rules are these and no others, for all who come here to ask. " * 4
    texts = ["".join(source.choices("abcdefghijklmnop ", k=300)) for _ in range(1200)]
    texts[200::every] = [f"Be kind. {source.getrandbits(64):016x} {rules}" for _ in texts[200::every]]
    _, observer = run(texts)
    (group,) = observer.near_twins()
    assert group.requests >= len(texts[200::every]) - 25
    assert group.saving > 0.9


def test_one_document_and_other_questions_are_no_twins() -> None:
    """They hit; there is nothing to mend."""
    _, observer = run([f"{'The document. ' * 40} Question {n}: what of {n * n}?" for n in range(100)])
    assert sum(group.saved_tokens for group in observer.near_twins()) == 0


def test_groups_are_bounded_and_the_costly_ones_stay() -> None:
    observer, requests = Observer(), Requests()
    for app in range(40):
        rules = "".join(random.Random(app).choices("abcdefgh ", k=200))
        for turn in range(20 if app == 3 else 2):
            stamp = random.Random(100 * app + turn).randrange(10**9)
            observer(requests.run([1000 + app, *ids(f"{stamp} {rules}")]))
    groups = observer.near_twins()
    assert len(groups) <= observer.config.twin_groups
    assert groups[0].requests >= 18
    assert pack_tokens([1003]) == groups[0].head[:4]


def test_the_values_are_whole_also_where_the_first_ones_were_half_alike() -> None:
    """The first times begin and end with the same figures: only later ones show where the value begins and ends."""
    times = ["10:05", "11:05", "12:06", "20:06", "31:07", "42:08"]
    _, observer = run([f"Be kind. It is {time}. {'Answer from the document, and be brief. ' * 4}" for time in times])
    (group,) = observer.near_twins()
    assert bytes(group.head[::4]) == b"Be kind. It is "
    assert [bytes(value[::4]).decode() for value in group.values] == times[1:5]
    assert bytes(group.anchor[::4]).startswith(b". Answer")
