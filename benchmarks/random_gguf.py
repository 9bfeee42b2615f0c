"""A random Llama of 1.1 B as a GGUF file, quantised by llama.cpp's own quantiser: the same file for both engines.

    PYTHONPATH=PEERS PEERS_ENV/venv-llama/bin/python benchmarks/random_gguf.py MODEL OUT.gguf [--type Q4_K_M] [--small]

MODEL is the folder of the harness's small model, whose tokenizer the file gets; with ``--small`` its weights as well.
"""

import argparse
import json
import shutil
import tempfile
from pathlib import Path

import llama_cpp  # type: ignore[import-not-found]
import numpy as np
from make_gguf import write  # type: ignore[import-not-found]
from safetensors.numpy import save_file

SIZES = {
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
}
"""Those of Llama 3.2 1B; the vocabulary stays the small model's."""
DEVIATION = 0.03


def random_model(small: Path, folder: Path) -> None:
    """A folder as the small model's, of these sizes; norms are one."""
    config = {**json.loads((small / "config.json").read_text()), **SIZES}
    (folder / "config.json").write_text(json.dumps(config))
    shutil.copy(small / "tokenizer.json", folder)
    width, inner, keys = SIZES["hidden_size"], SIZES["intermediate_size"], SIZES["num_key_value_heads"] * SIZES["head_dim"]
    shapes = {
        "self_attn.q_proj": (width, width),
        "self_attn.k_proj": (keys, width),
        "self_attn.v_proj": (keys, width),
        "self_attn.o_proj": (width, width),
        "mlp.gate_proj": (inner, width),
        "mlp.up_proj": (inner, width),
        "mlp.down_proj": (width, inner),
    }
    rng = np.random.default_rng(0)

    def numbers(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, dtype=np.float32) * np.float32(DEVIATION)

    ones = np.ones(width, np.float32)
    tensors = {"model.embed_tokens.weight": numbers(config["vocab_size"], width), "model.norm.weight": ones}
    for layer in range(SIZES["num_hidden_layers"]):
        prefix = f"model.layers.{layer}"
        tensors |= {f"{prefix}.{name}.weight": numbers(*shape) for name, shape in shapes.items()}
        tensors |= {f"{prefix}.{name}.weight": ones.copy() for name in ("input_layernorm", "post_attention_layernorm")}
    save_file(tensors, folder / "model.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--type", default="Q4_K_M", help="as llama.cpp names it")
    parser.add_argument("--small", action="store_true", help="the small model itself")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.out.parent) as name:
        folder = args.model if args.small else Path(name)
        if not args.small:
            random_model(args.model, folder)
        plain = Path(name) / "plain.gguf"
        write(folder, plain, False)
        params = llama_cpp.llama_model_quantize_default_params()
        params.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{args.type}")
        if llama_cpp.llama_model_quantize(str(plain).encode(), str(args.out).encode(), params):
            raise SystemExit(f"llama.cpp could not quantise {plain} to {args.type}.")


if __name__ == "__main__":
    main()
