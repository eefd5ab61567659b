"""Text files and tables as people save them."""

from __future__ import annotations

from pathlib import Path

import pytest

from multipose.documents import read_document
from multipose.errors import FormatError
from multipose.text import read_rows

TABLE = "name,x,y\nMäuse,1.5,2\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_unicode_is_read_by_its_mark(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.csv"
    mark = "\ufeff" if encoding.endswith("e") else ""
    path.write_bytes((mark + TABLE).encode(encoding))
    assert read_document(path) == TABLE
    assert read_rows(path).cells == [["name", "x", "y"], ["Mäuse", "1.5", "2"]]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (TABLE.encode("cp1252"), "line 2: the byte 0xe4 is no UTF-8.*Save the file as UTF-8"),
        (TABLE.encode("mac-roman"), "line 2: the byte 0x8a"),
        (("\ufeff" + TABLE).encode("utf-16-le")[:-1], "line 2: .*no UTF-16.*Copy"),
        (TABLE.encode("utf-16-le"), "zero bytes.*Save the file as UTF-8"),
        (b"\x89PNG\r\n\x1a\n\0\0", "zero bytes"),
        (b'a,b\n"1,2', None),
    ],
)
def test_other_bytes_are_refused_by_line(tmp_path: Path, data: bytes, problem: str | None) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(data)
    if problem is None:
        assert read_rows(path).cells == [["a", "b"], ["1,2"]]
        return
    with pytest.raises(FormatError, match=rf"a\.csv.*{problem}"):
        read_rows(path)


@pytest.mark.parametrize(
    "text",
    [
        "a,b,c\n1.5,x,2\n",
        "a;b;c\n1,5;x;2\n",
        "a\tb\tc\n1,5\tx\t2\n",
        '"a","b","c"\n"1.5","x","2"\n',
        "sep=;\na;b;c\n1,5;x;2\n",
        "a,b,c,,\n1.5,x,2,,\n,,,,\n\n",
        "\n a , b , c\r\n1.5, x ,2\r\n",
    ],
)
def test_tables_are_read_alike(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text, encoding="utf-8", newline="")
    rows = read_rows(path)
    columns = rows.columns()
    assert {name: [rows.decimal(cell) for cell in cells] for name, cells in columns.items()} == {
        "a": ["1.5"],
        "b": ["x"],
        "c": ["2"],
    }


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty"),
        ("\n,,\n", "is empty"),
        ("a,b\n\n1\n", "line 3: 1 cells, but 2 columns"),
        ("a,b\n1,2,3\n", "line 2: 3 cells"),
        ("a,b,a\n1,2,3\n", "column 'a' stands twice"),
    ],
)
def test_rows_that_do_not_fit_are_named(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(FormatError, match=problem):
        read_rows(path).columns()


def test_a_decimal_comma_is_none_where_commas_separate_cells(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('a,b\n"1,5",2\n')
    assert read_rows(path).decimal("1,5") == "1,5"
    with pytest.raises(FormatError, match="no file"):
        read_document(tmp_path / "none.csv")
