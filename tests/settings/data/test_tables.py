"""Tables as data sets: the columns, what becomes of each type, tasks by date, and bad input."""

import numpy as np
import pandas as pd
import pytest
import torch

from redwood.branches.streaming.moving_window import MovingWindow
from redwood.core.calls import from_command_line
from redwood.core.errors import DataError, InvalidOptionError, RedwoodError
from redwood.methods.baselines import Random
from redwood.settings import ContinualSetting, DomainIncrementalSetting, Table
from redwood.settings.data.catalog import load_dataset
from redwood.settings.data.columns import Columns
from redwood.settings.data.dataset import describe_data
from redwood.settings.data.tables import features_of, from_frames, load
from tests.methods.helpers import one_sentence

N = 240


def frame(**columns):
    """120 days, two rows a day, in no order."""
    random = np.random.default_rng(0)
    date = pd.date_range("2024-01-01", periods=N, freq="12h")
    table = pd.DataFrame({"date": date, "a": random.normal(size=N), "b": np.arange(N), "label": np.arange(N) % 2})
    return table.assign(**columns).sample(frac=1, random_state=0)


def made(table, seed=0, **columns):
    return from_frames("table", table if isinstance(table, list) else [table], Columns(**columns), seed)


class TestFeatures:
    def test_numbers_stay_and_texts_become_a_column_for_each_value(self):
        table = frame(shop=np.where(np.arange(N) % 3 == 0, "north", "south"), open=np.arange(N) % 2 == 0)
        data = made(table, time="date")
        assert data.x.dtype == torch.float32 and data.sample_shape == (5,)
        a_b_open_north_south = data.x[data.x[:, 1] == 3][0] if (data.x[:, 1] == 3).any() else data.x_test[0]
        row = int(a_b_open_north_south[1])
        assert a_b_open_north_south[2:].tolist() == [row % 2 == 0, row % 3 == 0, row % 3 != 0]

    def test_a_column_of_arrays_holds_the_samples(self):
        images = list(np.arange(N * 12, dtype=np.uint8).reshape(N, 1, 3, 4))
        data = made(frame()[["label"]].assign(image=images))
        assert data.sample_shape == (1, 3, 4) and data.x.dtype == torch.uint8 and data.max_value == 255

    @pytest.mark.parametrize(
        ("column", "sentence"),
        [
            ([None] + [1.0] * (N - 1), "column c has no value in 1 of 240 rows .*; fill them or leave these rows out"),
            ([np.inf] + [1.0] * (N - 1), "column c holds infinite values; replace them"),
            ([f"text {number}" for number in range(N)], "column c holds 240 different texts; up to 50 become"),
            ([f"shop/{n % 9}.JPG" for n in range(N)], "column c names image files, which redwood reads from folders"),
            (pd.date_range("2024-01-01", periods=N), "column c holds dates, .* name it by --time_column, or drop it"),
            ([{"a": 1}] * N, "column c holds dict, neither numbers nor texts; convert it or drop it"),
            ([[1.0, 2.0]] * N, "column c holds list, neither"),
            (np.ones(N) * 1j, "column c holds complex128, neither"),
        ],
    )
    def test_what_is_no_feature_is_told(self, column, sentence):
        with pytest.raises(DataError, match=sentence) as caught:
            made(frame(c=column), time="date")
        assert one_sentence(caught.value)

    def test_arrays_of_several_shapes_are_refused(self):
        table = pd.DataFrame({"label": [0, 1] * 5, "x": [np.ones(3)] * 9 + [np.ones(4)]})
        with pytest.raises(DataError, match="arrays of the column x are not of one shape"):
            made(table)

    def test_a_table_without_features_is_refused(self):
        with pytest.raises(DataError, match="no column beside the named ones"):
            made(frame()[["label", "date"]], time="date")


