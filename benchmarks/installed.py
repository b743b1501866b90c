"""Whether the wheel and the sdist run in a fresh virtual environment, far from the checkout.

Both are built from a copy of the checkout, and a second wheel from the sdist. The environment holds redwood alone;
other packages are installed for real (`--download`: minutes) or lent by the environment of this process.

Run: python benchmarks/installed.py [--download]; it needs `pip install build`.
Writes benchmarks/results/installed.{json,md}.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import environment, markdown_table, write

ROOT = Path(__file__).resolve().parents[1]
MAIN_JOB = ["--setting", "class_incremental", "--method", "rehearsal"]
OWN_METHOD = ["--setting", "task_incremental", "--method", "label_smoothing.py:LabelSmoothing", "--nb_tasks", "2"]
# What a user without the checkout runs, in an empty folder that holds one example file.
COMMANDS = {
    "main job": [*MAIN_JOB, "--run_dir", "main"],
    "list": ["list"],
    "list --presets": ["list", "--presets"],
    "own method file": OWN_METHOD,
    "predict": ["predict", "main", "--dataset", "digits", "--out", "predictions.csv"],
}


@dataclass(frozen=True)
class Packages:
    """What was built.

    Attributes:
        wheel: The wheel from the checkout.
        sdist: The source distribution from the checkout.
        wheel_of_sdist: The wheel from the unpacked sdist.
    """

    wheel: Path
    sdist: Path
    wheel_of_sdist: Path


def copy_checkout(target: Path) -> None:
    """Copy what git tracks or would track, links as links, so that a build leaves nothing in the checkout."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_symlink() or (ROOT / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name, follow_symlinks=False)


def build(folder: Path, isolated: bool) -> Packages:
    """Build wheel and sdist from a copy of the checkout, and a wheel from the sdist."""
    copy_checkout(folder / "checkout")
    wheel = _build("wheel", folder / "checkout", folder / "wheel", isolated)
    sdist = _build("sdist", folder / "checkout", folder / "sdist", isolated)
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (source,) = (folder / "unpacked").iterdir()
    return Packages(wheel, sdist, _build("wheel", source, folder / "wheel_of_sdist", isolated))


def _build(kind: str, source: Path, target: Path, isolated: bool) -> Path:
    more = [] if isolated else ["--no-isolation"]
    _call([sys.executable, "-m", "build", f"--{kind}", *more, "--outdir", str(target), str(source)], source)
    (built,) = target.iterdir()
    return built


def content(wheel: Path) -> dict[str, bytes]:
    """The files of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def links(sdist: Path) -> list[str]:
    """Links in an sdist: there must be none."""
    with tarfile.open(sdist) as archive:
        return [member.name for member in archive if member.issym() or member.islnk()]


def make_environment(folder: Path) -> Path:
    """Make a fresh virtual environment without any package, and return its Python."""
    _call([sys.executable, "-m", "venv", "--without-pip", str(folder)], folder.parent)
    return folder / "bin" / "python"


def install(package: Path, python: Path, download: bool) -> None:
    """Install a package in place of what the environment has of redwood; `download` what it needs and is not there."""
    pip = [sys.executable, "-m", "pip", "--python", str(python)]
    if download:
        _call([*pip, "install", str(package)], package.parent)
    alone = ["--no-deps"] if download else ["--no-deps", "--no-build-isolation"]
    _call([*pip, "install", "--force-reinstall", *alone, str(package)], package.parent)


def lend_packages(python: Path) -> None:
    """Let an environment see the packages of this process behind its own; links to a checkout are not followed."""
    (own,) = python.parents[1].glob("lib/python*/site-packages")
    (own / "lent.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))


def use(python: Path, folder: Path) -> dict[str, float]:
    """Run each of `COMMANDS` in an empty folder, and return their seconds.

    Raises:
        RuntimeError: If one fails, or if redwood is not the environment's.
    """
    folder.mkdir()
    shutil.copy(ROOT / "examples" / "label_smoothing.py", folder)
    found = _call([str(python), "-c", "import redwood; print(redwood.__file__)"], folder)
    if not found.startswith(str(python.parents[1])):
        raise RuntimeError(f"redwood was imported from {found}, not from the environment.")
    seconds = {}
    for name, arguments in COMMANDS.items():
        start = time.perf_counter()
        _call([str(python.with_name("redwood")), *arguments], folder)
        seconds[name] = time.perf_counter() - start
    return seconds


def _call(command: list[str], folder: Path) -> str:
    """Run a command without the paths of this process, and return what it printed."""
    plain = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run(command, cwd=folder, env=plain, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def main() -> None:
    """Build, install, run and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--download", action="store_true", help="install all dependencies for real")
    download = parser.parse_args().download
    with tempfile.TemporaryDirectory() as name:
        folder, start = Path(name), time.perf_counter()
        packages = build(folder, isolated=download)
        rows: list[dict[str, Any]] = [{"step": "build wheel, sdist, wheel", "wall s": time.perf_counter() - start}]
        python = make_environment(folder / "environment")
        if not download:
            lend_packages(python)
        for kind, package in (("wheel", packages.wheel), ("sdist", packages.sdist)):
            start = time.perf_counter()
            install(package, python, download)
            rows.append({"step": f"{kind}: install", "wall s": time.perf_counter() - start})
            times = use(python, folder / f"work_{kind}")
            rows += [{"step": f"{kind}: {step}", "wall s": seconds} for step, seconds in times.items()]
        same = content(packages.wheel) == content(packages.wheel_of_sdist)
        sizes = {"wheel": packages.wheel.stat().st_size, "sdist": packages.sdist.stat().st_size}
        found = {"wheel of the sdist is the same": same, "links in the sdist": links(packages.sdist), "bytes": sizes}
    how = "all dependencies were downloaded" if download else "other packages were lent by another environment"
    text = "\n".join(
        [
            markdown_table(rows),
            "",
            f"Every command ended with 0; {how}.",
            f"Wheel {sizes['wheel'] / 1e6:.2f} MB, sdist {sizes['sdist'] / 1e6:.2f} MB.",
            f"The wheel from the sdist {'equals' if same else 'DIFFERS FROM'} that from the checkout, byte for byte.",
        ]
    )
    write("installed", environment() | {"download": download, "rows": rows} | found, text)


if __name__ == "__main__":
    main()
