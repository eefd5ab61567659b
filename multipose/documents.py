"""Small files that are read whole, TOML, JSON and npz: sizes are checked first, damage is told by the file's name."""

from __future__ import annotations

import codecs
import hashlib
import io
import json
import os
import struct
import tomllib
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from multipose.errors import FormatError
from multipose.files import atomic_path, check_file

_MOST_TEXT = 64 << 20  # bytes
MOST_TABLE = 256 << 20
"""Bytes of a table of text that is read whole: millions of rows."""
_ALWAYS = 64 << 20  # bytes that an array of an npz may have, however little of it is stored
_MOST_COMPRESSION = 1100  # deflate cannot shrink by more than 1032
_CHECKSUM = "sha256"
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SAVE_AS = "Save the file as UTF-8 (in Excel: CSV UTF-8)."


def check_document(path: str | os.PathLike[str], most: int = _MOST_TEXT) -> None:
    """Refuse what is no file that can be read whole.

    Raises:
        FormatError: it is missing, no regular file, or has more than `most` bytes.
    """
    check_file(path)
    size = Path(path).stat().st_size
    if size > most:
        raise FormatError(f"{path} has {size:,} bytes; a file of its kind has at most {most:,}.")


def read_document(path: str | os.PathLike[str], most: int = _MOST_TEXT) -> str:
    """The text of a small file, whatever Unicode encoding its byte order mark says; without one UTF-8.

    Raises:
        FormatError: it is missing, no regular file, larger than `most` bytes, or no such text; the line is named.
    """
    place = Path(path)
    check_document(place, most)
    try:
        data = place.read_bytes()
    except OSError as error:
        raise FormatError(f"{place} cannot be read ({error.strerror}).") from error
    mark, encoding = next(((mark, name) for mark, name in _MARKS if data.startswith(mark)), (b"", "utf-8"))
    if not mark and b"\0" in data:
        raise FormatError(f"{place} holds zero bytes: it is no text, or UTF-16 without a mark. {_SAVE_AS}")
    try:
        return data[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        at = len(mark) + error.start
        line = data.count("\n".encode(encoding), 0, at) + 1
        said = f"the byte 0x{data[at]:02x} is no {encoding.upper()}"
        if mark:
            raise FormatError(f"{place}, line {line}: {said}, as its mark says. Copy the file again.") from None
        raise FormatError(f"{place}, line {line}: {said} but of an older encoding (cp1252?). {_SAVE_AS}") from None


def read_json(path: str | os.PathLike[str]) -> Any:
    """The value in a JSON file.

    Raises:
        FormatError: as of `read_document`, or it is no JSON.
    """
    text = read_document(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path} is no whole JSON file ({error}).") from None


def parse_toml(text: str, source: str | os.PathLike[str]) -> dict[str, Any]:
    """The tables of a TOML text; `source` is the file's name for messages.

    Raises:
        FormatError: it is no TOML.
    """
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise FormatError(f"{source} is not valid TOML: {error}.") from None


def read_toml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        FormatError: as of `read_document` and `parse_toml`.
    """
    return parse_toml(read_document(path), path)


def write_arrays(path: str | os.PathLike[str], **arrays: npt.ArrayLike) -> None:
    """Write arrays as a compressed .npz with their checksum, whole or not at all."""
    values = {name: np.asarray(value) for name, value in arrays.items()}
    content = io.BytesIO()  # a zip file that meets a full disk complains again when it is closed
    np.savez_compressed(content, allow_pickle=False, **values, **{_CHECKSUM: np.array(_checksum(values))})
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def read_arrays(
    path: str | os.PathLike[str], what: str = "file of arrays", remedy: str = "Make it again."
) -> dict[str, npt.NDArray[Any]]:
    """The arrays of an .npz, each once its declared size is known to be what is stored.

    Args:
        path: the file.
        what: it should be, and
        remedy: what to do if it is not, for messages.

    Raises:
        FormatError: the file is missing, damaged, holds objects, or its arrays are not those that were written.
    """
    place = Path(path)
    check_file(place)
    try:
        with zipfile.ZipFile(place) as archive:
            for member in archive.infolist():
                _check_member(archive, member, place)
        with open(place, "rb") as file, np.load(file, allow_pickle=False) as data:
            values = {str(name): np.asarray(data[name]) for name in data.files}
    except (
        ValueError,  # UnicodeDecodeError among them
        TypeError,
        KeyError,
        EOFError,
        OSError,
        NotImplementedError,
        RuntimeError,
        SyntaxError,
        MemoryError,
        struct.error,
        zlib.error,
        zipfile.BadZipFile,
    ) as error:
        raise FormatError(f"{place} is not a readable {what} ({type(error).__name__}: {error}). {remedy}") from error
    stated = values.pop(_CHECKSUM, None)
    if stated is not None and str(stated) != _checksum(values):
        raise FormatError(f"{place}: the values are not those that were written (their checksum differs). {remedy}")
    return values


def _check_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> None:
    """Refuse an array that declares another size than its member has, or a member that swells when it is unpacked."""
    if member.file_size > max(_ALWAYS, member.compress_size * _MOST_COMPRESSION):
        raise FormatError(
            f"{path}, {member.filename}: declares {member.file_size:,} bytes; {member.compress_size:,} are stored."
        )
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, kind = read(file)
        declared = int(np.prod(shape, dtype=object)) * kind.itemsize
        if kind.hasobject or min(shape, default=0) < 0 or file.tell() + declared != member.file_size:
            raise FormatError(
                f"{path}, {member.filename}: declares the shape {shape} of {kind}, {declared:,} bytes; "
                f"{member.file_size - file.tell():,} are there. Make the file again."
            )


def _checksum(values: dict[str, npt.NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for name in sorted(values):
        value = values[name]
        digest.update(f"{name} {value.dtype.str} {value.shape} ".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()
