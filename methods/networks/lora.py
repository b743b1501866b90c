"""Low-rank adapters beside the layers of a network (LoRA: Hu et al., 2022), by the package peft."""

import re
from dataclasses import dataclass

from gymnasium.spaces import Box
from torch import nn

from redwood.core.errors import InvalidOptionError, reason_of
from redwood.methods.networks.last_layer import LAYERS, modules_in_order

_EXAMPLE = "lora:r=8,alpha=16,targets=qkv+proj"


@dataclass(frozen=True)
class Lora:
    """The options of `lora:r=8,alpha=16,targets=qkv+proj`.

    Attributes:
        r: Rank of the adapters.
        alpha: The adapters' outputs are multiplied by alpha / r; twice the rank by default.
        targets: Ends of the names of the layers that get adapters; none: all layers but the head.
    """

    r: int = 8
    alpha: int = 16
    targets: tuple[str, ...] = ()


def read_lora(text: str) -> Lora:
    """The options that `--trainable lora:...` gives.

    Raises:
        InvalidOptionError: If there is another option, or a number is out of range.
    """
    options: dict[str, str] = {}
    for part in text.partition(":")[2].split(","):
        name, equals, value = part.partition("=")
        if part and (not equals or not value or name not in ("r", "alpha", "targets") or name in options):
            raise InvalidOptionError(
                f"--trainable {text} has the unknown part {part!r}; r, alpha and targets can be given once each, as in "
                f"{_EXAMPLE}."
            )
        options[name] = value
    try:
        r = int(options.get("r", "8"))
        alpha = int(options.get("alpha", 2 * r))
    except ValueError:
        sentence = f"--trainable {text}: r and alpha have to be whole numbers, as in {_EXAMPLE}."
        raise InvalidOptionError(sentence) from None
    if r < 1 or alpha < 1:
        raise InvalidOptionError(f"--trainable {text}: r and alpha have to be at least 1.")
    targets = tuple(target for target in options.get("targets", "").split("+") if target)
    return Lora(r, alpha, targets)


def add_adapters(network: nn.Module, text: str, head: nn.Module, observation_space: Box, name: str) -> None:
    """Freeze a network, and put adapters beside its linear layers and convolutions, in place.

    Their weights come from torch's global generator: A is random and B zero, so that the network computes the same.
    Layers whose weights the network reads without calling them, and grouped convolutions, get none.

    Args:
        network: The network.
        text: What `--trainable` was given, see `Lora`.
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
            f"--trainable {text} needs the package peft, which is not installed; pip install 'redwood[vision]'."
        ) from error
    lora = read_lora(text)
    called = {layer for layer in modules_in_order(network, observation_space) if isinstance(layer, LAYERS)}
    names = [
        key
        for key, layer in network.named_modules()
        if key and layer in called and layer is not head and getattr(layer, "groups", 1) == 1
    ]
    chosen = [key for key in names if not lora.targets or _ends_with(key, lora.targets)]
    unknown = [target for target in lora.targets if not any(_ends_with(key, (target,)) for key in names)]
    if unknown or not chosen:
        wanted = f"ends with {unknown[0]!r}" if unknown else "could get an adapter"
        known = ", ".join(names[-6:]) or "none"
        raise InvalidOptionError(f"--trainable {text}: no layer of {name} {wanted}; its last layers are: {known}.")
    pattern = "|".join(map(re.escape, chosen))  # peft would take plain names for ends of names, too
    config = LoraConfig(r=lora.r, lora_alpha=lora.alpha, target_modules=pattern)
    try:
        inject_adapter_in_model(config, network)
    except Exception as error:
        raise InvalidOptionError(
            f"--trainable {text}: peft cannot adapt {name} ({reason_of(error)}); give other targets."
        ) from error


def _ends_with(name: str, targets: tuple[str, ...]) -> bool:
    return any(name == target or name.endswith(f".{target}") for target in targets)
