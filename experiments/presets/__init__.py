"""Published results as files of options: `--preset der_pp/cifar10-500`."""

from redwood.experiments.presets.catalog import Preset, Reached, find_preset, load_presets
from redwood.experiments.presets.listing import announce, print_presets

__all__ = ["Preset", "Reached", "announce", "find_preset", "load_presets", "print_presets"]
