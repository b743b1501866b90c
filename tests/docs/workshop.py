"""A folder with the files that the pages speak of, so that their code and their commands can run in it."""

import shutil
from pathlib import Path

import datasets
import numpy as np
import torch
from PIL import Image

from redwood.branches.modular.library import ModuleLibrary
from redwood.methods import Rehearsal
from redwood.settings import ClassIncrementalSetting, Images
from tests.docs.blocks import ALL, ROOT
from tests.docs.stand_ins import write_all


def furnish(folder: Path) -> None:
    """Write small files of every kind into a folder."""
    random = np.random.default_rng(0)
    (folder / "examples").symlink_to(ROOT / "examples")
    x = random.normal(size=(60, 3))
    np.savez(folder / "mine.npz", x=x, y=x.sum(1))
    _write_people(folder / "people.npz", random)
    _write_colours(folder, random)
    _write_sales(folder / "sales.csv", random)
    labels = {"photos": ("bird", "cat", "dog", "fox"), "more_images": ("cow", "horse")}
    labels |= {f"photos_by_month/2024-0{month}": ("cat", "dog") for month in (1, 2)}
    labels |= {"photos_mixed/north": ("cat", "dog"), "photos_mixed/south": ("dog", "fox")}
    for name, label in ((name, label) for name, several in labels.items() for label in several):
        _write_images(folder / name / label, random)
    _write_images(folder / "new_images", random)
    (tasks, pool) = (block.text for block in ALL if block.page == "docs/task_streams.md" and block.language == "yaml")
    (folder / "tasks.yaml").write_text(tasks)
    (folder / "pool.yaml").write_text(pool)
    own_code = {"parts.py": "(OptimizerPart)", "policies.py": "(PolicyPart)", "my_net.py": "class Net(nn.Module)"}
    for file, mark in own_code.items():
        (folder / file).write_text(next(block.text for block in ALL if mark in block.text))
    ModuleLibrary(folder / "DIR").add_module(
        {"weight": torch.ones(2, 2)}, role="stem", position=0, model="mlp", task="digits"
    )
    write_all(folder / "DIR", random)
    (folder / "data").symlink_to("DIR")
    rows = {"image": [[0.0] * 4, [1.0] * 4] * 20, "label": [0, 1] * 20}
    datasets.Dataset.from_dict(rows).save_to_disk(folder / "FOLDER")
    Image.fromarray(random.integers(0, 255, (8, 8, 3), np.uint8)).save(folder / "a.jpg")


def train(folder: Path) -> None:
    """Train `runs/x`, the finished run that pages speak of, and give it the other names that they use."""
    setting = ClassIncrementalSetting(dataset=Images(str(folder / "photos"), image_size=8), nb_tasks=2, passes=1)
    setting.apply(Rehearsal(), run_dir=str(folder / "runs" / "x"), quiet=True)
    for name in ("one", "two", "single"):
        shutil.copytree(folder / "runs" / "x", folder / "runs" / name)


def _write_people(path: Path, random: np.random.Generator) -> None:
    x, region = random.normal(size=(120, 4)), np.array(["north", "south", "west"])[np.arange(120) % 3]
    np.savez(path, x=x, y=(x[:, 0] > 0).astype(int), region=region)


def _write_colours(folder: Path, random: np.random.Generator) -> None:
    """`new.npz` and `more.npz`: samples of the form that the finished run takes; the second with six more classes."""
    x = random.integers(0, 255, (40, 3, 8, 8), np.uint8)
    np.savez(folder / "new.npz", x=x)
    np.savez(folder / "more.npz", x=x, y=np.array(["ant", "bee", "cow", "duck", "eel", "frog"])[np.arange(40) % 6])


def _write_sales(path: Path, random: np.random.Generator) -> None:
    rows = [f"2024-{month:02}-{day:02},{random.normal():.3f},yes\n" for month in range(1, 5) for day in range(1, 15)]
    rows += [row.replace("yes", "no") for row in rows]
    path.write_text("".join(["date,price,sold\n", *rows]))


def _write_images(folder: Path, random: np.random.Generator) -> None:
    folder.mkdir(parents=True)
    for number in range(6):
        Image.fromarray(random.integers(0, 255, (8, 8, 3), np.uint8)).save(folder / f"{number}.png")
