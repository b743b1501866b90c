"""Slice Tuner (Tae & Whang, SIGMOD 2021): buy of the slices where samples lower the losses most, and evenly."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer
from typing_extensions import override

from redwood.branches.acquisition.allocation import CHANGES, best_wish, most_change, rounds_needed, trusted_share
from redwood.branches.acquisition.buyers import Buyer
from redwood.branches.acquisition.curves import Floats, Points, PowerLaw, fit_power_law
from redwood.branches.acquisition.offer import Offer
from redwood.branches.acquisition.setting import AcquisitionSetting
from redwood.branches.acquisition.trials import Samples, Trials
from redwood.core.checks import check_choice, check_range
from redwood.core.errors import InvalidOptionError
from redwood.core.seeding import derive_seed
from redwood.core.user_warnings import warn
from redwood.core.workers import rank
from redwood.methods.training.layers import set_dropout
from redwood.methods.training.optimizers import new_optimizer
from redwood.settings.batch import Batch
from redwood.settings.streams.phase import Phase
from redwood.settings.supervised import SupervisedSetting

_MOST_NAMED = 6


@dataclass
class SliceTuner(Buyer):
    """Estimate the learning curve of each slice, and buy what lowers the losses most and keeps them close together.

    Before the first purchase it trains `subsets` times `repeats` times on parts of the samples. After each later phase
    it trains `repeats` times on the largest part. This adds one size to each curve, as in the authors' code. So K parts
    and U rounds take `repeats` times K + U - 1 trainings. A power law is fitted to the losses of each slice on held-out
    samples (`branches/acquisition/trials.py`, `curves.py`). As in the paper, `--validation` or the data set keeps them;
    otherwise they are some of the bought samples. The best purchase for the whole budget that is left follows from the
    curves (`allocation.py`). A round buys only a part of it: the imbalance ratio of the slices changes by at most
    `--change`. The last round spends all that is left.
    """

    requires: ClassVar[frozenset[str]] = frozenset({"many_passes", "one_worker"})

    subsets: int = 5  # parts of the samples, of growing size, that the learning curves are measured on
    repeats: int = 5  # trainings for each part of --subsets
    # share of each slice that the largest part leaves out, to measure the loss on; not with samples held out for it
    curve_held_out: float = 0.3
    balance: float = 1.0  # weight of the slices whose loss is above the average (lambda in the paper)
    change: str = "moderate"  # how much a round may change the imbalance: conservative, moderate or aggressive

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(self, "change", tuple(CHANGES))
        check_range(self, "subsets", 3, 10_000)
        check_range(self, "repeats", 1, 10_000)
        check_range(self, "balance", 0)
        if not 0 < self.curve_held_out < 1:
            raise InvalidOptionError(
                f"--curve_held_out {self.curve_held_out} has to be greater than 0 and less than 1: curves need samples "
                "to train on, and others to test on."
            )

    @override
    def configure(self, setting: SupervisedSetting) -> None:
        super().configure(setting)
        rounds = setting.rounds if isinstance(setting, AcquisitionSetting) else None  # advice buys nothing
        if rounds == 1 and self.change != type(self).change:
            raise InvalidOptionError(
                f"--change {self.change} has no effect with --rounds 1, which spends the whole budget at once; leave "
                "it out, or give more --rounds."
            )
        # The sizes and the losses of each slice in all trainings so far: the points of its learning curve.
        self.points: list[list[list[float]]] = self.add_state("points", [])
        # The parameters b and a of each slice after the last phase; empty where no law fits.
        self.laws: list[list[float]] = self.add_state("laws", [])

    @override
    def fit(self, phase: Phase) -> None:
        """Train on the phase; if a round of buying follows, measure the learning curves."""
        if phase.validation is not None and self.curve_held_out != type(self).curve_held_out:
            raise InvalidOptionError(
                f"--curve_held_out {self.curve_held_out} has no effect with validation samples, which the losses are "
                "measured on; leave it out, or --validation."
            )
        super().fit(phase)
        assert isinstance(self.setting, AcquisitionSetting)  # the target
        if phase.index < self.setting.rounds:
            seen = phase.train.preview(sum(phase.train.sizes))
            assert self.setting.nb_tasks is not None  # shown in training
            held_out = None if phase.validation is None else list(phase.validation)
            found = self.measure(seen, held_out, self.setting.nb_tasks, phase.index, largest_alone=bool(self.points))
            earlier = [Points(*map(np.array, own)) for own in self.points]
            points = [own.joined(new) for own, new in zip(earlier, found, strict=True)] if earlier else found
            self.points = [[own.sizes.tolist(), own.losses.tolist()] for own in points]
            self.laws = [[] if law is None else [law.b, law.a] for law in map(fit_power_law, points)]

    def measure(
        self,
        seen: Batch,
        held_out: Sequence[Batch] | None,
        num_slices: int,
        number: int,
        *,
        largest_alone: bool = False,
    ) -> list[Points]:
        """The losses of each slice (S,) after trainings on parts of the samples: the points of its learning curve.

        Args:
            seen: Samples (n, ...); their task ids are their slices, 0..S-1.
            held_out: Samples to measure the losses on; None: those that a training leaves out.
            num_slices: Number of slices S.
            number: Number of the round, from which the random numbers follow.
            largest_alone: Whether to train on the largest part alone.
        """
        samples = self._samples([seen], num_slices)
        tested = self._samples(held_out, num_slices) if held_out else None
        trials = Trials(
            self.subsets,
            self.repeats,
            self.curve_held_out,
            self.setting.batch_size,
            self.setting.passes,
            derive_seed(self.setting.seed, "learning curves", number),
        )
        return trials.measure(samples, self._new_learner, self.flops, tested, largest_alone=largest_alone)

    def _samples(self, batches: Sequence[Batch], num_slices: int) -> Samples:
        """The samples of some batches, where the networks are."""
        leaves = [batch.to(self.device).leaves() for batch in batches]
        x, y, slices = (torch.cat([own[name] for own in leaves]) for name in ("x", "y", "task_id"))
        return Samples(x, y, slices, num_slices)

    def _new_learner(self) -> tuple[nn.Module, Optimizer]:
        network = self.make_network()
        set_dropout(network, self.dropout)
        network.to(self.device)
        return network, new_optimizer(self, [{"params": [p for p in network.parameters() if p.requires_grad]}])

    @override
    def acquire(self, offer: Offer) -> list[int]:
        return self.purchase([PowerLaw(*law) if law else None for law in self.laws], offer)

    def purchase(self, curves: Sequence[PowerLaw | None], offer: Offer) -> list[int]:
        """Return the samples to buy, by the learning curves; if one is missing, spend equally on all slices."""
        known = [curve for curve in curves if curve is not None]
        last = offer.rounds_left == 1
        wish = best_wish(known, offer, offer.budget, self.balance) if len(known) == len(offer.sizes) else None
        if wish is None:
            if rank() == 0 and offer.budget > 0:
                warn(self._reason(curves, offer))
            return offer.equal_shares(offer.share)
        if rank() == 0:
            self._tell_flat(known, offer)
            if offer.round == 0 and not last:
                self._tell_change(offer, wish)
        share = 1.0 if last else trusted_share(offer.sizes, wish, most_change(self.change, offer, wish))
        return offer.whole(share * wish, share * offer.budget)

    def _tell_flat(self, curves: Sequence[PowerLaw], offer: Offer) -> None:
        flat = [name for name, curve in zip(offer.names, curves, strict=True) if curve.is_flat]
        if flat:
            warn(
                f"The losses of {named(flat)} did not fall with more samples, so slice_tuner expects nothing of "
                f"further ones in round {offer.round}; give more --initial samples or --repeats."
            )

    def _tell_change(self, offer: Offer, wish: Floats) -> None:
        usual, most = CHANGES[self.change](0), most_change(self.change, offer, wish)
        if most > usual:
            warn(
                f"--change {self.change} lets a round change the imbalance ratio by {most:.3g} at first instead of by "
                f"{usual:g}, as --rounds {offer.rounds_left} could not spend the budget; --rounds "
                f"{rounds_needed(self.change, offer.sizes, wish)} could."
            )

    def _reason(self, curves: Sequence[PowerLaw | None], offer: Offer) -> str:
        failed = [name for name, curve in zip(offer.names, curves, strict=True) if curve is None]
        found = f"no learning curve fits slice {failed[0]}" if failed else "the best purchase was not found"
        return (
            f"slice_tuner spends the same on each slice in round {offer.round}, since {found}; give more --initial "
            "samples or --repeats."
        )


def named(slices: Sequence[str]) -> str:
    """The first names of slices, as in `slices a, b, c and 4 more`."""
    shown = f"slice{'s' * (len(slices) > 1)} {', '.join(slices[:_MOST_NAMED])}"
    return shown if len(slices) <= _MOST_NAMED else f"{shown} and {len(slices) - _MOST_NAMED} more"
