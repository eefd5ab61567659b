"""multipose.toml: what a project is made of, as frozen dataclasses, one strict loader, and the commented template.

The file is the only one of a project that is edited by hand, so every slip in it is an error that names the line: an
unknown key with the nearest known one, a value of a wrong type, a choice that does not exist. Nothing is guessed.
"""

from __future__ import annotations

import dataclasses
import json
import re
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from multipose.documents import parse_toml, read_document
from multipose.errors import ConfigError, DataError, FormatError, MultiposeError, did_you_mean
from multipose.files import SCHEMA_VERSION, check_schema
from multipose.kinematics_config import KinematicsConfig
from multipose.skeleton import Skeleton
from multipose.smoothing_config import SmoothingConfig

CONFIG_NAME = "multipose.toml"
"""Name of the file that makes a folder a project."""

_NAME = re.compile(r"[^\W.][\w.+@ -]*")
_LONGEST_NAME = 150  # bytes; file systems take 255, and names of files begin with it
_LEAST_PX = 1e-6  # of an error that may be; below it is the rounding of pixels
_LARGEST = 1e12  # of any number in multipose.toml; beyond it arithmetic ends in infinities
_RESERVED = {"name", "calibration"}
_RESERVED_PREFIXES = ("offset_", "timestamps_", "keypoints_")


def check_name(name: str, what: str) -> str:
    """A name that can stand as a file's and as a folder's on every system.

    Raises:
        ConfigError: it is empty, too long, begins with a dot, or holds a slash or another sign that file names cannot
            have.
    """
    if len(name.encode("utf-8", "replace")) > _LONGEST_NAME:
        raise ConfigError(
            f"{name[:40]!r}... cannot be the name of a {what}: it has {len(name)} letters and becomes a file's. Use "
            f"at most {_LONGEST_NAME}."
        )
    if not _NAME.fullmatch(name) or name != name.strip():
        raise ConfigError(
            f"{name!r} cannot be the name of a {what}: it becomes a file's name. Use letters, digits, '_', '-', '+', "
            "'.' and spaces between them, and begin with a letter or a digit."
        )
    return name


_BOARD_NAMES = {"chessboard": "a chessboard", "charuco": "a ChArUco board", "aprilgrid": "an AprilTag grid"}
_BOARD_KEYS = {
    "chessboard": (),
    "charuco": ("marker", "dictionary", "legacy", "thickness"),
    "aprilgrid": ("spacing", "dictionary", "first", "border"),
}
"""Keys of each type besides those that all have."""
_BOARD_NEEDS = {"chessboard": (), "charuco": ("marker", "dictionary"), "aprilgrid": ("spacing",)}


