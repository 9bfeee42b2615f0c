"""Volatile values: what counts, what does not, where exactly."""

import itertools
import random
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreword.prompt.volatile import SERIES, differing_value, find_shapes, find_volatile, mask

VOLATILE = [
    ("date", "Today is {}.", "2026-11-22"),
    ("date", "Current date: {}", "Saturday, November 22, 2026"),
    ("date", "It is {} today", "Saturday, November 22"),
    ("date", "As of {}, these rules hold.", "11/22/2026"),
    ("date", "Today Date: {}\n\nYou are", "22 Nov 2026"),
    ("date", "{}", "2026-11-22"),
    ("datetime", "Now: {} ok", "2026-11-22T00:44:10Z"),
    ("datetime", "[{}] hi", "2026-11-22 00:44:10.123"),
    ("datetime", "Now: {}", "20261122T004410Z"),
    ("datetime", "run {} of the tests", "20261122-004410"),
    ("datetime", "logs_of: {}", "2026-11-22_00-44-10"),
    ("datetime", "stamp={}", "20261122004410"),
    ("datetime", "{}", "Sat, 22 Nov 2026 00:44:10 GMT"),
    ("time", "The time is {}.", "12:44 PM"),
    ("epoch", "built {} ok", "1764000000"),
    ("epoch", "ts={}", "1764000000123"),
    ("uuid", "id {} here", "550e8400-e29b-41d4-a716-446655440000"),
    ("hex", "key {}", "9f8e7d6c5b4a3f2e1d"),
    ("base64", "key {}", "aGVsbG8gd29ybGQ0MjEyMzQ1Njc4OTA="),
    ("request_id", "x-billing-header: version=2.1; cch={};", "a1b2c"),
    ("request_id", "Session ID: {}", "83921"),
    ("request_id", "<{}>", "session_id-abc123def"),
    ("request_id", "see {} for it", "req_011CSHoEeqs5C35K2UUqR7Fy"),
    ("request_id", '{{"request_id": "{}"}}', "8812"),
    ("request_id", "Request #{}", "1234"),
    ("counter", "Turn: {}", "17"),
    ("counter", "Messages so far: {}", "12"),
    ("port", "http://localhost:{}/x", "53211"),
]
OTHER_LANGUAGES = [
    ("date", "Heute ist {}.", "Donnerstag, der 26. November 2026"),
    ("date", "Heutiges Datum: {}\nDu bist", "26. November 2026"),
    ("date", "Heute ist {}.", "Donnerstag"),
    ("datetime", "Es ist jetzt {}.", "Donnerstag, 26. November 2026 um 14:05 Uhr"),
    ("date", "Nous sommes le {}.", "jeudi 26 novembre 2026"),
    ("date", "Date du jour : {}", "1er août 2026"),
    ("date", "Aujourd'hui, nous sommes {}.", "jeudi"),
    ("date", "Hoy es {}.", "jueves, 26 de noviembre de 2026"),
    ("date", "Fecha actual: {}", "26 de noviembre de 2026"),
    ("date", "Oggi è {}.", "giovedì 26 novembre 2026"),
    ("date", "Hoje é {}.", "quinta-feira, 26 de novembro de 2026"),
    ("date", "Data de hoje: {}", "26 de novembro de 2026"),
    ("date", "Vandaag is het {}.", "donderdag 26 november 2026"),
    ("date", "Dzisiaj jest {}.", "czwartek, 26 listopada 2026"),
    ("date", "Сегодня {}", "26 ноября 2026"),
    ("date", "今天是{}，请简短回答。", "2026年11月26日"),
    ("date", "現在の日付：{}", "2026年11月26日（木）"),
    ("datetime", "当前时间：{}", "2026年11月26日 14:05"),
    ("date", "今天是{}。", "星期四"),
    ("date", "오늘은 {}입니다.", "2026년 11월 26일 목요일"),
    ("date", "오늘은 {}입니다.", "목요일"),
]
NATURAL_IN_OTHER_LANGUAGES = [
    "Goethe wurde am 28. August 1749 in Frankfurt geboren.",
    "Der Vertrag gilt seit 1. Januar 2020 und endet mit einer Frist von 3 Monaten.",
    "Am Montag haben wir geschlossen, am 3. Advent auch.",
    "La prise de la Bastille eut lieu le 14 juillet 1789.",
    "Ouvert du lundi au vendredi, 3 jours fériés non compris.",
    "La tienda abre los lunes; el 12 de octubre es fiesta.",
    "Fundada el 5 de mayo de 1962 en Puebla.",
    "Il 25 aprile è festa nazionale; nato il 2 giugno 1946.",
    "Nasceu em 7 de setembro de 1822; 25 de abril sempre.",
    "Opgericht op 4 mei 1945, open van maandag tot vrijdag.",
    "Urodzony 3 maja 1791 roku; 11 listopada to święto.",
    "孔子学院は2004年11月21日に設立された。",
    "营业时间：星期一至星期五，3月份休息。",
    "세종대왕은 1397년 5월 15일 태어났다.",
    "Sales data 2024-01-05 and actual 2024-01-06",
    "Es gibt 3 mai-grüne Hemden und 5 set di piatti.",
]
STATIC = [
    "founded in 1998",
    "Version 2.31.4 of the API",
    "costs $12.50, €1764000000 or 1,234,567",
    "claude-3-5-sonnet-20241022 and gpt-4o-2024-08-06",
    "anthropic-version: 2023-06-01",
    "Knowledge cutoff date: 2024-06-01",
    "Alice was born on 4 July 1976",
    "| 1 | Alice | 2020-01-02 | 85000 |",
    "Step 1: do this. Step 2: do that",
    "Max attempts: 3",
    "port 8080, localhost:5432",
    "call 1-800-555-1234 or +1 555 123 4567",
    "RFC 3339 section 5.6",
    "getUserByIdFromDatabase2AndReturnIt3",
    "/usr/local/lib/python3.11/site-packages/foo12",
    "https://example.com/a/b/c123?x=1",
    "Copyright 2019-2024",
    "ISBN 9780306406157",
    "ratio 3:16",
    "commit 3f2c9a7b1d2e4f5a",
    "Released on March 3, 2021",
    "user_name_with_long_identifier_2",
    "Monday to Friday 9:00-17:00",
    "",
]


