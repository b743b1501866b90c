"""Hybrid 1, iCaRL's training without its classifier (Rebuffi et al., 2017, section 4.2)."""

from dataclasses import dataclass

from redwood.methods.icarl import ICaRL


@dataclass
class Hybrid1(ICaRL):
    """Train as iCaRL does, with exemplars and distillation, but predict the class of the highest output.

    The gap to `icarl` is what its nearest-mean classifier brings; the gap to `lwf_mc` is what exemplars bring.
    """

    def class_means(self) -> None:
        """There are no means: the network predicts."""
