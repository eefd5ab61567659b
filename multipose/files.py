"""Files that appear whole or not at all, what identifies their content, and locks."""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import re
import shutil
import socket
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from multipose.errors import DataError, FormatError, ProjectError

SCHEMA_VERSION = 1
"""Version of the layout of every file that multipose writes; a reader refuses a newer one."""

TIME_FORMAT = "%Y-%m-%d %H:%M:%S"
"""How a lock says, in local time, since when it is held."""

_CHUNK = 1 << 20
_LARGE = 1 << 30  # bytes
_MOST_PID = 1 << 31
_ROOM_TO_SPARE = 2 << 20  # bytes beside the values: what a file says of itself, and other files of a project
_LONGEST_LOCK = 10_000  # letters
_EMPTY_LOCK_SECONDS = 60.0  # a lock is written at once after it was made


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sorting key under which cam_2 comes before cam_10."""
    return tuple(
        (0, int(part), "") if part.isdecimal() else (1, 0, part.lower()) for part in re.split(r"(\d+)", name) if part
    )


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place, flushed to disk, when the block ends without an error.

    The temporary file keeps the suffix, so that libraries which look at it do the same as for `path`. What a process of
    this machine that was killed left behind for the same `path` is removed. An OSError of the block that names no other
    file (the disk is full) names `path`.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    start, end, host = f".{target.stem}.", f".part{target.suffix}", socket.gethostname()
    for left in target.parent.glob(glob.escape(f"{start}{host}.") + "*" + glob.escape(end)):
        pid = left.name.removeprefix(f"{start}{host}.").partition(".")[0]
        if pid.isdecimal() and not _is_running(int(pid)):
            left.unlink(missing_ok=True)
    handle, name = tempfile.mkstemp(prefix=f"{start}{host}.{os.getpid()}.", suffix=end, dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
    except OSError as error:
        if error.filename not in (None, name, temporary):
            raise
        raise OSError(error.errno or errno.EIO, error.strerror or str(error), str(target)) from error
    finally:
        temporary.unlink(missing_ok=True)


def check_room(path: str | os.PathLike[str], size: int) -> None:
    """Make sure that a file of `size` bytes and a little more fits on the disk where `path` is or will be.

    For libraries that must not meet a full disk while they write: HDF5 may take the process down with it.

    Raises:
        OSError: (ENOSPC) it does not fit.
    """
    folder = next(folder for folder in Path(path).absolute().parents if folder.is_dir())
    free = shutil.disk_usage(folder).free
    if free < size + _ROOM_TO_SPARE:
        said = f"{os.strerror(errno.ENOSPC)}: up to {size + _ROOM_TO_SPARE:,} bytes are needed, {free:,} are free"
        raise OSError(errno.ENOSPC, said, str(path))


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file (UTF-8, newlines as given) whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


@lru_cache(maxsize=1)
def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def check_file(path: str | os.PathLike[str], error: type[FormatError] = FormatError) -> None:
    """Refuse what is no regular file: reading a named pipe would wait for ever, and a device may have no end.

    Refused too are gigabytes of which the disk holds next to nothing: they would take minutes, and be zeros.

    Raises:
        FormatError: (or the kind given) there is no such file, it cannot be reached, or it is something else.
    """
    place = Path(path)
    try:
        status = place.stat()
        mode = status.st_mode
    except FileNotFoundError:
        hint = f" (it is a link to {os.readlink(place)})" if place.is_symlink() else ""
        raise error(f"There is no file {place}{hint}.") from None
    except (OSError, ValueError) as problem:
        said = problem.strerror if isinstance(problem, OSError) else problem
        raise error(f"{_shortened(place)} cannot be read ({said}).") from None
    if stat.S_ISDIR(mode):
        raise error(f"{place} is a folder; a file was expected.")
    if not stat.S_ISREG(mode):
        raise error(f"{place} is no regular file (a pipe, a socket or a device); put the file itself there.")
    stored = getattr(status, "st_blocks", 0) * 512  # 0 where the file system does not say
    if status.st_size > _LARGE and 0 < stored < status.st_size / 100:
        raise error(
            f"{place} says that it has {status.st_size:,} bytes, of which the disk holds {stored:,}: it was never "
            "written to its end. Copy or make it again."
        )


def path_inside(folder: str | os.PathLike[str], *names: str) -> Path:
    """folder/name/name/..., with names that can only lead down into the folder: they may come from a file of others.

    Raises:
        DataError: a name is empty, "." or "..", holds a slash, a backslash or a control character, or is too long.
    """
    for name in names:
        if name in ("", ".", "..") or re.search(r"[/\\\x00-\x1f]", name) or len(os.fsencode(name)) > 255:
            shown = name if len(name) <= 80 else f"{name[:80]}..."
            raise DataError(
                f"{shown!r} cannot be the name of a file or folder in {folder}: it is empty, too long, or would lead "
                "elsewhere. Give it another name where it comes from."
            )
    return Path(folder, *names)


def _shortened(path: Path) -> str:
    text = str(path)
    return text if len(text) <= 200 else f"{text[:100]}...{text[-50:]}"


def content_hash(path: str | os.PathLike[str]) -> str:
    """SHA-256 (hex) of a file's content, or of the names and contents in a folder.

    A file that has the same size and modification time as when it was last read in this process is not read again.

    Raises:
        FormatError: there is no such file.
    """
    place = Path(path)
    if place.is_dir():
        inside = sorted(child for child in place.rglob("*") if child.is_file())
        return hash_value([[child.relative_to(place).as_posix(), content_hash(child)] for child in inside])
    check_file(place)
    status = place.stat()
    return _file_hash(str(place.resolve()), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=4096)
def _file_hash(path: str, size: int, mtime_ns: int) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def hash_value(value: Any) -> str:
    """SHA-256 (hex) of a value made of dicts, lists, strings, numbers, booleans and None; key order does not matter."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def check_schema(version: object, path: str | os.PathLike[str]) -> None:
    """Refuse a file whose schema version this multipose does not know.

    Raises:
        FormatError: the version is newer, or is not a whole number.
    """
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise FormatError(f"{path}: schema_version must be a whole number from 1 on, got {version!r}.")
    if version > SCHEMA_VERSION:
        raise FormatError(
            f"{path}: written by a newer multipose (schema version {version}; this one reads up to {SCHEMA_VERSION}). "
            "Update multipose to read it."
        )


