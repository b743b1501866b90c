import pytest
import yaml

from redwood.core.errors import RedwoodError
from redwood.experiments.bench.suite import SHIPPED, load_suite, read_suite
from redwood.experiments.command_line.arguments import UsageError
from redwood.experiments.command_line.options import check_arguments, parse_options
from redwood.settings.base import why_not_applicable

SUITE = {
    "_defaults": {
        "setting": "class_incremental",
        "seeds": 2,
        "options": {"passes": 1, "nb_tasks": 2},
        "tags": ["fast"],
    },
    "_more": {"inherits": "_defaults", "options": {"passes": 3}, "expect": {"forgetting": [0, 1]}},
    "one": {
        "inherits": "_more",
        "method": "finetune",
        "options": {"lr": 0.1},
        "expect": {"average_accuracy": [0.5, None]},
    },
    "two": {"inherits": "_defaults", "method": "ewc", "weight": 3, "tags": ["slow"]},
    "off": {"inherits": "_defaults", "method": "si", "enabled": False},
}


def written(tmp_path, content):
    path = tmp_path / "suite.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))
    return str(path)


def test_entries_inherit(tmp_path):
    suite = read_suite(written(tmp_path, SUITE))
    one, two = suite.benches
    assert (suite.name, one.name, two.name) == ("suite", "one", "two")
    assert one.options == {"passes": 3, "nb_tasks": 2, "lr": 0.1}
    assert one.expect == {"forgetting": (0, 1), "average_accuracy": (0.5, None)}
    assert (one.seeds, one.weight, one.tags, one.runs) == (2, 1, ("fast",), ["one-seed0", "one-seed1"])
    assert (two.weight, two.tags, two.arguments) == (3, ("slow",), ["--passes=1", "--nb_tasks=2"])


@pytest.mark.parametrize(
    ("own", "options"),
    [
        ({}, {"passes": 1, "optimizer": "sgd", "momentum": 0.9}),
        ({"momentum": 0.5}, {"passes": 1, "optimizer": "sgd", "momentum": 0.5}),
        ({"optimizer": "adam"}, {"passes": 1, "optimizer": "adam"}),
        ({"optimizer": {"adam": {"eps": 0.1}}}, {"passes": 1, "optimizer": "adam", "eps": 0.1}),
    ],
)
def test_parts_may_be_nested_as_in_the_file_of_a_run(own, options, tmp_path):
    """A part of one's own replaces an inherited one, with the options of that."""
    oldest = {"options": {"passes": 3, "optimizer": {"sgd": {"momentum": 0.9}}}}
    older = {"inherits": "_oldest", "options": {"passes": 1}}
    one = {"inherits": "_older", "setting": "continual", "method": "ewc", "options": own}
    suite = read_suite(written(tmp_path, {"_oldest": oldest, "_older": older, "one": one}))
    assert suite.benches[0].options == options


def test_an_option_of_a_run_is_refused_where_it_is_nested(tmp_path):
    one = {"setting": "continual", "method": "ewc", "options": {"wandb": {"offline": {"project": "a"}}}}
    with pytest.raises(UsageError, match="one sets the option wandb, which is no option of a bench's runs"):
        read_suite(written(tmp_path, {"one": one}))


def test_only_the_bench_that_is_switched_off_is_left_out(tmp_path):
    suite = SUITE | {"child": {"inherits": "off", "method": "mas"}}
    assert [bench.name for bench in read_suite(written(tmp_path, suite)).benches] == ["one", "two", "child"]


def test_a_folder_keeps_it(tmp_path):
    suite = read_suite(written(tmp_path, SUITE))
    suite.save(tmp_path)
    assert load_suite(tmp_path) == suite


def test_names_and_tags_select(tmp_path):
    suite = read_suite(written(tmp_path, SUITE))
    assert [bench.name for bench in suite.select(["slow"]).benches] == ["two"]
    assert [bench.name for bench in suite.select(["one", "slow"]).benches] == ["one", "two"]
    assert suite.select([]) == suite
    with pytest.raises(UsageError, match="--select of is no bench and no tag of suite; it has fast, one, slow, two"):
        suite.select(["of"])


BAD = [
    ("one: [", "is not valid YAML"),
    ("", "has to be a mapping"),
    ("- one", "has to be a mapping"),
    ({"a b": {}}, "a b cannot name a bench"),
    ({"../a": {}}, "cannot name a bench"),
    ({"_a": {"setting": "continual", "method": "ewc"}}, "has no enabled bench"),
    ({"a": 3}, "a has to be a mapping, not 3"),
    ({"a": {"seed": 3}}, "a holds seed; did you mean seeds"),
    ({"a": {"setting": "continual"}}, "a has no method"),
    ({"a": {"inherits": "b"}}, "a inherits b, which is not there"),
    ({"a": {"inherits": "b"}, "b": {"inherits": "a"}}, "inherits from itself"),
    ({"a": {"inherits": "a"}}, "inherits from itself"),
    ({"a": {"seeds": 0}}, "a.seeds has to be"),
    ({"a": {"weight": -1}}, "a.weight has to be"),
    ({"a": {"expect": {"x": [1]}}}, "a.expect.x has to have 2 entries"),
    ("a: {setting: s, method: m}\na: {setting: s, method: n}", "sets a twice"),
    ({"a": {"setting": "s", "method": "m", "expect": {"forgetting": [1, 0]}}}, "the least comes first"),
    ({"a": {"setting": "s", "method": "m", "expect": {"average_acuracy": [0, 1]}}}, "did you mean average_accuracy?"),
    ({"a": {"setting": "s", "method": "m", "options": {"jobs": 2}}}, "a sets the option jobs"),
    ({"a": {"setting": "s", "method": "m", "options": {"seed": 1}}}, "a sets the option seed"),
    ({"a": {"setting": "s", "method": "m", "enabled": "no"}}, "has to be true or false"),
]


@pytest.mark.parametrize(("content", "sentence"), BAD)
def test_bad_suites(content, sentence, tmp_path):
    with pytest.raises(UsageError) as caught:
        read_suite(written(tmp_path, content))
    assert sentence in str(caught.value)


def test_no_such_suite():
    with pytest.raises(UsageError, match=r"bench nothing is no suite; .* one of full, smoke"):
        read_suite("nothing")


@pytest.mark.parametrize(
    "content", ["{", "{}", '{"bench": 1, "suite": "a", "benches": [{"setting": "a", "method": "b"}]}']
)
def test_damaged_folders(content, tmp_path):
    (tmp_path / "bench.json").write_text(content)
    with pytest.raises(RedwoodError, match=r"damaged|lacks"):
        load_suite(tmp_path)


def test_other_folders(tmp_path):
    with pytest.raises(RedwoodError, match="holds no run of a suite"):
        load_suite(tmp_path)
    (tmp_path / "bench.json").write_text('{"bench": 99}')
    with pytest.raises(RedwoodError, match="another version"):
        load_suite(tmp_path)


@pytest.mark.parametrize("name", [path.stem for path in SHIPPED.glob("*.yaml")])
def test_shipped_suites_can_run(name):
    suite = read_suite(name)
    assert len(suite.benches) >= 5
    for bench in suite.benches:
        assert why_not_applicable(*bench.pair.load()) is None
        check_arguments([bench.pair], bench.arguments)
        parse_options(bench.pair, bench.arguments)
        assert bench.expect
