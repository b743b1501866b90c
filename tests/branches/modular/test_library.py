"""The module library: what is added is there once and whole, whoever writes to its folder at the same time."""

import json
import os
import random
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from redwood.branches.modular import library_files
from redwood.branches.modular.library import ModuleLibrary, lineage
from redwood.branches.modular.library_files import LibraryFolder
from redwood.branches.modular.sources import LibraryLink
from redwood.core.errors import RedwoodError
from tests.branches.modular import library_writers
from tests.branches.modular.library_writers import MODULES_A_NETWORK, Writers, problems
from tests.fork_server import start_context

TASK = {"name": "digits", "classes": [0, 1], "samples": 60}
INPUTS = {"shape": [4], "dtype": "float32"}


def weights(seed, n=8):
    random = torch.Generator().manual_seed(seed)
    return {"weight": torch.randn(n, 4, generator=random), "0.bias": torch.randn(n, generator=random)}


def add(library, seed, **more):
    return library.add_module(weights(seed), **({"role": "block", "position": 1, "model": "mlp"} | more))


def add_network(library, modules, **more):
    return library.add_network(modules, **({"model": "mlp", "inputs": INPUTS, "task": TASK} | more))


def flip(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 128
    path.write_bytes(data)


def warned(library):
    """What listing all modules and networks warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        library.modules(), library.networks()
    return [str(warning.message) for warning in caught]


@pytest.fixture(params=["memory", "folder"])
def library(request, tmp_path):
    return ModuleLibrary(None if request.param == "memory" else tmp_path / "library")


class TestModules:
    def test_the_same_content_is_one_module_with_its_first_record(self, library):
        key = add(library, 0, task="first")
        assert add(library, 0, task="second", parent="a" * 32) == key
        (record,) = library.modules()
        assert (record.key, record.task, record.parent) == (key, "first", None)
        assert record.shapes == {"weight": [8, 4], "0.bias": [8]}
        assert (record.nbytes, record.parameters) == (160, 40)

    @pytest.mark.parametrize("change", [{"role": "head"}, {"position": 2}, {"model": "cnn"}])
    def test_what_it_is_used_for_is_a_part_of_the_key(self, library, change):
        assert add(library, 0) != add(library, 0, **change)

    def test_names_shapes_and_types_are_parts_of_the_key(self, library):
        variants = [
            {"a": torch.zeros(4)},
            {"b": torch.zeros(4)},
            {"a": torch.zeros(2, 2)},
            {"a": torch.zeros(4, dtype=torch.int32)},
            {"a": torch.zeros(2), "b": torch.zeros(2)},
        ]
        keys = [library.add_module(tensors, role="stem", position=0, model="m") for tensors in variants]
        assert len(set(keys)) == len(keys)

    def test_tensors_of_all_kinds_come_back_bit_for_bit(self, library):
        random = torch.randn(3, 4)
        tensors = {
            "bf16": random.bfloat16(),
            "counter": torch.tensor(7),
            "mask": random > 0,
            "no.thing": torch.empty(0, 3),
            "turned.0.weight": random.t(),
            "nan": torch.tensor([float("nan"), -0.0]),
            "shared": random,
            "also.shared": random[1:],
        }
        key = library.add_module(tensors, role="network", position=0, model="m")
        loaded = library.load(key)
        assert loaded.keys() == tensors.keys()
        for name, tensor in tensors.items():
            assert (loaded[name].dtype, loaded[name].shape) == (tensor.dtype, tensor.shape), name
            assert torch.equal(loaded[name].nan_to_num(), tensor.nan_to_num()), name

    def test_a_module_without_tensors(self, library):
        assert library.load(library.add_module({}, role="block", position=0, model="m")) == {}

    def test_neither_what_was_added_nor_what_is_loaded_is_the_library_s_own(self, library):
        tensors = weights(0)
        key = library.add_module(tensors, role="stem", position=0, model="m")
        tensors["weight"].zero_()
        library.load(key)["weight"].zero_()
        assert torch.equal(library.load(key)["weight"], weights(0)["weight"])

    def test_the_oldest_comes_first(self, library):
        keys = [add(library, seed) for seed in range(5)]
        assert [record.key for record in library.modules()] == keys

    def test_a_record_that_is_changed_is_not_the_library_s_own(self, library):
        key = add(library, 0)
        library.module(key).shapes.clear()
        assert library.module(key).shapes and library.modules()[0].shapes

    @pytest.mark.parametrize(
        ("change", "told"), [({"role": "neck"}, "role"), ({"position": -1}, "position"), ({"parent": "me"}, "parent")]
    )
    def test_a_wrong_value_is_named(self, library, change, told):
        with pytest.raises(RedwoodError, match=rf"^A module cannot be put into a library: {told} has to be"):
            add(library, 0, **change)
        assert library.modules() == []


class TestNetworks:
    def test_what_it_says(self, library):
        keys = [add(library, seed) for seed in range(2)]
        parent = add_network(library, keys[:1])
        key = add_network(
            library,
            keys,
            parent=parent,
            reused=1,
            statistics={"mean": (0.5, 0.25), "std": [1.0, 2.0]},
            validation=0.75,
            cost={"training": 1e9},
            notes="CC0",
        )
        first, record = library.networks()
        assert first.key == parent and (first.statistics, first.validation, first.cost) == ({}, None, {})
        assert record == library.network(key)
        assert (record.modules, record.parent, record.reused, record.notes) == (keys, parent, 1, "CC0")
        assert record.statistics == {"mean": [0.5, 0.25], "std": [1.0, 2.0]}
        assert (record.validation, record.cost, record.task, record.inputs) == (0.75, {"training": 1e9}, TASK, INPUTS)

    def test_the_key_follows_from_what_cannot_be_updated(self, library):
        module = add(library, 0)
        key = add_network(library, [module], notes="first")
        assert add_network(library, [module], notes="second", validation=0.5) == key
        assert library.network(key).notes == "first"
        assert add_network(library, [module], task=TASK | {"samples": 61}) != key

    def test_update(self, library):
        key = add_network(library, [add(library, 0)])
        library.update(key, notes="better", validation=1.0)
        (record,) = library.networks()
        assert (record.key, record.notes, record.validation, record.cost) == (key, "better", 1.0, {})
        with pytest.raises(RedwoodError, match=r"^model of a network cannot be updated"):
            library.update(key, model="other")
        with pytest.raises(RedwoodError, match="validation has to be at least 0 and at most 1, not 75"):
            library.update(key, validation=75)
        with pytest.raises(RedwoodError, match="holds no network"):
            library.update("0" * 32, notes="")

    def test_remove(self, library):
        modules = [add(library, seed) for seed in range(2)]
        network = add_network(library, modules)
        with pytest.raises(RedwoodError, match=rf"{modules[0]} cannot be removed: 1 network\(s\) use it"):
            library.remove(modules[0])
        library.remove(network)
        library.remove(modules[0])
        assert library.networks() == [] and [record.key for record in library.modules()] == modules[1:]
        with pytest.raises(RedwoodError, match="holds no module"):
            library.load(modules[0])
        with pytest.raises(RedwoodError, match="holds no module and no network"):
            library.remove(network)

    def test_a_module_removed_by_force(self, library):
        module = add(library, 0)
        add_network(library, [module])
        library.remove(module, force=True)
        warned(library)
        assert library.networks() == []
        add(library, 0)
        assert len(library.networks()) == 1

    @pytest.mark.parametrize(
        ("change", "told"),
        [
            ({"validation": float("nan")}, "validation has to be a finite number"),
            ({"reused": 2}, "reused has to be at most the number of modules, 1"),
            ({"statistics": {"mean": [float("inf")]}}, "statistics.mean"),
            ({"task": {"name": "t"}}, "task lacks classes, samples"),
        ],
    )
    def test_a_wrong_value_is_named(self, library, change, told):
        module = add(library, 0)
        with pytest.raises(RedwoodError, match=told):
            add_network(library, [module], **change)
        with pytest.raises(RedwoodError, match="holds no module"):
            add_network(library, ["0" * 32])
        assert library.networks() == []


def test_the_state_in_memory_is_everything():
    first, second = ModuleLibrary(None), ModuleLibrary(None)
    modules = [add(first, seed) for seed in range(2)]
    network = add_network(first, modules, validation=0.5)
    state = first.state_dict()
    add(first, 2)
    second.load_state_dict(state)
    assert second.network(network) == first.network(network)
    assert second.modules() == first.modules()[:2]
    assert torch.equal(second.load(modules[0])["weight"], weights(0)["weight"])
    assert add(second, 2) and second.modules() == first.modules()


def test_the_state_of_a_folder_names_it(tmp_path):
    first = ModuleLibrary(tmp_path / "a")
    add(first, 0)
    state = first.state_dict()
    (tmp_path / "a").rename(tmp_path / "b")
    ModuleLibrary(tmp_path / "b").load_state_dict(state)
    with pytest.raises(RedwoodError, match="is not the library that this run began with"):
        ModuleLibrary(tmp_path / "a").load_state_dict(state)
    with pytest.raises(RedwoodError, match="began with a library in a folder"):
        ModuleLibrary(None).load_state_dict(state)
    with pytest.raises(RedwoodError, match="is not the library"):
        ModuleLibrary(tmp_path / "b").load_state_dict(ModuleLibrary(None).state_dict())


def test_the_order_of_a_lineage(library):
    module = add(library, 0)
    root = add_network(library, [module])
    names = [root]
    for number, parent in enumerate([0, 0, 1, None, 2]):
        task = TASK | {"name": str(number)}
        names.append(add_network(library, [module], task=task, parent=None if parent is None else names[parent]))
    records = library.networks()
    tree = [(names.index(record.key), depth) for record, depth in lineage(records)]
    assert tree == [(0, 0), (1, 1), (3, 2), (2, 1), (5, 2), (4, 0)]
    assert [names.index(record.key) for record, _ in lineage(records[1:])] == [1, 3, 2, 5, 4]


class TestFolder:
    @pytest.fixture
    def folder(self, tmp_path):
        return tmp_path / "library"

    def test_it_outlives_the_process_that_made_it(self, folder):
        key = add_network(ModuleLibrary(folder), [add(ModuleLibrary(folder), 0)])
        assert [record.key for record in ModuleLibrary(folder).networks()] == [key]
        assert {path.name for path in folder.iterdir()} == {"library.json", "modules", "networks"}

    def test_a_record_is_read_once_and_again_when_another_process_has_changed_it(self, folder, monkeypatch):
        library = ModuleLibrary(folder)
        key = add_network(library, [add(library, 0)])
        library.networks()
        ModuleLibrary(folder).update(key, notes="new")
        assert library.networks()[0].notes == "new"
        monkeypatch.setattr("redwood.branches.modular.library_files.read_json", None)
        assert library.networks()[0].notes == "new"

    def test_listing_reads_no_tensors(self, folder, monkeypatch):
        add_network(ModuleLibrary(folder), [add(ModuleLibrary(folder), 0)])
        monkeypatch.setattr("redwood.branches.modular.library_files.load", None)
        library = ModuleLibrary(folder)
        assert len(library.modules()) == len(library.networks()) == 1

    def test_damaged_files_are_told_once_and_the_others_stay(self, folder):
        library = ModuleLibrary(folder)
        keys = [add(library, seed) for seed in range(6)]
        good, broken = add_network(library, keys[:1]), add_network(library, keys[1:2])
        modules = folder / "modules"
        (modules / f"{keys[1]}.json").write_text("{")
        (modules / f"{keys[2]}.safetensors").write_bytes(b"short")
        (modules / f"{keys[3]}.safetensors").unlink()
        text = (modules / f"{keys[4]}.json").read_text()
        (modules / f"{keys[4]}.json").write_text(text.replace('"format": 1', '"format": 2'))
        (modules / "notes.txt").write_text("mine")
        assert len(warned(library)) == 6  # the foreign file, four modules and the network that uses one of them
        assert warned(ModuleLibrary(folder)) == []
        assert [record.key for record in library.modules()] == [keys[0], keys[5]]
        assert [record.key for record in library.networks()] == [good]
        with pytest.raises(RedwoodError, match="is damaged or no JSON"):
            library.module(keys[1])
        with pytest.raises(RedwoodError, match="has 5 bytes, not"):
            library.load(keys[2])
        with pytest.raises(RedwoodError, match="is of format 2, not 1; use the redwood that wrote it"):
            library.module(keys[4])
        for seed in range(1, 5):
            assert add(library, seed) == keys[seed]  # makes them whole again
        assert len(library.modules()) == 6 and library.networks()[1].key == broken

    def test_the_warnings(self, folder):
        library = ModuleLibrary(folder)
        keys = [add(library, seed) for seed in range(2)]
        network = add_network(library, keys[1:])
        (folder / "modules" / f"{keys[0]}.json").write_text("[]")
        (folder / "modules" / f"{keys[1]}.json").unlink()
        (folder / "networks" / "strange").mkdir()
        told = warned(library)
        assert len(told) == 3 and all(sentence.count("\n") == 0 and sentence.endswith(".") for sentence in told)
        assert any(keys[0] in one for one in told) and any("strange" in one for one in told)
        assert any(network in one and f"its module {keys[1]} is missing or damaged" in one for one in told)
        assert warned(ModuleLibrary(folder)) == []

    def test_a_flipped_bit_is_told_when_the_module_is_loaded(self, folder):
        library = ModuleLibrary(folder)
        key = add(library, 0)
        path = folder / "modules" / f"{key}.safetensors"
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
        assert len(library.modules()) == 1
        with pytest.raises(RedwoodError, match="its digest differs"):
            library.load(key)
        add(library, 0)
        assert torch.equal(library.load(key)["weight"], weights(0)["weight"])

    @pytest.mark.parametrize("place", [0, 1, -1])
    def test_a_network_of_a_damaged_module_starts_no_other_one(self, folder, place):
        """A wrong length of the header, or a flipped bit in a weight: the size of the file is right."""
        library = ModuleLibrary(folder)
        keys = [add(library, seed) for seed in range(3)]
        good, damaged, later = (add_network(library, [key]) for key in keys)
        flip(folder / "modules" / f"{keys[1]}.safetensors", place)
        with pytest.warns(UserWarning, match=rf"{keys[1]}.* are left out\.") as told:
            link = LibraryLink(str(folder), "mlp", INPUTS, [{"weight": [8, 4]}])
        assert len(told) == 1 and link.inherited == [good, later] and damaged not in link.inherited
        flip(folder / "modules" / f"{keys[2]}.safetensors", place)
        with pytest.warns(UserWarning, match=rf"{keys[2]}.* are left out\."):
            assert [source.name for source in link.sources()] == [good]

    def test_a_record_that_was_changed_by_hand(self, folder):
        library = ModuleLibrary(folder)
        key = add_network(library, [add(library, 0)])
        path = folder / "networks" / f"{key}.json"
        path.write_text(path.read_text().replace('"mlp"', '"cnn"'))
        with pytest.raises(RedwoodError, match="its digest differs"):
            library.network(key)
        (module,) = library.modules()
        path = folder / "modules" / f"{module.key}.json"
        path.write_text(path.read_text().replace("[8, 4]", "[4, 8]"))
        with pytest.raises(RedwoodError, match="is not what was added"):
            library.load(module.key)

    def test_what_is_no_key_leads_nowhere(self, folder):
        library = ModuleLibrary(folder)
        for action in (library.module, library.network, library.load, library.remove):
            with pytest.raises(RedwoodError, match="holds no"):
                action("../library")
        assert (folder / "library.json").exists()

    def test_a_module_is_added_while_it_is_being_removed(self, folder, monkeypatch):
        """The other process adds it after its record is gone, and before its tensors are."""
        library, remove_data = ModuleLibrary(folder), library_files._remove_data
        key = add(library, 0)

        def add_first(record):
            add(ModuleLibrary(folder), 0)
            remove_data(record)

        monkeypatch.setattr(library_files, "_remove_data", add_first)
        library.remove(key)
        assert library.load(key) and len(list((folder / "modules").iterdir())) == 2

    def test_tensors_that_another_process_removes_while_they_are_added(self, folder, monkeypatch):
        library, publish = ModuleLibrary(folder), LibraryFolder._publish
        moments = iter([True, False])

        def remove_first(self, kind, content):
            if next(moments):
                (folder / "modules" / f"{content['key']}.safetensors").unlink()
            publish(self, kind, content)

        monkeypatch.setattr(LibraryFolder, "_publish", remove_first)
        assert library.load(add(library, 0))

    def test_updates_at_once_do_not_undo_each_other(self, folder, monkeypatch):
        key, write = add_network(ModuleLibrary(folder), [add(ModuleLibrary(folder), 0)]), LibraryFolder.replace

        def write_later(self, kind, content):
            time.sleep(0.1)
            write(self, kind, content)

        monkeypatch.setattr(LibraryFolder, "replace", write_later)
        changes = [{"notes": "CC0"}, {"validation": 0.5}, {"cost": {"training": 1.0}}]
        libraries = [ModuleLibrary(folder) for _ in changes]
        with ThreadPoolExecutor(3) as threads:
            jobs = [threads.submit(one.update, key, **change) for one, change in zip(libraries, changes, strict=True)]
        assert [job.exception() for job in jobs] == [None] * 3
        record = ModuleLibrary(folder).network(key)
        assert (record.notes, record.validation, record.cost) == ("CC0", 0.5, {"training": 1.0})

    def test_a_pipe_does_not_block(self, folder):
        library = ModuleLibrary(folder)
        os.mkfifo(folder / "modules" / f"{'0' * 32}.json")
        assert len(warned(library)) == 1 and library.modules() == []

    def test_only_old_leftovers_are_removed(self, folder):
        library = ModuleLibrary(folder)
        key = add(library, 0)
        leftovers = [folder / "modules" / f".{key}.json.1.tmp", folder / "modules" / f"{'0' * 32}.safetensors"]
        for path in leftovers:
            path.write_bytes(b"half")
        assert len(ModuleLibrary(folder).modules()) == 1 and all(path.exists() for path in leftovers)
        for path in [*leftovers, folder / "modules" / f"{key}.safetensors"]:
            os.utime(path, (time.time() - 7200,) * 2)
        library = ModuleLibrary(folder, create=False)
        assert all(path.exists() for path in leftovers)
        library = ModuleLibrary(folder)
        assert not any(path.exists() for path in leftovers) and library.load(key)

    def test_a_folder_of_others(self, tmp_path):
        (tmp_path / "mine.txt").touch()
        (tmp_path / "empty").mkdir()
        for folder, create, told in [
            (tmp_path, True, "holds other files than a library's"),
            (tmp_path / "mine.txt", True, "is a file; name a folder"),
            (tmp_path / "no" / "folder", True, "there is no .*no; make it first"),
            (tmp_path / "none", False, "is no module library"),
            (tmp_path / "empty", False, "is no module library"),
            ("/proc/library", True, "cannot be used"),
        ]:
            with pytest.raises(RedwoodError, match=rf"^--library {folder}.*{told}"):
                ModuleLibrary(folder, create=create)
        assert {path.name for path in tmp_path.iterdir()} == {"mine.txt", "empty"}
        ModuleLibrary(tmp_path / "empty")

    def test_a_marker_of_another_version(self, folder):
        ModuleLibrary(folder)
        content = json.loads((folder / "library.json").read_text())
        (folder / "library.json").write_text(json.dumps(content | {"format": 2}))
        with pytest.raises(RedwoodError, match="is of format 2, not 1"):
            ModuleLibrary(folder)


class TestSeveralProcesses:
    def test_four_add_at_once(self, tmp_path):
        """Two add the same networks, two others share some; the library is made by the first of them."""
        writers = Writers(tmp_path / "library")
        for numbers in (range(20), range(20), range(10, 30), range(20, 40)):
            writers.start(numbers)
        writers.join()
        assert problems(writers.folder, writers.added) == []
        library = ModuleLibrary(writers.folder)
        assert len(writers.added) == len(library.networks()) == 40
        assert len(library.modules()) == 40 + MODULES_A_NETWORK - 1
        for record in library.networks():
            first = library.load(record.modules[0])["weight"]
            assert torch.equal(first, library_writers.weights(int(record.task["name"]))["weight"])

    @pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
    def test_writers_that_are_killed_leave_only_what_is_whole(self, tmp_path, kills):
        moment, writers = random.Random(kills), Writers(tmp_path / "library")
        for number in range(kills):
            writers.start(range(1000))
            writers.start(range(number * 10, 1000))
            writers.kill_at_random(moment, 0.2)
            assert problems(writers.folder, writers.added) == []
        count = len(ModuleLibrary(writers.folder).networks())
        assert count >= len(writers.added) > 2
        # Also the networks that were being added; the second writer of the last round may not have announced its first.
        writers.start(range(max(*writers.added, 10 * (kills - 1)) + 2))
        writers.join()
        assert problems(writers.folder, writers.added) == []
        assert not [path for path in (tmp_path / "library").glob("*/*.safetensors") if not is_listed(path)]

    def test_a_module_is_whole_after_it_was_removed_and_added_at_once(self, tmp_path):
        key = ModuleLibrary(tmp_path / "l").add_module(library_writers.weights(0), role="block", position=0, model="m")
        until = time.time() + 3
        jobs = [
            (library_writers.remove_again_and_again, (tmp_path / "l", key, until)),
            (library_writers.add_again_and_again, (tmp_path / "l", 0, until)),
            (library_writers.add_again_and_again, (tmp_path / "l", 0, until + 0.3)),
        ]
        processes = [start_context().Process(target=job, args=arguments) for job, arguments in jobs]
        for process in processes:
            process.start()
        for process in processes:
            process.join(60)
        assert [process.exitcode for process in processes] == [0, 0, 0]
        assert problems(tmp_path / "l", {}) == []
        assert {path.name for path in (tmp_path / "l" / "modules").iterdir()} == {f"{key}.json", f"{key}.safetensors"}


def is_listed(path):
    return path.with_suffix(".json").exists()
