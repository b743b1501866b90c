import pickle
import sys
import warnings
from functools import partial

import pytest

from redwood.core.errors import RedwoodError, UnknownNameError
from redwood.core.parts import flat
from redwood.core.registry import known_names, load_users_object
from redwood.engine.run import Run
from redwood.methods import get_method, method_names
from redwood.methods.baselines import Finetune
from redwood.settings import ClassSplit, get_setting, setting_names
from redwood.settings.config import describe_run
from redwood.settings.table import name_of_setting
from redwood.settings.tree import ContinualSetting
from tests.samples import numbered

SOURCE = """
from redwood.methods import Finetune
from redwood.settings import ContinualSetting

class Mine(Finetune):
    "Fine-tuning of my own."

class MySetting(ContinualSetting):
    "A setting of my own."
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "my_file.py"
    path.write_text(SOURCE)
    return path


@pytest.fixture
def entry_points(monkeypatch):
    """Pretend that other packages are installed."""

    def install(name, value):
        monkeypatch.setattr("redwood.core.registry.entries", lambda group: [(name, value)])

    return install


class TestNames:
    def test_keys(self):
        assert get_method("finetune") is Finetune
        assert get_setting("continual") is ContinualSetting

    def test_module_and_class(self):
        assert get_method("redwood.methods.baselines:Finetune") is Finetune

    def test_file_and_class(self, file):
        found = get_method(f"{file}:Mine")
        assert issubclass(found, Finetune)
        assert get_method(f"{file}:Mine") is found, "a class keeps its identity however often it is named"
        assert issubclass(get_setting(f"{file}:MySetting"), ContinualSetting)

    def test_a_file_imports_its_neighbours(self, tmp_path):
        """Folders may have modules of one name: each file gets that of its own folder."""
        for folder in ("a", "b"):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "its_neighbour.py").write_text(f"FOLDER = {folder!r}")
            for name in ("one", "two"):
                text = "import its_neighbour\nfrom its_neighbour import FOLDER\ndef where(): return FOLDER\n"
                (tmp_path / folder / f"{name}.py").write_text(text)
        path, find = list(sys.path), partial(load_users_object, "thing")
        one, other, two = (find(f"{tmp_path / file}.py:its_neighbour") for file in ("a/one", "b/one", "a/two"))
        assert [one.FOLDER, other.FOLDER] == ["a", "b"]
        assert two is one, "a neighbour is imported once, however many files of its folder import it"
        assert sys.path == path

    def test_it_imports_them_in_its_functions_too(self, tmp_path):
        """Each file and each neighbour finds that of its own folder, in whatever order they are called."""
        files = {
            "own.py": "def where():\n import late, package\n return late.where() + late.FOLDER + package.where()\n",
            "late.py": "FOLDER = {folder!r}\ndef where():\n import later\n return later.FOLDER\n",
            "later.py": "FOLDER = {folder!r}",
            "package/__init__.py": "def where():\n from package.part import FOLDER\n return FOLDER\n",
            "package/part.py": "FOLDER = {folder!r}",
        }
        for folder in ("a", "b"):
            (tmp_path / folder / "package").mkdir(parents=True)
            for name, text in files.items():
                (tmp_path / folder / name).write_text(text.replace("{folder!r}", repr(folder)))
        path = list(sys.path)
        first, second = (load_users_object("thing", f"{tmp_path / folder}/own.py:where") for folder in ("a", "b"))
        assert [first(), second(), second(), first()] == ["aaa", "bbb", "bbb", "aaa"]
        assert sys.path == path

    def test_what_a_neighbour_defines_can_be_pickled(self, tmp_path):
        (tmp_path / "pickled.py").write_text("class Thing:\n    pass\n")
        (tmp_path / "own.py").write_text("def make():\n    from pickled import Thing\n    return Thing()\n")
        content = pickle.dumps(load_users_object("thing", f"{tmp_path}/own.py:make")())
        del sys.modules["pickled"]
        assert type(pickle.loads(content)).__name__ == "Thing"

    def test_so_can_be_what_neighbours_of_one_name_define(self, tmp_path):
        own = "def make():\n import twin as t, twins.part\n return [t.Thing(), t.Thing.Inner(), twins.part.Thing()]\n"
        thing = "class Thing:\n    class Inner:\n        pass\n"
        makers = []
        for folder in ("a", "b", "c"):
            (tmp_path / folder / "twins").mkdir(parents=True)
            for file, text in {"own": own, "twin": thing, "twins/__init__": "", "twins/part": thing}.items():
                (tmp_path / folder / f"{file}.py").write_text(text)
            makers.append(load_users_object("thing", f"{tmp_path / folder}/own.py:make"))
        things = [thing for make in [*makers, *makers] for thing in make()]
        types = [type(thing) for thing in things]
        assert types[:9] == types[9:] and len(set(types)) == 9
        assert [type(pickle.loads(pickle.dumps(thing))) for thing in things] == types

    def test_a_linked_neighbour_is_that_of_its_folder(self, tmp_path):
        for folder in ("a", "b"):
            (tmp_path / folder).mkdir()
            (tmp_path / f"{folder}_elsewhere.py").write_text(f"FOLDER = {folder!r}")
            (tmp_path / folder / "linked.py").symlink_to(tmp_path / f"{folder}_elsewhere.py")
            (tmp_path / folder / "own.py").write_text("from linked import FOLDER\ndef where(): return FOLDER\n")
        found = [load_users_object("thing", f"{tmp_path / folder}/own.py:where") for folder in ("a", "b")]
        assert [where() for where in found] == ["a", "b"]

    def test_a_folder_of_data_does_not_hide_a_package(self, tmp_path, monkeypatch):
        """A package without `__init__.py` is found all the same, if no other has its name."""
        for folder in ("installed/hidden", "u/hidden", "u/plain"):
            (tmp_path / folder).mkdir(parents=True)
        (tmp_path / "installed/hidden/__init__.py").write_text("")
        (tmp_path / "u/plain/part.py").write_text("FOUND = True")
        (tmp_path / "u/own.py").write_text("import hidden\nfrom plain.part import FOUND\n")
        monkeypatch.syspath_prepend(tmp_path / "installed")
        found = load_users_object("thing", f"{tmp_path}/u/own.py:hidden")
        assert found.__file__ == str(tmp_path / "installed/hidden/__init__.py")

    def test_a_module_that_lies_in_the_working_directory_is_named_as_a_file(self, file, monkeypatch):
        monkeypatch.chdir(file.parent)
        with pytest.raises(RedwoodError, match=r"my_file.py is here, so name it as my_file.py:Name\."):
            get_method("my_file:Mine")

    def test_the_reference_of_a_class_loads_it_again(self, file):
        mine = get_method(f"{file}:Mine")
        assert mine.reference() == f"{file}:Mine"
        assert get_method(mine.reference()) is mine
        assert Finetune.reference() == "finetune"
        assert name_of_setting(ContinualSetting) == "continual"
        assert name_of_setting(get_setting(f"{file}:MySetting")) == f"{file}:MySetting"

    def test_entry_points_of_other_packages(self, entry_points):
        entry_points("theirs", "redwood.methods.baselines:Random")
        assert "theirs" in method_names()
        assert get_method("theirs").__name__ == "Random"

    def test_an_entry_point_must_not_take_our_name(self, entry_points):
        entry_points("continual", "package:Class")
        with pytest.raises(RedwoodError, match="takes the name of redwood's own setting 'continual'"):
            setting_names()

    def test_all_names_of_a_table(self):
        assert known_names("thing", {"a": "m:A"}, "redwood.nothing") == {"a": "m:A"}


class TestErrors:
    @pytest.mark.parametrize(
        ("name", "sentence"),
        [
            ("finetoon", "There is no method named 'finetoon'. Did you mean finetune?"),
            ("xyz", "There is no method named 'xyz'. Known: a2c, agem, anil, async_rehearsal, background, bic"),
            ("no_such_package.module:Name", "The method module 'no_such_package.module' cannot be found"),
            ("redwood.methods.baselines:Finetun", "Did you mean Finetune?"),
            ("no_such_file.py:Name", "does not exist"),
            ("redwood.settings.tree:ContinualSetting", "is not a method"),
        ],
    )
    def test_methods(self, name, sentence):
        with pytest.raises(RedwoodError, match=sentence.replace("?", r"\?")):
            get_method(name)

    def test_settings(self):
        with pytest.raises(UnknownNameError, match="Did you mean class_incremental"):
            get_setting("class_incrementl")
        with pytest.raises(RedwoodError, match="is not a setting"):
            get_setting("redwood.methods.baselines:Finetune")

    def test_an_import_error_inside_a_module_is_not_hidden(self, tmp_path, monkeypatch):
        (tmp_path / "needs_more.py").write_text("import no_such_library\n")
        monkeypatch.syspath_prepend(tmp_path)
        with pytest.raises(RedwoodError, match=r"needs_more:Name cannot be imported \(.*no_such_library") as raised:
            get_method("needs_more:Name")
        assert isinstance(raised.value.__cause__, ModuleNotFoundError)

    def test_a_broken_file_can_be_loaded_once_it_is_repaired(self, file):
        file.write_text("1 / 0")
        before = set(sys.modules)
        with pytest.raises(RedwoodError, match=r"cannot be imported \(ZeroDivisionError: .*, in line 1\)"):
            get_method(f"{file}:Mine")
        assert set(sys.modules) == before
        file.write_text(SOURCE)
        assert get_method(f"{file}:Mine").__name__ == "Mine"


class TestUsersFiles:
    def test_a_file_alone_names_what_is_in_it(self, file):
        with pytest.raises(RedwoodError, match=r"is a file; .* is the method, as in .*my_file.py:Mine\.$"):
            get_method(str(file))
        with pytest.raises(RedwoodError, match=r"is the setting, as in .*my_file.py:MySetting\.$"):
            get_setting(str(file))

    def test_only_the_class_that_is_asked_for_is_warned_of(self, file):
        odd = "class {name}({base}):\n    {option} = 3\n    def augmnet(self): ...\n"
        classes = [("Base", "Finetune", "extent"), ("Other", "Finetune", "height"), ("Chosen", "Base", "width")]
        texts = [odd.format(name=name, base=base, option=option) for name, base, option in classes]
        file.write_text("import warnings\n" + SOURCE + "warnings.warn('of the file')\n" + "".join(texts))
        with pytest.warns(UserWarning) as told:
            get_method(f"{file}:Chosen")
        said = sorted(str(one.message).partition(" ")[0] for one in told)
        assert said == ["Base.augmnet", "Base.extent", "Chosen.width", "of"]
        assert {one.filename for one in told} == {str(file)}
        with pytest.warns(UserWarning, match=r"Other\.(height|augmnet)") as told:
            get_method(f"{file}:Other")
        assert len(told) == 2

    def test_the_filters_that_a_file_sets_stay(self, file):
        file.write_text("import warnings\nwarnings.filterwarnings('ignore', 'often said')\n" + SOURCE)
        with pytest.warns(UserWarning) as told:
            show = warnings.showwarning
            get_method(f"{file}:Mine")
            warnings.warn("often said", stacklevel=1)
            warnings.warn("else", stacklevel=1)
            assert warnings.showwarning is show
        assert [str(one.message) for one in told] == ["else"]

    def test_a_file_that_fails_has_told_its_warnings(self, file):
        odd = "class Odd(Finetune):\n    height = 3\n"
        file.write_text(SOURCE + odd + "import warnings\nwarnings.warn('of the file')\n1 / 0\n")
        with pytest.warns(UserWarning) as told, pytest.raises(RedwoodError, match="ZeroDivisionError"):
            get_method(f"{file}:Mine")
        assert sorted(str(one.message).partition(" ")[0] for one in told) == ["Odd.height", "of"]

    def test_only_what_suits_is_named(self, file):
        file.write_text(SOURCE + "class Watch:\n    pass\ndef make(): ...\n")
        with pytest.raises(UnknownNameError, match=r"Known: Mine\."):
            get_method(f"{file}:Nope")
        with pytest.raises(UnknownNameError, match=r"Known: MySetting\."):
            get_setting(f"{file}:Nope")

    def test_nothing_suits(self, file):
        file.write_text("x = 1\n")
        with pytest.raises(UnknownNameError, match=r"named 'Nope'. There is none at all\."):
            get_method(f"{file}:Nope")

    @pytest.mark.parametrize("name", ["__main__:Mine", "tests.somewhere:function.<locals>.Mine"])
    def test_what_no_file_can_name(self, name):
        with pytest.raises(RedwoodError, match="was defined in a script or in a function"):
            get_method(name)


class TestDescribeRun:
    def test_all_options_by_their_names_and_nothing_that_only_says_where_to(self):
        setting = ContinualSetting(dataset=numbered(), stream=ClassSplit(class_order=[1, 0]))
        config = flat(describe_run(setting, Finetune(lr=0.5), Run(run_dir="somewhere", quiet=True)))
        assert (config["setting"], config["method"]) == ("continual", "finetune")
        assert (config["dataset"], config["class_order"], config["lr"]) == (
            "<numbered, given from Python>",
            [1, 0],
            0.5,
        )
        assert (config["passes"], config["precision"]) == (20, "32-true")
        assert not {"run_dir", "resume", "quiet"} & config.keys()
