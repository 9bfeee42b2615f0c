"""Finding conversations again in a log without ids."""

from foreword.audit.conversations import KEPT, Conversations
from foreword.audit.request import MESSAGE, MOVED, LoggedPiece, LoggedRequest


def request(*texts: str, user: str = "u") -> LoggedRequest:
    pieces = tuple(LoggedPiece(MESSAGE, "text", "user", i, 0, text) for i, text in enumerate(texts))
    return LoggedRequest(1, "p", "m", pieces, user=user)


def test_a_turn_is_found_by_how_the_one_before_ended() -> None:
    turns: Conversations[str] = Conversations()
    turns.keep(request("Good morning, clerk!", "Hello", "one"), "A")
    turns.keep(request("Good morning, clerk!", "Hello", "two"), "B")
    link = turns.follow(request("Good morning, clerk!", "Hello", "one", "ok", "more"))
    assert link is not None
    assert (link.value, link.at, link.sure) == ("A", 3, True)
    assert turns.follow(request("Good morning, clerk!", "Hello", "one", "ok", user="v")) is None
    assert turns.follow(request("Hi", "Hello", "three", "ok")) is None


def test_where_the_end_was_changed_the_beginning_tells() -> None:
    turns: Conversations[str] = Conversations()
    turns.keep(request("Good morning, clerk!", "Hello", "one (be quick)"), "A")
    link = turns.follow(request("Good morning, clerk!", "Hello", "one", "ok"))
    assert link is not None
    assert (link.value, link.at, link.sure) == ("A", 3, False)


def test_what_a_fix_put_at_the_end_is_no_history() -> None:
    turns: Conversations[str] = Conversations()
    before = request("Good morning, clerk!", "one")
    moved = before.with_pieces((*before.pieces, before.pieces[-1]._replace(kind=MOVED, text="12:00")))
    turns.keep(moved, "A")
    link = turns.follow(request("Good morning, clerk!", "one", "two"))
    assert link is not None
    assert link.at == 2


def test_conversations_are_bounded() -> None:
    turns: Conversations[int] = Conversations()
    for i in range(3 * KEPT):
        turns.keep(request(f"message {i} of a long log", "x"), i)
    assert len(turns) <= 2 * KEPT
    for i in range(50):
        turns.keep(request(f"another {i} of a long log", "x"), i, chars=2**22)
    assert turns.size <= 2**25
    many = tuple(LoggedPiece("message", "text", "user", i, 0, f"text {i} of many") for i in range(100_000))
    for i in range(50):
        end = LoggedPiece("message", "text", "user", 100_000, 0, f"end {i}")
        turns.keep(LoggedRequest(1, "p", "m", (*many, end)), i)
    assert turns.size <= 2**25
    assert len(turns) < 50


def picture(bytes_: str, *texts: str) -> LoggedRequest:
    said = request(*texts)
    image = LoggedPiece(MESSAGE, "image", "user", 0, 0, f"image {bytes_} of sixteen letters")
    return said.with_pieces((image, said.pieces[0]._replace(block=1), *said.pieces[1:]))


def test_where_media_at_the_beginning_have_other_bytes_the_text_beside_them_tells() -> None:
    turns: Conversations[str] = Conversations()
    turns.keep(picture("A", "Whose cat is on this roof?"), "A")
    turns.keep(picture("A", "Whose cat is on this roof?"), "A again")
    turns.keep(picture("B", "Whose dog is in this yard?"), "B")
    link = turns.follow(picture("A2", "Whose cat is on this roof?", "Mine", "And now?"))
    assert link is not None
    assert (link.value, link.at, link.sure) == ("A again", 2, False)
    assert turns.follow(picture("A2", "Whose cat is on this roof?")) is None
    assert turns.follow(picture("A2", "Whose", "Mine", "And now?")) is None


def test_a_question_that_is_asked_of_several_pictures_tells_nothing() -> None:
    turns: Conversations[str] = Conversations()
    turns.keep(picture("A", "What is in this picture?"), "A")
    turns.keep(picture("B", "What is in this picture?"), "B")
    assert turns.follow(picture("C", "What is in this picture?", "A cat", "And now?")) is None
    link = turns.follow(picture("A", "What is in this picture?", "A cat", "And now?"))
    assert link is not None
    assert link.value == "A"
    turns.keep(picture("A", "What is in this picture?", "A cat", "And now?"), "A2")
    assert turns.follow(picture("C", "What is in this picture?", "A dog", "And then?")) is None