@dataclass(frozen=True)
class BoardConfig:
    """The calibration board: `columns` x `rows` inner corners of a chessboard, squares of a ChArUco board, tags of an
    AprilTag grid; `square` is the side of a square or tag.
    """

    type: Literal["chessboard", "charuco", "aprilgrid"]
    columns: int
    rows: int
    square: float
    unit: str
    marker: float | None = None
    dictionary: str | None = None
    legacy: bool | None = None
    thickness: float | None = None
    spacing: float | None = None
    first: int | None = None
    border: int | None = None

    def __post_init__(self) -> None:
        if self.columns < 2 or self.rows < 2:
            raise ConfigError(f"a board needs at least 2 columns and 2 rows, got {self.columns} x {self.rows}.")
        if not self.square > 0:
            raise ConfigError(f"square is the length of a square's side and must be above 0, got {self.square}.")
        own = [key for key in self.to_dict() if any(key in keys for keys in _BOARD_KEYS.values())]
        missing = [key for key in _BOARD_NEEDS[self.type] if key not in own]
        if missing:
            raise ConfigError(f"{_BOARD_NAMES[self.type]} also needs {' and '.join(missing)}.")
        foreign = [key for key in own if key not in _BOARD_KEYS[self.type]]
        if foreign:
            fitting = [kind for kind, keys in _BOARD_KEYS.items() if foreign[0] in keys]
            raise ConfigError(
                f"{_BOARD_NAMES[self.type]} has no {' and no '.join(foreign)}; "
                + " ".join(f'for {_BOARD_NAMES[kind]} say type = "{kind}".' for kind in fitting)
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, without what is not set."""
        return {key: value for key, value in dataclasses.asdict(self).items() if value is not None}


@dataclass(frozen=True)
class ViewConfig:
    """What is done to every picture of a view first: crop, flip, quarter turns, scale, in this order.

    same_camera_as: another view that is a part of the same camera's picture (of a mirror's view: the direct one), so
        that both have one lens.
    """

    crop: tuple[int, int, int, int] | None = None
    flip: bool = False
    quarter_turns: int = 0
    scale: float = 1.0
    same_camera_as: str = ""

    def __post_init__(self) -> None:
        if self.crop is not None and (min(self.crop[:2]) < 0 or min(self.crop[2:]) < 1):
            raise ConfigError(f"crop is [x, y, width, height] in px of the video, got {list(self.crop)}.")
        if self.quarter_turns not in (0, 1, 2, 3):
            raise ConfigError(f"quarter_turns (clockwise) must be 0, 1, 2 or 3, got {self.quarter_turns}.")
        if not self.scale > 0:
            raise ConfigError(f"scale must be above 0, got {self.scale}.")


Runtime: TypeAlias = Literal[
    "auto",
    "torch",
    "torch-bfloat16",
    "torch-compiled",
    "torch-compiled-bfloat16",
    "openvino",
    "openvino-bfloat16",
    "onnxruntime",
]
Up: TypeAlias = Literal["x", "-x", "y", "-y", "z", "-z"]
"""An axis of the world."""


@dataclass(frozen=True)
class CalibrationConfig:
    """How boards become a rig.

    origin: `SESSION:FRAME`, or `FRAME` of the session itself: the picture of a board on the floor, which becomes the
        world; "": the first camera is the world.
    up: the axis of that world that points up.
    axes: `RECORDING:A,B,C`, three key points of a recording that stand still: the world's origin is A, x points to B,
        and C lies beside x in the plane of x and y; "": not so.
    scale: `RECORDING:A,B=LENGTH`, two key points and their true distance, which then counts instead of the board's
        squares; "": these count.
    bent_board: the board may be bent; its deflection is estimated too.
    intrinsics: a session of close-up recordings, each view by itself, from which the lenses come; "": from the session
        itself.
    sessions: the files of a session that do not lie in calibration/<session>/.
    offsets: of a session, the frame of a view that falls on instant 0 (0 for views that are not named); given, its
        videos may have unequal numbers of frames.
    views: what is done to the pictures of a view in one session, where that differs from `[view.<name>]`: close-ups of
        another resolution, say, scaled to the same one.
    """

    lens: Literal["auto", "k1", "brown", "fisheye", "rational"] = "auto"
    max_boards: int = 150
    bent_board: bool = False
    origin: str = ""
    up: Up = "z"
    axes: str = ""
    scale: str = ""
    intrinsics: str = ""
    sessions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    offsets: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    views: Mapping[str, Mapping[str, ViewConfig]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.max_boards < 3:
            raise ConfigError(f"max_boards must be at least 3, got {self.max_boards}.")
        if self.origin:
            split_origin(self.origin)
        if self.axes:
            split_axes(self.axes)
        if self.scale:
            split_scale(self.scale)
        if self.origin and self.axes:
            raise ConfigError("origin and axes both say where the world lies; give one of them.")
        if self.intrinsics:
            check_name(self.intrinsics, "calibration session")
        for session in self.sessions:
            check_name(session, "calibration session")

    @property
    def side_sessions(self) -> set[str]:
        """Sessions that serve the calibration of others: the board on the floor, close-ups."""
        floor = split_origin(self.origin)[0] if self.origin else ""
        return {floor, self.intrinsics} - {""}


def split_origin(origin: str) -> tuple[str, int]:
    """Session ("" where none is named) and frame of an `origin` as of `CalibrationConfig`.

    Raises:
        ConfigError: it is none.
    """
    session, _, frame = origin.rpartition(":")
    if not frame.isdecimal() or ":" in session:
        raise ConfigError(f"origin is SESSION:FRAME, for example floor:12, or FRAME; got {origin!r}.")
    return session, int(frame)


def split_axes(axes: str) -> tuple[str, tuple[str, str, str]]:
    """Recording and key points of `axes` as of `CalibrationConfig`.

    Raises:
        ConfigError: it is none.
    """
    recording, _, listed = axes.rpartition(":")
    names = [name.strip() for name in listed.split(",")]
    if not recording or len(set(names)) != 3 or len(names) != 3 or not all(names):
        raise ConfigError(
            f"axes is RECORDING:ORIGIN,X,XY with three key points, for example day1:corner,right,back; got {axes!r}."
        )
    return recording, (names[0], names[1], names[2])


def split_scale(scale: str) -> tuple[str, tuple[str, str], float]:
    """Recording, key points and length of `scale` as of `CalibrationConfig`.

    Raises:
        ConfigError: it is none.
    """
    recording, _, rest = scale.rpartition(":")
    listed, _, length = rest.rpartition("=")
    names = [name.strip() for name in listed.split(",")]
    try:
        value = float(length)
    except ValueError:
        value = float("nan")
    if not recording or len(set(names)) != 2 or len(names) != 2 or not all(names) or not 0 < value < float("inf"):
        raise ConfigError(
            "scale is RECORDING:A,B=LENGTH with two key points and their distance, for example "
            f"day1:corner,right=300; got {scale!r}."
        )
    return recording, (names[0], names[1]), value


@dataclass(frozen=True)
class TrainingConfig:
    """How the networks are trained: at most `minutes` of wall time for each.

    shared: one network for all views, or one for each; or groups of views that share one, the others having one each;
        unsaid, whichever is trained (see `Project.network_of`).
    labelled_again: a table as labels.csv, second labels of some of the same frames, from which label noise is measured.
    """

    shared: bool | tuple[tuple[str, ...], ...] | None = None
    backbone: str = "efficientnet_lite0"
    minutes: float = 10.0
    seed: int = 0
    labelled_again: str | None = None

    def __post_init__(self) -> None:
        if not self.minutes > 0:
            raise ConfigError(f"minutes must be above 0, got {self.minutes}.")
        if self.shared == ():
            raise ConfigError("shared lists no group of views; say false where every view has a network of its own.")
        seen: set[str] = set()
        for group in self.shared_groups:
            if len(group) < 2 or len(set(group)) < len(group) or seen & set(group):
                raise ConfigError(
                    "shared lists groups of two or more different views, each view in one group at most, for example "
                    f'[["direct", "mirror"]]; got {_show(self.shared)}.'
                )
            seen |= set(group)

    @property
    def shared_groups(self) -> tuple[tuple[str, ...], ...]:
        """Groups of views that are said to share a network."""
        return self.shared if isinstance(self.shared, tuple) else ()


@dataclass(frozen=True)
class PredictionConfig:
    """How the networks are run over videos.

    batch_size: pictures that a network gets at once; by default as `multipose.pose2d.predict` chooses.
    runtime: what runs the network; "auto" measures which is the fastest that leaves the points where they are.
    follow: look at crops around the animal instead of whole pictures; unsaid, where that is less work.
    thorough: look at each picture three times, moved and zoomed a little; better, at a third of the speed. Unsaid,
        where the animal always lies the same way and fills the picture.
    mirror: average what a network finds in each picture and in its mirror image; better, at half the speed, where
        training mirrored pictures too (the skeleton has left/right pairs, and the animal turns every way).
    """

    batch_size: int | None = None
    runtime: Runtime = "auto"
    follow: bool | None = None
    thorough: bool | None = None
    mirror: bool = False

    def __post_init__(self) -> None:
        if self.batch_size is not None and self.batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1, got {self.batch_size}.")


@dataclass(frozen=True)
class ReconstructionConfig:
    """How 2D key points become 3D points; without `max_error_px` it is learned from the data, and without
    `shared_error` taken from labels that training held out, or from experience."""

    method: Literal["robust", "linear"] = "robust"
    min_confidence: float = 0.3
    max_error_px: float | None = None
    min_views: int = 2
    shared_error: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.min_confidence <= 1:
            raise ConfigError(f"min_confidence must lie between 0 and 1, got {self.min_confidence}.")
        if self.max_error_px is not None and not self.max_error_px >= _LEAST_PX:
            raise ConfigError(f"max_error_px must be at least {_LEAST_PX:g} px, got {self.max_error_px}.")
        if self.min_views < 2:
            raise ConfigError(f"min_views must be at least 2, got {self.min_views}.")
        if self.shared_error is not None and not 0 <= self.shared_error < 1:
            raise ConfigError(
                f"shared_error is the share of a point's variance that views share, 0 to below 1, "
                f"got {self.shared_error}."
            )


@dataclass(frozen=True)
class ProjectConfig:
    """The content of multipose.toml.

    Args:
        name: of the project.
        views: names of the cameras, in the order of every array's `view` axis.
        skeleton: key points, edges, left/right pairs, definitions.
        board: None for a project whose rig was calibrated elsewhere.
        view: settings of single views.
        smoothing: how trajectories are smoothed.
        kinematics: what is measured on the trajectories.
    """

    name: str
    views: tuple[str, ...]
    skeleton: Skeleton
    board: BoardConfig | None = None
    view: Mapping[str, ViewConfig] = field(default_factory=dict)
    calibration: CalibrationConfig = CalibrationConfig()
    training: TrainingConfig = TrainingConfig()
    prediction: PredictionConfig = PredictionConfig()
    reconstruction: ReconstructionConfig = ReconstructionConfig()
    smoothing: SmoothingConfig = field(default_factory=SmoothingConfig)
    kinematics: KinematicsConfig = field(default_factory=KinematicsConfig)
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        if not self.views:
            raise ConfigError("views must name at least one camera.")
        for name in self.views:
            check_name(name, "view")
            if name in _RESERVED or name.startswith(_RESERVED_PREFIXES):
                raise ConfigError(f"{name!r} cannot be the name of a view: recordings.csv has a column of that name.")
        doubled = sorted({name for name in self.views if self.views.count(name) > 1})
        if doubled:
            raise ConfigError(f"views must have different names; {', '.join(doubled)} stands more than once.")
        for name, settings in self.view.items():
            self._check_view(name, f"[view.{name}]")
            if settings.same_camera_as:
                self._check_view(settings.same_camera_as, f"same_camera_as in [view.{name}]")
                if settings.same_camera_as == name or self.view_settings(settings.same_camera_as).same_camera_as:
                    raise ConfigError(
                        f"same_camera_as in [view.{name}]: {settings.same_camera_as!r} must be another view, which has "
                        "no same_camera_as itself."
                    )
        for session, sources in self.calibration.sessions.items():
            for name in sources:
                self._check_view(name, f"[calibration.sessions.{session}]")
        for session, offsets in self.calibration.offsets.items():
            for name in offsets:
                self._check_view(name, f"[calibration.offsets.{session}]")
        for session, views in self.calibration.views.items():
            for name in views:
                self._check_view(name, f"[calibration.views.{session}]")
        for group in self.training.shared_groups:
            for name in group:
                self._check_view(name, "shared in [training]")
        self.kinematics.check_keypoints(self.skeleton.keypoints)
        self.smoothing.check_keypoints(self.skeleton.keypoints)

    def _check_view(self, name: str, where: str) -> None:
        if name not in self.views:
            raise ConfigError(f"{where}: there is no view {name!r}.{_suggest(name, self.views)}")

    def view_settings(self, view: str, session: str = "") -> ViewConfig:
        """Settings of a view: those of `[view.<name>]`, else the defaults; in a calibration session those of
        `[calibration.views.<session>.<name>]` before them.
        """
        return self.calibration.views.get(session, {}).get(view, self.view.get(view, ViewConfig()))


def load_config(path: str | Path) -> ProjectConfig:
    """Read multipose.toml.

    Raises:
        ConfigError: the file does not exist, is not TOML, or says something that no key, type or choice allows.
    """
    place = Path(path)
    if not place.exists() and not place.is_symlink():
        raise ConfigError(f"There is no {place}. `multipose init` makes a project folder with one.")
    try:
        text = read_document(place)
    except FormatError as error:
        raise ConfigError(str(error)) from None
    return parse_config(text, str(place))


def parse_config(text: str, source: str = CONFIG_NAME) -> ProjectConfig:
    """Check the text of a multipose.toml; `source` is the file's name for messages.

    Raises:
        ConfigError: as `load_config`.
    """
    try:
        table = parse_toml(text, source)
    except FormatError as error:
        raise ConfigError(str(error)) from None
    if "schema_version" in table:
        try:
            check_schema(table["schema_version"], source)
        except MultiposeError as error:
            raise ConfigError(str(error)) from None
    config: ProjectConfig = _Reader(text, source).read_section(ProjectConfig, table, ())
    return config


class _Reader:
    """Turns tables into dataclasses by their type hints and knows the line of every key."""

    def __init__(self, text: str, source: str) -> None:
        self._lines = text.splitlines()
        self._source = source

    def read_section(self, kind: Any, table: dict[str, Any], where: tuple[str, ...]) -> Any:
        hints = typing.get_type_hints(kind)
        fields = {item.name: item for item in dataclasses.fields(kind)}
        for key in table:
            if key not in fields:
                raise self._error((*where, key), f"unknown key {key!r}.{_suggest(key, fields)}")
        missing = [
            name
            for name, item in fields.items()
            if name not in table and item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        ]
        if missing:
            raise self._error(where, f"the key {missing[0]!r} is missing.")
        values = {key: self._read(hints[key], value, (*where, key)) for key, value in table.items()}
        try:
            return kind(**values)
        except (ConfigError, DataError) as error:
            raise self._error(where, str(error)) from None

    def _read(self, kind: Any, value: Any, where: tuple[str, ...]) -> Any:
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        if origin in (typing.Union, types.UnionType):
            kinds = [item for item in arguments if item is not type(None)]
            fitting = [item for item in kinds if (typing.get_origin(item) is tuple) == isinstance(value, list)]
            return self._read((fitting or kinds)[0], value, where)
        if origin is Literal:
            if value in arguments:
                return value
            raise self._error(
                where, f"{where[-1]} must be one of {', '.join(map(json.dumps, arguments))}; got {_show(value)}."
            )
        if dataclasses.is_dataclass(kind):
            if not isinstance(value, dict):
                raise self._error(where, f"{where[-1]} must be a section [{'.'.join(where)}]; got {_show(value)}.")
            return self.read_section(kind, value, where)
        if origin in (Mapping, dict):
            if not isinstance(value, dict):
                raise self._error(where, f"{where[-1]} must be a section [{'.'.join(where)}]; got {_show(value)}.")
            return {key: self._read(arguments[1], item, (*where, key)) for key, item in value.items()}
        if origin is tuple:
            return self._read_list(arguments, value, where)
        if kind is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _LARGEST:
            return float(value)
        if type(value) is not kind:
            raise self._error(where, f"{where[-1]} must be {_describe(kind)}; got {_show(value)}.")
        if kind in (int, float) and not abs(value) <= (_LARGEST if kind is float else 2**63 - 1):
            raise self._error(where, f"{where[-1]} must be a number of at most {_LARGEST:g}; got {value}.")
        return value

    def _read_list(self, arguments: tuple[Any, ...], value: Any, where: tuple[str, ...]) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise self._error(where, f"{where[-1]} must be a list; got {_show(value)}.")
        if arguments[-1] is Ellipsis:
            return tuple(self._read(arguments[0], item, where) for item in value)
        if len(value) != len(arguments):
            raise self._error(where, f"{where[-1]} must hold lists of {len(arguments)} values; got {_show(value)}.")
        return tuple(self._read(kind, item, where) for kind, item in zip(arguments, value, strict=True))

    def _error(self, where: tuple[str, ...], text: str) -> ConfigError:
        line, section = self._find(where)
        place = f"{self._source}, line {line}" if line else self._source
        return ConfigError(f"{place}, in [{'.'.join(section)}]: {text}" if section else f"{place}: {text}")

    def _find(self, where: tuple[str, ...]) -> tuple[int, tuple[str, ...]]:
        """The line (from 1; 0 = unknown) where a section or key stands, and the section it stands in."""
        section: tuple[str, ...] = ()
        found, found_section = 0, where[:-1]
        for number, line in enumerate(self._lines, start=1):
            header = re.fullmatch(r"\s*\[([^\[\]]+)\]\s*(#.*)?", line)
            if header:
                section = _split_key(header.group(1))
                if section == where:
                    return number, section
                continue
            key = re.match(r"\s*([\w\"'.-][^=#\[\]]*?)\s*=", line)
            if key and (*section, *_split_key(key.group(1))) == where[: len(section) + len(_split_key(key.group(1)))]:
                found, found_section = number, section
        return found, found_section


def _split_key(text: str) -> tuple[str, ...]:
    """Parts of a TOML key: `a."b c".d` -> (a, b c, d)."""
    return tuple(part.strip().strip("\"'") for part in re.findall(r"\"[^\"]*\"|'[^']*'|[^.]+", text) if part.strip())


def _suggest(name: str, known: Iterable[str]) -> str:
    names = list(known)
    return f"{did_you_mean(name, names)} Known: {', '.join(names)}."


def _describe(kind: type) -> str:
    return {
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        str: "a text in quotes",
    }[kind]


def _show(value: Any) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)


def template(name: str, views: Iterable[str], skeleton: Skeleton, board: BoardConfig | None = None) -> str:
    """The text of a new multipose.toml: what was given, and every other setting as a comment with its default."""
    calibration, training = CalibrationConfig(), TrainingConfig()
    reconstruction, smoothing = ReconstructionConfig(), SmoothingConfig()
    definitions = "\n".join(
        f"{_quote_key(key)} = {_show(skeleton.definitions.get(key, ''))}" for key in skeleton.keypoints
    )
    return f"""\
