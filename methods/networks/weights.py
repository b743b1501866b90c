"""Weights of a file as the start of a network: `--weights` and `--backbone_weights`."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from gymnasium.spaces import Box
from safetensors.torch import load_file
from torch import Tensor, nn

from redwood.core.errors import InvalidOptionError, reason_of
from redwood.core.files import check_regular
from redwood.core.memory import available_on_host
from redwood.methods.networks.last_layer import head_name

COUNTER = ".num_batches_tracked"
"""A counter of batch normalisation, without effect unless `momentum=None`; older files, as of torchvision, lack it."""
# Where files of whole training states, as of timm and of Lightning, keep the weights.
_NESTED = ("state_dict", "model")
# Heads of torchvision's GoogLeNet and Inception that only their own training uses.
_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")


def load_weights(
    network: nn.Module,
    name: str,
    path: Path,
    observation_space: Box,
    *,
    option: str = "--weights",
    of: str = "--model",
) -> None:
    """Load the weights of a file into a network; its head keeps its own weights if those of the file differ in shape.

    The names of the file are those of the network, or of the model of torchvision or timm in it, without our `model.`
    before them. Numbers are converted to the network's precision.

    Args:
        network: The network.
        name: Its name.
        path: The file: safetensors, or a state dict as `torch.save` writes it (nothing is unpickled but tensors).
        observation_space: Space of one sample.
        option: The option that names the file, for errors.
        of: The option that names the network, for errors.

    Raises:
        InvalidOptionError: If the file cannot be read, or does not fit the network.
    """
    state = read_weights(path, option)
    prefix = "model." if isinstance(getattr(network, "model", None), nn.Module) else ""
    has_prefix = all(key.startswith(prefix) for key in state)
    given = {key if has_prefix else f"{prefix}{_current_name(key)}": value for key, value in state.items()}
    given = {key: value for key, value in given.items() if not key.removeprefix(prefix).startswith(_AUXILIARY)}
    own = network.state_dict()
    head = f"{head_name(network, observation_space)}."
    replaced = {key for key in (*own, *given) if key.startswith(head)}
    if all(key in given and key in own and given[key].shape == own[key].shape for key in replaced):
        replaced = set()
    own, given = (
        {key: value for key, value in part.items() if key not in replaced and not key.endswith(COUNTER)}
        for part in (own, given)
    )
    _refuse_others(own, given, prefix, f"{option} {path} does not fit {of} {name}")
    network.load_state_dict(given, strict=False)


def _refuse_others(own: Mapping[str, Tensor], given: Mapping[str, Tensor], prefix: str, sentence: str) -> None:
    """Raise `InvalidOptionError` unless both have the same names and shapes; the sentence names the first one."""
    missing, unexpected = ([key for key in one if key not in other] for one, other in ((own, given), (given, own)))
    wrong = missing or unexpected or [key for key in own if own[key].shape != given[key].shape]
    if not wrong:
        return
    first, others = wrong[0].removeprefix(prefix), f", as are {len(wrong) - 1} more" if len(wrong) > 1 else ""
    if missing:
        reason = f"{first} is missing in the file{others}"
    elif unexpected:
        reason = f"{first} is only in the file{others}"
    else:
        shapes = f"{tuple(given[wrong[0]].shape)} in the file and {tuple(own[wrong[0]].shape)} in the network"
        reason = f"{first} differs in shape, {shapes}"
    raise InvalidOptionError(f"{sentence}: {reason}; give the weights of that network.")


def read_weights(path: Path, option: str) -> dict[str, Tensor]:
    """The tensors of a file by name, on the CPU.

    Raises:
        InvalidOptionError: If there is no such file, or it holds anything but tensors by name.
    """
    try:
        check_regular(path, available_on_host())
        if path.suffix == ".safetensors":
            return load_file(path)
        state: object = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InvalidOptionError(f"{option} {path} does not exist; give the path of a state dict.") from None
    except OSError as error:
        raise InvalidOptionError(
            f"{option} {path} cannot be read ({error.strerror or reason_of(error)}); name another file."
        ) from error
    except Exception as error:
        raise InvalidOptionError(
            f"{option} {path} cannot be read ({type(error).__name__}); save a state dict with torch.save, or as "
            "safetensors."
        ) from error
    for name in _NESTED:
        if isinstance(state, dict) and isinstance(state.get(name), dict):
            state = state[name]
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise InvalidOptionError(f"{option} {path} holds no state dict; save one with torch.save.")
    wrapped = all(key.startswith("module.") for key in state)  # by torch's DataParallel
    return {key.removeprefix("module.") if wrapped else key: value for key, value in state.items()}


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, which identifies a file of `read_weights`."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _current_name(key: str) -> str:
    """The name of a weight: the files of torchvision's DenseNets, which are older than the code, have another one."""
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", key)
