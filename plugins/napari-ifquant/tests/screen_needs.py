"""What windows need of a Linux system: ``python screen_needs.py`` names the packages that are
missing, and installs them where it may.

Needs nothing but Python. Under CI=true its exit code is 1 when something is still missing.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

LIBRARIES = {
    "libEGL.so.1": "libegl1",
    "libGL.so.1": "libgl1",
    "libGLX_mesa.so.0": "libglx-mesa0",
    "libOpenGL.so.0": "libopengl0",
    "libX11-xcb.so.1": "libx11-xcb1",
    "libdbus-1.so.3": "libdbus-1-3",
    "libfontconfig.so.1": "libfontconfig1",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libgssapi_krb5.so.2": "libgssapi-krb5-2",
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-image.so.0": "libxcb-image0",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxcb-randr.so.0": "libxcb-randr0",
    "libxcb-render-util.so.0": "libxcb-render-util0",
    "libxcb-render.so.0": "libxcb-render0",
    "libxcb-shape.so.0": "libxcb-shape0",
    "libxcb-shm.so.0": "libxcb-shm0",
    "libxcb-sync.so.1": "libxcb-sync1",
    "libxcb-xfixes.so.0": "libxcb-xfixes0",
    "libxcb-xkb.so.1": "libxcb-xkb1",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
    "libxkbcommon.so.0": "libxkbcommon0",
}
"""What Qt 6 of PySide6 and PyQt6 links to and brings not (by ldd), and the Debian or Ubuntu package
of each."""
DRIVERS = ("/usr/lib/*/dri/*swrast*", "/usr/lib*/dri/*swrast*")
"""Where Mesa keeps the driver that draws without a graphics card."""
OFFSCREEN = "Qt's own platform 'offscreen' is no way out: every canvas stays black."


def missing_packages() -> list[str]:
    """Give the packages that are missing; none on systems other than Linux."""
    if sys.platform != "linux":
        return []
    missing = [package for library, package in LIBRARIES.items() if not _loads(library)]
    if not any(next(Path("/").glob(pattern[1:]), None) for pattern in DRIVERS):
        missing.append("libgl1-mesa-dri")
    if shutil.which("Xvfb") is None:
        missing.append("xvfb")
    return missing


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def asks(missing: list[str]) -> str:
    """Say what is missing and what to do."""
    return (
        f"windows cannot be tested without {', '.join(missing)}. As root: apt-get install"
        f" {' '.join(missing)}. {OFFSCREEN}"
    )


def _installer() -> list[str] | None:
    """Give how packages are installed here without asking anyone; None where that is not
    allowed.
    """
    if shutil.which("apt-get") is None:
        return None
    if os.geteuid() == 0:
        return [
            "env",
            "DEBIAN_FRONTEND=noninteractive",
            "apt-get",
            "-qq",
            "-o",
            "DPkg::Lock::Timeout=120",
        ]
    if (
        shutil.which("sudo")
        and subprocess.run(["sudo", "-n", "true"], check=False, capture_output=True).returncode == 0
    ):
        return [
            "sudo",
            "-n",
            "env",
            "DEBIAN_FRONTEND=noninteractive",
            "apt-get",
            "-qq",
            "-o",
            "DPkg::Lock::Timeout=120",
        ]
    return None


def main() -> int:
    """Install what is missing where that is allowed; say loudly what is missing still."""
    missing = missing_packages()
    apt = _installer() if missing else None
    if apt is not None:
        print(f"installing {' '.join(missing)}", flush=True)
        subprocess.run([*apt, "update"], check=False)
        subprocess.run(
            [*apt, "install", "-y", "--no-install-recommends", *missing],
            check=False,
            stdout=subprocess.DEVNULL,
        )
        missing = missing_packages()
    if not missing:
        return 0
    line = "*" * 100
    print(f"\n{line}\n*** {asks(missing)}\n{line}\n", file=sys.stderr, flush=True)
    return 1 if os.environ.get("CI", "").lower() == "true" else 0


if __name__ == "__main__":
    sys.exit(main())
