"""All tests that import continuum, which takes seconds."""

import gzip
import pickle
import time

import numpy as np
import pytest
import torch
from continuum import datasets as continuum_datasets
from continuum.datasets import H5Dataset, InMemoryDataset
from continuum.scenarios import (
    ALMA,
    ClassIncremental,
    ContinualScenario,
    HashedScenario,
    InstanceIncremental,
    OnlineFellowship,
    Permutations,
    Rotations,
    TransformationIncremental,
)
from continuum.tasks import TaskType
from PIL import Image
from torchvision import transforms

from redwood.core.errors import DataError, UnknownNameError
from redwood.settings.data.catalog import load_dataset
from redwood.settings.data.continuum_adapter import from_scenarios
from tests.settings.data.local_server import cut_network, tree
from tests.settings.data.test_torchvision_sets import idx_arrays, write_idx

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (60, 8, 8), dtype=np.uint8)
Y = np.arange(60) % 6
T = np.arange(60) // 20


def in_memory(x=X, y=Y, t=None, kind=TaskType.IMAGE_ARRAY):
    return InMemoryDataset(x, y, t, data_type=kind)


def items(scenario):
    """Samples, labels and tasks that the scenario's own task sets yield."""
    rows = [(x, int(y), task) for task in range(len(scenario)) for x, y, _ in scenario[task]]
    x, y, t = zip(*rows, strict=True)
    return torch.stack(x), torch.tensor(y), torch.tensor(t)


def scaled(x):
    return x.float() / 255 if x.dtype == torch.uint8 else x


