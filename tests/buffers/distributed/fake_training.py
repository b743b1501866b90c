"""What a Trainer needs of a GPU that is not there: memory, gradients, pinned batches and random states."""

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from redwood.buffers import AsyncRehearsalBuffer
from tests.buffers.distributed.fake_gpu import FakeGpu, FakeTensor

# Bytes of the GPU; large enough for all rows of a test.
MEMORY = 10**9

_tensor = torch.tensor


def _made(*args: Any, device: Any = None, **options: Any) -> Tensor:
    """`torch.tensor`, which makes tensors on a GPU by code that looks for a driver."""
    made = _tensor(*args, **options)
    return made if device is None else made.to(device)


def _pinned(self: Tensor) -> Tensor:
    return torch.empty(self.shape, dtype=self.dtype, pin_memory=True).copy_(self)


def _watched_numpy(gpu: FakeGpu) -> Any:
    """A method that makes arrays, which the host is about to read."""
    numpy = Tensor.numpy

    def watched(self: Tensor, **options: Any) -> Any:
        gpu.read_on_host(self)
        return numpy(self, **options)

    return watched


def _in_order(loss: Tensor) -> list[Any]:
    """The nodes of a graph of autograd, each behind all nodes that it gets gradients from."""
    done: list[Any] = []
    seen = set()

    def visit(node: Any) -> None:
        if node is None or node in seen:
            return
        seen.add(node)
        for behind, _ in node.next_functions:
            visit(behind)
        done.append(node)

    visit(loss.grad_fn)
    return done[::-1]


def backward(loss: Tensor, *_: Any, **__: Any) -> None:
    """The backward pass, node by node: the engine of autograd looks for a driver before it serves a GPU."""
    waiting: dict[Any, list[Any]] = {loss.grad_fn: [torch.ones_like(loss)]}
    with torch.no_grad():
        for node in _in_order(loss):
            gradients = waiting.pop(node, None)
            if gradients is None:
                continue
            if hasattr(node, "variable"):  # a leaf
                (gradient,) = gradients
                leaf = node.variable
                leaf.grad = gradient if leaf.grad is None else leaf.grad + gradient
                continue
            found = node(*gradients)
            for (behind, number), gradient in zip(
                node.next_functions, found if isinstance(found, tuple) else (found,), strict=True
            ):
                if behind is None or gradient is None:
                    continue
                gradient = gradient.sum_to_size(behind._input_metadata[number].shape)
                slots = waiting.setdefault(behind, [None] * len(behind._input_metadata))
                slots[number] = gradient if slots[number] is None else slots[number] + gradient


@contextlib.contextmanager
def trainers_on(gpu: FakeGpu) -> Iterator[FakeGpu]:
    """The GPU, with all that lets a Trainer of Lightning use it; `accelerator="gpu"` finds it."""
    cuda: dict[str, Any] = {
        "device_count": lambda: 1,
        "get_device_capability": lambda device=None: (7, 0),
        "is_bf16_supported": lambda including_emulation=True: True,
        "set_device": lambda device: None,
        "empty_cache": lambda: None,
        "get_rng_state_all": lambda: [],
        "set_rng_state_all": lambda states: None,
        "mem_get_info": lambda device=None: (MEMORY, MEMORY),
        "memory_reserved": lambda device=None: 0,
        "max_memory_allocated": lambda device=None: 0,
    }
    with (
        mock.patch.multiple(torch.cuda, **cuda),
        mock.patch.object(torch, "tensor", _made),
        mock.patch.object(torch._C, "_cuda_clearCublasWorkspaces", lambda: None),
        mock.patch.multiple(Tensor, pin_memory=_pinned, numpy=_watched_numpy(gpu)),
        mock.patch.multiple(FakeTensor, backward=backward, __reduce_ex__=_on_host, create=True),
        gpu,
    ):
        yield gpu


def _on_host(self: FakeTensor, protocol: Any) -> Any:
    return self.detach().cpu().__reduce_ex__(protocol)


@contextlib.contextmanager
def held_until_forward(gpu: FakeGpu) -> Iterator[None]:
    """Let nothing happen in the background of a step before its module calls `gpu.launch_forward`."""
    propose = AsyncRehearsalBuffer.propose

    def held(*args: Any, **options: Any) -> None:
        gpu.begin_step()
        propose(*args, **options)

    with mock.patch.object(AsyncRehearsalBuffer, "propose", held):
        yield