# The settings of a multipose project. This is the only file of the project that is edited by hand.
# A line that begins with # is a comment; the commented settings show the defaults.

schema_version = {SCHEMA_VERSION}
name = {_show(name)}

# The cameras, in the order in which results list them.
views = {_show(list(views))}

# Where a view's pictures need it: what is done to them before anything else sees them, in this order.
# Labels, key points and the calibrated camera are all in the pixels that result.
#
# [view.<name>]
# crop = [0, 0, 640, 480]    # x, y, width, height in the video's pixels
# flip = false               # mirror left-right: for a view that is seen in a mirror
# quarter_turns = 0          # clockwise
# scale = 1.0
#   same_camera_as = "direct"  # one camera took both this view (seen in a mirror, say) and that one: one lens

[skeleton]
keypoints = {_show_list(skeleton.keypoints)}
# Lines to draw between key points.
edges = {_show_list([list(edge) for edge in skeleton.edges])}
# Left and right partners, so that training may mirror pictures.
pairs = {_show_list([list(pair) for pair in skeleton.pairs])}

# Where exactly to click, in words: the same point of the body in every view.
[skeleton.definitions]
{definitions}

{_board_template(board)}
[calibration]
# Board videos lie in calibration/<session>/<view>.mp4, or pictures in calibration/<session>/<view>/.
# lens = {_show(calibration.lens)}           # k1, brown, fisheye, rational, or auto: whichever predicts best
# max_boards = {calibration.max_boards}         # at most this many pictures of the board are used per view
# bent_board = false         # true: the board may be bent; its deflection is estimated too
#   origin = "floor:12"      # the board in this frame of this session, lying on the floor, is the world
# up = {_show(calibration.up)}                 # the axis of that world that points up
#   axes = "day1:corner,right,back"  # instead: three key points of a recording: origin, on x, beside it in the plane
#   scale = "day1:corner,right=300"  # the true distance of two key points counts instead of the board's squares
#   intrinsics = "closeup"   # the lenses come from this session, in which every view saw the board by itself
#
# Files of a session that lie elsewhere (a video, a folder, or a pattern such as "pictures/left*.jpg"):
# [calibration.sessions.<session>]
# <view> = "path/to/board.avi"
#
# Where the board's videos of a session did not begin together, or end together: the frame of each that is instant 0
# (0 for all of them says that they began together):
# [calibration.offsets.<session>]
# <view> = 12
#
# Where the pictures of one session differ from the others' (close-ups in full resolution, say):
# [calibration.views.<session>.<view>]
# scale = 0.5

