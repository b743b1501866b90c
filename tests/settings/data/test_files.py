import io
import zipfile

import h5py
import numpy as np
import pytest
import torch

from redwood.core.errors import DataError
from redwood.settings.data.files import load

N = 50


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return {
        "x": rng.integers(0, 256, (N, 1, 4, 4), dtype=np.uint8),
        "y": np.arange(N) % 5,
        "t": np.arange(N) % 2,
        "x_test": rng.integers(0, 256, (10, 1, 4, 4), dtype=np.uint8),
        "y_test": np.arange(10) % 5,
        "t_test": np.arange(10) % 2,
    }


def write(path, arrays):
    if path.suffix == ".npz":
        np.savez_compressed(path, **arrays)
    else:
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[name] = array
    return path


@pytest.mark.parametrize("name", ["a.npz", "a.h5", "a.hdf5"])
class TestBothFormats:
    def test_all_arrays_come_back(self, tmp_path, arrays, name):
        data = load(write(tmp_path / name, arrays), seed=0)
        read = (data.x, data.y, data.contexts, data.x_test, data.y_test, data.contexts_test)
        for tensor, wanted in zip(read, arrays.values(), strict=True):
            assert np.array_equal(tensor.numpy(), wanted)
        assert (data.x.dtype, data.max_value, data.name) == (torch.uint8, 255, "a")

    def test_names_of_classes_are_read(self, tmp_path, arrays, name):
        names = np.array(["ash", "elm", "oak", "fir", "yew"], dtype="S3" if name != "a.npz" else "U3")
        data = load(write(tmp_path / name, {**arrays, "class_names": names}), seed=0)
        assert data.class_names == ("ash", "elm", "oak", "fir", "yew")

    def test_without_test_arrays_a_stratified_fifth_is_held_out(self, tmp_path, arrays, name):
        path = write(tmp_path / name, {key: arrays[key] for key in ("x", "y", "t")})
        data, again, other = load(path, 0), load(path, 0), load(path, 1)
        assert (len(data.x), len(data.x_test)) == (40, 10)
        assert sorted(zip(data.y_test.tolist(), data.contexts_test.tolist(), strict=True)) == [
            (c, t) for c in range(5) for t in (0, 1)
        ]
        rows = {(x.tobytes(), int(y), int(t)) for x, y, t in zip(arrays["x"], arrays["y"], arrays["t"], strict=True)}
        found = [
            (x.numpy().tobytes(), int(y), int(t))
            for part in ((data.x, data.y, data.contexts), (data.x_test, data.y_test, data.contexts_test))
            for x, y, t in zip(*part, strict=True)
        ]
        assert len(found) == N
        assert set(found) == rows
        assert torch.equal(data.x_test, again.x_test)
        assert not torch.equal(data.x_test, other.x_test)

    @pytest.mark.parametrize("size", [0, 10, 300])
    def test_truncated_file_is_refused(self, tmp_path, arrays, name, size):
        path = write(tmp_path / name, arrays)
        path.write_bytes(path.read_bytes()[:size])
        with pytest.raises(DataError, match=r"cannot be read.*write it again"):
            load(path, 0)

    @pytest.mark.parametrize("missing", ["x", "y", "x_test", "y_test"])
    def test_missing_array_is_named(self, tmp_path, arrays, name, missing):
        del arrays[missing]
        with pytest.raises(DataError, match=f"no array '{missing}'"):
            load(write(tmp_path / name, arrays), 0)

    def test_task_ids_of_one_split_only_are_refused(self, tmp_path, arrays, name):
        del arrays["t_test"]
        with pytest.raises(DataError, match="for both"):
            load(write(tmp_path / name, arrays), 0)

    def test_floats_become_float32_and_stay_unscaled(self, tmp_path, arrays, name):
        arrays["x"], arrays["x_test"] = arrays["x"].astype(">f8"), arrays["x_test"].astype(np.float16)
        data = load(write(tmp_path / name, arrays), 0)
        assert (data.x.dtype, data.x_test.dtype, data.max_value) == (torch.float32, torch.float32, None)
        assert np.array_equal(data.x.numpy(), arrays["x"])

    @pytest.mark.parametrize("dtype", ["int64", "uint16", ">i4"])
    def test_wide_integers_are_scaled_by_their_largest_value(self, tmp_path, arrays, name, dtype):
        arrays["x"], arrays["x_test"] = (3 * arrays[key].astype(dtype) for key in ("x", "x_test"))
        data = load(write(tmp_path / name, arrays), 0)
        assert data.max_value == arrays["x"].max() == data.x.max()

    def test_labels_with_gaps_name_their_classes(self, tmp_path, arrays, name):
        plain = load(write(tmp_path / name, arrays), 0)
        moved = load(write(tmp_path / name, arrays | {key: 2 * arrays[key] + 6 for key in ("y", "y_test")}), 0)
        assert moved.class_names == ("6", "8", "10", "12", "14")
        assert torch.equal(moved.y, plain.y) and torch.equal(moved.y_test, plain.y_test)

    def test_other_names_of_arrays_are_told(self, tmp_path, arrays, name):
        with pytest.raises(DataError, match=r"no array 'x', only \['images', 'labels'\]; it needs x and y"):
            load(write(tmp_path / name, {"images": arrays["x"], "labels": arrays["y"]}), 0)

    def test_labels_below_0_are_refused(self, tmp_path, arrays, name):
        arrays["y"] = arrays["y"] - 1
        with pytest.raises(DataError, match="must not be negative"):
            load(write(tmp_path / name, arrays), 0)

    def test_lengths_that_disagree_are_refused(self, tmp_path, arrays, name):
        with pytest.raises(DataError, match="as many labels as samples"):
            load(write(tmp_path / name, {"x": arrays["x"], "y": arrays["y"][:-1]}), 0)

    def test_text_is_refused(self, tmp_path, arrays, name):
        arrays["x"] = np.array([b"text"] * N)
        with pytest.raises(DataError, match="not numbers"):
            load(write(tmp_path / name, arrays), 0)


