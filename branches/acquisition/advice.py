"""`advise`: the number of samples of each slice to collect for a budget, by learning curves of the present samples."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.colors import to_hex
from matplotlib.ticker import StrMethodFormatter
from rich.console import Console
from rich.text import Text

from redwood.branches.acquisition.allocation import best_wish
from redwood.branches.acquisition.curves import Points, PowerLaw, fit_power_law
from redwood.branches.acquisition.offer import Offer
from redwood.branches.acquisition.slice_tuner import SliceTuner, named
from redwood.core.checks import check_positive, check_range
from redwood.core.errors import InvalidOptionError, RedwoodError
from redwood.core.files import refuse_foreign
from redwood.core.seeding import generator
from redwood.engine.figures.drawing import label_ends, new_figure, save_figure, style_axes
from redwood.engine.run import Run
from redwood.engine.terminal import NOT_DEFINED, Terminal, new_table
from redwood.settings.batch import Batch
from redwood.settings.data.catalog import load_dataset
from redwood.settings.data.columns import Columns
from redwood.settings.data.dataset import Dataset
from redwood.settings.scores.slices import slicing_of
from redwood.settings.tree import TraditionalSetting

MOST_SAMPLES = 10_000  # that learning curves are measured on: they are trained on many times
_MAX_NAMED = 12
_OWN = (re.compile(b"redwood advise"), "--picture")  # see `redwood.core.files.refuse_foreign`


@dataclass(frozen=True)
class Advise:
    """Say how many samples of each slice to collect, and draw the learning curves."""

    dataset: str = "digits"  # name, or .npz/.h5 file, of the samples that there are already
    data_dir: str = "data"  # folder that data sets are read from and downloaded to
    slices: str = ""  # column of the file that groups the samples (default: the classes)
    budget: float = 200.0  # what the samples to collect may cost
    costs: list[float] = field(default_factory=list)  # cost of a sample: one number, or one per slice (default: 1)
    seed: int = 0  # decides the parts, their order and the initial weights
    model: str = "auto"  # network by its name in redwood or torchvision, or file.py:name
    optimizer: str = "sgd"  # sgd, or another one of torch
    lr: float = 0.05  # learning rate
    batch_size: int = 32  # samples of a training step
    passes: int = 20  # times each sample is presented in a training
    subsets: int = 5  # parts of growing size that the learning curves are measured on
    repeats: int = 5  # trainings for each part of --subsets
    balance: float = 1.0  # weight of the slices whose loss is above the average
    picture: str = "advice.png"  # file that the learning curves are drawn to

    def __post_init__(self) -> None:
        check_positive(self, "budget")
        check_range(self, "seed", 0)
        check_range(self, "batch_size", 1)
        check_range(self, "passes", 1)
        for cost in self.costs:
            if not 0 < cost < float("inf"):
                raise InvalidOptionError(f"--costs {cost:g} has to be greater than 0 and finite.")

    def __call__(self) -> None:
        """Print the samples to collect, and draw the learning curves.

        Raises:
            RedwoodError: If the data cannot be sliced, or the picture is another program's file.
        """
        refuse_foreign(Path(self.picture), *_OWN)
        advice = find_advice(self)
        print_advice(advice, self, Terminal())
        draw_advice(advice, self, Path(self.picture))


@dataclass(frozen=True, eq=False)
class Advice:
    """The samples to collect, and the learning curves behind them.

    Attributes:
        offer: Sizes and costs of the slices, and the budget.
        points: Measured losses of each slice (S,).
        curves: Learning curve of each slice (S,); None where none fits.
        counts: Samples to collect of each slice (S,).
        measured_on: Number of samples that the curves were measured on.
    """

    offer: Offer
    points: list[Points]
    curves: list[PowerLaw | None]
    counts: list[int]
    measured_on: int

    def expected(self, collected: bool) -> list[float | None]:
        """The expected loss of each slice (S,), now or with the samples that are `collected`."""
        sizes = np.add(self.offer.sizes, self.counts) if collected else np.array(self.offer.sizes)
        return [None if law is None else float(law(size)) for law, size in zip(self.curves, sizes, strict=True)]


def find_advice(options: Advise) -> Advice:
    """Measure the learning curves of a data set's training samples, and the best use of the budget.

    Raises:
        RedwoodError: If the data cannot be read, has no classes, or has another number of slices than of costs.
    """
    data = load_dataset(options.dataset, Path(options.data_dir), options.seed, 0, Columns(slices=options.slices))
    if data.kind != "classes":
        raise InvalidOptionError(
            f"advise compares the losses of classes, but --dataset {options.dataset} has none; choose other data."
        )
    slices, names = data.y if data.slices is None else data.slices, tuple(slicing_of(data, options.slices).names)
    costs = options.costs or [1.0]
    if len(costs) not in (1, len(names)):
        raise InvalidOptionError(
            f"--costs has {len(costs)} values for the {len(names)} slices of {data.name}; give one number, or one for "
            "each slice."
        )
    costs = costs * (len(names) if len(costs) == 1 else 1)
    sizes = torch.bincount(slices, minlength=len(names)).tolist()
    pool = tuple(int(options.budget / cost) for cost in costs)  # there are as many as can be paid
    offer = Offer(0, 1, options.budget, names, tuple(sizes), tuple(costs), pool)
    rows = torch.randperm(len(data.y), generator=generator(options.seed, "advice"))[:MOST_SAMPLES]
    points = _tuner(options, data).measure(Batch(data.x[rows], data.y[rows], slices[rows]), None, len(names), 0)
    curves = [fit_power_law(own) for own in points]
    return Advice(offer, points, curves, _counts(curves, offer, options.balance), len(rows))


def _tuner(options: Advise, data: Dataset) -> SliceTuner:
    setting = TraditionalSetting(
        dataset=data,
        stream="instance",
        nb_tasks=1,
        seed=options.seed,
        batch_size=options.batch_size,
        passes=options.passes,
    )
    tuner = SliceTuner(
        model=options.model,
        optimizer=options.optimizer,
        lr=options.lr,
        subsets=options.subsets,
        repeats=options.repeats,
        balance=options.balance,
    )
    tuner.attach(Run(quiet=True))
    tuner.configure(setting.for_method())
    return tuner


def _counts(curves: Sequence[PowerLaw | None], offer: Offer, balance: float) -> list[int]:
    """The samples to collect of each slice; where a curve is missing, the same is spent on each."""
    known = [curve for curve in curves if curve is not None]
    wish = best_wish(known, offer, offer.budget, balance) if len(known) == len(curves) else None
    return offer.equal_shares(offer.budget) if wish is None else offer.whole(wish, offer.budget)


def print_advice(advice: Advice, options: Advise, console: Console) -> None:
    """Print a line for each slice, and the scores to expect of all slices."""
    offer = advice.offer
    console.print(Text(f"{options.dataset} by {options.slices or 'class'}, budget {offer.budget:g}", style="bold"))
    table = new_table("", padding=1)
    table.add_column("slice")
    for name in ("samples", "loss at x samples", "expected loss", "collect", "cost", "then expected"):
        table.add_column(name, justify="right")
    now, then = advice.expected(collected=False), advice.expected(collected=True)
    for number, (name, law, count) in enumerate(zip(offer.names, advice.curves, advice.counts, strict=True)):
        table.add_row(
            name,
            str(offer.sizes[number]),
            NOT_DEFINED if law is None else f"{law.b:.3g} x^-{law.a:.3g}",
            _loss(now[number]),
            str(count),
            f"{count * offer.costs[number]:g}",
            _loss(then[number]),
        )
    console.print(table)
    console.print(f"collect {sum(advice.counts)} samples for {offer.cost_of(advice.counts):g}")
    failed = [name for name, law in zip(offer.names, advice.curves, strict=True) if law is None]
    if failed:
        console.print(
            f"No learning curve fits slice {failed[0]}, so the same is spent on each slice; collect a few more samples "
            "of it first, or raise --repeats."
        )
        return
    flat = [name for name, law in zip(offer.names, advice.curves, strict=True) if law is not None and law.is_flat]
    if flat:
        console.print(
            f"The losses of {named(flat)} did not fall with more samples, so nothing is expected of further ones; "
            "raise --repeats, or collect a few and ask again."
        )
    for label, losses in (("now", now), ("then", then)):
        values = np.array(losses, dtype=np.float64)
        gaps = np.abs(values - values.mean())
        console.print(
            f"expected {label}: average loss {values.mean():.3f}, average EER {gaps.mean():.3f}, "
            f"largest EER {gaps.max():.3f}"
        )
    if advice.measured_on < sum(offer.sizes):
        console.print(f"The curves were measured on {advice.measured_on:,} of the {sum(offer.sizes):,} samples.")


def _loss(value: float | None) -> str:
    return NOT_DEFINED if value is None else f"{value:.3f}"


def draw_advice(advice: Advice, options: Advise, path: Path) -> None:
    """Draw the measured losses and the learning curve of each slice, up to the samples that it would have."""
    offer = advice.offer
    figure = new_figure(6.8, 4.6)
    axes = figure.add_subplot()
    colours = [to_hex(colour) for colour in colormaps["viridis"](np.linspace(0.0, 0.85, len(offer.names)))]
    ends, last = [], float(np.add(offer.sizes, advice.counts).max())
    for name, size, count, own, law, colour in zip(
        offer.names, offer.sizes, advice.counts, advice.points, advice.curves, colours, strict=True
    ):
        axes.plot(own.sizes, own.losses, color=colour, marker="o", markersize=3, lw=0, alpha=0.6)
        if law is None:
            continue
        course = np.geomspace(max(1.0, float(own.sizes.min())), last, 100)
        axes.plot(course, law(course), color=colour, lw=1.0, alpha=0.8)
        axes.plot([size, size + count], law([size, size + count]), color=colour, lw=3.0, solid_capstyle="round")
        ends.append((last, float(law(last)), f"{name} (+{count})", colour))
    axes.set_xscale("log")
    for formatted in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        formatted(StrMethodFormatter("{x:,.0f}"))
    style_axes(axes, "training samples of the slice", "loss on samples that were left out")
    axes.set_ylim(0, None)
    if ends and len(ends) <= _MAX_NAMED:
        label_ends(axes, ends, height=3.6, limits=axes.get_ylim())
    title = f"Learning curves by {options.slices or 'class'}, and what to collect for {offer.budget:g}"
    figure.suptitle(f"{title}\n{options.dataset}", fontsize=11)
    try:
        save_figure(figure, path, _OWN)
    except OSError as error:
        raise RedwoodError(f"--picture {path} cannot be written ({error.strerror}); name another file.") from error
    print(f"learning curves: {path}")