[training]
#   shared = false           # true: one network for all views, false: one for each; unsaid: whichever is trained
#                            # [["direct", "mirror"]]: one for these two views, the others have one each
# backbone = {_show(training.backbone)}
# minutes = {training.minutes}             # at most, of wall time, for each network
# seed = {training.seed}
#   labelled_again = "labels/again.csv"  # second labels of some of the same frames: label noise is measured

[prediction]
#   batch_size = 16          # pictures at once; by default 1 on a CPU, 16 on a GPU
# runtime = "auto"           # what runs the network: auto (measured), torch, openvino, openvino-bfloat16, ...
#   follow = true            # true: crops around the animal, false: whole pictures; unsaid: what is less work
#   thorough = true          # true: three looks at each picture; unsaid: where the animal fills all pictures alike
# mirror = false             # true: look at each picture's mirror image too; better, at half the speed

[reconstruction]
# method = {_show(reconstruction.method)}          # robust: one wrong view does not move a point; or linear
# min_confidence = {reconstruction.min_confidence}       # 2D points below it are not used
#   max_error_px = 10.0     # robust: a view farther off is left out; by default 6 times the noise in the data
# min_views = {reconstruction.min_views}
#   shared_error = 0.44     # share of a point's variance common to all views; unsaid: from labels, or usual

