"""From what a user names to a checkpoint: here a new form of model files is told apart from the others."""

from foreword.weights.checkpoint import Checkpoint
from foreword.weights.safetensors import SafetensorsCheckpoint


def open_checkpoint(model: str | None) -> Checkpoint:
    """The checkpoint of a path or a hub name; None is the model in the package. ModelError for what is not there."""
    return SafetensorsCheckpoint(model)
