"""CHGNet: the foundation potentials whose weights are in the package."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from worker_calculator import serve_calculator


def make(model: str, device: str) -> tuple[Any, list[int]]:
    """The calculator of a model, by the name that the package gives it, and the elements that it knows."""
    from chgnet.model import CHGNet, CHGNetCalculator

    network = CHGNet.load(model_name=model, use_device=device, verbose=False)
    n_elements = network.atom_embedding.embedding.num_embeddings
    return CHGNetCalculator(network, use_device=device), list(range(1, n_elements + 1))


serve_calculator("chgnet", version("chgnet"), make)
