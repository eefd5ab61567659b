"""The one door to OpenCV: its import, its thread count, and what differs between its versions 4 and 5."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from multipose.errors import InstallationError

# What apt calls the packages that hold the shared libraries OpenCV links to (Debian 12, Ubuntu 24.04).
_SYSTEM_PACKAGES = {
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libSM.so.6": "libsm6",
    "libXext.so.6": "libxext6",
    "libxcb.so.1": "libxcb1",
}


def explain_import_error(error: ImportError) -> InstallationError:
    """Turn OpenCV's failed import into an error that names the command which mends it."""
    text = str(error)
    for library, package in _SYSTEM_PACKAGES.items():
        if library in text:
            return InstallationError(
                f"OpenCV cannot start: the system library {library} is missing. On Debian and Ubuntu install it with\n"
                f"    sudo apt-get install -y {package}\n"
                "or, on a machine without a screen, replace opencv-contrib-python by opencv-contrib-python-headless:\n"
                "    pip uninstall opencv-contrib-python && pip install opencv-contrib-python-headless"
            )
    return InstallationError(
        f"OpenCV cannot be imported ({text}). Install it with\n    pip install opencv-contrib-python"
    )


try:
    import cv2
except ImportError as _error:
    raise explain_import_error(_error) from _error

if not hasattr(cv2, "aruco"):
    raise InstallationError(
        f"OpenCV {cv2.__version__} lacks the aruco module. multipose needs the contrib build:\n"
        "    pip uninstall opencv-python opencv-python-headless && pip install --force-reinstall opencv-contrib-python"
    )

__all__ = ["corners_nx2", "cv2", "explain_import_error", "set_threads"]


def corners_nx2(corners: object) -> npt.NDArray[np.float64]:
    """Corners as OpenCV returns them, (n, 1, 2) in version 4 and (n, 2) in version 5, or None, as (n, 2) px."""
    if corners is None:
        return np.empty((0, 2))
    return np.asarray(corners, dtype=np.float64).reshape(-1, 2)


def set_threads(threads: int) -> None:
    """Give OpenCV its share of the thread budget; 1 makes it run in the calling thread."""
    cv2.setNumThreads(0 if threads <= 1 else threads)
