"""Code that a stranger has planted in a folder is not run: in no field, in no file, in no form, without `--trust`."""

import dataclasses
import functools
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from redwood.core.errors import RedwoodError
from redwood.core.imports import allow, may_import, only
from redwood.core.parts import kinds_of, option_fields
from redwood.core.registry import load_users_module, load_users_object, look_up
from redwood.engine.run import Run
from redwood.experiments.command_line.pairs import Pair
from redwood.experiments.command_line.trust import TEXTS
from redwood.experiments.launchers.plan import ComparisonPlan
from redwood.experiments.sweeps.plan import SweepPlan
from redwood.methods.lookup import get_method
from redwood.methods.table import known_methods
from redwood.settings import SETTINGS
from redwood.settings.data.catalog import load_dataset
from redwood.settings.lookup import get_setting
from tests.cli.foreign_files import call

PLANTED = """
from pathlib import Path
from redwood.methods.baselines import Random

with Path(__file__).with_name("executed").open("a") as mark:
    mark.write("x")

class Own(Random):
    pass

def data(data_dir, seed, image_size):
    from redwood.settings.data.image_sets import digits
    return digits(data_dir, seed, image_size)
"""
# What a value may look like, of FILE and of the MODULE beside it.
FORMS = (
    "FILE.py:data",
    "digits, MODULE:data",
    "FILE.py",
    "FILE.py:Own",
    "MODULE:data",
    "MODULE:Own",
    "digits,FILE.py:data",
    "random+FILE.py:Own",
    "supervised:FILE.py:data",
    "continuum:FILE.py:data",
    "hf:MODULE:data",
    "timm:FILE.py:data",
    "LIST.yaml",
    "LIST",
    "POOL.yaml",
)
SMALL: dict[bool, dict[str, Any]] = {False: {"passes": 1}, True: {"steps_per_task": 32, "max_episode_steps": 8}}


@functools.cache
def fields() -> dict[str, dict[str, Any]]:
    """Each option of each setting, method and run, and a quick run that has it: options are looked at by name."""
    found: dict[str, dict[str, Any]] = {}
    pairs = [("traditional", "random"), *((key, "random") for key in SETTINGS)]
    keys = {get_setting(key): key for key in SETTINGS}
    pairs += [(keys[get_method(key).target], key) for key in known_methods() if get_method(key).target in keys]
    for setting, method in pairs:
        of_pair = [Run, get_setting(setting), get_method(method)]
        options = {"setting": setting, "method": method, "quiet": True} | SMALL[of_pair[1].assumptions.rewards]
        for name in (
            "setting",
            "method",
            "of_a_later_version",
            *(f.name for c in of_pair for f in dataclasses.fields(c)),
        ):
            found.setdefault(name, options)
        for cls in of_pair:
            for name, chosen in of_parts(cls, of_pair[1]):
                found.setdefault(name, options | chosen)
    return found


