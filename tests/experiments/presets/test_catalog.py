"""Every preset can be run, says where it is from, and repeats what the benchmark has measured."""

import json
import struct
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from gymnasium.spaces import Box

from redwood.core.errors import RedwoodError
from redwood.experiments.command_line.config_file import as_arguments
from redwood.experiments.command_line.options import check_arguments, parse_options
from redwood.experiments.command_line.pairs import Pair
from redwood.experiments.command_line.trust import refuse_untrusted
from redwood.experiments.presets.catalog import FOLDER, PROTOCOLS, Reached, find_preset, load_presets
from redwood.methods.networks.parts import MODELS
from redwood.settings.base import why_not_applicable
from redwood.settings.scores.measure import ACCURACY

PRESETS = load_presets()
ON_MNIST = [name for name in PRESETS if "mnist" in name]
RESULTS = Path(__file__).parents[3] / "benchmarks" / "results" / "presets.json"
# Smaller than published, so that a test takes a second.
QUICK = {"passes": 1, "batch_size": 100, "memory_passes": 1, "fisher_samples": 10, "buffer_size": 50}


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_every_preset_is_complete(preset):
    pair = Pair(preset.setting, preset.method)
    assert why_not_applicable(*pair.load()) is None
    arguments = as_arguments(preset.options)
    check_arguments([pair], arguments)
    options = parse_options(pair, arguments)
    assert preset.metric in ACCURACY.metrics and options.setting.assumptions.labels
    assert preset.source and preset.tolerance_from
    assert 0 < preset.target <= 100 and 0 < preset.tolerance < 10
    refuse_untrusted(preset.options, FOLDER, "--preset")


def test_there_are_enough():
    assert len(PRESETS) >= 25 and len(ON_MNIST) >= 10


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.name)
def test_no_key_stands_twice(path):
    """YAML keeps the last of two equal keys without a word."""
    lines = [line for line in path.read_text().splitlines() if line and line[0].isalnum()]
    assert len(lines) == len(set(lines)) == len(yaml.safe_load(path.read_text()))


def test_every_protocol_is_used():
    used = {cell["protocol"] for path in FOLDER.glob("*.yaml") if path.stem != PROTOCOLS
            for cell in yaml.safe_load(path.read_text()).values()}  # fmt: skip
    assert used == set(yaml.safe_load((FOLDER / f"{PROTOCOLS}.yaml").read_text()))


def test_every_network_can_be_built():
    for preset in PRESETS.values():
        options = {name: preset.options[name] for name in ("widths", "mean", "deviation") if name in preset.options}
        network = MODELS.make({str(preset.options["model"]): options})
        space = Box(0, 255, (1, 28, 28) if network.text == "mlp" else (3, 32, 32), np.uint8)
        made = network.build(space, 10)
        assert made(torch.zeros(2, *space.shape, dtype=torch.uint8)).shape == (2, 10)


@pytest.fixture
def write_digits(tmp_path):
    """Write the four files of MNIST, with random images, `n` for training and 100 for the test."""
    return partial(_write_digits, tmp_path)


def _write_digits(folder, n_train):
    draw = np.random.default_rng(0)
    for part, n in (("train", n_train), ("t10k", 100)):
        values = {"images-idx3": draw.integers(0, 256, (n, 28, 28), np.uint8), "labels-idx1": np.arange(n) % 10}
        for kind, content in values.items():
            header = struct.pack(f">4B{content.ndim}I", 0, 0, 8, content.ndim, *content.shape)
            (folder / f"{part}-{kind}-ubyte").write_bytes(header + content.astype(np.uint8).tobytes())


@pytest.mark.parametrize("name", ON_MNIST)
@pytest.mark.few(1)
def test_those_on_mnist_run(name, write_digits, tmp_path):
    preset = PRESETS[name]
    write_digits(5000 if "stream_file" in preset.options else 200)
    quick = {option: value for option, value in QUICK.items() if option in preset.options}
    if preset.options.get("stream") == "permuted":
        quick["nb_tasks"] = 2
    arguments = as_arguments({**preset.options, **quick, "data_dir": str(tmp_path), "accelerator": "cpu"})
    options = parse_options(Pair(preset.setting, preset.method), arguments)
    results = options.setting.apply(options.method, run_dir=str(tmp_path / "run"), quiet=True)
    assert 0 <= results.metrics[preset.metric] <= 1
    tasks = 10 if name == "mir/permuted-mnist" else quick.get("nb_tasks", 5)
    assert len(results.accuracy_matrix) == tasks


def test_what_was_reached_is_what_the_benchmark_says():
    found = {row["preset"]: row for row in json.loads(RESULTS.read_text())["rows"]}
    assert set(found) == {name for name, preset in PRESETS.items() if preset.reached}
    for name, row in found.items():
        reached = PRESETS[name].reached
        assert row["reached"] == f"{reached.mean:.2f} +- {reached.deviation:.2f}" and row["seeds"] == reached.seeds
        assert row["met"] == ("yes" if PRESETS[name].is_met else "no")


def test_status():
    preset = replace(PRESETS["der_pp/cifar10-500"], target=72.7, tolerance=3.0, reached=None)
    assert (preset.status, preset.is_met) == ("not run", None)
    assert replace(preset, reached=Reached(70.0, 0.5, 3)).status == "reached: 70.0 +- 0.5, 3 seeds"
    assert replace(preset, reached=Reached(69.0, 0.5, 3)).status == "missed by -3.7: 69.0 +- 0.5, 3 seeds"
    assert replace(preset, reached=Reached(70.0, 0.0, 1)).status == "reached: 70.0, 1 seed"
    assert replace(preset, reached=Reached(69.0, 2.0, 3)).is_met, "our own deviation counts, too"
    assert replace(preset, reached=Reached(76.5, 0.5, 3)).is_met is False, "a higher figure is not the published one"


def test_a_cell_overrides_its_protocol():
    assert PRESETS["agem/permuted-mnist"].options["nb_tasks"] == 17
    assert "dataset" not in PRESETS["mir/mnist-500"].options
    assert Path(PRESETS["mir/mnist-500"].options["stream_file"]).is_file()
    assert "CIFAR-10; the source does not" not in PRESETS["mir/cifar10-online-1000"].differs
    assert PRESETS["mir/cifar10-online-1000"].differs.startswith("inputs are scaled to [-1, 1]")


def test_an_unknown_name_names_the_nearest():
    with pytest.raises(RedwoodError, match=r"no preset der_pp/cifar10-50; the nearest are der_pp/cifar10-500, "):
        find_preset("der_pp/cifar10-50")
    with pytest.raises(RedwoodError, match=r"no preset xyzzy; list --presets shows all"):
        find_preset("xyzzy")