# Trajectories over time (`multipose reconstruct --smooth`); how smoothly each key point moves is learned.
[smoothing]
# enabled = {_show(smoothing.enabled)}            # true: `multipose run` smooths every recording
# prior = {_show(smoothing.prior)}     # what changes little between frames: acceleration or jerk
#   limbs = [["hip", "knee"]]          # distances that hardly change; by default the skeleton's edges
#   limb_lengths = [["hip", "knee", 21.5]]             # where they are known, in the rig's unit
#   joint_limits = [["hip", "knee", "ankle", 20, 175]] # angles at the middle one, in degrees
#   max_gap = 20                       # frames; longer gaps are not written

# What is measured on the trajectories, by names of your own (`multipose kinematics`).
[kinematics]
# smoothed = false           # true: measure on the smoothed trajectories
# speed_reach = 1            # a speed is the slope of the positions over so many frames on either side
#   [kinematics.angles]
#   knee = ["hip", "knee", "ankle"]          # at the middle one; four key points: between two segments
#   [kinematics.inclinations]
#   head = ["neck", "nose", "z"]             # from, to, and an axis of the world
#   [kinematics.chains]
#   spine = ["neck", "back", "hip", "tail"]  # the angle at each but the first and last
#   [kinematics.distances]
#   gape = ["jaw", "nose"]
#   [kinematics.speeds]
#   body = ["neck", "hip"]                   # of their mean
#   [kinematics.egocentric]                  # all key points in the animal's frame
#   origin = "hip"
#   forward = ["neck"]                       # x; the mean of these
#   up = "z"                                 # z is as near to it as x allows: a world axis or a key point
"""


def _board_template(board: BoardConfig | None) -> str:
    if board is not None:
        counted = {"chessboard": "inner corners", "charuco": "squares", "aprilgrid": "tags"}[board.type]
        lines = "\n".join(f"{key} = {_show(value)}" for key, value in board.to_dict().items())
        return f"""\
