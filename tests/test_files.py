from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from multipose.errors import DataError, FormatError, ProjectError
from multipose.files import (
    SCHEMA_VERSION,
    atomic_path,
    check_file,
    check_room,
    check_schema,
    content_hash,
    file_lock,
    hash_value,
    lock_owner,
    natural_key,
    path_inside,
    write_text,
)
from multipose.formats.movement import write_keypoints
from multipose.formats.pandas_hdf import write_frame
from multipose.tracks import keypoints2d, save_tracks


def test_names_are_in_natural_order() -> None:
    names = ["cam_10", "cam_2", "Cam_1", "10", "9", "back", "top"]
    assert sorted(names, key=natural_key) == ["9", "10", "back", "Cam_1", "cam_2", "cam_10", "top"]


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.text(max_size=8))
def test_numbers_in_names_count_as_numbers(a: int, b: int, rest: str) -> None:
    assert (natural_key(f"cam_{a}_{rest}") < natural_key(f"cam_{b}_{rest}")) == (a < b)


@given(st.lists(st.text(max_size=8), max_size=8))
@example(["²", "٣", "3"])  # a digit that is no decimal, and one that is
def test_any_names_can_be_ordered(names: list[str]) -> None:
    assert sorted(sorted(names, key=natural_key)) == sorted(names)


def test_a_file_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.toml"
    write_text(target, "one\n")
    assert target.read_bytes() == b"one\n"
    write_text(target, "two\n")
    assert target.read_text(encoding="utf-8") == "two\n"
    assert [path.name for path in target.parent.iterdir()] == ["a.toml"]


