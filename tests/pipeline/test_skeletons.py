"""Names, lines and pairs from other programs' files; config.yaml as DeepLabCut opens it."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from multipose.cli.main import main
from multipose.errors import FormatError
from multipose.formats.deeplabcut_project import read_skeleton as read_config
from multipose.formats.deeplabcut_project import write_config
from multipose.pipeline.skeletons import read_skeleton
from multipose.skeleton import Skeleton

NAMES = ("nose", "paw_l", "paw_r", "tail")
PAIRS = (("paw_l", "paw_r"),)
EDGES = (("nose", "tail"), ("nose", "paw_l"))


def reduce(kind: int) -> dict[str, object]:
    return {"py/reduce": [{"py/type": "sleap.skeleton.EdgeType"}, {"py/tuple": [kind]}]}


def slp(path: Path) -> Path:
    """A project whose symmetry stands before its edges, so that the numbers of repeated types are told apart."""
    links = [
        {"source": 2, "target": 3, "type": reduce(2)},
        {"source": 3, "target": 2, "type": {"py/id": 1}},
        {"source": 1, "target": 0, "type": reduce(1)},
        {"source": 1, "target": 2, "type": {"py/id": 2}},
    ]
    table = {
        "nodes": [{"name": name} for name in ("tail", "nose", "paw_l", "paw_r", "of another skeleton")],
        "skeletons": [{"nodes": [{"id": i} for i in (1, 2, 3, 0)], "links": links}],
    }
    with h5py.File(path, "w") as file:
        file.create_group("metadata").attrs["json"] = np.bytes_(json.dumps(table))
    return path


def analysis(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        file["tracks"] = np.zeros((1, 2, 4, 3))
        file["node_names"] = np.array(NAMES, "S")
        file["edge_names"] = np.array(EDGES, "S")
    return path


def config(path: Path) -> Path:
    write_config(path.parent, Skeleton(NAMES, EDGES), task="t", scorer="me", sizes={"day1": (640, 480)})
    return path


def inline(path: Path) -> Path:
    text = "bodyparts: [nose, 'paw_l', \"paw_r\", tail]\nskeleton: [[nose, tail], [nose, paw_l], [nose, gone]]\n"
    path.write_text(text, encoding="utf-8")
    return path


def several(path: Path) -> Path:
    text = "multianimalbodyparts:\n- nose\n- paw_l\n- paw_r\nuniquebodyparts:\n- tail\nbodyparts: MULTI!\n"
    path.write_text(f"{text}skeleton:\n- [nose, tail]\n- - nose\n  - paw_l\n", encoding="utf-8")
    return path


def csv(path: Path) -> Path:
    head = ["scorer" + ",me" * 8, "bodyparts," + ",".join(f"{name},{name}" for name in NAMES), "coords" + ",x,y" * 4]
    path.write_text("\n".join([*head, "labeled-data/day1/img001.png" + ",1,2" * 4]) + "\n", encoding="utf-8")
    return path


def own(path: Path) -> Path:
    rows = "".join(f"day1,top,0,individual_0,{name},1,2,visible\n" for name in NAMES)
    path.write_text("recording,view,frame,individual,keypoint,x,y,state\n" + rows, encoding="utf-8")
    return path


def sleap_csv(path: Path) -> Path:
    header = ",".join(f"{name}.x,{name}.y,{name}.score" for name in NAMES)
    path.write_text(f"track,frame_idx,instance.score,{header}\n,0,1{',1' * 12}\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("write", "name", "edges"),
    [
        (slp, "a.slp", EDGES),
        (analysis, "a.h5", EDGES),
        (config, "config.yaml", EDGES),
        (inline, "config.yaml", EDGES),
        (several, "config.yaml", EDGES),
        (csv, "CollectedData_me.csv", ()),
        (own, "labels.csv", ()),
        (sleap_csv, "a.csv", ()),
    ],
)
def test_a_project_is_begun_from_a_file(write, name: str, edges: object, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    source = write(tmp_path / name)
    done = CliRunner().invoke(main, ["init", str(tmp_path / "p"), "--views", "top", "--from", str(source)])
    assert done.exit_code == 0, done.output
    assert "Left and right: paw_l/paw_r" in done.output
    assert read_skeleton(source) == Skeleton(NAMES, edges, PAIRS)  # type: ignore[arg-type]


def test_what_names_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("Task: x\n", encoding="utf-8")
    with pytest.raises(FormatError, match=r"config\.yaml: bodyparts"):
        read_skeleton(tmp_path / "config.yaml")
    with h5py.File(tmp_path / "a.slp", "w") as file:
        file["x"] = 1
    with pytest.raises(FormatError, match="no project of SLEAP"):
        read_skeleton(tmp_path / "a.slp")
    with h5py.File(tmp_path / "a.slp", "w") as file:
        file.create_group("metadata").attrs["json"] = '{"skeletons": [{"nodes": [{"id": 7}]}], "nodes": []}'
    with pytest.raises(FormatError, match="cannot be read"):
        read_skeleton(tmp_path / "a.slp")
    done = CliRunner().invoke(main, ["init", str(tmp_path / "p"), "--views", "top"])
    assert done.exit_code == 2
    assert "--keypoints, or a file" in " ".join(done.output.split())


@pytest.mark.parametrize("individuals", [(), ("one", "two")])
def test_config_is_yaml_with_the_keys_of_deeplabcut(individuals: tuple[str, ...], tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    names = ("nose: x", 'a "quoted" part', "schwanz_ü")
    skeleton = Skeleton(names, ((names[0], names[2]),))
    sizes = {"day1": (640, 480), "day2": (320, 240)}
    path = write_config(tmp_path, skeleton, task="mice-top", scorer="me", sizes=sizes, individuals=individuals)
    assert path is not None
    table = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert table["project_path"] == str(tmp_path)
    assert {Path(video).stem: crop["crop"] for video, crop in table["video_sets"].items()} == {
        "day1": "0, 640, 0, 480",
        "day2": "0, 320, 0, 240",
    }
    assert table["multianimalbodyparts" if individuals else "bodyparts"] == list(names)
    assert table["skeleton"] == [[names[0], names[2]]]
    needed = {"Task", "scorer", "date", "multianimalproject", "identity", "start", "stop", "numframes2pick", "pcutoff"}
    needed |= {"TrainingFraction", "iteration", "default_net_type", "snapshotindex", "batch_size", "cropping", "x1"}
    assert needed <= set(table)
    assert table["multianimalproject"] is bool(individuals)
    assert read_config(path).keypoints == names
    path.write_text("Task: mine\n", encoding="utf-8")
    assert write_config(tmp_path, skeleton, task="t", scorer="me", sizes=sizes) is None
    assert path.read_text(encoding="utf-8") == "Task: mine\n"


def test_a_project_of_one_view_speaks_as_one(tmp_path: Path) -> None:
    place = tmp_path / "p"

    def call(*words: str) -> str:
        done = CliRunner().invoke(main, [*words, "--project", str(place)])
        assert done.exit_code == 0, done.output
        return done.output

    done = CliRunner().invoke(main, ["init", str(place), "--views", "top", "--keypoints", "nose"])
    assert "board" not in done.output
    status = call("status")
    assert "p: view top," in status
    assert "next: multipose add NAME VIDEO" in status
    head = "scorer,me,me,me\nbodyparts,nose,nose,nose\ncoords,x,y,likelihood\n"
    (tmp_path / "found.csv").write_text(head + "0,1,2,0.9\n1,2,3,0.9\n", encoding="utf-8")
    added = call("add", "day1", "--keypoints", str(tmp_path / "found.csv"))
    assert "matched by" not in added
    assert "multipose predict day1" in call("status")
    call("predict", "day1")
    status = call("status")
    assert "Everything is up to date" in status
    assert "board" not in status
    done = CliRunner().invoke(main, ["reconstruct", "day1", "--project", str(place)])
    assert "3D takes two views or more" in done.output