@pytest.mark.parametrize(("kind", "sentence", "value"), VOLATILE + OTHER_LANGUAGES)
def test_a_volatile_value_is_found_with_its_place_and_kind(kind: str, sentence: str, value: str) -> None:
    text = "You are a clerk.\n" + sentence.format(value)
    found = find_volatile(text)
    assert [(value.kind, text[value.start : value.end]) for value in found] == [(kind, value)]


@pytest.mark.parametrize("text", STATIC + NATURAL_IN_OTHER_LANGUAGES)
def test_what_stays_the_same_is_not_volatile(text: str) -> None:
    assert find_volatile(text) == []


def test_a_column_of_values_is_data() -> None:
    rows = [f"{datetime(2024, 1, day):%Y-%m-%d %H:%M:%S} started worker\n" for day in range(1, SERIES + 2)]
    assert find_volatile("".join(rows)) == []
    assert len(find_volatile("".join(rows[:-1]))) == SERIES
    assert len(find_volatile("".join(rows) + "Today is 2026-11-22")) == 1


@given(st.text(alphabet="ab1-_:/ .#=\n2026TZ+", max_size=200))
def test_found_values_are_in_order_apart_and_inside_the_text(text: str) -> None:
    spans = [(value.start, value.end) for value in find_shapes(text)]
    assert all(0 <= start < end <= len(text) for start, end in spans)
    assert all(one[1] <= two[0] for one, two in itertools.pairwise(spans))
    assert set(find_volatile(text)) <= set(find_shapes(text))


def test_masked_texts_of_two_requests_are_equal() -> None:
    texts = [f"Session {uuid.UUID(int=seed)} began {datetime(2026, 1, 1 + seed):%Y-%m-%dT%H:%M:%SZ}." for seed in (3, 4)]
    masked = {mask(text, find_volatile(text)) for text in texts}
    assert masked == {"Session <uuid> began <datetime>."}


def test_the_value_in_which_two_texts_part_is_found_without_any_word_before_it() -> None:
    rng = random.Random(1)
    make_of: dict[str, Callable[[], str]] = {
        "date": lambda: f"{datetime(2026, 1, 1) + timedelta(days=rng.randrange(3000)):%Y-%m-%d}",
        "datetime": lambda: f"{datetime(2026, 1, 1) + timedelta(seconds=rng.randrange(10**8)):%Y-%m-%d %H:%M}",
        "uuid": lambda: str(uuid.UUID(int=rng.getrandbits(128))),
        "epoch": lambda: str(rng.randrange(1_700_000_000, 1_800_000_000)),
    }
    for kind, make in make_of.items():
        one, two = make(), make()
        pair = differing_value(f"Rules of {one} follow.", f"Rules of {two} follow.")
        assert pair is not None
        assert [value.kind for value in pair] == [kind, kind]
        assert pair[0].start == len("Rules of ")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("same 2026-11-22", "same 2026-11-22"),
        ("the cat of 2026-11-22", "the dog of 2026-11-22"),
        ("on 2026-11-22", "on uuid"),
        ("on 2026-11-22", "on 550e8400-e29b-41d4-a716-446655440000"),
        ("", "2026-11-22"),
    ],
)
def test_texts_that_part_otherwise_have_no_such_value(old: str, new: str) -> None:
    assert differing_value(old, new) is None


def test_long_text_without_end_takes_linear_time() -> None:
    """A quadratic pattern would need minutes for these."""
    for text in ("a" * 10**6 + "1", "a-" * 10**5 + "1", "req_" * 10**5 + "1", "1" * 10**6, "1a" * 10**5, "x 1" * 10**5):
        find_volatile(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Today is the 3rd of March 2026.", "3rd of March 2026"),
        ("Today is Tuesday, the third of March", "Tuesday, the third of March"),
        ("Current date: Thursday 26th November", "Thursday 26th November"),
        ("It is now half past nine on some day", "half past nine"),
        ("Today (Thursday) is a holiday", "Thursday"),
        ("The date is March 3rd", "March 3rd"),
        ("Current month: November 2026", "November 2026"),
        ("The current time is 3pm", "3pm"),
    ],
)
def test_dates_and_times_in_words(text: str, value: str) -> None:
    assert [text[found.start : found.end] for found in find_volatile(text)] == [value]


@pytest.mark.parametrize(
    "text",
    [
        "We meet on Monday.",
        "In May we may go; now may I ask?",
        "Now May I ask you. Date Sundaes",
        "It is on March Street 5",
        "For example, today is Monday",
        "Mayor Augustine said Monday morning was fine",
        "Update Mondays in the table",
    ],
)
def test_words_that_only_look_like_dates(text: str) -> None:
    assert find_volatile(text) == []
