"""What a GPU does during a few steps: busy times of its streams, and a time line."""

import json
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from overlap_cases import Variant
from torch.profiler import ProfilerActivity, profile

if TYPE_CHECKING:
    from overlap_gpu_worker import GpuLoop

STEPS = 5
ON_GPU = ("kernel", "gpu_memcpy", "gpu_memset")

Spans = list[tuple[float, float]]


def trace(loop: "GpuLoop", variant: Variant) -> dict[str, Any]:
    """The streams of a GPU during a few steps.

    Returns:
        `rows`, one per stream, and `streams`: the spans in milliseconds in which each one was busy, by its number; the
        one that was busy for longest comes first.
    """
    for _ in range(STEPS):
        loop.step(variant)
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        for _ in range(STEPS):
            loop.step(variant)
        loop.memories[variant].flush()
        torch.cuda.synchronize()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text())["traceEvents"]
    return summary(events)


def summary(events: list[dict[str, Any]]) -> dict[str, Any]:
    """Busy times of the streams in a trace of the profiler."""
    spans: dict[int, Spans] = defaultdict(list)
    counts: dict[int, int] = defaultdict(int)
    for event in events:
        if event.get("cat") in ON_GPU and event.get("ph") == "X":
            stream, start = event["args"]["stream"], event["ts"] / 1e3
            spans[stream].append((start, start + event["dur"] / 1e3))
            counts[stream] += 1
    if not spans:
        return {"rows": [], "streams": {}}
    zero = min(start for stream in spans.values() for start, _ in stream)
    busy = {stream: union([(start - zero, end - zero) for start, end in listed]) for stream, listed in spans.items()}
    order = sorted(busy, key=lambda stream: -length(busy[stream]))
    training = busy[order[0]]
    rows = [
        {
            "stream": f"{stream} (training)" if stream == order[0] else str(stream),
            "operations per step": counts[stream] / STEPS,
            "busy (ms per step)": length(busy[stream]) / STEPS,
            "of it while the training stream is busy": length(common(busy[stream], training)) / length(busy[stream]),
        }
        for stream in order
    ]
    return {"rows": rows, "streams": {str(stream): busy[stream] for stream in order}}


def union(spans: Spans) -> Spans:
    """Disjoint spans that cover the same time, in order."""
    joined: Spans = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def common(some: Spans, others: Spans) -> Spans:
    """The time that two lists of disjoint spans in order share."""
    shared, i, j = [], 0, 0
    while i < len(some) and j < len(others):
        start, end = max(some[i][0], others[j][0]), min(some[i][1], others[j][1])
        if start < end:
            shared.append((start, end))
        if some[i][1] < others[j][1]:
            i += 1
        else:
            j += 1
    return shared


def length(spans: Spans) -> float:
    """The time that spans take."""
    return sum(end - start for start, end in spans) or 1e-9


def draw(traces: dict[str, dict[str, Any]], hosts: dict[str, list[tuple[str, float, float]]], path: Path) -> None:
    """Time lines of the streams (`traces`) and of the threads (`hosts`, spans of `Accounts.timeline`)."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from overlap_picture import draw_timeline

    shown = {name: spans for name, spans in hosts.items() if any(span[0] == "step" for span in spans)}
    n = len(traces) + len(shown)
    figure, axes = pyplot.subplots(n, 1, figsize=(12, 2.5 * n), layout="constrained", squeeze=False)
    places = iter(axes[:, 0])
    for name, found in traces.items():
        _draw_streams(next(places), name, found["streams"])
    for name, spans in shown.items():
        draw_timeline(next(places), spans, 3, f"{name}: threads of a worker")
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def _draw_streams(axes: Any, name: str, streams: dict[str, Spans]) -> None:
    for lane, (stream, spans) in enumerate(streams.items()):
        colour = "C0" if lane == 0 else "C1"
        axes.broken_barh([(start, end - start) for start, end in spans], (-lane - 0.4, 0.8), color=colour)
        axes.text(0, -lane, f"{stream} ", ha="right", va="center")
    axes.set_yticks([])
    axes.set_xlabel("ms")
    axes.set_title(f"{name}: streams of the GPU, {STEPS} steps")
