from pathlib import Path

import pytest

from redwood.experiments.arguments import UsageError
from redwood.experiments.trust import refuse_untrusted


@pytest.mark.parametrize("name", ["setting", "method", "model", "expert_models", "backbone", "dataset", "env"])
@pytest.mark.parametrize("reference", ["file.py:Name", "file.py", "package.module:Name", "redwood.settings./file.py:f"])
def test_whatever_would_run_code_is_refused(name, reference):
    """A file alone, too: what is in it is found out by running it."""
    with pytest.raises(UsageError, match=f"names code that would be run, {name}: {reference}; look at it"):
        refuse_untrusted({name: reference}, Path("config.yaml"), "--config")


@pytest.mark.parametrize(
    "options",
    [
        {"dataset": "data/file.npz", "model": "resnet18", "backbone": "identity", "env": "ALE/Pong-v5"},
        {"dataset": "drift_regression:gradual", "buffer_policy": "ring:k=3", "model": None},
        {"dataset": "continuum:CORe50", "method": "redwood.methods.regularisation.ewc:EWC"},
    ],
)
def test_names_and_data_are_not(options):
    refuse_untrusted(options, Path("config.yaml"), "--config")
