"""Compile the kernels when they are first used, and keep the machine code in the user's cache folder.

numba's own choice of a cache folder is the folder of the source file, which an installed package may not be allowed to
write. Here it is `<user cache>/multipose/kernels-<hash of the sources>`, the sources being the file of a kernel and
those of the compiled functions that it imports; where that cannot be written the kernels are compiled anew in every
process. A folder that the user gave numba (NUMBA_CACHE_DIR) is respected.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import platformdirs

_LOCK = threading.Lock()


class Kernel:
    """A function that numba compiles at its first call; it releases the interpreter's lock while it runs."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self._compiled: Callable[..., Any] | None = None
        self.__name__ = function.__name__
        self.__doc__ = function.__doc__

    @property
    def is_compiled(self) -> bool:
        """Whether the next call finds machine code, of this process or of an earlier one."""
        if self._compiled is not None:
            return True
        folder = Path(_cache_folder(self.function))
        return any(folder.glob(f"*/*.{self.function.__qualname__}-*.nbi"))

    def __call__(self, *arguments: Any) -> Any:
        if self._compiled is None:
            with _LOCK:
                if self._compiled is None:
                    self._compiled = _compile(self.function)
        return self._compiled(*arguments)


def kernel_folder(*sources: str | os.PathLike[str]) -> Path:
    """Where the machine code of source files is kept: another source, another folder."""
    digest = hashlib.sha256(b"".join(Path(source).read_bytes() for source in sources)).hexdigest()[:16]
    return Path(platformdirs.user_cache_dir("multipose", appauthor=False)) / f"kernels-{digest}"


def sources(function: Callable[..., Any]) -> tuple[str, ...]:
    """The file of a function and, sorted, those of the compiled functions that it can name, and of theirs."""
    own = inspect.getfile(function)
    found, waiting = set[str](), [function]
    while waiting:
        one = waiting.pop()
        file = inspect.getfile(one)
        if file not in found:
            found.add(file)
            waiting += [value.py_func for value in one.__globals__.values() if hasattr(value, "py_func")]
    return (own, *sorted(found - {own}))


def _cache_folder(function: Callable[..., Any]) -> str:
    given: str = numba.config.CACHE_DIR
    return given or str(kernel_folder(*sources(function)))


def _compile(function: Callable[..., Any]) -> Callable[..., Any]:
    compiled = numba.njit(nogil=True, error_model="numpy", fastmath={"contract", "nsz"})(function)
    given: str = numba.config.CACHE_DIR
    folder = _cache_folder(function)
    if _writable(folder):
        numba.config.CACHE_DIR = folder  # read by enable_caching alone
        try:
            compiled.enable_caching()
        finally:
            numba.config.CACHE_DIR = given
    result: Callable[..., Any] = compiled
    return result


def _writable(folder: str) -> bool:
    try:
        os.makedirs(folder, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True
