"""Copies of a phase's environment in processes of their own, which step side by side.

The process of the method keeps the budget and the returns. With each call it sends the number of steps so far. So
environments in other processes act as those in this one, step by step and bit by bit.
"""

import multiprocessing
import pickle
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from typing import Any

import cloudpickle
import torch
from typing_extensions import override

from redwood.core.child_processes import end_with_parent, interrupts_blocked, main_module_hidden
from redwood.core.errors import RedwoodError, reason_of
from redwood.core.neighbours import USER_FILE_PREFIX, neighbour_folders
from redwood.core.state import State
from redwood.settings.rl.budget import BudgetSpentError, OnlineReturn, PhaseOverError, Steps
from redwood.settings.rl.types import Env, Options, ResetResult, StepResult

# Imported once by the server process that the processes are copies of.
PRELOAD = [__name__, "redwood.settings.rl.environment"]
_SHOWN = ("observation_space", "action_space", "metadata", "render_mode")

MakeCopy = Callable[[int, Steps, OnlineReturn], Env]


class EnvironmentProcessError(RedwoodError):
    """A process of environments cannot start, has ended, or has raised an error that is told as text only."""


class RemoteEnvironment(Env):
    """Stands for a copy of the environment in another process, without its `unwrapped` and its `spec`.

    `send` starts a step without waiting for it, so that several copies step at once; `step` then returns its result.
    """

    def __init__(self, processes: "EnvironmentProcesses", number: int) -> None:
        self._processes, self._number = processes, number
        self._is_sent = False
        for name, value in processes.ask(number, "shown").items():
            setattr(self, name, value)

    def send(self, action: object, ahead: int = 0) -> None:
        """Start a step with this action.

        Args:
            action: The action.
            ahead: Number of other copies' steps that are sent and not yet returned.

        Raises:
            BudgetSpentError: If no step is left.
            PhaseOverError: If the phase is over.
        """
        self._processes.check_open(ahead)
        self._processes.send(self._number, "step", action, ahead=ahead)
        self._is_sent = True

    @override
    def step(self, action: object) -> StepResult:
        """Take one step of the budget; after `send`, with the action that was sent."""
        if not self._is_sent:
            self.send(action)
        self._is_sent = False
        result: StepResult = self._processes.receive(self._number)
        self._processes.count_step()
        return result

    @override
    def reset(self, *, seed: int | None = None, options: Options | None = None) -> ResetResult:
        """Start an episode; see `TaskEnvironment.reset`."""
        self._processes.check_open()
        self._processes.evaluate_if_due()
        result: ResetResult = self._processes.ask(self._number, "reset", seed, options)
        return result

    @override
    def render(self) -> Any:
        return self._processes.ask(self._number, "render")

    @override
    def close(self) -> None:
        """End all processes of the phase."""
        self._processes.close()

    def state_dict(self) -> State:
        """Return the state; see `TaskEnvironment.state_dict`."""
        state: State = self._processes.ask(self._number, "state_dict")
        return state

    def load_state_dict(self, state: State) -> None:
        """Continue from a state; see `TaskEnvironment.load_state_dict`."""
        self._processes.ask(self._number, "load_state_dict", state)


