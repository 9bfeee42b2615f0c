"""Train the table reader: ``python training/train.py --out DIR``. Run it again to go on from its last checkpoint."""

import argparse
import json
import math
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from tokenizers import Tokenizer

from batches import Batch, Batcher, Encoder
from model import Reader, make_config, save_model
from muon import Muon
from tokenizer import save_tokenizer, train_tokenizer
from words import TRAIN


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints, the log and the model")
    parser.add_argument("--steps", type=int, default=2700)
    parser.add_argument("--until", type=int, help="stop after this step, as if the run had been cut off")
    parser.add_argument("--tokens", type=int, default=4000, help="tokens of a step")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--head", type=int, default=48, help="size of an attention head")
    parser.add_argument("--theta", type=float, default=10_000.0, help="base of the rotary positions")
    parser.add_argument("--muon", type=float, default=0.02, help="learning rate of the hidden matrices")
    parser.add_argument("--adam", type=float, default=3e-3, help="learning rate of everything else")
    parser.add_argument("--probe", type=float, default=0.3, help="weight of the losses of probes and pointers")
    parser.add_argument("--curriculum", type=int, default=1500, help="steps until the tables have their full size")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--save-every", type=int, default=50)
    return parser.parse_args()


def get_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer in ``folder``, trained first if there is none."""
    if not (folder / "tokenizer.json").exists():
        save_tokenizer(train_tokenizer(), folder)
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def make_optimizers(reader: Reader, args: argparse.Namespace) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for the rest."""
    matrices = [p for p in reader.model.model.layers.parameters() if p.ndim == 2]
    ids = {id(p) for p in matrices}
    rest = [p for p in reader.parameters() if id(p) not in ids]
    return [
        Muon(matrices, lr=args.muon, decay=0.05),
        torch.optim.AdamW(rest, lr=args.adam, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def rate(step: int, steps: int) -> float:
    """The factor of the learning rates: a short rise, a plateau, a straight fall over the second half."""
    return min(1.0, (step + 1) / 40, 2 * (1 - step / steps))


def train_step(reader: Reader, optimizers: list[torch.optim.Optimizer], batch: Batch, probe: float) -> dict[str, float]:
    """One update; the figures of the batch."""
    loss, helpers, shares = reader(batch)
    result = {"loss": loss, **helpers, **shares}
    loss = loss + probe * torch.stack(list(helpers.values())).sum()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(optimizers[1].param_groups[0]["params"], 1.0)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return {name: value.item() for name, value in result.items()}


def save_checkpoint(path: Path, reader: Reader, optimizers: list[torch.optim.Optimizer], step: int, seen: int) -> None:
    """Write what is needed to go on, in one rename."""
    saved = [optimizer.state_dict() for optimizer in optimizers]
    state = {"reader": reader.state_dict(), "optimizers": saved, "step": step, "seen": seen}
    new = path.with_suffix(".new")
    torch.save(state, new)
    new.replace(path)


def load_checkpoint(path: Path, reader: Reader, optimizers: list[torch.optim.Optimizer]) -> tuple[int, int]:
    """Take up a checkpoint; the steps made and the tokens seen so far."""
    state = torch.load(path)
    reader.load_state_dict(state["reader"])
    for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    return state["step"], state["seen"]


class Log:
    """Means of the figures over some steps, to the terminal and to ``log.jsonl``."""

    def __init__(self, path: Path, every: int = 20) -> None:
        self._path = path
        self._every = every
        self._values: dict[str, list[float]] = defaultdict(list)
        self._began = time.time()

    def add(self, step: int, seen: int, figures: dict[str, float]) -> None:
        """Take the figures of a step; write the means when they are due."""
        for name, value in figures.items():
            if not math.isnan(value):  # a batch of copies has no answers
                self._values[name].append(value)
        if step % self._every:
            return
        means = {name: round(sum(values) / len(values), 3) for name, values in self._values.items()}
        line = json.dumps({"step": step, "tokens": seen, "seconds": round(time.time() - self._began), **means})
        print(line, flush=True)
        with self._path.open("a") as log:
            log.write(line + "\n")
        self._values.clear()


def main() -> None:
    """Train to the end, from the last checkpoint if there is one."""
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    encoder = Encoder(get_tokenizer(args.out))
    config = make_config(encoder.size, encoder.end, layers=args.layers, width=args.width, head=args.head, theta=args.theta)
    reader = Reader(config, table_probe=args.layers // 2 - 1, branch_probe=args.layers - 2)
    optimizers = make_optimizers(reader, args)
    batcher = Batcher(encoder, TRAIN, args.seed + 1, args.tokens)
    checkpoint = args.out / "checkpoint.pt"
    step, seen = load_checkpoint(checkpoint, reader, optimizers) if checkpoint.exists() else (0, 0)
    print(f"{sum(p.numel() for p in reader.model.parameters()):,} parameters, from step {step}", flush=True)
    log = Log(args.out / "log.jsonl")
    last = min(args.steps, args.until or args.steps)
    with ThreadPoolExecutor(1) as ahead:  # makes the next batch while this one is learned
        coming = ahead.submit(batcher.batch, step, min(1.0, step / args.curriculum))
        while step < last:
            batch = coming.result()
            coming = ahead.submit(batcher.batch, step + 1, min(1.0, (step + 1) / args.curriculum))
            for optimizer, full in zip(optimizers, (args.muon, args.adam), strict=True):
                optimizer.param_groups[0]["lr"] = full * rate(step, args.steps)
            figures = train_step(reader, optimizers, batch, args.probe)
            step, seen = step + 1, seen + batch.ids.numel()
            log.add(step, seen, figures)
            if step % args.save_every == 0 or step == last:
                save_checkpoint(checkpoint, reader, optimizers, step, seen)
                save_model(reader.model, args.out)


if __name__ == "__main__":
    main()