# The calibration board. columns and rows count {counted}; lengths are in `unit`, which becomes the unit of all results.
[board]
{lines}
"""
    return """\
# The calibration board; its unit becomes the unit of all results.
# [board]
# type = "charuco"           # columns and rows count squares; for "chessboard" inner corners, for "aprilgrid" tags
# columns = 8
# rows = 11
# square = 24.0              # side of a square, in unit
# marker = 18.75             # side of a marker, in unit (charuco)
# dictionary = "4X4_1000"    # (charuco; aprilgrid: by default "APRILTAG_36H11")
#   thickness = 5.0          # distance between the prints of a two-sided board, in unit (charuco)
#   spacing = 7.2            # gap between two tags, in unit (aprilgrid; Kalibr's tagSpacing * tagSize)
#   first = 0                # number of the tag at the bottom left (aprilgrid)
#   border = 2               # width of the tags' black border in cells (aprilgrid; most tools but Kalibr print 1)
# unit = "mm"
"""


def _show_list(values: Iterable[Any]) -> str:
    """A TOML list, over several lines where one would be long."""
    items = [_show(value) for value in values]
    line = f"[{', '.join(items)}]"
    return line if len(line) <= 100 else "[\n" + "".join(f"    {item},\n" for item in items) + "]"


def _quote_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _show(key)
