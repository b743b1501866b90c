"""A method that did no more than plain training says so at the end of the run."""

import warnings

import pytest

from redwood.methods import get_method
from redwood.settings.rl.tree import MultiTaskRLSetting, TaskIncrementalRLSetting
from tests import small_runs
from tests.methods.agents.parts import trained
from tests.methods.helpers import one_sentence
from tests.samples import few_digits
from tests.small_runs import run_here, small_setting


def warned(setting, name, nb_tasks=1, **options):
    """What a short run warns of at its end, beside that few steps teach it one class alone."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        few = {"dataset": few_digits(40, 20), "nb_tasks": nb_tasks}
        run_here(small_setting(setting, **few), get_method(name)(**options))
    ours = [str(one.message) for one in caught if one.filename == small_runs.__file__]
    return [text for text in ours if "for every sample" not in text]


@pytest.mark.parametrize(
    ("name", "setting", "options", "said"),
    [
        ("ewc", "online_traditional", {}, "The penalty on weights never acted"),
        ("si", "online_traditional", {}, "The penalty on weights never acted"),
        ("lwf", "online_traditional", {}, "Nothing was distilled"),
        ("generative_rehearsal", "online_traditional", {}, "Nothing was generated"),
        ("c_ada", "online_traditional", {}, "No column was added: --extractor_tasks 1 leaves no task"),
        ("reuse_outputs", "traditional", {}, "No output was used again"),
        ("packnet", "multi_task", {}, "No task was protected from another one"),
        ("rehearsal", "online_class_incremental", {"replay_ratio": 0.0}, "Nothing was ever replayed, with --replay_r"),
        ("widen", "task_agnostic", {}, "The network never grew: the loss never stayed unusual"),
        ("widen", "online_class_incremental", {}, "The network never grew: it does so at the second task"),
        ("ewc+rehearsal", "online_traditional", {}, "The penalty on weights never acted"),
    ],
)
def test_it_is_told_once_in_a_sentence(name, setting, options, said):
    (found,) = warned(setting, name, **options)
    assert found.startswith(said)
    assert one_sentence(found)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ppo+ewc", "The penalty on weights never acted"),
        ("dqn+cloning", "No old policy was preserved"),
        ("dqn+best_return", "No old policy explored"),
        ("ppo+packnet", "No task was protected from another one"),
        ("ppo+reset_critic", "No critic was reset"),
        ("dqn+reset_buffer", "The replay memory was never emptied"),
        ("ppo+scratch", "No new agent was made"),
        ("ppo", None),
    ],
)
@pytest.mark.filterwarnings("ignore:.*begins with the second phase")
def test_agents_tell_that_there_was_no_second_phase(name, said):
    agent = trained(name, {"cls": MultiTaskRLSetting, "steps_per_task": 16})
    harm = ", in which --prune_share 0.75 gave up weights for nothing" if name == "ppo+packnet" else ""
    expected = said and f"{said}: this begins with the second phase, and the run has only one{harm}."
    assert agent.never_acted() == expected
    assert trained(name, {"cls": TaskIncrementalRLSetting, "steps_per_task": 16}).never_acted() is None


@pytest.mark.parametrize("name", ["finetune", "ewc", "rwalk", "lwf", "icarl", "rehearsal", "packnet", "pnn", "widen"])
def test_nothing_is_said_where_it_acted(name):
    assert warned("online_task_incremental", name, nb_tasks=2) == []