def test_class_with_one_sample_cannot_be_split(tmp_path):
    path = write(tmp_path / "a.npz", {"x": np.eye(5), "y": np.array([0, 0, 1, 1, 2])})
    with pytest.raises(DataError, match="fewer than 2 samples"):
        load(path, 0)


def test_many_small_classes_all_get_a_test_sample(tmp_path):
    path = write(tmp_path / "a.npz", {"x": np.eye(60), "y": np.arange(60) % 30})
    assert sorted(load(path, 0).y_test.tolist()) == list(range(30))


def test_pickled_array_is_refused_and_not_run(tmp_path):
    path = write(tmp_path / "a.npz", {"x": np.array([{"a": 1}, None], dtype=object), "y": np.arange(2)})
    with pytest.raises(DataError, match="save it again as plain arrays"):
        load(path, 0)


def test_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.npz does not exist"):
        load(tmp_path / "none.npz", 0)


def test_single_array_is_refused(tmp_path):
    with open(tmp_path / "a.npz", "wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(DataError, match="single array"):
        load(tmp_path / "a.npz", 0)


class TestOrder:
    N = 100

    @pytest.fixture
    def rows(self):
        """Each sample is the number of its row; regression."""
        return {"x": np.arange(self.N, dtype=np.float64)[:, None], "y": np.linspace(0, 1, self.N)}

    def test_test_samples_of_numbers_lie_all_along_the_file(self, tmp_path, rows):
        path = write(tmp_path / "a.npz", rows)
        data, again, other = load(path, 0), load(path, 0), load(path, 1)
        found = data.x_test.flatten().tolist()
        assert [int(row) // 5 for row in found] == list(range(self.N // 5))
        assert data.x.flatten().tolist() == sorted(set(range(self.N)) - set(found))
        assert torch.equal(data.x_test, again.x_test)
        assert not torch.equal(data.x_test, other.x_test)

    def test_of_every_task(self, tmp_path, rows):
        data = load(write(tmp_path / "a.npz", rows | {"t": np.arange(self.N) % 4}), 0)
        assert torch.bincount(data.contexts_test).tolist() == [5, 5, 5, 5]

    def test_along_the_times_of_the_file_of_every_class(self, tmp_path):
        time = np.random.default_rng(0).permutation(self.N) + 1.7e9
        arrays = {"x": np.eye(self.N), "y": np.arange(self.N) % 2, "time": time}
        data = load(write(tmp_path / "a.npz", arrays), 0)
        assert data.keeps_order
        assert torch.bincount(data.y_test).tolist() == [10, 10]
        for label in (0, 1):
            of_class = np.sort(time[arrays["y"] == label])
            places = np.searchsorted(of_class, data.time_test[data.y_test == label].numpy())
            assert sorted(places // 5) == list(range(10))

    @pytest.mark.parametrize("dtype", [bool, np.int64])
    @pytest.mark.parametrize("name", ["a.npz", "a.h5"])
    def test_a_mask_says_which_they_are(self, tmp_path, rows, name, dtype):
        mask = np.zeros(self.N, dtype)
        mask[[3, 50, 97]] = 1
        data = load(write(tmp_path / name, rows | {"test": mask}), 0)
        assert data.x_test.flatten().tolist() == data.time_test.tolist() == [3, 50, 97]
        assert len(data.x) == 97

    @pytest.mark.parametrize(
        ("more", "sentence"),
        [
            ({"test": np.full(100, 2)}, "mask test needs one value, 0 or 1"),
            ({"test": np.ones(7, bool)}, "mask test needs one value, 0 or 1"),
            ({"test": np.zeros(100, bool)}, "there are no test samples; add some"),
            ({"x": np.zeros((0, 2)), "y": np.zeros(0)}, "there are no samples to learn from and to test on"),
            ({"test": np.ones(100, bool), "x_test": np.eye(1), "y_test": np.ones(1)}, "both x_test and the mask"),
            ({"time": np.full(100, np.nan)}, "times hold NaN"),
            ({"time": np.arange(7)}, "as many labels as samples"),
            ({"time": np.array(["a"] * 100)}, "times must be numbers or dates"),
            ({"time": np.arange(100), "x_test": np.eye(1), "y_test": np.ones(1)}, "times for both"),
            ({"time_test": np.arange(100)}, "no array 'x_test'"),
        ],
    )
    def test_what_cannot_be_is_one_sentence(self, tmp_path, rows, more, sentence):
        with pytest.raises(DataError, match=sentence):
            load(write(tmp_path / "a.npz", rows | more), 0)

    def test_dates_are_times(self, tmp_path, rows):
        days = np.datetime64("2024-01-01") + np.arange(self.N)[::-1]
        data = load(write(tmp_path / "a.npz", rows | {"time": days}), 0)
        assert (data.time.diff() < 0).all()
        assert (data.time + data.x.flatten().double() * 86_400_000_000).unique().numel() == 1

    def test_rows_of_classes_stay_in_order(self, tmp_path):
        data = load(write(tmp_path / "a.npz", {"x": np.arange(60.0)[:, None], "y": np.arange(60) % 3}), 0)
        assert data.x.flatten().tolist() == sorted(data.x.flatten().tolist())
        assert not data.keeps_order


def with_header(path, shape, data=b""):
    """An .npz file whose array x says that it is of a shape."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", header.getvalue() + data)
    return path


def test_memory_is_not_taken_for_what_a_header_says(tmp_path):
    path = with_header(tmp_path / "a.npz", (10**12, 64), bytes(1000))
    with pytest.raises(DataError, match=r"'x' of shape \(1000000000000, 64\) needs other than the 1000 bytes"):
        load(path, 0)


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
def test_a_small_file_that_unpacks_to_more_than_the_memory(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr("redwood.settings.data.files.available_on_host", lambda: 10**5)
    if suffix == ".npz":
        path = with_header(tmp_path / "a.npz", (250_000,), bytes(10**6))
    else:
        path = tmp_path / "a.h5"
        with h5py.File(path, "w") as file:
            file.create_dataset("x", (250_000,), "f4", chunks=True)
    assert path.stat().st_size < 10**4
    with pytest.raises(DataError, match=r"unpacks to 1,000,\d+ bytes, but 100,000 bytes of memory are available"):
        load(path, 0)


def test_samples_without_features(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((50, 0), np.float32), y=np.arange(50) % 2)
    with pytest.raises(DataError, match=r"shape \(0,\) hold no value; add features"):
        load(tmp_path / "a.npz", 0)