def test_an_error_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.nc"
    write_text(target, "old")

    class StopError(Exception):
        pass

    with pytest.raises(StopError), atomic_path(target) as temporary:
        assert temporary.suffix == ".nc"
        temporary.write_text("half", encoding="utf-8")
        raise StopError
    assert target.read_text(encoding="utf-8") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.nc"]


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    code = (
        "import os, sys; from multipose.files import atomic_path\n"
        "with atomic_path(sys.argv[1]): os.kill(os.getpid(), 9)"
    )
    target = tmp_path / "a.nc"
    subprocess.run([sys.executable, "-c", code, str(target)], check=False)
    (left,) = tmp_path.iterdir()
    assert left.name.endswith(".part.nc")
    with atomic_path(target) as mine, atomic_path(target):  # of a process that runs: stays
        assert mine.exists()
        assert not left.exists()
        mine.write_text("whole", encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["a.nc"]


def test_the_hash_follows_the_content(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_bytes(b"x" * 3_000_000)
    b.write_bytes(b"x" * 3_000_000)
    assert content_hash(a) == content_hash(b)
    b.write_bytes(b"x" * 2_999_999 + b"y")
    os.utime(b, ns=(1, 1))
    assert content_hash(a) != content_hash(b)


def test_the_hash_of_a_folder_follows_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "1.png").write_bytes(b"a")
    before = content_hash(tmp_path / "one")
    (tmp_path / "one" / "1.png").rename(tmp_path / "one" / "2.png")
    assert content_hash(tmp_path / "one") != before


def test_the_hash_of_a_missing_file_names_it(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="gone.mp4"):
        content_hash(tmp_path / "gone.mp4")


def test_the_order_of_keys_does_not_change_a_hash() -> None:
    assert hash_value({"a": 1, "b": [1, None]}) == hash_value({"b": [1, None], "a": 1})
    assert hash_value({"a": 1}) != hash_value({"a": 2})


@pytest.mark.parametrize("version", [SCHEMA_VERSION + 1, 0, "1", None, True])
def test_a_wrong_schema_is_refused(version: object) -> None:
    with pytest.raises(FormatError, match=r"rig\.toml"):
        check_schema(version, "rig.toml")


def test_the_own_schema_is_read() -> None:
    check_schema(SCHEMA_VERSION, "rig.toml")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("pipe", "no regular file"),
        ("zero", "no regular file"),
        ("loop", "cannot be read"),
        ("dangling", "it is a link to"),
    ],
)
def test_only_regular_files_are_hashed(tmp_path: Path, name: str, problem: str) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("no named pipes here")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(FormatError, match=problem) as caught:
        content_hash(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    content_hash(tmp_path)  # of a folder: what is no file in it does not count


@pytest.mark.parametrize("name", ["", ".", "..", "../a", "/a", "a/b", "a\\b", "a\0b", "a\nb", "ä" * 200])
def test_names_stay_in_their_folder(tmp_path: Path, name: str) -> None:
    assert path_inside(tmp_path, "day, 2", "..a", "b.c") == tmp_path / "day, 2" / "..a" / "b.c"
    with pytest.raises(DataError, match="cannot be the name of a file or folder in"):
        path_inside(tmp_path, "a", name)


@pytest.mark.parametrize("pid", [10**30, -1, 0])
def test_the_lock_of_a_process_that_cannot_be_is_taken_over(tmp_path: Path, pid: int) -> None:
    (tmp_path / "lock").write_text(json.dumps({"pid": pid, "host": socket.gethostname(), "since": "long ago"}))
    with file_lock(tmp_path / "lock"):
        pass


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_what_is_no_lock_is_neither_waited_for_nor_read(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    for make in (lambda: os.mkfifo(lock), lambda: lock.symlink_to("/dev/zero"), lambda: lock.write_text("[" * 100_000)):
        make()
        assert lock_owner(lock) is None
        with pytest.raises(ProjectError, match=f"{lock} is held .* delete the file"), file_lock(lock):
            pass
        lock.unlink()
    lock.touch()
    os.truncate(lock, 10**11)
    assert lock_owner(lock) is None


def test_gigabytes_that_were_never_written_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(bytes(10_000))
    check_file(path)
    with path.open("rb+") as file:
        os.fsync(file.fileno())
    os.truncate(path, 10**11)
    for read in (check_file, content_hash):
        with pytest.raises(FormatError, match=r"a\.safetensors says that it has 100,000,000,000 bytes, of which"):
            read(path)


def test_an_empty_lock_holds_nobody_up_for_long(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.touch()
    with pytest.raises(ProjectError, match="left unreadable"), file_lock(lock):
        pass
    os.utime(lock, (1, 1))
    with file_lock(lock):
        pass
    assert not lock.exists()


def test_errors_of_a_full_disk_name_the_file(tmp_path: Path) -> None:
    target = tmp_path / "a.nc"
    write_text(target, "old")
    for error in (
        OSError(errno.ENOSPC, "No space left on device"),
        OSError("HDF5: can't write"),
        OSError(errno.EIO, "x"),
    ):
        with pytest.raises(OSError) as caught, atomic_path(target):
            raise error
        assert caught.value.filename == str(target)
        assert caught.value.strerror
    with pytest.raises(FileNotFoundError, match="other"), atomic_path(target):
        (tmp_path / "other").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["a.nc"]
    assert target.read_text() == "old"


def test_room_is_looked_for_before_hdf5_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_room(tmp_path / "new" / "folder" / "a.nc", 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=3_000_000))
    check_room(tmp_path / "a.nc", 500_000)
    dataset = keypoints2d(np.zeros((1, 40_000, 1, 2, 2)), views=["a"], fps=10)
    for write in (
        lambda: save_tracks(dataset, tmp_path / "a.nc"),
        lambda: write_keypoints(dataset, tmp_path / "a.nc", view="a"),
        lambda: write_frame(pd.DataFrame(np.zeros((40_000, 4))), tmp_path / "a.h5", "key"),
    ):
        with pytest.raises(OSError, match="up to .* bytes are needed, 3,000,000 are free") as caught:
            write()
        assert caught.value.errno == errno.ENOSPC
        assert str(caught.value.filename).startswith(str(tmp_path / "a."))
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_cannot_be_written_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(json, "dump", full)
    with pytest.raises(OSError, match="No space left") as caught, file_lock(tmp_path / "lock"):
        pass
    assert caught.value.filename == str(tmp_path / "lock")
    assert not (tmp_path / "lock").exists()


def test_a_lock_keeps_another_process_out(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    code = f"from multipose.files import file_lock\nwith file_lock({str(lock)!r}): pass"
    with file_lock(lock):
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert other.returncode != 0
        assert f"process {os.getpid()} has been working in this folder" in other.stderr
    assert not lock.exists()
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_lock_of_a_process_that_is_gone_is_taken_over(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    lock = tmp_path / ".lock"
    lock.write_text(json.dumps({"pid": gone.pid, "host": socket.gethostname(), "since": "then"}), encoding="utf-8")
    with file_lock(lock):
        assert json.loads(lock.read_text(encoding="utf-8"))["pid"] == os.getpid()


@pytest.mark.parametrize(
    ("content", "message"),
    [("", "delete the file"), ('{"pid": 1, "host": "another-machine", "since": "then"}', "on another-machine")],
)
def test_a_lock_that_cannot_be_judged_is_respected(tmp_path: Path, content: str, message: str) -> None:
    lock = tmp_path / ".lock"
    lock.write_text(content, encoding="utf-8")
    with pytest.raises(ProjectError, match=message), file_lock(lock):
        pass
    assert lock.exists()
