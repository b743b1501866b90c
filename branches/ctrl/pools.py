"""The CTrL streams (Veniat, Denoyer and Ranzato, ICLR 2021, section 3) over any pool of concepts.

Each stream tests one ability. S- tests direct transfer from a large early task, S+ an update of knowledge. S_in tests
new inputs, S_out new outputs, S_pl plasticity after unrelated tasks, and S_long scale. The first concept of a pool is
the main one, which comes back; the others are distractors. The paper augments samples at test in S_long; these streams
do not.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch

from redwood.core.errors import DataError, InvalidOptionError
from redwood.core.schema import ANYTHING, ListOf, Number, Record, Spec
from redwood.core.seeding import derive_seed, generator
from redwood.settings.data.dataset import Dataset
from redwood.settings.data.task_list import ENTRIES, read_yaml, view_of, with_known_keys
from redwood.settings.data.views import View

CTRL_STREAMS = ("s_minus", "s_plus", "s_in", "s_out", "s_pl", "s_long")
LONG_TASKS = 100
LONG_CLASSES = 5
MOST_CLASSES = 10  # of a task of the short streams

_NO_CONCEPT = {"label_order", "train_per_class", "validation_per_class", "test_per_class", "year"}
_CONCEPT = {key: spec for key, spec in ENTRIES.items() if key not in _NO_CONCEPT}
_SIZES = ListOf(Number(low=1, whole=True), length=2)
_POOL: dict[str, Spec] = {
    "concepts": ListOf(ANYTHING, least=2),
    "large": _SIZES,
    "small": _SIZES,
    "smallest": _SIZES,
    "test_per_class": Number(low=1, whole=True),
}


class Sizes(NamedTuple):
    """Samples of each class."""

    train: int
    validation: int


@dataclass(frozen=True)
class Pool:
    """The concepts that streams are made of, and their sizes.

    Attributes:
        concepts: The main concept, then the distractors in their order.
        large: Samples of each class of a large task, where there are as many.
        small: Samples of each class of a small task.
        smallest: Samples of each class of the last task of S_in.
        test_per_class: At most so many test samples of each class.
        main_of_s_in: Number of the concept whose inputs change in S_in.
        long: Concepts of S_long; empty: those of the short streams.
        long_large: Samples of each class of a large task of S_long; None: `large`.
        long_small: Samples of each class of a small task of S_long; None: `small`.
        image_size: Side of the images in pixels; 0: that of the data sets.
    """

    concepts: tuple[View, ...]
    large: Sizes
    small: Sizes
    smallest: Sizes
    test_per_class: int | None = None
    main_of_s_in: int = 0
    long: tuple[View, ...] = ()
    long_large: Sizes | None = None
    long_small: Sizes | None = None
    image_size: int = 0


def find_pool(name: str, seed: int) -> Pool:
    """The pool of the option `concepts`: `digits`, `ctrl`, or a YAML file.

    Args:
        name: The option.
        seed: Draws the permutations of `digits`.

    Raises:
        InvalidOptionError: If the name is unknown.
        DataError: If the file is missing, or no pool.
    """
    if name.endswith((".yaml", ".yml")):
        return _read_pool(Path(name))
    pools = {"digits": _digits, "ctrl": _ctrl}
    if name not in pools:
        raise InvalidOptionError(f"--concepts {name} is unknown; choose one of {', '.join(pools)}, or a YAML file.")
    return pools[name](seed)


def _digits(seed: int) -> Pool:
    """Half of the digits; the other half, permuted in two ways; and generated prototypes. All come offline."""
    first, last = tuple(range(5)), tuple(range(5, 10))
    seeds = [derive_seed(seed, "concept", number) % 2**31 for number in range(2)]
    permuted = [View("digits", transform="permuted", seed=one, name=f"permuted {k}") for k, one in enumerate(seeds, 1)]
    return Pool(
        concepts=(
            View("digits", classes=first, name="digits 0-4"),
            replace(permuted[0], classes=last, name="permuted 1, 5-9"),
            View("prototypes", classes=first, name="prototypes 0-4"),
            replace(permuted[1], classes=last, name="permuted 2, 5-9"),
        ),
        large=Sizes(60, 30),
        small=Sizes(8, 4),
        smallest=Sizes(8, 4),
        test_per_class=200,
        long=(View("digits"), *permuted, View("digits", transform="inverted", name="inverted"), View("prototypes")),
    )


def _ctrl(seed: int) -> Pool:
    """The data sets and sizes of the paper, 32 x 32 in colour."""
    return Pool(
        concepts=tuple(View(name) for name in ("cifar10", "mnist", "dtd", "fashion_mnist", "svhn")),
        large=Sizes(400, 200),
        small=Sizes(40, 20),
        smallest=Sizes(5, 3),
        test_per_class=1000,
        main_of_s_in=1,
        long=tuple(View(name) for name in ("mnist", "svhn", "cifar10", "fashion_mnist", "cifar100")),
        long_large=Sizes(1000, 500),
        long_small=Sizes(5, 3),
        image_size=32,
    )


def _read_pool(path: Path) -> Pool:
    content = with_known_keys(read_yaml(path), _POOL, f"The file {path}")
    problem = Record(_POOL, optional=frozenset({"smallest", "test_per_class"})).problem(content, "it")
    if problem is not None:
        raise DataError(f"The file {path} is no pool of concepts: {problem}.")
    concepts = []
    for number, entry in enumerate(content["concepts"]):
        where = f"Concept {number} of {path}"
        concepts.append(view_of(with_known_keys(entry, _CONCEPT, where), where))
    small = Sizes(*content["small"])
    return Pool(
        concepts=tuple(concepts),
        large=Sizes(*content["large"]),
        small=small,
        smallest=Sizes(*content.get("smallest", small)),
        test_per_class=content.get("test_per_class"),
    )


def ctrl_stream(name: str, pool: Pool, load: Callable[[str], Dataset], seed: int, num_tasks: int = 0) -> list[View]:
    """The tasks of a CTrL stream.

    Args:
        name: One of `CTRL_STREAMS`.
        pool: The concepts. Where a class has too few samples, training and validation shrink in proportion.
        load: Loads a data set by its name.
        seed: Draws ten classes of a concept with more; in S_long the concept, classes and size of each task.
        num_tasks: Least number of tasks of S_long, which has a hundred or more. A task does not depend on it.

    Raises:
        DataError: If S_in is to invert a concept that has a transform already.
    """
    maker = _Maker(pool, load, seed)
    if name == "s_long":
        return [maker.long_task(number) for number in range(max(num_tasks, LONG_TASKS))]
    main = pool.main_of_s_in if name == "s_in" else 0
    concepts = [maker.with_classes(number) for number in range(len(pool.concepts))]
    first = concepts.pop(main)
    between = [maker.sized(view, pool.small) for view in concepts]
    large, small = (maker.sized(first, sizes) for sizes in (pool.large, pool.small))
    if name == "s_minus":
        return [large, *between, small]
    if name == "s_plus":
        return [small, *between, large]
    if name == "s_pl":
        return [*between, large]
    if name == "s_out":
        order = (len(first.classes) - 1, *range(len(first.classes) - 1))
        return [large, *between, replace(small, label_order=order, name=f"{small.title}, other labels")]
    if first.transform != "none":
        raise DataError(f"--stream s_in inverts its first concept, but {first.title} is {first.transform} already.")
    inverted = replace(first, transform="inverted", name=f"{first.title}, inverted")
    return [large, *between, maker.sized(inverted, pool.smallest)]


class _Maker:
    """Chooses classes and sizes of tasks."""

    def __init__(self, pool: Pool, load: Callable[[str], Dataset], seed: int) -> None:
        self._pool, self._load, self._seed = pool, load, seed

    def with_classes(self, number: int) -> View:
        """A concept of the short streams with at most ten classes."""
        view = self._pool.concepts[number]
        return self._choose(view, MOST_CLASSES, generator(self._seed, "concept classes", number), sort=True)

    def long_task(self, number: int) -> View:
        """Task `number` of S_long. Large ones become rarer: half, a quarter, none in each third of a hundred tasks."""
        random, pool = generator(self._seed, "S_long", number), self._pool
        concepts = pool.long or pool.concepts
        view = concepts[int(torch.randint(len(concepts), (), generator=random))]
        share = 1 / 2 if number < 33 else 1 / 4 if number < 66 else 0
        is_large = torch.rand((), generator=random).item() < share
        sizes = (pool.long_large or pool.large) if is_large else (pool.long_small or pool.small)
        return self.sized(self._choose(view, LONG_CLASSES, random, sort=False), sizes)

    def _choose(self, view: View, most: int, random: torch.Generator, *, sort: bool) -> View:
        classes = view.classes or tuple(range(self._load(view.dataset).n_classes))
        order = torch.randperm(len(classes), generator=random)[:most].tolist()
        return replace(view, classes=tuple(classes[place] for place in (sorted(order) if sort else order)))

    def sized(self, view: View, sizes: Sizes) -> View:
        """The view with so many samples of each class, or in the same proportion as many as there are."""
        y = self._load(view.dataset).y
        available = min(int((y == label).sum()) for label in view.classes)
        share = min(1.0, available / (sizes.train + sizes.validation))
        return replace(
            view,
            train_per_class=max(1, int(share * sizes.train)),
            validation_per_class=int(share * sizes.validation),
            test_per_class=self._pool.test_per_class,
        )
