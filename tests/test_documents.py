"""Small files that lie: sizes, nesting, encodings, checksums, and what is no regular file."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from multipose.documents import read_arrays, read_document, read_json, read_toml, write_arrays
from multipose.errors import FormatError


def test_documents_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": [1, "ä"]}', encoding="utf-8")
    (tmp_path / "a.toml").write_text("[a]\nb = 1\n", encoding="utf-8")
    assert read_json(tmp_path / "a.json") == {"a": [1, "ä"]}
    assert read_toml(tmp_path / "a.toml") == {"a": {"b": 1}}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "no whole JSON"),
        (b'{"a": ', "no whole JSON"),
        (b"[" * 100_000, "no whole JSON"),
        (b"\xff\xfe1", "no UTF-16"),
        (b"9" * 5000, "no whole JSON"),
    ],
)
def test_damaged_json_is_told(tmp_path: Path, content: bytes, problem: str) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(FormatError, match=rf"a\.json.* {problem}"):
        read_json(tmp_path / "a.json")


def test_deep_toml_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("a = " + "[" * 100_000)
    with pytest.raises(FormatError, match=r"a\.toml is not valid TOML"):
        read_toml(tmp_path / "a.toml")


def test_only_regular_files_of_a_sane_size_are_read(tmp_path: Path) -> None:
    (tmp_path / "big.json").touch()
    os.truncate(tmp_path / "big.json", 10**11)
    with pytest.raises(FormatError, match=r"big\.json has 100,000,000,000 bytes"):
        read_document(tmp_path / "big.json")
    for name in (".", "/dev/zero", str(tmp_path / "none")):
        with pytest.raises(FormatError):
            read_document(tmp_path / name)


def test_arrays_come_back_and_a_changed_one_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    write_arrays(path, x=np.arange(6.0).reshape(2, 3), names=np.array(["ä", "b"]), version=1)
    values = read_arrays(path)
    assert sorted(values) == ["names", "version", "x"]
    np.savez(path, **{**dict(np.load(path)), "x": values["x"] * 1e12})
    with pytest.raises(FormatError, match="checksum differs"):
        read_arrays(path)
    np.savez(path, **{name: value for name, value in values.items() if name != "sha256"})
    assert read_arrays(path)["x"].tolist() == values["x"].tolist()  # as files of before checksums were written


def npz(path: Path, header: str, data: bytes = b"") -> Path:
    """A file with one array, whose header says something of its own."""
    text = header.ljust(117) + "\n"
    buffer = io.BytesIO()
    buffer.write(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + data)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", buffer.getvalue())
    return path


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        (
            "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }",
            "8,000,000,000,000 bytes; 16 are there",
        ),
        ("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }", "declares the shape"),
        ("{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }", "8 bytes; 16 are there"),
        ("{'descr': '|O', 'fortran_order': False, 'shape': (2,), }", "declares the shape|Object arrays"),
        ("__import__('os').system('true')", "not a readable file of arrays"),
        ("", "not a readable file of arrays"),
    ],
)
def test_arrays_that_declare_something_else_are_refused(tmp_path: Path, header: str, problem: str) -> None:
    path = npz(tmp_path / "a.npz", header, b"\0" * 16)
    with pytest.raises(FormatError, match=problem) as caught:
        read_arrays(path)
    assert "a.npz" in str(caught.value)


def test_a_member_that_swells_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("x.npy", bytes(100_000_000))
    with pytest.raises(FormatError, match=r"x\.npy: declares 100,000,000 bytes"):
        read_arrays(tmp_path / "a.npz")


def test_flipped_bytes_are_told(tmp_path: Path) -> None:
    write_arrays(tmp_path / "whole.npz", x=np.random.default_rng(0).normal(size=200))
    whole = np.frombuffer((tmp_path / "whole.npz").read_bytes(), np.uint8)
    random = np.random.default_rng(1)
    for _ in range(200):
        data = whole.copy()
        data[random.integers(0, len(data), 4)] ^= 0x55
        (tmp_path / "a.npz").write_bytes(data.tobytes())
        try:
            values = read_arrays(tmp_path / "a.npz")
        except FormatError:
            continue
        np.testing.assert_array_equal(values.get("x", []), np.random.default_rng(0).normal(size=200))
