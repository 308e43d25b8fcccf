"""Every command of the README runs, shortened."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import REPOSITORY
from PIL import Image

README = (REPOSITORY / "README.md").read_text()
COMMANDS = [line for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]
TRAINING = [line.removeprefix("python train.py").split() for line in COMMANDS if line.startswith("python train.py")]
SHORT = ["trainer.max_steps=1", "data.example.width=96", "data.example.height=64", "callbacks.images.count=1"]


def test_all_commands_are_known_here():
    tested_elsewhere = ("python train.py", "python scripts/make_mask.py")  # below, and in test_make_mask
    others = [line for line in COMMANDS if not line.startswith(tested_elsewhere)]
    assert others == [
        "make run",
        "make test",
        "source .venv/bin/activate",
        'pip install -e ".[dev]"',
        "pytest",
        'pip install -e ".[monai]"',
        "tensorboard --logdir outputs --samples_per_plugin images=100",
        "python scripts/report.py outputs/example",  # test_report
        "python scripts/benchmark.py --size 384x256",  # test_benchmark
        "python scripts/evaluate.py outputs/evaluate/default",  # test_evaluate
        "python scripts/kill_and_resume.py --kills 30",  # test_resume
        "python scripts/compare.py main HEAD",  # test_compare
    ]
    assert len(TRAINING) >= 8


@pytest.mark.parametrize("arguments", TRAINING, ids=" ".join)
def test_training_commands_run(command, photograph, mask, tmp_path, arguments):
    Image.open(photograph).resize((96, 64)).save(tmp_path / "photo.jpg")
    Image.open(mask).resize((96, 64)).save(tmp_path / "mask.png")
    for folder, name in (("photos", "photo.jpg"), ("masks", "mask.png")):
        (tmp_path / folder).mkdir()
        shutil.copy(tmp_path / name, tmp_path / folder / f"a{Path(name).suffix}")
    data = "data=random_pixels" in arguments
    result = command(*arguments, *(SHORT[:1] if data else SHORT))
    assert result.returncode == 0, result.stderr
    assert list((tmp_path / "outputs").rglob("inpainted.png"))
    assert bool(list((tmp_path / "outputs").glob("*/*/report.html"))) == ("-m" in arguments)


def test_make_lists_and_knows_its_verbs():
    listed = subprocess.run(["make", "help"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    for verb in ("run", "test", "tensorboard"):
        assert f"make {verb} " in listed
        subprocess.run(["make", "--dry-run", verb], cwd=REPOSITORY, check=True, capture_output=True)


def test_the_python_example_runs():
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict[str, object] = {}
    exec(example, names)
    assert "prior" in names


def test_every_module_is_in_the_map():
    modules = {path.name for path in (REPOSITORY / "src" / "dip").rglob("*.py")} - {"__init__.py"}
    scripts = {path.name for path in (REPOSITORY / "scripts").glob("*.py")}
    assert modules | scripts == set(re.findall(r"^  +(\w+\.py) ", README, re.MULTILINE))
