"""Make the method of a saved run again, in the state that it had reached; the run's data is not needed."""

from collections.abc import Mapping

import torch

from redwood.core.errors import InvalidOptionError
from redwood.core.parts import all_options, make_parts
from redwood.core.schema import check_alike
from redwood.core.seeding import preserved_random_state, seed_everything
from redwood.engine.run import Run
from redwood.experiments.command_line.config_file import as_arguments
from redwood.experiments.command_line.options import check_arguments, parse_options
from redwood.experiments.runs.continuation import plain_options, refuse_missing
from redwood.experiments.runs.saved_run import SavedRun
from redwood.methods.base import Method
from redwood.settings.base import Setting


def make_method(saved: SavedRun, given: Mapping[str, object]) -> tuple[type[Setting], Method]:
    """The class of a run's setting, and its method, untrained.

    Args:
        saved: The run.
        given: Options of the method that were given from Python.

    Raises:
        RedwoodError: If an option is unknown, or was given from Python and is missing.
    """
    pair = saved.pair
    setting, method = pair.load()
    known = all_options(method)
    for name in given:
        if name not in known:
            raise InvalidOptionError(f"{saved.config['method']} has no option {name}; leave it out.")
    refuse_missing(saved, given)
    options = {name: value for name, value in plain_options(saved).items() if name in known}
    arguments = as_arguments(options)
    check_arguments([pair], arguments)
    made = parse_options(pair, arguments).method
    for name, value in given.items():
        setattr(made, name, value)
    make_parts(made)
    return setting, made


def restore(method: Method, saved: SavedRun, setting: type[Setting], device: str) -> Setting:
    """Configure a method by the signature of a run, and load its state.

    Returns:
        The view of the setting that it was configured with.
    """
    run = Run(quiet=True, accelerator=device, checkpoint_every=0, precision=saved.config.get("precision", "32-true"))
    run.is_trained, run.saved_by = True, len(saved.state["method"])
    run.num_phases = max(saved.state["next_phase"], 1)
    view = saved.signature.make_view(setting)
    threads = torch.get_num_threads()
    try:
        with preserved_random_state():
            seed_everything(view.seed, "weights")
            method.attach(run)
            method.configure(view)
            state = saved.state["method"][0]
            check_alike(state, method.state_dict(), f"The checkpoint in {saved.folder}")
            method.load_state_dict(state)
    finally:
        torch.set_num_threads(threads)
    return view