SCENARIOS = {
    "classes": lambda: ClassIncremental(in_memory(), increment=2),
    "classes_in_order": lambda: ClassIncremental(in_memory(), increment=[1, 2, 3], class_order=[5, 0, 3, 1, 4, 2]),
    "classes_initial": lambda: ClassIncremental(in_memory(), increment=1, initial_increment=3),
    "colour": lambda: ClassIncremental(in_memory(np.stack([X, 255 - X, X // 2], axis=3)), increment=2),
    "instances": lambda: InstanceIncremental(in_memory(), nb_tasks=3),
    "alma": lambda: ALMA(in_memory(), nb_megabatches=4),
    "own_ids": lambda: ContinualScenario(in_memory(t=T)),
    "hashed": lambda: HashedScenario(in_memory(), "AverageHash", nb_tasks=3),
    "tensors": lambda: ContinualScenario(in_memory(X.reshape(60, 64) / 255.0, t=T, kind=TaskType.TENSOR)),
    "torch_tensors": lambda: ContinualScenario(
        in_memory(torch.from_numpy(X.reshape(60, 64) / 255), t=T, kind=TaskType.TENSOR)
    ),
    "whole_floats": lambda: ContinualScenario(in_memory(X.astype(np.float64), t=T)),
    "fellowship": lambda: OnlineFellowship([in_memory(), in_memory(255 - X)]),
    "fellowship_shared": lambda: OnlineFellowship([in_memory(), in_memory(255 - X)], update_labels=False),
    "permuted": lambda: Permutations(in_memory(), nb_tasks=3, seed=1),
    "permuted_own_labels": lambda: Permutations(in_memory(), nb_tasks=2, shared_label_space=False),
    "rotated": lambda: Rotations(in_memory(), list_degrees=[0, 45, 90]),
    "transformed": lambda: TransformationIncremental(in_memory(), [[transforms.Pad(0)], [transforms.RandomInvert(1)]]),
    "per_task": lambda: ContinualScenario(
        in_memory(t=T), transformations=[[transforms.Resize(12 + 0 * i), transforms.ToTensor()] for i in range(3)]
    ),
    "normalised": lambda: ContinualScenario(
        in_memory(t=T), transformations=[transforms.ToTensor(), transforms.Normalize(0.5, 0.25)]
    ),
}


class TestFromScenarios:
    @pytest.mark.parametrize("make", SCENARIOS.values(), ids=SCENARIOS)
    def test_samples_labels_and_tasks_are_the_scenarios_own(self, make):
        data = from_scenarios(make(), make())
        x, y, t = items(make())
        for part in ((data.x, data.y, data.contexts), (data.x_test, data.y_test, data.contexts_test)):
            torch.testing.assert_close(scaled(part[0]), x.float())
            assert torch.equal(part[1], y)
            assert torch.equal(part[2], t)

    def test_plain_arrays_keep_their_bytes(self):
        data = from_scenarios(SCENARIOS["classes"](), SCENARIOS["classes"]())
        assert (data.x.dtype, data.max_value, data.name) == (torch.uint8, 255, "continuum:ClassIncremental")
        assert np.array_equal(data.x[data.contexts == 0][:, 0].numpy(), X[Y < 2])

    def test_transformed_samples_differ_from_task_to_task(self):
        data = from_scenarios(SCENARIOS["permuted"](), SCENARIOS["permuted"]())
        first, second = (data.x[data.contexts == task] for task in (0, 1))
        assert (data.x.dtype, data.max_value) == (torch.float32, None)
        assert not torch.equal(first, second)
        assert torch.equal(first.flatten(1).sort().values, second.flatten(1).sort().values)

    @pytest.mark.parametrize(
        "make", [lambda d: ClassIncremental(d, increment=2), lambda d: Permutations(d, nb_tasks=2)]
    )
    def test_one_channel_is_squeezed_before_pillow_breaks(self, make):
        with_channel, without = (make(in_memory(x)) for x in (X[..., None], X))
        with pytest.raises(TypeError):
            with_channel[0][0]
        x, y, _ = items(without)
        data = from_scenarios(with_channel, with_channel)
        torch.testing.assert_close(scaled(data.x), x)
        assert torch.equal(data.y, y)
        assert with_channel.cl_dataset.get_data()[0].shape == (60, 8, 8, 1)

    @pytest.mark.parametrize("shape", [(60, 5), (60, 8, 8), (60, 8, 8, 3)])
    def test_h5_features_and_images(self, tmp_path, shape):
        x = RNG.random(shape, dtype=np.float32)
        scenario = ContinualScenario(H5Dataset(x, Y, T, data_path=str(tmp_path / "a.h5")))
        wanted_x, wanted_y, wanted_t = items(scenario)
        data = from_scenarios(scenario, scenario)
        torch.testing.assert_close(data.x, wanted_x)
        assert torch.equal(data.y, wanted_y)
        assert torch.equal(data.contexts, wanted_t)

    def paths(self, tmp_path, size):
        for i, image in enumerate(X):
            Image.fromarray(image).resize(size).save(tmp_path / f"{i}.png")
        return in_memory(np.array([str(tmp_path / f"{i}.png") for i in range(60)]), kind=TaskType.IMAGE_PATH)

    @pytest.mark.parametrize("steps", [[], [transforms.Resize((6, 6))]])
    def test_image_files_stay_files(self, tmp_path, steps):
        made = self.paths(tmp_path, (8, 8))
        scenario = ClassIncremental(made, increment=2, transformations=[*steps, transforms.ToTensor()])
        data = from_scenarios(scenario, scenario)
        x, y, t = items(scenario)
        assert not isinstance(data.x, torch.Tensor)
        torch.testing.assert_close(scaled(data.x[torch.arange(60)]), x)
        assert torch.equal(data.y, y)
        assert torch.equal(data.contexts, t)

    def test_transformed_image_files_are_read_once(self, tmp_path):
        steps = [transforms.Resize(6), transforms.CenterCrop(6), transforms.ToTensor()]
        scenario = ClassIncremental(self.paths(tmp_path, (8, 10)), increment=2, transformations=steps)
        torch.testing.assert_close(from_scenarios(scenario, scenario).x, items(scenario)[0])

    def test_transformed_samples_of_different_shapes_are_refused(self):
        sizes = [[transforms.Resize(size), transforms.ToTensor()] for size in (8, 9, 8)]
        scenario = ContinualScenario(in_memory(t=T), transformations=sizes)
        with pytest.raises(DataError, match=r"differ in shape, \(1, 8, 8\) and \(1, 9, 9\)"):
            from_scenarios(scenario, scenario)

    def test_fellowship_of_different_shapes_is_refused(self):
        scenario = OnlineFellowship([in_memory(), in_memory(X[:, :6, :6])])
        with pytest.raises(DataError, match="from task to task"):
            from_scenarios(scenario, scenario)


class TestTraps:
    @pytest.mark.parametrize("x", [X / 255.0, (X > 99).astype(np.float32), X + 0.5, X - 9.0, X.astype(int) * 2])
    @pytest.mark.parametrize(
        "make", [lambda d: ClassIncremental(d, increment=2), lambda d: Permutations(d, nb_tasks=2)]
    )
    def test_images_that_a_cast_to_bytes_spoils(self, make, x):
        scenario = make(in_memory(x))
        with pytest.raises(DataError, match=r"casts image arrays to uint8.*scale them to 0\.\.255"):
            from_scenarios(scenario, scenario)

    @pytest.mark.filterwarnings("ignore:There are some missing classes")
    @pytest.mark.parametrize("y", [Y + 6, 2 * Y, np.where(Y == 3, 9, Y)], ids=["from_6", "even", "gap"])
    def test_labels_that_are_not_0_to_k(self, y):
        scenario = ClassIncremental(in_memory(y=y), increment=2)
        with pytest.raises(DataError, match=r"not 0.*without gaps.*renumber"):
            from_scenarios(scenario, scenario)

    def test_task_ids_with_gaps(self):
        scenario = InstanceIncremental(in_memory(t=2 * T))
        with pytest.raises(DataError, match="task 1 has no samples"):
            from_scenarios(scenario, scenario)

    def test_torch_tensors(self):
        images = InstanceIncremental(in_memory(x=torch.from_numpy(X)), nb_tasks=3)
        labels = ContinualScenario(in_memory(y=torch.from_numpy(Y), t=T))
        for scenario in (images, labels):
            with pytest.raises(DataError, match=r"needs NumPy arrays, not torch tensors"):
                from_scenarios(scenario, scenario)

    def test_transformations_that_continuum_ignores(self):
        data = in_memory(X.reshape(60, 64) / 255.0, kind=TaskType.TENSOR)
        scenario = Permutations(data, nb_tasks=2)
        assert np.array_equal(scenario[0][0][0], scenario[1][0][0])  # the trap itself: nothing is permuted
        with pytest.raises(DataError, match="ignores the transformations of tensors"):
            from_scenarios(scenario, scenario)

    def test_class_orders_that_disagree(self):
        train = ClassIncremental(in_memory(), increment=2, class_order=[5, 4, 3, 2, 1, 0])
        with pytest.raises(DataError, match="different class orders"):
            from_scenarios(train, ClassIncremental(in_memory(), increment=2))

    def test_bounding_boxes(self):
        data = in_memory(t=T)
        data.bounding_boxes = np.tile([0, 0, 4, 4], (60, 1))
        with pytest.raises(DataError, match="bounding boxes"):
            from_scenarios(ContinualScenario(data), ContinualScenario(data))

    def test_channels_that_come_first(self):
        scenario = ContinualScenario(in_memory(np.stack([X] * 3, axis=1), t=T))
        with pytest.raises(DataError, match=r"H x W x C arrays, got \(3, 8, 8\); transpose"):
            from_scenarios(scenario, scenario)

    def test_what_is_no_scenario(self):
        for thing in (in_memory(), [1, 2], None):
            with pytest.raises(DataError, match="expected continuum scenarios"):
                from_scenarios(thing, thing)

    def test_text(self):
        scenario = ContinualScenario(in_memory(np.array(["a"] * 60), t=T, kind=TaskType.TEXT))
        with pytest.raises(DataError, match="not TEXT data"):
            from_scenarios(scenario, scenario)


class TestLoad:
    @pytest.mark.parametrize(("name", "key"), [("FashionMNIST", "fashion_mnist"), ("EMNIST", "emnist")])
    def test_arrays(self, tmp_path, name, key):
        write_idx(tmp_path / name / "raw", key, compress=False)
        before = tree(tmp_path)
        x, y, x_test, y_test = idx_arrays(key)
        for spelling in (name, name.lower()):
            data = load_dataset(f"continuum:{spelling}", tmp_path, 0, 0)
            assert np.array_equal(data.x.numpy(), x[:, None])
            assert np.array_equal(data.x_test.numpy(), x_test[:, None])
            assert (data.y.tolist(), data.y_test.tolist()) == (y.tolist(), y_test.tolist())
            assert (data.name, data.contexts, data.max_value) == (f"continuum:{name}", None, 255)
        assert load_dataset(f"continuum:{name}", tmp_path, 0, 14).sample_shape == (1, 14, 14)
        assert tree(tmp_path) == before

    @pytest.fixture
    def core50(self, tmp_path):
        """Eleven sessions of fifty objects with one training and one test image each."""
        image = Image.new("RGB", (4, 4))
        lines = []
        for session in range(1, 12):
            for thing in range(1, 51):
                folder = tmp_path / "core50_128x128" / f"s{session}" / f"o{thing}"
                folder.mkdir(parents=True)
                for number in range(2):
                    image.putpixel((0, 0), (session, thing, number))
                    image.save(folder / f"C_{session:02d}_{thing:02d}_{number:03d}.png")
                lines.append(f"C_{session:02d}_{thing:02d}_000.png,{thing}\n")
        (tmp_path / "core50_train.csv").write_text("".join(lines))
        return tmp_path

    def test_image_files(self, core50):
        data = load_dataset("continuum:CORe50", core50, 0, 0)
        assert (data.sample_shape, len(data.x), len(data.x_test), data.n_classes) == ((3, 4, 4), 550, 550, 50)
        for rows, labels, number in ((data.x, data.y, 0), (data.x_test, data.y_test, 1)):
            pixels = rows[torch.arange(550)][:, :, 0, 0].long()
            assert torch.equal(pixels[:, 1] - 1, labels)
            assert pixels[:, 2].unique().tolist() == [number]
        assert data.contexts is None  # continuum gives all test samples task 0
        assert load_dataset("continuum:Core50", core50, 0, 6).sample_shape == (3, 6, 6)
        assert torch.equal(pickle.loads(pickle.dumps(data.x))[torch.tensor([5])], data.x[torch.tensor([5])])

    def test_task_ids_that_both_splits_share_become_contexts(self, tmp_path, monkeypatch):
        class Domains(continuum_datasets._ContinuumDataset):
            def get_data(self):
                return X, Y, T.astype(float)

        monkeypatch.setattr(continuum_datasets, "Domains", Domains, raising=False)
        data = load_dataset("continuum:Domains", tmp_path, 0, 0)
        assert data.contexts.tolist() == data.contexts_test.tolist() == T.tolist()

    def test_download_is_taken_over_only_when_complete(self, tmp_path, monkeypatch):
        class Fetched(continuum_datasets._ContinuumDataset):
            fails = True

            def _download(self):
                with open(f"{self.data_path}/x.npy", "wb") as file:
                    if self.fails:
                        file.write(b"half")
                        raise ConnectionResetError("connection lost")
                    np.save(file, X)

            def get_data(self):
                return np.load(f"{self.data_path}/x.npy"), Y, None

        monkeypatch.setattr(continuum_datasets, "Fetched", Fetched, raising=False)
        for folder in (tmp_path, tmp_path / "new"):
            with pytest.raises(DataError, match="connection lost"):
                load_dataset("continuum:Fetched", folder, 0, 0)
            assert list(tmp_path.iterdir()) == []
        Fetched.fails = False
        assert np.array_equal(load_dataset("continuum:Fetched", tmp_path, 0, 0).x[:, 0].numpy(), X)
        assert [path.name for path in tmp_path.iterdir()] == ["x.npy"]

    def test_archive_that_is_there_is_only_unpacked(self, tmp_path, monkeypatch):
        class Packed(continuum_datasets._ContinuumDataset):
            def _download(self):
                with open(f"{self.data_path}/x.npy", "wb") as file, gzip.open(f"{self.data_path}/x.gz") as packed:
                    file.write(packed.read())

            def get_data(self):
                return np.load(f"{self.data_path}/x.npy"), Y, None

        monkeypatch.setattr(continuum_datasets, "Packed", Packed, raising=False)
        np.save(tmp_path / "x.npy", X)
        packed = gzip.compress((tmp_path / "x.npy").read_bytes())
        (tmp_path / "x.npy").unlink()
        (tmp_path / "x.gz").write_bytes(packed)
        assert np.array_equal(load_dataset("continuum:Packed", tmp_path, 0, 0).x[:, 0].numpy(), X)
        assert (tmp_path / "x.gz").read_bytes() == packed
        assert sorted(path.name for path in tmp_path.iterdir()) == ["x.gz", "x.npy"]

    @pytest.mark.parametrize("x", [X / 255.0, torch.from_numpy(X)])
    def test_traps_are_refused_here_as_well(self, tmp_path, monkeypatch, x):
        class Spoiled(continuum_datasets._ContinuumDataset):
            def get_data(self):
                return x, Y, None

        monkeypatch.setattr(continuum_datasets, "Spoiled", Spoiled, raising=False)
        with pytest.raises(DataError, match=r"casts image arrays|not torch tensors"):
            load_dataset("continuum:Spoiled", tmp_path, 0, 0)

    @pytest.mark.parametrize("name", ["CIFAR10", "Core50", "SVHN", "EMNIST", "CTRLminus"])
    def test_without_data_and_network_one_sentence(self, tmp_path, monkeypatch, capfd, name):
        cut_network(monkeypatch)
        start = time.monotonic()
        for folder in (tmp_path / "data", tmp_path):
            with pytest.raises(
                DataError, match=rf"continuum:{name} is not .*could not be downloaded.*--data_dir"
            ) as caught:
                load_dataset(f"continuum:{name}", folder, 0, 0)
            assert "\n" not in str(caught.value)
            assert list(tmp_path.iterdir()) == []
        assert time.monotonic() - start < 5
        assert capfd.readouterr() == ("", "")

    def test_unknown_name_gives_the_nearest(self, tmp_path):
        with pytest.raises(UnknownNameError, match="Did you mean TinyImageNet200"):
            load_dataset("continuum:TinyImagenet", tmp_path, 0, 0)
        with pytest.raises(UnknownNameError, match="data set of continuum named 'InMemoryDataset'"):
            load_dataset("continuum:InMemoryDataset", tmp_path, 0, 0)
