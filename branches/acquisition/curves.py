"""Learning curves of slices: the loss as a power law of the number of samples."""

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
FLATTEST = 1e-3  # a power below it: twice the samples lower the loss by less than a thousandth
FEWEST_SIZES = 3  # a law has two parameters: fewer sizes than this cannot say how well it fits


@dataclass(frozen=True)
class PowerLaw:
    """The loss `b x^-a` of a slice that has x training samples (Tae & Whang, SIGMOD 2021, section 4.1); a, b >= 0."""

    b: float
    a: float

    @property
    def is_flat(self) -> bool:
        """True if more samples hardly lower the loss. Measured losses that rise give a flat law, too: a >= 0."""
        return self.a < FLATTEST

    def __call__(self, sizes: Floats | float) -> Floats:
        """The loss at so many samples."""
        return np.asarray(self.b * np.asarray(sizes, dtype=np.float64) ** -self.a)

    def slope(self, sizes: Floats | float) -> Floats:
        """Return the change of the loss per further sample, at the given sizes; negative."""
        return np.asarray(-self.a * self.b * np.asarray(sizes, dtype=np.float64) ** (-self.a - 1))


@dataclass(frozen=True, eq=False)
class Points:
    """Losses of one slice that were measured at several sizes.

    Attributes:
        sizes: Number of training samples of the slice (n,), of each training.
        losses: Mean loss on its held-out samples (n,), of each training.
    """

    sizes: Floats
    losses: Floats

    def joined(self, later: "Points") -> "Points":
        """These points and those of later trainings."""
        return Points(np.append(self.sizes, later.sizes), np.append(self.losses, later.losses))

    def means(self) -> "Points":
        """The mean loss at each size."""
        sizes, place = np.unique(self.sizes, return_inverse=True)
        return Points(sizes, np.bincount(place, self.losses) / np.bincount(place))


def fit_power_law(points: Points) -> PowerLaw | None:
    """Fit a power law by weighted least squares: the error at x samples has the standard deviation 1 / sqrt(x).

    Returns:
        The law; None if there are fewer than `FEWEST_SIZES` sizes, a loss is not finite, or no law is found.
    """
    from scipy.optimize import OptimizeWarning, curve_fit

    sizes, losses = points.sizes, points.losses
    if len(np.unique(sizes)) < FEWEST_SIZES or not np.isfinite(losses).all() or (losses <= 0).any():
        return None
    slope, start = np.polyfit(np.log(sizes), np.log(losses), 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OptimizeWarning)  # of the covariance, which nobody reads
            (b, a), _ = curve_fit(
                lambda x, b, a: b * x**-a,
                sizes,
                losses,
                p0=(np.exp(start), max(0.0, -slope)),
                sigma=1 / np.sqrt(sizes),
                bounds=(0, np.inf),
            )
    except (RuntimeError, ValueError):
        return None
    return PowerLaw(float(b), float(a)) if np.isfinite([a, b]).all() else None
