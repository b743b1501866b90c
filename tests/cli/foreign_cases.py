"""What may be wrong with the files of a run directory, one case after the other."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from tests.cli.foreign_files import (
    BOUNDARY,
    INSIDE,
    OPTIONS,
    Case,
    both,
    cut,
    edit,
    file_instead,
    flip,
    folder_instead,
    hold,
    nothing,
    option,
    plan,
    remove,
    replace_text,
    results,
    set_in,
    take,
    write,
)


def checkpoint_cases() -> Iterator[Case]:
    """Both checkpoints, damaged, another's, or of another shape."""
    for file, told in ((BOUNDARY, "boundary.pt"), (INSIDE, "inside-phase-001.ckpt")):
        for name, data in (("empty", b""), ("text", b"no checkpoint"), ("PK", b"PK\3\4"), ("zeros", bytes(5000))):
            yield Case(f"{told}: {name}", "stopped", write(file, data), f"{told} is damaged")
        for share in (0.1, 0.5, 0.99):
            yield Case(f"{told}: cut at {share}", "stopped", cut(file, share), told)
        for share in (0.0, 0.3, 0.7, 0.998, 1.0):
            yield Case(f"{told}: a bit flipped at {share}", "stopped", flip(file, share), told)
        yield Case(f"{told}: a folder", "stopped", folder_instead(file), told)
        for name, value in (("list", [1, 2]), ("tensor", torch.ones(3)), ("number", 3), ("dict", {"a": 1})):
            for sealed in (False, True):
                how = "with a seal" if sealed else "without"
                yield Case(f"{told}: holds a {name}, {how}", "stopped", hold(file, value, sealed=sealed), told)
        yield Case(f"{told}: saved again by torch", "stopped", edit(file, lambda state: None, sealed=False), told)
        for source in ("other_seed", "other_lr", "other_method", "other_network"):
            yield Case(f"{told}: of {source}", "stopped", take(source, file), "with other options (")
        for name, change in (
            ("no stamp", lambda state: state.pop("run")),
            ("a stamp that is a list", set_in("run", value=[])),
            ("an identity that is a number", set_in("run", "id", value=3)),
            ("a phase that is a text", set_in("run", "phase", value="1")),
            ("a negative phase", set_in("run", "phase", value=-1)),
        ):
            yield Case(f"{told}: {name}", "stopped", edit(file, change, sealed=True), told)


def state_cases() -> Iterator[Case]:
    """Checkpoints with a seal, but of another run, another kind or another shape."""
    for name, change in (
        ("nothing of redwood's", lambda state: state.pop("redwood")),
        ("nothing of Lightning's", lambda state: state.pop("loops")),
        ("weights that are a list", set_in("state_dict", value=[1])),
        ("a method that is a list", set_in("redwood", 0, "method", value=[1])),
        ("another network's shapes", lambda state: _resize(state["state_dict"])),
        ("another network's names", lambda state: _rename(state["state_dict"])),
    ):
        yield Case(f"inside-phase-001.ckpt: {name}", "stopped", edit(INSIDE, change, sealed=True))
    yield Case("inside: of a twin with equal options", "stopped", take("twin", INSIDE), "of another run")
    yield Case("boundary: of a twin with equal options", "stopped", take("twin", BOUNDARY), "of another run")
    yield Case(
        "both: of a twin with equal options", "stopped", both(take("twin", BOUNDARY), take("twin", INSIDE)), None
    )
    yield Case(
        "boundary alone: of a twin with equal options", "stopped", both(take("twin", BOUNDARY), remove(INSIDE)), None
    )
    yield Case(
        "inside: of an earlier phase", "stopped", take("stopped", INSIDE, "checkpoints/inside-phase-000.ckpt"), None
    )
    yield Case("inside: the boundary's file", "stopped", take("stopped", BOUNDARY, INSIDE), "not inside a phase")
    yield Case("boundary: the inside's file", "stopped", take("stopped", INSIDE, BOUNDARY), "not between two phases")
    yield Case("boundary: missing", "stopped", remove(BOUNDARY), "boundary.pt, which is missing")
    yield Case("inside: missing", "stopped", remove(INSIDE), None)
    yield Case("both: missing", "stopped", remove(BOUNDARY, INSIDE), None)
    for name, change in (
        ("another version", set_in("format", value=0)),
        ("an entry more", set_in("foo", value=1)),
        ("an entry less", lambda state: state.pop("rows")),
        ("phase 7 of 2", set_in("next_phase", value=7)),
        ("rows that are texts", set_in("rows", value=["a"])),
        ("a NaN among the rows", set_in("rows", 0, 0, value=float("nan"))),
        ("a row of three tasks", set_in("rows", 0, value=[0.0, 1.0, 1.0])),
        ("a curve of numbers", set_in("curve", value=[1, 2])),
        ("negative seconds", set_in("wall_time_s", value=-1.0)),
        ("no method", set_in("method", value=[])),
        ("a method that is a list", set_in("method", 0, value=[1])),
        ("a method without its network", lambda state: state["method"][0].pop("network")),
        ("a network that is a list", set_in("method", 0, "network", value=[1])),
        ("a method's counter that is a text", set_in("method", 0, "phase_count", value="1")),
        ("a network of other shapes", lambda state: _resize(state["method"][0]["network"])),
        ("a network of other names", lambda state: _rename(state["method"][0]["network"])),
        ("another method's state", lambda state: state["method"][0].pop("curvature")),
    ):
        yield Case(f"boundary.pt: {name}", "stopped", edit(BOUNDARY, change, sealed=True))


