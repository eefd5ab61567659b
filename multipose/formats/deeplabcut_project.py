"""DeepLabCut's config.yaml: names and lines are read from it, and one is written that DeepLabCut opens.

Of YAML only what DeepLabCut writes there is read: keys at the line's start, lists in blocks or in brackets.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

from multipose.documents import read_document
from multipose.errors import DataError, FormatError
from multipose.files import write_text
from multipose.skeleton import Skeleton

CONFIG_NAME = "config.yaml"
_OURS = "# Written by multipose"


def read_skeleton(path: str | os.PathLike[str]) -> Skeleton:
    """Body parts and skeleton of a project of one animal or several.

    Raises:
        FormatError: the file is missing, or names no body parts.
    """
    lines = read_document(path).splitlines()
    several = _block(lines, "multianimalbodyparts")
    parts = [*several, *_block(lines, "uniquebodyparts")] if several else _block(lines, "bodyparts")
    names = [name for name in parts if isinstance(name, str)]
    lists = [edge for edge in _block(lines, "skeleton") if isinstance(edge, list) and len(edge) == 2]
    edges = [(edge[0], edge[1]) for edge in lists]
    try:
        return Skeleton(tuple(names), tuple(edge for edge in edges if set(edge) <= set(names)))
    except DataError as error:
        raise FormatError(f"{path}: bodyparts cannot be used ({error}).") from None


def _block(lines: Sequence[str], key: str) -> list[str | list[str]]:
    """The list under a key: of texts, or of lists of texts."""
    start = next((i for i, line in enumerate(lines) if re.match(rf"{key}\s*:", line)), None)
    if start is None:
        return []
    inline = lines[start].partition(":")[2].partition(" #")[0].strip()
    if inline.startswith("["):
        inner = re.findall(r"\[([^\[\]]*)\]", inline)
        if inline.startswith("[["):
            return [_names(part) for part in inner]
        return list(_names(inner[0])) if inner else []
    items: list[str | list[str]] = []
    for line in lines[start + 1 :]:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = re.match(r"(\s*)-\s+(.*)$", line)
        if found is None:
            break
        text = found[2].strip()
        if text.startswith("- "):
            items.append([_scalar(text[2:])])
        elif text.startswith("["):
            items.append(_names(text.strip("[]")))
        elif items and isinstance(items[-1], list) and found[1]:
            items[-1].append(_scalar(text))
        else:
            items.append(_scalar(text))
    return items


def _names(text: str) -> list[str]:
    return [_scalar(part) for part in text.split(",") if part.strip()]


def _scalar(text: str) -> str:
    plain = text.strip()
    if len(plain) > 1 and plain[0] == plain[-1] == "'":
        return plain[1:-1].replace("''", "'")
    if len(plain) > 1 and plain[0] == plain[-1] == '"':
        try:
            return str(json.loads(plain))  # YAML's double quotes are JSON's, but for rare escapes
        except ValueError:
            return plain[1:-1]
    return plain.partition(" #")[0].strip()


def write_config(
    folder: str | os.PathLike[str],
    skeleton: Skeleton,
    *,
    task: str,
    scorer: str,
    sizes: Mapping[str, tuple[int, int]],
    individuals: Sequence[str] = (),
) -> Path | None:
    """Write config.yaml of a DeepLabCut project with the labels that `deeplabcut.write_labels` writes.

    DeepLabCut finds the labels of a video in the folder of labeled-data that has the video's name, so that the videos
    are listed under the recordings' names, in the folder videos/; training needs none of them to be there.

    Args:
        folder: the DeepLabCut project's.
        task, scorer: as DeepLabCut names the project and who labelled.
        sizes: (width, height) of the labelled pictures of each recording.
        individuals: their names; more than one makes a project of several animals.

    Returns:
        The file; None where there is one that multipose did not write, which stays as it is.
    """
    place = Path(folder).absolute()
    path = place / CONFIG_NAME
    if path.exists() and not read_document(path).startswith(_OURS):
        return None
    several = len(individuals) > 1
    today = date.today()
    videos = [
        f"  {_quote(str(place / 'videos' / f'{name}.mp4'))}:\n    crop: 0, {width}, 0, {height}"
        for name, (width, height) in sizes.items()
    ]
    parts = _list(skeleton.keypoints)
    lines = [
        f"{_OURS}. The videos are listed under their recordings' names; put them into videos/ to analyse them.",
        "",
        "# Project definitions (do not edit)",
        f"Task: {_quote(task)}",
        f"scorer: {_quote(scorer)}",
        f"date: {today:%b}{today.day}",
        f"multianimalproject: {str(several).lower()}",
        "identity: false",
        "",
        "# Project path (change when moving around)",
        f"project_path: {_quote(str(place))}",
        "",
        "# Annotation data set configuration (and individual video cropping parameters)",
        "video_sets:" + ("" if videos else " {}"),
        *videos,
        *(
            [
                "individuals:",
                *_list(individuals),
                "uniquebodyparts: []",
                "multianimalbodyparts:",
                *parts,
                "bodyparts: MULTI!",
            ]
            if several
            else ["bodyparts:", *parts]
        ),
        "",
        "# Fraction of video to start/stop when extracting frames for labeling/refinement",
        "start: 0",
        "stop: 1",
        "numframes2pick: 20",
        "",
        "# Plotting configuration",
        "skeleton:" + ("" if skeleton.edges else " []"),
        *(f"- - {_quote(a)}\n  - {_quote(b)}" for a, b in skeleton.edges),
        "skeleton_color: black",
        "pcutoff: 0.6",
        "dotsize: 12",
        "alphavalue: 0.7",
        "colormap: rainbow",
        "",
        "# Training, evaluation and analysis configuration",
        "TrainingFraction:",
        "- 0.95",
        "iteration: 0",
        f"default_net_type: {'dlcrnet_ms5' if several else 'resnet_50'}",
        f"default_augmenter: {'multi-animal-imgaug' if several else 'default'}",
        "snapshotindex: -1",
        "detector_snapshotindex: -1",
        "batch_size: 8",
        "detector_batch_size: 1",
        "",
        "# Cropping parameters (for analysis and outlier frame detection)",
        "cropping: false",
        "x1: 0",
        "x2: 640",
        "y1: 277",
        "y2: 624",
        "",
        "# Refinement configuration",
        "corner2move2:",
        "- 50",
        "- 50",
        "move2corner: true",
    ]
    write_text(path, "\n".join(lines) + "\n")
    return path


def _list(names: Sequence[str]) -> list[str]:
    return [f"- {_quote(name)}" for name in names]


def _quote(text: str) -> str:
    """A text as YAML takes it: JSON's quotes are YAML's double quotes."""
    return json.dumps(text, ensure_ascii=False)
