"""Hashes of the code: what changes them, and which modules count."""

import pytest

from moco_transfer.training import code
from moco_transfer.training.code import code_hashes

MODULES = {
    "__init__": "",
    "stage": '"""A stage."""\nfrom package import loss\nfrom package.inner.steps import walk\nimport numpy.linalg\n',
    "loss": "def loss(x):\n    from package import late\n    return 2 * x\n",
    "late": "A = 1\n",
    "unused": "B = 1\n",
    "inner/__init__": "",
    "inner/steps": "import package.stage\n\ndef walk():\n    return 1\n",
}
USED = ["inner", "inner.steps", "late", "loss", "package", "stage"]


@pytest.fixture
def package(tmp_path, monkeypatch):
    for name, text in MODULES.items():
        path = tmp_path / "package" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(code, "PACKAGE", "package")
    monkeypatch.setattr(code, "FOLDER", tmp_path / "package")
    return tmp_path / "package"


def test_the_modules_that_a_stage_imports_count_and_no_others(package):
    assert sorted(code_hashes("package.stage")) == USED
    (package / "unused.py").write_text("B = 2\n")
    assert sorted(code_hashes("package.stage")) == USED


@pytest.mark.parametrize(
    "text",
    [
        '"""What it does."""\n\n\ndef loss(x):  # twice\n    """Return it."""\n    from package import late\n'
        "    return (2 * x)\n",
        "def loss(\n    x,\n):\n    from package import late\n\n    return 2 * x\n",
    ],
)
def test_comments_docstrings_and_layout_do_not_count(package, text):
    before = code_hashes("package.stage")
    (package / "loss.py").write_text(text)
    assert code_hashes("package.stage") == before


@pytest.mark.parametrize(
    "name, text",
    [
        ("loss", "def loss(x):\n    from package import late\n    return 3 * x\n"),
        ("late", "A = 2\n"),
        ("inner/steps", "import package.stage\n\ndef walk():\n    return 1.0\n"),
    ],
)
def test_a_change_of_code_is_seen_in_its_module(package, name, text):
    before = code_hashes("package.stage")
    (package / f"{name}.py").write_text(text)
    after = code_hashes("package.stage")
    assert [module for module in after if after[module] != before[module]] == [name.replace("/", ".")]


def test_every_trainer_depends_on_its_loop_its_network_and_its_augmentation():
    for stage in ("pretrain", "finetune.end_to_end", "encoders"):
        found = code_hashes(f"moco_transfer.{stage}")
        assert {stage, "networks", "config.encoders", "augment", "training.schedule"} <= found.keys()
        assert not {"cli", "plan", "report.style", "data.dicom"} & found.keys()