def _resize(network: dict[str, torch.Tensor]) -> None:
    name = next(iter(network))
    network[name] = torch.zeros(2, *network[name].shape[1:])


def _rename(network: dict[str, torch.Tensor]) -> None:
    name = next(iter(network))
    network["strange"] = network.pop(name)


def option_cases() -> Iterator[Case]:
    """`config.yaml`, damaged or changed."""
    for name, value in (
        ("lr", 0.1),
        ("seed", 1),
        ("setting", "domain_incremental"),
        ("method", "si"),
        ("passes", 3),
        ("precision", "64-true"),
        ("batch_size", 16),
        ("nb_tasks", 5),
        ("model", "simple_cnn"),
        ("optimizer", "adam"),
        ("validation", 0.1),
    ):
        yield Case(f"config.yaml: {name} is {value}", "stopped", option(**{name: value}))
    yield Case("config.yaml: an option taken out", "stopped", option(passes=...), "passes: 2 in the checkpoint, 20 in")
    yield Case("config.yaml: checkpoint_every may change", "stopped", option(checkpoint_every=50), None)
    yield Case("config.yaml: threads may change", "stopped", option(threads=1), None)
    for name, data in (
        ("empty", b""),
        ("text", b"no configuration"),
        ("a list", b"- 1\n- 2\n"),
        ("bytes", bytes(range(256))),
        ("not closed", b"setting: ["),
        ("deep", b"[" * 20000),
        ("numbers as names", b"1: 2\n"),
    ):
        yield Case(f"config.yaml: {name}", "stopped", write("config.yaml", data), "config.yaml")
    changes: list[tuple[str, object]] = [
        ("lr", "much"),
        ("lr", [0.1, 0.2]),
        ("lr", {"a": 1}),
        ("lr", float("nan")),
        ("lr", True),
        ("passes", 1.5),
        ("seed", -1),
        ("seed", "a"),
        ("increment", [1, "a"]),
        ("setting", 3),
        ("setting", ["class_incremental", "ewc"]),
        ("method", None),
        ("method", "nothing"),
        ("strange", 1),
        ("trust", True),
        ("resume", "x"),
    ]
    for entry, unusable in changes:
        yield Case(f"config.yaml: {entry} is {unusable!r}", "stopped", option(**{entry: unusable}))
    yield Case("config.yaml: missing", "stopped", remove("config.yaml"), "no run in this folder")
    yield Case("config.yaml: a folder", "stopped", folder_instead("config.yaml"), "config.yaml")
    yield Case("config.yaml: code", "stopped", option(method="/nowhere/file.py:Method"), "--trust")
    yield Case("config.yaml: code in a package", "stopped", option(dataset="package.module:data"), "--trust")


def other_cases() -> Iterator[Case]:
    """Logs, results and folders in their places."""
    yield Case("nothing is wrong", "stopped", nothing, None)
    yield Case("a stranger's file beside the others", "stopped", write("notes.txt", b"mine"), None)
    for name, data in (("empty", b""), ("bytes", bytes(range(256))), ("of another kind", b"a,b\n1,2\n")):
        yield Case(f"metrics.csv: {name}", "stopped", write("metrics.csv", data), None)
    yield Case("metrics.csv: of another run", "stopped", take("other_lr", "metrics.csv"), None)
    yield Case("metrics.csv: missing", "stopped", remove("metrics.csv"), None)
    for name in ("metrics.csv", "results.json", "accuracy_matrix.png"):
        yield Case(f"{name}: a folder", "stopped", folder_instead(name), name)
    for name, data in (
        ("empty", b""),
        ("text", b"no results"),
        ("a list", b"[1]"),
        ("null", b"null"),
        ("deep", b"[" * 20000),
        ("bytes", bytes(range(256))),
    ):
        yield Case(f"results.json: {name}", "whole", write("results.json", data), "results.json")
    for name, values in (
        ("null costs", {"cost": {"wall_time_s": None}}),
        ("costs that are a list", {"cost": [1]}),
        ("an infinite cost", {"cost": {"wall_time_s": float("inf")}}),
        ("negative parameters", {"cost": {"parameters": -1}}),
        ("parameters as text", {"cost": {"parameters": "many"}}),
        ("an unknown cost", {"cost": {"beauty": 1}}),
        ("an accuracy of 7", {"accuracy_matrix": [[7.0, 0.5], [0.5, 0.5]]}),
        ("an accuracy that is a text", {"accuracy_matrix": [["a", 0.5], [0.5, 0.5]]}),
        ("a ragged matrix", {"accuracy_matrix": [[0.5], [0.5, 0.5]]}),
        ("a flat matrix", {"accuracy_matrix": [0.5, 0.5]}),
        ("NaN in the matrix", {"accuracy_matrix": [[float("nan"), 0.5], [0.5, 0.5]]}),
        ("a curve of texts", {"online_accuracy": [["a", "b"]]}),
        ("metrics that are a list", {"metrics": [1]}),
        ("a metric that is a text", {"metrics": {"forgetting": "much"}}),
        ("a seed that is a text", {"seed": "a"}),
        ("a negative seed", {"seed": -1}),
        ("a method that is a number", {"method": 3}),
        ("versions that are a list", {"versions": [1]}),
        ("a configuration that is a list", {"config": [1]}),
        ("another configuration", {"config": {"lr": 0.3}}),
    ):
        yield Case(f"results.json: {name}", "whole", results(**values), "results.json")
    yield Case(
        "results.json: 1e999", "whole", replace_text("results.json", r'"wall_time_s": [\d.e-]+', '"wall_time_s": 1e999')
    )
    yield Case("config.yaml of a complete run: edited", "whole", option(lr=0.3), "lr: ")
    yield Case(
        "results.json: put into a run that is not over", "stopped", take("other_whole", "results.json"), "seed: "
    )