def of_parts(cls: type, setting: type) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each option of the parts that a class may choose under a setting, and what chooses the part."""
    for name, kind in kinds_of(cls).items():
        for choice, part in kind.choices().items():
            if part.why_unsuitable(setting) is None:
                yield from ((option, {name: choice}) for option in option_fields(part))
                yield from ((option, {name: choice} | chosen) for option, chosen in of_parts(part, setting))


@pytest.fixture
def stranger(tmp_path, monkeypatch):
    """A folder of a stranger, in which the user stands: Python finds modules in it."""
    for name in ("planted", "planted_module"):
        (tmp_path / f"{name}.py").write_text(PLANTED)
    tasks = [{"dataset": "digits"}, {"dataset": f"{tmp_path}/planted.py:data"}]
    for name in ("tasks.yaml", "tasks"):
        (tmp_path / name).write_text(yaml.safe_dump(tasks))
    pool = {"concepts": tasks, "large": [4, 2], "small": [4, 2]}
    (tmp_path / "pool.yaml").write_text(yaml.safe_dump(pool))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def value(form: str, folder: Path) -> str:
    """A value of this form."""
    places = {"FILE": "planted", "MODULE": "planted_module", "LIST": "tasks", "POOL": "pool"}
    for word, name in places.items():
        form = form.replace(word, name if word == "MODULE" else str(folder / name))
    return form


def split(options: dict[str, Any]) -> tuple[Pair, list[str]]:
    """The pair and the arguments of options."""
    own = dict(options)
    pair = Pair(own.pop("setting"), own.pop("method"))
    return pair, [f"--{name}={value}" for name, value in own.items()]


def entry(options: dict[str, Any]) -> dict[str, Any]:
    """The options as one of a suite."""
    own = dict(options)
    return {"setting": own.pop("setting"), "method": own.pop("method"), "options": own}


def config(folder: Path, options: dict[str, Any]) -> list[str]:
    (folder / "config.yaml").write_text(yaml.safe_dump(options))
    return ["--config", str(folder / "config.yaml"), "--run_dir", str(folder / "new")]


def run(folder: Path, options: dict[str, Any]) -> list[str]:
    config(folder, {"format": 2} | options)
    return ["resume", str(folder)]


def comparison(folder: Path, options: dict[str, Any]) -> list[str]:
    pair, arguments = split(options)
    ComparisonPlan(folder, [Pair("traditional", "random"), pair], arguments, 1).save()
    return ["resume", str(folder), "--jobs", "1", "--launcher", "here"]


def sweep(folder: Path, options: dict[str, Any]) -> list[str]:
    pair, arguments = split(options)
    fixed = (["accuracy"], 0.1, 1, "accuracy")
    SweepPlan(folder, pair, arguments, 1, None, {"batch_size": "8,16"}, 1, 1, "all_tasks", *fixed).save()
    return ["resume", str(folder), "--jobs", "1", "--launcher", "here"]


def swept(folder: Path, options: dict[str, Any]) -> list[str]:
    name, value = list(options.items())[-1]
    given = [f"--{key}={value}" for key, value in options.items() if key != name]
    (folder / "values.yaml").write_text(yaml.safe_dump({name: [value, "other"]}))
    command = ["sweep", str(folder / "values.yaml"), *given, "--trials", "1", "--jobs", "1"]
    return [*command, "--run_dir", str(folder / "new")]


def suite(folder: Path, options: dict[str, Any]) -> list[str]:
    (folder / "suite.yaml").write_text(yaml.safe_dump({"one": entry(options)}))
    own = options["method"] if "planted" not in options["method"] else "random"  # the user names no planted code
    return ["--suite", str(folder / "suite.yaml"), "--method", own, "--run_dir", str(folder / "new")]


def bench(folder: Path, options: dict[str, Any]) -> list[str]:
    suite(folder, options)
    return ["bench", str(folder / "suite.yaml"), "--run_dir", str(folder / "new")]


def stored_bench(folder: Path, options: dict[str, Any]) -> list[str]:
    more = {"name": "one", "seeds": 1, "weight": 1.0, "tags": [], "expect": {}}
    content = {"bench": 1, "suite": "one", "benches": [entry(options) | more]}
    (folder / "bench.json").write_text(json.dumps(content))
    return ["resume", str(folder)]


FILES: tuple[Callable[[Path, dict[str, Any]], list[str]], ...] = (
    config,
    run,
    comparison,
    sweep,
    swept,
    suite,
    bench,
    stored_bench,
)


class TestNothingIsRun:
    def check(self, file, names, forms, stranger) -> None:
        executed = stranger / "executed"
        for name, form in itertools.product(names, forms):
            options = dict(fields()[name])
            options.pop(name, None)
            folder = stranger / f"{name}-{FORMS.index(form)}"
            folder.mkdir()
            _, said = call(file(folder, options | {name: value(form, stranger)}))
            assert not executed.exists(), (name, form, said)
            assert "Traceback" not in said

    @pytest.mark.parametrize("file", FILES, ids=lambda file: file.__name__)
    @pytest.mark.few(2)
    def test_in_each_field(self, file, stranger):
        """Fields that hold no references are looked at below; the form of a value decides alike in all files."""
        self.check(file, sorted(fields().keys() - TEXTS), FORMS[:1], stranger)

    @pytest.mark.parametrize("name", sorted(TEXTS & fields().keys()))
    def test_in_each_field_that_holds_no_reference(self, name, stranger):
        """Most of these runs begin, some to an end."""
        self.check(config, [name], FORMS[:1], stranger)

    @pytest.mark.slow
    @pytest.mark.parametrize("file", FILES, ids=lambda file: file.__name__)
    @pytest.mark.parametrize("form", FORMS)
    def test_in_each_field_in_each_form(self, file, form, stranger):
        self.check(file, fields(), [form], stranger)

    @pytest.mark.parametrize("file", [config, run, suite, bench, stored_bench])
    def test_where_parts_are_nested(self, file, stranger):
        """What chooses a part is a key there, and parts stand inside parts."""
        own = value("FILE.py:Own", stranger)
        nested = [{name: {own: {"momentum": 0.5}}} for name in ("dataset", "stream", "model", "optimizer")]
        nested += [
            {"model": {"mlp": {"trainable": {own: {"lora_rank": 2}}}}},
            {"model": {"mlp": {"trainable": own}}},
            {"stream": {"tasks": {"dataset": own}}},
            {"stream": {"tasks": {"stream_file": value("LIST.yaml", stranger)}}},
        ]
        for number, options in enumerate(nested):
            folder = stranger / str(number)
            folder.mkdir()
            code, said = call(file(folder, {"setting": "class_incremental", "method": "finetune"} | options))
            assert code == 2 and "Traceback" not in said and "--trust" in said, (options, said)
            assert not (stranger / "executed").exists(), (options, said)

    @pytest.mark.parametrize("option", ["stream_file", "concepts"])
    @pytest.mark.parametrize("file", [config, run])
    def test_in_a_file_that_a_file_names(self, option, file, stranger):
        """Whatever its name ends in: the import itself refuses."""
        of_tasks = {"stream": "tasks", "stream_file": "LIST"}
        of_pool = {"stream": "s_minus", "concepts": "POOL.yaml"}
        options = of_tasks if option == "stream_file" else of_pool
        named = {name: value(text, stranger) for name, text in options.items()}
        folder = stranger / "folder"
        folder.mkdir()
        code, said = call(file(folder, {"setting": "task_incremental", "method": "random"} | named))
        assert code == 2 and "planted.py:data is code that" in said and "--trust" in said
        assert not (stranger / "executed").exists()


def test_each_exemption_is_of_an_option():
    """`extends` stands in the file of a run alone, `table` on the command line of a comparison."""
    assert TEXTS - fields().keys() == {"extends", "table"}


def test_planted_code_is_run_if_it_is_trusted(stranger):
    """So the cases above could fail."""
    arguments = config(stranger, fields()["quiet"] | {"dataset": value("FILE.py:data", stranger)})
    assert call([*arguments, "--trust"])[0] == 0
    assert (stranger / "executed").read_text() == "x"


def test_a_list_of_tasks_on_the_command_line_needs_trust_as_well(stranger):
    given = ["--setting", "task_incremental", "--method", "random", "--stream", "tasks", "--stream_file", "tasks"]
    given += ["--quiet", "--run_dir", "new"]
    code, said = call(given)
    assert code == 2 and "planted.py:data is code that a file names, and it is not run" in said
    assert not (stranger / "executed").exists()
    assert call([*given, "--trust"])[0] == 0


class TestImports:
    @pytest.mark.parametrize(
        "named",
        [
            "planted.py:data",
            "--dataset=planted.py:data",
            "digits,planted.py:data",
            "ewc+planted.py:Own",
            "supervised:planted.py:data",
            "dataset=digits,planted.py:Own",
        ],
    )
    def test_what_the_command_line_names_may_be_imported(self, named, stranger):
        with only(["--lr", "0.1", named]):
            assert load_users_object("data set", f"{stranger}/planted.py:data")
            with pytest.raises(RedwoodError, match="is code that a file names, and it is not run"):
                load_users_object("data set", "planted_module:data")

    @pytest.mark.parametrize("named", ["ring:k=3", "lr=log:1e-3..1", "long_tail:10", "", "--quiet"])
    def test_arguments_behind_a_colon_name_nothing(self, named, stranger):
        with only([named]):
            assert not any(map(may_import, ("ring", "log", "long_tail")))

    def test_what_was_found_may_be_imported_in_other_processes(self):
        with only([]):
            allow("package.inner:Class")
            assert may_import("package.inner") and not may_import("package")
        assert may_import("package")

    def test_all_may_be_imported_without_a_command_line(self, stranger):
        with only([]), only(None):
            assert load_users_module("method", "planted_module", "planted_module:Own")

    @pytest.mark.parametrize("reference", ["planted_module:k=3", "planted_module:1", "planted_module:"])
    def test_a_module_is_not_imported_for_arguments(self, reference, stranger):
        with pytest.raises(RedwoodError, match="names nothing behind its colon"):
            load_users_object("policy", reference)
        assert not (stranger / "executed").exists()

    def test_names_of_tables_need_no_permission(self, stranger):
        table = {"own": "planted_module:Own"}
        with only([]):
            assert look_up("method", "own", table, "redwood.no_group")
            with pytest.raises(RedwoodError, match="add --trust"):
                load_dataset("planted.py:data", stranger, 0, 0)


def test_no_data_is_unpickled(tmp_path):
    np.savez(tmp_path / "data.npz", x=np.array([{}], dtype=object), y=np.zeros(1, int))
    with pytest.raises(RedwoodError, match="save it again as plain arrays"):
        load_dataset(str(tmp_path / "data.npz"), tmp_path, 0, 0)
