"""What `overlap.py` measures: cases, each of variants that take turns."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from overlap_models import LARGE, SMALL

# Samples per step, representatives and candidates of the paper (Bouvier et al., 2024).
BATCH, REPLAY, CANDIDATES = 56, 7, 14
# Milliseconds of a step that leaves the processor idle, and of the link.
STEP, LINK = 25.0, 5.0
PLAIN, IDEAL, SYNC, ASYNC = "plain b", "plain b + r", "synchronous", "asynchronous"
DELAYED_SYNC, DELAYED_ASYNC = "synchronous, slow link", "asynchronous, slow link"


@dataclass(frozen=True)
class Variant:
    """One way to train.

    Attributes:
        n: Samples of a step that are in memory.
        overlap: None: no rehearsal; else whether it is asynchronous.
        delay: Milliseconds that each exchange of rows is held up.
    """

    n: int = BATCH
    overlap: bool | None = None
    delay: float = 0.0


@dataclass(frozen=True)
class Case:
    """Variants that are compared with each other.

    Attributes:
        part: Which table it belongs to.
        model: `idle host`, `CNN` or `MLP`.
        shape: Shape of an image.
        train: Milliseconds of the forward pass of BATCH samples, if the host is idle.
        replay: Representatives r.
        blocks: How often each variant has its turn.
        steps: Timed steps of a turn.
        joins: Whether the host puts incoming and replayed samples into one batch; False: left to what stands for a GPU.
        variants: By name.
    """

    part: str
    model: str = "idle host"
    shape: tuple[int, ...] = SMALL
    train: float = STEP
    replay: int = REPLAY
    blocks: int = 10
    steps: int = 20
    joins: bool = True
    variants: dict[str, Variant] = field(default_factory=dict)


def all_cases(world: int, quick: bool) -> list[Case]:
    """What is measured with this many processes."""
    # Blocks and steps of the models that keep the processor busy, and of each point of a curve.
    idle, busy, point = ((1, 5), (1, 3), (1, 4)) if quick else ((10, 20), (8, 6), (4, 10))
    main = six(REPLAY)
    cases = [
        Case("main", shape=SMALL, blocks=idle[0], steps=idle[1], variants=main),
        Case("main", shape=LARGE, blocks=idle[0], steps=idle[1], joins=False, variants=main),
        Case("main", "MLP", blocks=busy[0], steps=2 * busy[1], variants=main),
        Case("main", "CNN", blocks=busy[0], steps=busy[1], variants=main),
    ]
    if world > 2:
        return cases
    cases.insert(2, Case("main", shape=LARGE, blocks=idle[0] // 2 or 1, steps=idle[1], variants=main))
    slow = {name: main[name] for name in (IDEAL, DELAYED_SYNC, DELAYED_ASYNC)}
    cases += [
        Case("training time", train=train, blocks=point[0], steps=point[1], variants=slow)
        for train in ([0.0, 10.0] if quick else [0.0, 2.0, 5.0, 10.0, 20.0, 40.0])
    ]
    cases += [
        Case(
            "delay of the link",
            train=STEP,
            blocks=point[0],
            steps=point[1],
            variants={
                IDEAL: Variant(BATCH + REPLAY),
                SYNC: Variant(overlap=False, delay=delay),
                ASYNC: Variant(overlap=True, delay=delay),
            },
        )
        for delay in ([0.0, 40.0] if quick else [0.0, 2.0, 5.0, 10.0, 20.0, 30.0, 40.0])
    ]
    for model in ("idle host",) if quick else ("idle host", "MLP"):
        for replay in (7, 14, 28, 56):
            chosen = {name: six(replay)[name] for name in (PLAIN, IDEAL, ASYNC)}
            cases.append(Case("replay", model, replay=replay, blocks=point[0], steps=point[1], variants=chosen))
    return cases


def six(replay: int) -> dict[str, Variant]:
    """Plain training and rehearsal, with and without a slow link."""
    return {
        PLAIN: Variant(),
        IDEAL: Variant(BATCH + replay),
        SYNC: Variant(overlap=False),
        ASYNC: Variant(overlap=True),
        DELAYED_SYNC: Variant(overlap=False, delay=LINK),
        DELAYED_ASYNC: Variant(overlap=True, delay=LINK),
    }


def rotated(names: list[str], number: int) -> Iterator[str]:
    """The names in an order that starts with another one in each round."""
    for position in range(len(names)):
        yield names[(position + number) % len(names)]