@contextmanager
def file_lock(path: str | os.PathLike[str]) -> Iterator[None]:
    """Hold a lock file while the block runs, so that two processes do not write the same products.

    A lock left behind by a process of this machine that is gone (a crash, kill -9) is taken over.

    Raises:
        ProjectError: another process holds the lock.
    """
    lock = Path(path)
    lock.parent.mkdir(parents=True, exist_ok=True)
    mine = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime(TIME_FORMAT)}
    for _ in range(2):
        try:
            handle = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            _remove_stale(lock)
            continue
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(mine, file)
        except OSError as error:  # a full disk: an empty lock would hold up the next run
            lock.unlink(missing_ok=True)
            raise OSError(error.errno, error.strerror, str(lock)) from error
        break
    else:
        raise ProjectError(f"{lock}: another multipose process took the lock at the same moment. Try again.")
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


@dataclass(frozen=True)
class LockOwner:
    """The process that holds a lock: its number, the machine it runs on, and since when (local time there)."""

    pid: int
    host: str
    since: str

    def __str__(self) -> str:
        where = "" if self.host == socket.gethostname() else f" on {self.host}"
        return f"process {self.pid}{where}, since {self.since}"


def lock_owner(path: str | os.PathLike[str]) -> LockOwner | None:
    """The other process that holds a lock file; None where there is none, it is gone, or the file cannot be read.

    Whether a process of another machine still runs cannot be known; it counts as running.
    """
    try:
        owner = _read_lock(Path(path))
    except (OSError, FormatError):
        return None
    if owner.host != socket.gethostname():
        return owner
    return owner if owner.pid != os.getpid() and _is_running(owner.pid) else None


def _remove_stale(lock: Path) -> None:
    """Remove a lock whose owner is gone; raise ProjectError when it is alive or cannot be known."""
    try:
        owner = _read_lock(lock)
    except FileNotFoundError:
        return
    except (OSError, FormatError):
        if _is_old_and_empty(lock):  # left by a process that could not write into it
            lock.unlink(missing_ok=True)
            return
        raise ProjectError(
            f"{lock} is held by another multipose process, or was left unreadable by one that was killed. "
            "If none is running, delete the file."
        ) from None
    if owner.host != socket.gethostname():
        raise ProjectError(
            f"{lock}: process {owner.pid} on {owner.host} has been working in this folder since {owner.since}. "
            "Wait for it, or delete the file if that process is gone."
        )
    if _is_running(owner.pid) and owner.pid != os.getpid():
        raise ProjectError(
            f"{lock}: process {owner.pid} has been working in this folder since {owner.since}. "
            "Wait for it to end, or delete the file if that process is something else."
        )
    lock.unlink(missing_ok=True)


def _read_lock(lock: Path) -> LockOwner:
    """The process that a lock names.

    Raises:
        OSError: it cannot be read, or there is none.
        FormatError: it is no lock; a pipe or a device is not waited for.
    """
    if not stat.S_ISREG(lock.stat().st_mode):
        raise FormatError(f"{lock} is no regular file.")
    with lock.open(encoding="utf-8") as file:
        try:
            owner = json.loads(file.read(_LONGEST_LOCK))
            return LockOwner(int(owner["pid"]), str(owner["host"]), str(owner["since"]))
        except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
            raise FormatError(f"{lock} is no lock ({error}).") from None


def _is_old_and_empty(lock: Path) -> bool:
    status = lock.stat()
    return stat.S_ISREG(status.st_mode) and not status.st_size and time.time() - status.st_mtime > _EMPTY_LOCK_SECONDS


def _is_running(pid: int) -> bool:
    if not 0 < pid < _MOST_PID:
        return False
    if os.name == "nt":
        import ctypes

        handle = ctypes.windll.kernel32.OpenProcess(0x1000, False, pid)  # type: ignore[attr-defined,unused-ignore]
        if handle:
            ctypes.windll.kernel32.CloseHandle(handle)  # type: ignore[attr-defined,unused-ignore]
        return bool(handle)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
