"""Who makes room for a new connection, who has waited too long, and how much of it is told."""

import io
import json
from dataclasses import dataclass, field

import pytest

from foreword.server.connections import Connections, Patience, Stage
from foreword.server.limited_log import LINES, MOST_CLIENTS, SECONDS, LimitedLog
from foreword.server.open_files import connection_room
from foreword.serving.log import make_log


@dataclass(eq=False)
class Client:
    """A connection that notes what becomes of it."""

    stage: Stage = Stage.HEAD
    since: float = 0.0
    closing: bool = False
    peer: str = "10.0.0.1"
    ends: list[object] = field(default_factory=list)
    looks: list[float] = field(default_factory=list)

    def refuse(self, status: int, why: str) -> None:
        del why
        self.ends.append(status)
        self.closing = True

    def turn_away(self, why: str) -> None:
        del why
        self.ends.append("turned away")
        self.closing = True

    def look_after(self, now: float) -> None:
        self.looks.append(now)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def log_of(clock: Clock) -> tuple[LimitedLog, io.StringIO]:
    text = io.StringIO()
    return LimitedLog(make_log(text), clock), text


def keeper(most: int = 3) -> Connections:
    return Connections(most, Patience(header=10, body=30, send=60), log_of(Clock())[0])


def test_what_came_while_the_machine_stood_still_is_read_before_anybody_is_given_up() -> None:
    connections, client = keeper(), Client()
    connections.opened(client)
    connections.look_after(0.2)
    connections.look_after(60.0)
    assert client.ends == []
    connections.look_after(60.2)
    assert client.ends == [408]
    assert client.looks == [0.2, 60.2]


@pytest.mark.parametrize(
    ("stages", "goes"),
    [
        ([Stage.ANSWER, Stage.HEAD, Stage.IDLE], 1),
        ([Stage.BODY, Stage.IDLE, Stage.ANSWER], 1),
        ([Stage.ANSWER, Stage.ANSWER, Stage.BODY], 2),
        ([Stage.IDLE, Stage.IDLE, Stage.IDLE], 0),
        ([Stage.ANSWER, Stage.ANSWER, Stage.ANSWER], 3),
    ],
)
def test_who_has_come_least_far_and_longest_ago_makes_room(stages: list[Stage], goes: int) -> None:
    connections = keeper()
    clients = [Client(stage, since=number) for number, stage in enumerate(stages)] + [Client(since=9)]
    for client in clients:
        connections.opened(client)
    assert [number for number, client in enumerate(clients) if client.ends] == [goes]
    assert clients[goes].ends == (["turned away"] if goes == 3 else [503])


def test_what_is_closing_already_has_made_room() -> None:
    connections = keeper(2)
    clients = [Client(closing=True), Client(Stage.ANSWER), Client()]
    for client in clients:
        connections.opened(client)
    assert [client.ends for client in clients] == [[], [], []]
    connections.lost(clients[0])
    assert len(connections) == 2


def test_who_keeps_the_server_waiting_is_given_up() -> None:
    connections = keeper(9)
    clients = [Client(stage) for stage in (Stage.HEAD, Stage.IDLE, Stage.BODY, Stage.ANSWER)]
    for client in clients:
        connections.opened(client)
    connections.look_after(10)
    assert not any(client.ends for client in clients)
    connections.look_after(10.1)
    assert [client.ends for client in clients] == [[408], [], [], []]
    connections.look_after(31.05)
    connections.look_after(31.1)
    assert [client.ends for client in clients] == [[408], [], [408], []], "each once"


def test_lines_about_clients_are_limited_and_the_rest_is_told() -> None:
    clock = Clock()
    log, text = log_of(clock)
    for _ in range(100):
        log.warn("unauthorized", "a")
    log.warn("unauthorized", "b")
    log.warn("slow head", "a")
    lines = [json.loads(line) for line in text.getvalue().splitlines()]
    assert len(lines) == LINES + 2
    clock.now = SECONDS
    log.tell_of_kept_back()
    (told,) = [json.loads(line) for line in text.getvalue().splitlines()[LINES + 2 :]]
    assert (told["event"], told["client"], told["more"]) == ("unauthorized", "a", 100 - LINES)
    log.warn("unauthorized", "a")
    assert len(text.getvalue().splitlines()) == LINES + 4, "a new minute"


def test_ever_new_clients_are_bounded() -> None:
    log, text = log_of(Clock())
    for number in range(MOST_CLIENTS + 5000):
        log.warn("unauthorized", str(number))
    assert len(text.getvalue().splitlines()) == MOST_CLIENTS + LINES
    log.tell_of_kept_back(all_of_them=True)
    assert json.loads(text.getvalue().splitlines()[-1])["more"] == 5000 - LINES


def test_connections_stay_below_the_limit_of_open_files() -> None:
    assert connection_room(10).warning is None
    much = connection_room(10**9)
    assert much.warning is not None
    assert 8 <= much.connections < 10**9
    assert str(much.connections) in much.warning
    assert much.waiting >= 8
