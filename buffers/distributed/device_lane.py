"""The stream of a GPU that rehearsal works on, and the order of its work and that of training."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from redwood.buffers.layout import WORD


class DeviceLane:
    """A side stream beside the one that trains: the only place that lets one wait for the other.

    - `mark` notes how far training has been launched. `enter(after=mark)` puts work behind that point and no later one,
      so that it runs beside the forward and backward pass launched after the mark.
    - `done` notes how far the lane has been launched, and `leave(done)` lets training wait for that.
    - `in_turn` puts work between what training has launched before and what it launches after.
    - `flush` lets the host wait for all work of the lane.

    Rows that lie on the GPU, and the memory they are sent from and received into, are allocated on the side stream, so
    the allocator hands freed memory on in the order of that stream. Training in host memory needs none of this: each
    method does nothing then. A copy or an unpickled lane has a stream of its own.
    """

    def __init__(self, device: torch.device) -> None:
        """Work beside the training on `device`."""
        self.device = device
        self._side: torch.cuda.Stream | None = None

    def __getstate__(self) -> dict[str, object]:
        """The state for pickling, without the stream."""
        return {"device": self.device, "_side": None}

    def serve(self, device: torch.device) -> None:
        """Work beside the training on `device` from now on."""
        if device != self.device:
            self.device, self._side = device, None

    @property
    def is_on_gpu(self) -> bool:
        """True if there are streams to be ordered."""
        return self.device.type == "cuda"

    @property
    def _stream(self) -> torch.cuda.Stream:
        if self._side is None:
            self._side = torch.cuda.Stream(self.device)
        return self._side

    def mark(self) -> torch.cuda.Event | None:
        """An event after all work that the calling thread, which trains, has launched so far; None without a GPU."""
        return torch.cuda.current_stream(self.device).record_event() if self.is_on_gpu else None

    @contextmanager
    def enter(self, after: torch.cuda.Event | None, uses: Iterable[Tensor] = ()) -> Iterator[None]:
        """Launch all work of the body on the lane, behind an event of `mark`.

        Args:
            after: The event; None without a GPU.
            uses: Tensors that training made before the event, and that the body reads.
        """
        if not self.is_on_gpu:
            yield
            return
        assert after is not None
        self._stream.wait_event(after)
        for tensor in uses:
            if tensor.is_cuda:
                tensor.record_stream(self._stream)
        with torch.cuda.stream(self._stream):  # also chooses its GPU of several
            yield

    def done(self) -> torch.cuda.Event | None:
        """An event after all work that was launched on the lane so far; None without a GPU."""
        return self._stream.record_event() if self.is_on_gpu else None

    def leave(self, done: torch.cuda.Event | None, made: Tensor) -> None:
        """Let the stream that trains wait for an event of `done`, and use a tensor that the lane made before it."""
        if done is None:
            return
        stream = torch.cuda.current_stream(self.device)
        stream.wait_event(done)
        # The lane may replace the memory by a larger one while training still uses it.
        made.record_stream(stream)

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Launch all work of the body on the lane, after all that was launched before and before all that comes after.

        The thread that trains allocates and restores rows in it. Within `enter` it changes nothing.
        """
        if not self.is_on_gpu or torch.cuda.current_stream(self.device) == self._stream:
            yield
            return
        stream = torch.cuda.current_stream(self.device)
        with self.enter(self.mark()):
            yield
        stream.wait_stream(self._stream)

    def flush(self) -> None:
        """Wait, on the host, until all work of the lane is over."""
        if self.is_on_gpu:
            self._stream.synchronize()


class LaneMemory:
    """Memory for rows that the lane sends from or receives into; it grows when more rows are asked for."""

    def __init__(self, lane: DeviceLane, device: torch.device, *, pinned: bool = False) -> None:
        """Keep no memory yet; later it is on `device`, the lane's own or the host."""
        self._lane, self._device, self._pinned = lane, device, pinned
        self._words = torch.empty(0, dtype=WORD, device=device)

    def rows(self, n: int, words: int) -> Tensor:
        """Memory (n, words); it is not initialised."""
        if n * words > len(self._words):
            # Some more than is needed: how many rows others draw here changes from step to step.
            self._words = self._allocated(n * words * 5 // 4)
        return self._words[: n * words].view(n, words)

    def _allocated(self, n_words: int) -> Tensor:
        with self._lane.in_turn():
            return torch.empty(n_words, dtype=WORD, device=self._device, pin_memory=self._pinned)