class TestTarget:
    @pytest.mark.parametrize(
        ("target", "names"),
        [
            (np.arange(N) % 3, ()),
            (np.arange(N) % 3 + 5, ("5", "6", "7")),
            (np.array(["no", "yes"])[np.arange(N) % 2], ("no", "yes")),
            (np.arange(N) % 2 == 0, ("False", "True")),
            (pd.Categorical(np.array(["low", "high"])[np.arange(N) % 2], ["low", "never", "high"]), ("low", "high")),
        ],
    )
    def test_integers_texts_and_categories_are_classes(self, target, names):
        data = made(frame(label=target), time="date")
        assert data.class_names == names
        assert data.n_classes == len(set(target))
        assert not data.is_regression

    def test_the_class_of_each_row_is_its_own(self):
        data = made(frame(label=np.where(np.arange(N) % 4 == 0, "z", "k")), time="date")
        assert [data.class_names[label] for label in data.y] == ["z" if b % 4 == 0 else "k" for b in data.x[:, 1]]

    def test_floats_are_numbers_to_predict_and_keep_their_order(self):
        data = made(frame(label=np.linspace(0, 1, N)).drop(columns="date"))
        assert data.is_regression and data.keeps_order and len(data.y_test) == N // 5

    @pytest.mark.parametrize("name", ["target", "label", "y"])
    def test_usual_names_are_found(self, name):
        assert made(frame().rename(columns={"label": name}), time="date").n_classes == 2

    @pytest.mark.parametrize(
        ("columns", "options", "sentence"),
        [
            ({"y": 0}, {}, "has the columns label and y; name the one to predict by target_column=..."),
            (
                {},
                {"target": "price"},
                "--target_column price is no column of table, which has 'date', 'a', 'b', 'label'",
            ),
            ({}, {"task": "site"}, "--task_column site is no column of table"),
            ({}, {"time": "day"}, "--time_column day is no column of table"),
            ({}, {"slices": "region"}, "--slices region is no column of table"),
            ({}, {"task": "label"}, "--task_column label is the column to predict"),
            ({}, {"target": "date"}, "classes .* are integers or texts, but it holds datetime64"),
            ({"label": [f"free text {i}" for i in range(N)]}, {}, "240 different values in 240 rows, too many to be"),
            ({"label": [None] + ["a"] * (N - 1)}, {}, "column label has no value in 1 of 240 rows"),
            ({}, {"task": "a"}, "tasks of the column a are integers or texts, but it holds float64"),
        ],
    )
    def test_columns_that_are_missing_or_of_another_type(self, columns, options, sentence):
        with pytest.raises(RedwoodError, match=sentence) as caught:
            made(frame(**columns), **{"time": "date"} | options if options.get("target") != "date" else options)
        assert one_sentence(caught.value)

    def test_a_note_says_what_was_found(self):
        note = made(frame(), time="date", period="month").note
        assert note.startswith("table: 192 training and 48 test rows of 2 classes (") and "2 features (a, b)" in note
        assert " in 4 tasks (2024-01, 2024-02, 2024-03, 2024-04), " in note

    def test_all_missing_values_are_told_at_once(self):
        table = frame().reset_index(drop=True)
        table.loc[[3, 7], "a"] = np.nan
        table.loc[[7, 9], "label"] = None
        columns = r"the columns a \(2\), label \(2\) have no value in 3 of 240 rows \(counted from 0: 3, 7, 9\)"
        with pytest.raises(DataError, match=columns + r".*\(DataFrame.fillna or dropna\)"):
            made(table, time="date")
        with from_command_line("redwood"), pytest.raises(DataError, match=r"read_csv\('OLD.csv'\).dropna") as caught:
            made(table, time="date")
        assert one_sentence(caught.value)

    def test_without_a_usual_name_the_columns_are_listed(self):
        with pytest.raises(
            DataError, match=r"has only the columns 'a', 'b'; name the one to predict by target_column=\.\.\."
        ):
            made(frame()[["a", "b"]])


