"""What a model's files say beside its weights: how long its context is, what ends an answer, how it wants to be sampled."""

import json
import logging
from collections.abc import Iterator, Mapping
from typing import Any

from foreword.errors import ModelError, ParameterError
from foreword.sampling_params import SamplingParams

logger = logging.getLogger("foreword")

SAMPLING = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
"""Fields of generation_config.json that are taken."""
STRETCHED = ("yarn", "linear")
"""Ropes that make a context ``factor`` times as long as the one that a model was trained with."""
LONGEST = 10**8
"""Tokens; ten times what any model takes today. The sines and cosines of all positions are looked at once."""
USUAL_CONTEXT = 2048
"""Where the files say nothing."""


def longest_context(text: Any) -> int:
    """The most tokens that a model takes by its ``text`` configuration, the factor of its rope included.

    A rope for each kind of layer says nothing new: such files have the stretched length. ModelError for what cannot be.
    """
    trained = int(getattr(text, "max_position_embeddings", None) or USUAL_CONTEXT)
    rope = getattr(text, "rope_parameters", None) or {}
    factor = rope.get("factor") if rope.get("rope_type") in STRETCHED else None
    longest = trained if factor is None else max(trained, (rope.get("original_max_position_embeddings") or trained) * factor)
    if not 0 < longest <= LONGEST:  # NaN is neither
        raise ModelError(
            f"By its configuration the model takes {longest} tokens (max_position_embeddings {trained}, rope factor "
            f"{factor}); it must be between 1 and {LONGEST}. Check the configuration in its files."
        )
    return int(longest)


def end_token_ids(files: Mapping[str, bytes], config: Any, tokenizer: Any) -> frozenset[int]:
    """The tokens with which an answer ends: those of all files together, whichever of them name any.

    ``config`` and ``tokenizer`` are transformers'; what the former adds by itself counts only where no file says anything.
    """
    found: set[int] = set()
    told = read_json(files, "config.json")
    for part in (told, told.get("text_config"), read_json(files, "generation_config.json")):
        found.update(_ids(part.get("eos_token_id") if isinstance(part, dict) else None))
    named = tokenizer.eos_token
    found.update(_ids(None if named is None else tokenizer.backend_tokenizer.token_to_id(str(named))))
    return frozenset(found or _ids(config.get_text_config().eos_token_id))


def sampling_defaults(files: Mapping[str, bytes]) -> SamplingParams:
    """Sampling as generation_config.json recommends it. What it says nothing of, or what is out of range, is as usual."""
    given = read_json(files, "generation_config.json")
    taken: dict[str, Any] = {}
    for name in SAMPLING:
        value = given.get(name)
        if value is None:
            continue
        try:
            SamplingParams(**{name: value})
        except ParameterError as error:
            logger.warning("A default of generation_config.json is not taken: %s", error)
        else:
            taken[name] = value
    return SamplingParams(**taken)


def defaults_in_words(defaults: SamplingParams) -> str:
    """What differs from the usual: "temperature 0.6, top_k 20"; empty if nothing does."""
    usual = SamplingParams()
    return ", ".join(
        f"{name} {getattr(defaults, name):g}" for name in SAMPLING if getattr(defaults, name) != getattr(usual, name)
    )


def read_json(files: Mapping[str, bytes], name: str) -> dict[str, Any]:
    """The object in a file; empty where there is no such file, or no object in it."""
    try:
        found = json.loads(files.get(name, b"{}"))
    except ValueError:
        logger.warning("%s is not valid JSON and is passed over.", name)
        return {}
    return found if isinstance(found, dict) else {}


def _ids(given: Any) -> Iterator[int]:
    for each in given if isinstance(given, list) else [given]:
        if isinstance(each, int) and not isinstance(each, bool):
            yield each