def comparison_cases() -> Iterator[Case]:
    """`comparison.yaml`, and what is in the folders of its runs."""
    done, left = "class_incremental-random", "class_incremental-finetune"
    yield Case("comparison: nothing is wrong", "compared", nothing, None)
    for name, data in (("empty", b""), ("text", b"a"), ("not closed", b"pairs: ["), ("bytes", bytes(range(256)))):
        yield Case(f"comparison.yaml: {name}", "compared", write("comparison.yaml", data), "comparison.yaml")
    for name, value in (
        ("comparison", 7),
        ("comparison", "1"),
        ("pairs", 3),
        ("pairs", []),
        ("pairs", ["a"]),
        ("pairs", [{"setting": "class_incremental"}]),
        ("pairs", [{"setting": 3, "method": "random"}]),
        ("pairs", [{"setting": "class_incremental", "method": "nothing"}]),
        ("pairs", [{"setting": "class_incremental", "method": "/nowhere/file.py:Method"}]),
        ("arguments", "--lr 3"),
        ("arguments", [1, 2]),
        ("arguments", ["--strange", "1"]),
        ("arguments", ["--model=/nowhere/file.py:network"]),
        ("arguments", [*OPTIONS, "--batch_size", "16"]),
        ("seeds", 0),
        ("seeds", "2"),
        ("seeds", 1.5),
        ("strange", 1),
        ("seeds", ...),
    ):
        yield Case(f"comparison.yaml: {name} is {str(value)[:60]}", "compared", plan(**{name: value}))
    yield Case(
        "comparison: results of a run are null", "compared", write(f"{done}/results.json", b"null"), "results.json"
    )
    yield Case(
        "comparison: costs of a run are null", "compared", results(done, cost={"wall_time_s": None}), "results.json"
    )
    yield Case("comparison: results of another run", "compared", results(done, config={"passes": 9}), "passes: 9 in")
    for file in (BOUNDARY, INSIDE):
        yield Case(f"comparison: {file} is text", "compared", write(f"{left}/{file}", b"a"), Path(file).name)
        yield Case(
            f"comparison: {file} of another run", "compared", take("stopped", file, f"{left}/{file}"), "method: "
        )
        yield Case(f"comparison: {file} holds a list", "compared", hold(f"{left}/{file}", [1]), Path(file).name)
    other = edit(f"{done}/{BOUNDARY}", _other_data, sealed=True)
    yield Case("comparison: a complete run on other data", "compared", other, "of a run on other data")
    yield Case("comparison: metrics.csv is bytes", "compared", write(f"{left}/metrics.csv", bytes(range(256))), None)
    yield Case("comparison.csv is a folder", "compared", folder_instead("comparison.csv"), "comparison.csv is a folder")
    svg = "comparison.svg is a folder"
    yield Case(svg, "compared", folder_instead("comparison.svg"), svg)
    yield Case("comparison: a run is a file", "compared", file_instead(left), "where a run has its folder")
    yield Case("comparison: metrics.csv is a folder", "compared", folder_instead(f"{left}/metrics.csv"), "metrics.csv")


def _other_data(state: dict[str, Any]) -> None:
    state["run"]["data"]["hash of training labels"] = "0" * 16


def all_cases() -> list[Case]:
    """Every case."""
    return [*checkpoint_cases(), *state_cases(), *option_cases(), *other_cases(), *comparison_cases()]
