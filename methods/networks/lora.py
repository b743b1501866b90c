"""Low-rank adapters beside the layers of a network (LoRA: Hu et al., 2022), by the package peft."""

import re
from collections.abc import Sequence

from gymnasium.spaces import Box
from torch import nn

from redwood.core.errors import InvalidOptionError, reason_of
from redwood.methods.networks.last_layer import LAYERS, modules_in_order


def add_adapters(
    network: nn.Module,
    rank: int,
    alpha: int,
    targets: Sequence[str],
    head: nn.Module,
    observation_space: Box,
    name: str,
) -> None:
    """Freeze a network, and put adapters beside its linear layers and convolutions, in place.

    Their weights come from torch's global generator: A is random and B zero, so that the network computes the same.
    Layers whose weights the network reads without calling them, and grouped convolutions, get none.

    Args:
        network: The network.
        rank: Rank of the adapters.
        alpha: Their outputs are multiplied by alpha / rank.
        targets: Ends of the names of the layers that get adapters; none: all layers but the head.
        head: Its last layer, which gets none.
        observation_space: Space of one sample.
        name: What the sentence of an error calls the network.

    Raises:
        InvalidOptionError: If peft is missing, or there is no layer of these names.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise InvalidOptionError(
            "--trainable lora needs the package peft, which is not installed; pip install 'redwood[vision]'."
        ) from error
    called = {layer for layer in modules_in_order(network, observation_space) if isinstance(layer, LAYERS)}
    names = [
        key
        for key, layer in network.named_modules()
        if key and layer in called and layer is not head and getattr(layer, "groups", 1) == 1
    ]
    chosen = [key for key in names if not targets or _ends_with(key, targets)]
    unknown = [target for target in targets if not any(_ends_with(key, (target,)) for key in names)]
    if unknown or not chosen:
        wanted = f"ends with {unknown[0]!r}" if unknown else "could get an adapter"
        known = ", ".join(names[-6:]) or "none"
        raise InvalidOptionError(f"--trainable lora: no layer of {name} {wanted}; its last layers are: {known}.")
    pattern = "|".join(map(re.escape, chosen))  # peft would take plain names for ends of names, too
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=pattern)
    try:
        inject_adapter_in_model(config, network)
    except Exception as error:
        raise InvalidOptionError(
            f"--trainable lora: peft cannot adapt {name} ({reason_of(error)}); give other targets."
        ) from error


def _ends_with(name: str, targets: Sequence[str]) -> bool:
    return any(name == target or name.endswith(f".{target}") for target in targets)
