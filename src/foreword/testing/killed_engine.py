"""Engines that are killed at random points while they serve and store, and what the next ones answer.

    python -m foreword.testing.killed_engine FOLDER KILLS SEED

A process of its own: it loads the model in the package once and forks an engine for each kill, so that one takes tenths of a
second. It prints a KilledEngines record as JSON.
"""

import itertools
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from foreword.account import Account, Source
from foreword.backends.base import Backend
from foreword.engine.build import make_parts
from foreword.engine.config import EngineConfig
from foreword.engine.engine import Engine
from foreword.engine.model import LoadedModel, load_model
from foreword.engine.request import EngineRequest
from foreword.sampling_params import SamplingParams
from foreword.tiers.pack_shelf import PackShelf
from foreword.tiers.report import check_store
from foreword.tokens import pack_tokens
from foreword.weights.checkpoint import Checkpoint

GREEDY = SamplingParams(max_tokens=2, temperature=0, ignore_eos=True)
PROMPTS, SHARED, LENGTH = 12, 96, 240
"""Prompts that are asked again and again; the first tokens of three at a time are the same."""
MOST_ANSWERS, MOMENT = 8, 0.03
"""An engine is killed within so many seconds after it has given so many answers, at most."""
ROOMY, LITTLE = 2**24, 2**21
"""Bytes that a store may take: packs are an eighth of that. The first has room for all prompts, the other not."""
ROUNDS = 25
"""Kills after which a new folder is begun: in turn one with room for all, and one with room for little."""
SECONDS = 60.0
"""After so long an engine that is to say something is taken for stuck."""


@dataclass
class KilledEngines:
    """What was found after engines were killed."""

    kills: int = 0
    answers: int = 0
    wrong_answers: int = 0
    """With other tokens than an engine without a store gives."""
    stored_tokens: int = 0
    """Prompt tokens of these answers that came from what a killed engine had left."""
    unfinished_packs: int = 0
    """Kills that came while a pack was being written."""
    packs: int = 0
    packs_not_whole: int = 0
    """Packs with a name that cannot be read, or have a block with a wrong checksum."""
    left_over_files: int = 0
    """Unfinished packs that were still there when the next engine had opened the folder."""
    leaked_packs: int = 0
    """Packs that the index does not know, or that it knows and are not there, once an engine has opened the folder."""


class Engines:
    """Makes engines of one model that is loaded once, all over one folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._model: LoadedModel | None = None

    def make(self, store_bytes: int | None) -> Engine:
        """An engine over a store that may take so much; None: without one."""
        config = EngineConfig(
            kv_cache_memory_bytes=2**23,
            self_test=False,
            max_num_seqs=4,
            store=None if store_bytes is None else str(self.folder),
            store_size_bytes=store_bytes or ROOMY,
        )
        return make_parts(config, self._load).engine()

    def _load(self, checkpoint: Checkpoint, backend: Backend[Any]) -> LoadedModel:
        self._model = self._model or load_model(checkpoint, backend)
        return self._model


def kill_engines(folder: Path, kills: int, seed: int) -> KilledEngines:
    """Start engines one after another on what the one before has left, and kill each."""
    torch.set_num_threads(1)
    chance, engines, told = random.Random(seed), Engines(folder), KilledEngines()
    truth = [answer for answer, _ in _served(engines.make(None), range(PROMPTS))]
    for number in range(kills):
        if number % ROUNDS == 0:
            shutil.rmtree(folder, ignore_errors=True)
        roomy = number // ROUNDS % 2 == 0
        _serve_and_be_killed(engines, truth, ROOMY if roomy else LITTLE, chance, told)
        told.kills += 1
        told.unfinished_packs += bool(list(folder.glob("*.writing")))
        _look(folder, told)
    return told


def _serve_and_be_killed(
    engines: Engines, truth: list[list[int]], store_bytes: int, chance: random.Random, told: KilledEngines
) -> None:
    reading, writing = os.pipe()
    order = chance.sample(range(PROMPTS), PROMPTS)
    child = os.fork()
    if not child:
        try:
            os.close(reading)
            _serve(engines.make(store_bytes), truth, order, writing)
        finally:
            signal.raise_signal(signal.SIGKILL)  # an error must not go on as the parent's
    os.close(writing)
    with os.fdopen(reading) as lines:
        given = [lines.readline() for _ in range(1 + chance.randrange(MOST_ANSWERS + 1))]
        time.sleep(chance.uniform(0, MOMENT))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        given += lines
    if not given[0]:
        raise RuntimeError("An engine ended before it served.")
    for line in given[1:]:
        if line.endswith("\n"):
            right, stored = map(int, line.split())
            told.answers += 1
            told.wrong_answers += not right
            told.stored_tokens += stored


def _serve(engine: Engine, truth: list[list[int]], order: list[int], told: int) -> None:
    """Answer for ever. Memory is emptied before each prompt, so that it is loaded once it is stored."""
    os.write(told, b"ready\n")
    signal.alarm(int(SECONDS))
    for number in itertools.cycle(order):
        engine.reset_prefix_cache()
        for answer, account in _served(engine, [number, number]):
            stored = account.by_source.get(Source.STORED_LOCAL, 0)
            os.write(told, f"{int(answer == truth[number])} {stored}\n".encode())


def _served(engine: Engine, numbers: "range | list[int]") -> Iterator[tuple[list[int], Account]]:
    for number in numbers:
        generation = engine.add_request(EngineRequest(pack_tokens(_prompt(number)), GREEDY))
        while not generation.finished:
            engine.step()
        output = generation.output()
        yield output.outputs[0].token_ids, output.account


def _look(folder: Path, told: KilledEngines) -> None:
    """Open the folder as the next engine does, read all of it, and compare packs and index."""
    shelf = PackShelf(folder)
    shelf.read_all()
    told.leaked_packs += len(shelf.index.files() ^ shelf.folder.packs())
    shelf.close()
    report = check_store(folder)
    told.packs += sum(each.packs for each in report.identities)
    told.packs_not_whole += len(report.unreadable) + len(report.damaged) + report.set_aside
    told.left_over_files += len(list(folder.glob("*.writing")))


def _prompt(number: int) -> list[int]:
    shared, own = random.Random(number // 3), random.Random(1000 + number)
    return [shared.randrange(2, 500) for _ in range(SHARED)] + [own.randrange(2, 500) for _ in range(LENGTH - SHARED)]


if __name__ == "__main__":
    print(json.dumps(asdict(kill_engines(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))))
