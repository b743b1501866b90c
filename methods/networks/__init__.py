"""Networks: what maps a batch of observations to class scores or action values, chosen by name.

Every network takes samples as they are stored (`uint8` images stay `uint8`) and begins with `Scale`.

- `auto`: `slim_resnet18` for colour images of at least 16 x 16 pixels, `mlp` for everything else
- `mlp`: two hidden layers of 256, by default
- `simple_cnn`: three convolutions
- `slim_resnet18`: the reduced ResNet-18 of continual learning; `cifar_resnet18` in full width, `cifar_resnet32`
- any classification model of torchvision (`resnet18`, `resnet50`, ...)
- `timm:NAME`: any model of timm, with the extra `vision`
- `path/to/file.py:function` or `package.module:function`: what a function or class of the user makes
"""

import difflib
from collections.abc import Callable, Mapping

from gymnasium.spaces import Box
from torch import nn

from redwood.core.errors import UnknownNameError
from redwood.core.registry import names_code
from redwood.methods.networks.builtin import Scale, cifar_resnet18, cifar_resnet32, mlp, simple_cnn, slim_resnet18
from redwood.methods.networks.check import adapt_module
from redwood.methods.networks.factory import call_factory, refuse_no_module
from redwood.methods.networks.inputs import AsPublished
from redwood.methods.networks.timm_models import PREFIX as TIMM
from redwood.methods.networks.timm_models import timm_model
from redwood.methods.networks.torchvision_models import classification_models, torchvision_model

__all__ = ["NETWORKS", "TIMM", "Scale", "adapt_module", "auto", "build_network"]


def auto(observation_space: Box, n_outputs: int) -> nn.Module:
    """Return a network that suits the observations: `slim_resnet18` for colour images, else `mlp`.

    Args:
        observation_space: Space of one observation; images are (C, H, W).
        n_outputs: Number of scores.
    """
    shape = observation_space.shape
    is_colour_image = len(shape) == 3 and shape[0] > 1 and min(shape[1:]) >= 16
    return (slim_resnet18 if is_colour_image else mlp)(observation_space, n_outputs)


NETWORKS: Mapping[str, Callable[[Box, int], nn.Module]] = {
    "auto": auto,
    "mlp": mlp,
    "simple_cnn": simple_cnn,
    "slim_resnet18": slim_resnet18,
    "cifar_resnet18": cifar_resnet18,
    "cifar_resnet32": cifar_resnet32,
}


def build_network(
    name: object, observation_space: Box, n_outputs: int, published: AsPublished | None = None
) -> nn.Module:
    """Build a network with initial weights drawn from torch's global generator.

    Args:
        name: A key of `NETWORKS`, a classification model of torchvision, `timm:NAME`,
            `file.py:function` or `package.module:function`; see `call_factory` for what such a function takes.
        observation_space: Space of one observation; images are (C, H, W).
        n_outputs: Number of scores.
        published: How a model of torchvision or timm normalises its input for published weights; None leaves colours
            in [-1, 1]. Other networks scale their input as without.

    Returns:
        A module that maps a batch (B, ...) in storage dtype to scores (B, n_outputs).

    Raises:
        UnknownNameError: If there is no such network.
        InvalidOptionError: If the network cannot take such observations.
        RedwoodError: If a user's function cannot be loaded, or fails.
    """
    if not isinstance(name, str):
        refuse_no_module(name)
    if name.startswith(TIMM):
        return timm_model(name, observation_space, n_outputs, published)
    if names_code(name):
        return adapt_module(call_factory(name, observation_space, n_outputs), observation_space, n_outputs)
    if name in NETWORKS:
        return NETWORKS[name](observation_space, n_outputs)
    known = classification_models()
    if name not in known:
        # torchvision has dozens: naming the nearest helps more than a page of them.
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        raise UnknownNameError("network here or in torchvision.models", name, {*NETWORKS, *near})
    return torchvision_model(name, observation_space, n_outputs, published)
