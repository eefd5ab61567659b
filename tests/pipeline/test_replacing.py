"""A shorter training does not replace a better network."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from multipose.errors import ModelError
from multipose.pipeline import training
from multipose.pipeline.beginning import make_project
from multipose.pipeline.held_out import HeldOutPoints
from multipose.pipeline.plan import model_product, open_hashes
from multipose.pipeline.provenance import making, read_records
from multipose.pose2d import PoseModel
from multipose.project import Project

OLD = {"minutes": 10.0, "held_out_mean_px": 2.0, "held_out_names": ["a", "b"]}


class _Trained(Exception):  # noqa: N818 - what comes after the decision is not part of it
    pass


def _train(project: Project, monkeypatch: pytest.MonkeyPatch, new: dict[str, Any], **options: Any) -> None:
    """A training whose network is written as the real one is, and says `new` of itself."""
    folder = project.folder / "models" / "top"

    def train(*_: object, **__: object) -> SimpleNamespace:
        (folder / "weights.safetensors").write_bytes(b"new")
        (folder / "model.toml").write_bytes(b"new")
        return SimpleNamespace(model=SimpleNamespace(training=OLD | new), held_out=None)

    def stop(*_: object) -> None:
        raise _Trained

    monkeypatch.setattr(training, "train", train)
    monkeypatch.setattr(training, "load_dataset", lambda *_, **__: None)
    monkeypatch.setattr(training, "load_second_labels", lambda *_, **__: None)
    monkeypatch.setattr(training, "draw_held_out", lambda *_: None)
    monkeypatch.setattr(PoseModel, "load", lambda _: SimpleNamespace(training=OLD))
    monkeypatch.setattr(HeldOutPoints, "from_evaluation", stop)
    training.train_model(project, "top", open_hashes(project), **options)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = make_project(tmp_path / "mice", ["top"], ["nose"])
    project.labels_path.write_text(
        "recording,view,frame,individual,keypoint,x,y,state,source,who,when\n"
        "day1,top,0,individual_0,nose,1,1,visible,manual,,\n",
        encoding="utf-8",
    )
    (project.frames_folder / "day1" / "top").mkdir(parents=True)
    product = model_product(project, "top")
    with making(product, open_hashes(project)):
        product.path.parent.mkdir(parents=True, exist_ok=True)
        product.path.write_bytes(b"old")
        product.path.with_name("weights.safetensors").write_bytes(b"old")
    return project


def test_a_shorter_training_that_is_worse_leaves_the_network(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = project.folder / "models" / "top"
    before = read_records(folder)
    with pytest.raises(ModelError, match=r"3\.50 px on 2 held-out .* 2\.00 px\. It is kept\..* --replace"):
        _train(project, monkeypatch, {"minutes": 1.0, "held_out_mean_px": 3.5}, replace_better=False)
    assert {(folder / name).read_bytes() for name in ("weights.safetensors", "model.toml")} == {b"old"}
    assert read_records(folder) == before


@pytest.mark.parametrize(
    ("new", "replace"),
    [
        ({"minutes": 1.0, "held_out_mean_px": 3.5}, True),
        ({"minutes": 1.0, "held_out_mean_px": 1.5}, False),
        ({"minutes": 20.0, "held_out_mean_px": 3.5}, False),
        ({"minutes": 1.0, "held_out_mean_px": 3.5, "held_out_names": ["a", "c"]}, False),
    ],
)
def test_other_trainings_replace_it(
    project: Project, monkeypatch: pytest.MonkeyPatch, new: dict[str, Any], replace: bool
) -> None:
    with pytest.raises(_Trained):
        _train(project, monkeypatch, new, replace_better=replace)
    assert (project.folder / "models" / "top" / "model.toml").read_bytes() == b"new"