class EnvironmentProcesses:
    """Processes that hold equally many copies of an environment, and the calls to them."""

    def __init__(self, make: MakeCopy, n: int, count: int, steps: Steps, online: OnlineReturn) -> None:
        """Start the processes.

        Args:
            make: Makes the copy that has a number, from 0.
            n: Number of copies.
            count: Number of processes, at most `n`.
            steps: The steps of the phase.
            online: Receives the returns of episodes.

        Raises:
            EnvironmentProcessError: If the environment cannot be sent to or made in another process.
        """
        self._steps, self._online = steps, online
        self._closed = False
        self._answers: dict[int, tuple[object, list[tuple[int, float]]]] = {}  # received before they were asked for
        self._pipes: list[Connection] = []
        self._processes: list[BaseProcess] = []
        context, payload = _context(), _payload(make)
        for first in range(count):
            here, there = context.Pipe()
            job = (there, payload, neighbour_folders(), list(range(first, n, count)), steps.total)
            process = context.Process(target=_serve, args=job, daemon=True)
            with interrupts_blocked(), main_module_hidden():
                process.start()
            there.close()
            self._pipes.append(here)
            self._processes.append(process)

    def _pipe(self, number: int) -> Connection:
        return self._pipes[number % len(self._pipes)]

    def check_open(self, ahead: int = 0) -> None:
        """Raise an error if the environments cannot be used any more, once `ahead` further steps are taken."""
        if self._steps.spent + ahead >= self._steps.total:
            raise BudgetSpentError(self._steps.total)
        if self._closed:
            raise PhaseOverError

    def count_step(self) -> None:
        """Take one step off the budget, and evaluate the method if an evaluation is due."""
        self._steps.spent += 1
        self.evaluate_if_due()

    def evaluate_if_due(self) -> None:
        """Evaluate the method if an evaluation is due after the steps so far."""
        if self._steps.spent >= self._steps.next_evaluation:
            self._steps.evaluate()

    def ask(self, number: int, call: str, *arguments: object) -> Any:
        """Call a method of a copy, and return its result."""
        self.send(number, call, *arguments)
        return self.receive(number)

    def send(self, number: int, call: str, *arguments: object, ahead: int = 0) -> None:
        """Start a call of a copy, as if `ahead` more steps were taken."""
        message = pickle.dumps((number, self._steps.spent + ahead, call, arguments))
        try:
            self._pipe(number).send_bytes(message)
        except (BrokenPipeError, OSError) as error:
            self._raise_ended(number, error)

    def receive(self, number: int) -> Any:
        """Return the answer to the last call of a copy, and note the returns of its episodes."""
        while number not in self._answers:
            try:
                message = self._pipe(number).recv_bytes()
            except (EOFError, OSError) as error:
                self._raise_ended(number, error)
            of, answer, returns = pickle.loads(message)
            self._answers[of] = answer, returns
        answer, returns = self._answers.pop(number)
        for step, value in returns:
            self._online.add(step, value)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _raise_ended(self, number: int, cause: Exception) -> None:
        process = self._processes[number % len(self._processes)]
        process.join(1)
        raise EnvironmentProcessError(
            f"A process of environments has ended (exit code {process.exitcode}), perhaps for lack of memory; "
            "resume the run, or use fewer --env_processes."
        ) from cause

    def close(self) -> None:
        """End the processes."""
        self._closed = True
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join(5)
            if process.exitcode is None:
                process.kill()
                process.join()
        self._pipes, self._processes = [], []


def _context() -> ForkServerContext | SpawnContext:
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    return context


def _payload(make: MakeCopy) -> bytes:
    """Return the pickled maker of the environments; other processes cannot import the files that a user has named."""
    loaded = [module for name, module in sys.modules.items() if name.startswith(USER_FILE_PREFIX)]
    files = {module.__name__: module for module in loaded}.values()  # packages of several folders may have one name
    for module in files:
        cloudpickle.register_pickle_by_value(module)
    try:
        payload: bytes = cloudpickle.dumps(make)
    except Exception as error:
        raise EnvironmentProcessError(
            f"The environment cannot be sent to another process ({type(error).__name__}: {reason_of(error)}); "
            "leave --env_processes out."
        ) from error
    finally:
        for module in files:
            cloudpickle.unregister_pickle_by_value(module)
    return payload


# In the other process.


def _serve(pipe: Connection, payload: bytes, folders: list[str], numbers: list[int], total: int) -> None:
    """Answer calls until the pipe is closed."""
    sys.path.extend(folders)
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the method's process, too, which ends this one
    torch.set_num_threads(1)
    steps, online = Steps(total), OnlineReturn(total)
    environments: dict[int, Env] = {}
    while True:
        try:
            number, steps.spent, call, arguments = pickle.loads(pipe.recv_bytes())
        except EOFError:
            return
        try:
            if not environments:
                environments = _made(payload, numbers, steps, online)
            answer = _answer(environments[number], call, arguments)
        except Exception as error:
            answer = _sendable(error)
        try:
            pipe.send_bytes(pickle.dumps((number, answer, online.take())))
        except BrokenPipeError:
            return


def _made(payload: bytes, numbers: list[int], steps: Steps, online: OnlineReturn) -> dict[int, Env]:
    try:
        make: MakeCopy = pickle.loads(payload)
        return {number: make(number, steps, online) for number in numbers}
    except Exception as error:
        raise EnvironmentProcessError(
            f"The environment cannot be made in another process ({type(error).__name__}: {reason_of(error)}); "
            "leave --env_processes out."
        ) from error


def _answer(environment: Env, call: str, arguments: tuple[Any, ...]) -> object:
    if call == "shown":
        return {name: getattr(environment, name) for name in _SHOWN}
    if call == "reset":
        seed, options = arguments
        return environment.reset(seed=seed, options=options)
    return getattr(environment, call)(*arguments)


def _sendable(error: Exception) -> Exception:
    """Return the error, or one that says the same, if it cannot be sent as it is."""
    try:
        same = pickle.loads(pickle.dumps(error))
    except Exception:
        same = None
    if type(same) is type(error) and str(same) == str(error):
        return error
    return EnvironmentProcessError(f"An environment has raised {type(error).__name__}: {reason_of(error)}.")