class TestTasks:
    @pytest.mark.parametrize(
        ("period", "names"),
        [
            ("month", ("2024-01", "2024-02", "2024-03", "2024-04")),
            ("quarter", ("2024Q1", "2024Q2")),
            ("year", ("2024",)),
        ],
    )
    def test_a_period_makes_a_task(self, period, names):
        data = made(frame(), time="date", period=period)
        assert data.task_names == names and data.tasks_follow_time
        for number, name in enumerate(names):
            assert set(data.contexts_test.tolist()) == set(range(len(names)))
            dates = pd.to_datetime(data.time[data.contexts == number].numpy(), unit="us")
            assert {str(date.to_period(period[0].upper())) for date in dates} == {name}

    def test_a_week_is_called_by_its_first_day(self):
        assert made(frame(), time="date", period="week").task_names[:2] == ("2024-01-01", "2024-01-08")

    def test_tasks_by_column_come_in_the_order_of_time(self):
        site = np.where(np.arange(N) < 100, "second half comes first", "a")
        assert made(frame(site=site).drop(columns="date"), task="site").task_names == ("a", "second half comes first")
        data = made(frame(site=site), task="site", time="date")
        assert data.task_names == ("second half comes first", "a") and data.tasks_follow_time
        assert not made(frame(site=np.arange(N) % 2), task="site", time="date").tasks_follow_time

    @pytest.mark.parametrize(
        ("values", "names"),
        [
            (["week 10", "week 2", "week 1"], ("week 1", "week 2", "week 10")),
            ([-1, -2, 10], ("-2", "-1", "10")),
            (pd.Categorical(["10", "2", "1"], ["10", "2", "1"]), ("10", "2", "1")),
        ],
    )
    def test_numbers_in_names_count_by_their_value_and_a_category_has_its_order(self, values, names):
        week = np.asarray(values)[np.arange(N) % 3]
        week = pd.Categorical(week, values.categories) if isinstance(values, pd.Categorical) else week
        data = made(frame(week=week).drop(columns="date"), task="week")
        assert data.task_names == names
        for b, task in zip(data.x[:, 1].tolist(), data.contexts.tolist(), strict=True):
            assert names[task] == str(values[int(b) % 3])

    def test_years_are_tasks_and_times_at_once(self):
        table = frame(year=2004 + np.arange(N) // 80).drop(columns="date")
        data = made(table, task="year", time="year", target="label", slices="year")
        assert data.task_names == ("2004", "2005", "2006") and data.tasks_follow_time

    def test_dates_are_read_from_texts_and_an_index(self):
        texts = frame().assign(date=lambda table: table.date.dt.strftime("%Y-%m-%dT%H:%M:%S+14:00"))
        assert made(texts, time="date", period="quarter").task_names[0] == "2023Q4", "in UTC"
        assert made(frame().set_index("date"), time="date", period="month").task_names[0] == "2024-01"

    def test_a_stream_that_announces_nothing_keeps_the_order_of_time(self):
        table = frame()
        setting = ContinualSetting(dataset=Table(table, time_column="date", period="month"), passes=1)
        (phase,) = setting.phases()
        seen = torch.cat([batch.x[:, 1] for batch in phase.train])
        assert torch.equal(seen, seen.sort().values)
        with pytest.raises(
            InvalidOptionError, match=r"--transition blurry mixes .* --stream contexts keeps their order"
        ):
            ContinualSetting(
                dataset=Table(table, time_column="date", period="month"), transition="blurry"
            ).open_stream()

    @pytest.mark.parametrize(
        ("table", "options", "sentence"),
        [
            (frame(date="03/04/2024"), {"period": "month"}, "holds '03/04/2024' and the like, which are not all dates"),
            (frame(date=np.arange(N)), {"period": "month"}, "--period month needs dates, but .* holds numbers"),
            (frame(date=pd.NaT), {}, "column date has no value in 240 of 240 rows"),
            (frame(), {"period": "hour"}, "with fewer than 2 samples cannot be split"),
            (
                frame().iloc[:100],
                {"period": "day"},
                r"the task 2024-0.-.. has 1 row\(s\), none of which is a test sample; choose",
            ),
        ],
    )
    def test_times_that_make_no_tasks(self, table, options, sentence):
        with pytest.raises(DataError, match=sentence) as caught:
            made(table, time="date", **options)
        assert one_sentence(caught.value)

    @pytest.mark.parametrize(
        ("columns", "options", "sentence"),
        [
            ({"period": "month"}, {}, "--period month needs the column that holds the dates"),
            (
                {"period": "decade", "time_column": "date"},
                {},
                "--period decade is unknown; choose one of year, q",
            ),
            (
                {"period": "month", "time_column": "date", "task_column": "a"},
                {},
                "both make tasks; leave one of them out",
            ),
            (
                {"task_column": "a"},
                {"stream": "instance"},
                "--task_column a makes the tasks, and so does --stream i",
            ),
            ({"task_column": "a"}, {"stream": "tasks"}, "--task_column a makes the tasks, and so does --stream tasks"),
        ],
    )
    def test_options_that_contradict(self, columns, options, sentence):
        with pytest.raises(InvalidOptionError, match=sentence) as caught:
            DomainIncrementalSetting(dataset=Table("table.csv", **columns), **options)
        assert one_sentence(caught.value)

    @pytest.mark.parametrize("name", ["target_column", "task_column", "time_column"])
    @pytest.mark.parametrize("dataset", ["digits", "drift_regression:abrupt", "npz"])
    def test_data_without_columns(self, name, dataset, tmp_path):
        if dataset == "npz":
            dataset = str(tmp_path / "x.npz")
            np.savez(dataset, x=np.ones((10, 2)), y=np.arange(10) % 2)
        with pytest.raises(InvalidOptionError, match=f"--dataset .* has no option {name}; leave it out"):
            DomainIncrementalSetting(dataset={dataset: {name: "a"}})

    def test_one_of_several_data_sets_without_columns(self, tmp_path):
        file = str(tmp_path / "a.csv")
        frame().drop(columns="date").to_csv(file, index=False)
        setting = DomainIncrementalSetting(dataset=Table(f"{file},digits", target_column="label"), stream="tasks")
        with pytest.raises(InvalidOptionError, match="--target_column label names a column, but --dataset digits has"):
            setting.open_stream()


class TestSplit:
    def test_test_rows_lie_all_along_the_time_and_in_each_task_and_class(self):
        data = made(frame(), time="date", period="month")
        cells = torch.stack([data.contexts_test, data.y_test], 1).unique(dim=0)
        assert len(cells) == 8 and len(data.y_test) == N // 5

    def test_a_class_that_a_task_has_once_is_trained_on(self):
        data = made(frame(label=np.where(np.arange(N) == 5, 1, 0)), time="date", period="month")
        assert data.y.sum() == 1 and data.y_test.sum() == 0

    def test_a_second_table_is_the_test(self):
        train, test = frame(), frame().iloc[:50]
        data = made([train, test], time="date", period="month")
        assert len(data.y) == N and len(data.y_test) == 50

    @pytest.mark.parametrize(
        ("train", "test", "sentence"),
        [
            (frame(), frame().drop(columns="a"), "only one of the training and the test table has the column a"),
            (frame(), frame(label="third"), "classes|types|texts"),
            (frame()[:0], frame(), "table has no rows"),
            (frame().iloc[:60], frame(label=np.arange(N) % 3), "no training row is of the class 2"),
        ],
    )
    def test_tables_that_do_not_fit(self, train, test, sentence):
        with pytest.raises(DataError, match=sentence) as caught:
            made([train, test], time="date")
        assert one_sentence(caught.value)

    def test_each_seed_draws_other_rows(self):
        table = frame().drop(columns="date")
        one, same, other = (made(table, seed).x_test for seed in (0, 0, 1))
        assert torch.equal(one, same) and not torch.equal(one, other)


class TestFiles:
    def test_csv_and_parquet_hold_what_a_frame_holds(self, tmp_path):
        table = frame(shop=np.where(np.arange(N) % 3 == 0, "north", "south"))
        table.to_csv(tmp_path / "table.csv")  # with the column of row numbers, which is no feature
        table.to_parquet(tmp_path / "table.parquet")
        columns = Columns(time="date", period="month", slices="shop")
        data = made(table, time="date", period="month", slices="shop")
        for name in ("table.csv", "table.parquet"):
            read = load_dataset(name, tmp_path, 0, 0, columns)
            assert describe_data(read) == describe_data(data)
            assert read.task_names == data.task_names and read.slice_names == ("north", "south")

    @pytest.mark.parametrize(
        ("name", "content", "sentence"),
        [
            ("none.csv", None, "table .*none.csv does not exist"),
            ("empty.csv", "", "empty.csv cannot be read .*No columns to parse"),
            ("semicolons.csv", "a;b;label\n1;2;0\n", "separates its columns by semicolons; write it with commas"),
            ("ragged.csv", "a,b\n1,2\n1,2,3,4\n", "ragged.csv cannot be read"),
            ("text.parquet", "no parquet", "text.parquet cannot be read"),
            ("header.csv", "a,b,label\n", "has no rows; add some"),
            ("twice.csv", "a,label,label\n1,0,0\n2,1,1\n", "several columns named label; rename them"),
        ],
    )
    def test_files_that_are_no_table(self, name, content, sentence, tmp_path):
        if content is not None:
            (tmp_path / name).write_text(content)
        with pytest.raises(DataError, match=sentence) as caught:
            load(tmp_path / name, Columns(), 0)
        assert one_sentence(caught.value)

    def test_a_changed_cell_is_noticed(self):
        before, after = frame(), frame()
        after.loc[after.b == 100, "a"] += 1
        assert describe_data(made(before, time="date")) != describe_data(made(after, time="date"))


def test_results_name_classes_and_tasks(tmp_path):
    table = frame(label=np.where(np.arange(N) % 2 == 0, "up", "down"))
    setting = ContinualSetting(dataset=Table(table, time_column="date", period="month"), passes=1)
    results = setting.apply(MovingWindow(window=50), quiet=True, run_dir=str(tmp_path / "run"))
    assert results.task_names == ["2024-01", "2024-02", "2024-03", "2024-04"]
    assert results.class_names == ["down", "up"] == results.slices.names
    assert type(results).load(tmp_path / "run" / "results.json").task_names == results.task_names
    assert (tmp_path / "run" / "config.yaml").read_text().count("<table, given from Python>") == 1


def test_data_without_names_leaves_results_as_they_were():
    content = DomainIncrementalSetting(nb_tasks=2, passes=1).apply(Random(), quiet=True).to_dict()
    assert not content.keys() & {"task_names", "class_names"}


def test_repeated_columns_are_told():
    table = frame()
    table.columns = ["date", "a", "a", "label"]
    with pytest.raises(DataError, match="several columns named a; rename them"):
        made(table, time="date")


def test_a_repeated_column_that_has_a_use_is_no_feature(tmp_path):
    """Pandas calls it `day.1`; the task or the target would be told to the method."""
    path = tmp_path / "table.csv"
    path.write_text(
        "\n".join(["day,day,a,a,kind", *(f"{row % 2},{row % 2},{row},{row},{row % 3}" for row in range(60))])
    )
    load(path, Columns(target="kind"), 0)
    for columns in (Columns(target="day"), Columns(target="kind", task="day")):
        with pytest.raises(DataError, match="several columns named day; rename them"):
            load(path, columns, 0)


def test_columns_are_not_taken_out_one_by_one(monkeypatch):
    """It costs 0.1 ms each, and comparing names with each other grew with their square."""
    table = pd.DataFrame(np.arange(60.0).reshape(3, 20), columns=[f"x_{number}" for number in range(20)])
    table["shop"] = ["north", "south", "north"]
    taken = []
    take = pd.DataFrame.__getitem__
    monkeypatch.setattr(pd.DataFrame, "__getitem__", lambda self, key: taken.append(key) or take(self, key))
    x, names = features_of("table", table)
    assert not [key for key in taken if isinstance(key, str) and key.startswith("x_")]
    taken.clear()
    again, _ = features_of("table", table[table.columns[::-1]], names)
    assert torch.equal(x, again)
    assert not [key for key in taken if isinstance(key, str) and key.startswith("x_")]


def test_a_table_of_many_columns_is_read_as_any_other(tmp_path, monkeypatch):
    table = frame(shop=np.where(np.arange(N) % 3 == 0, "north", "south"))
    table.to_csv(tmp_path / "table.csv")
    data = load(tmp_path / "table.csv", Columns(time="date"), 0)
    monkeypatch.setattr("redwood.settings.data.tables._MANY_COLUMNS", 2)
    assert describe_data(load(tmp_path / "table.csv", Columns(time="date"), 0)) == describe_data(data)
