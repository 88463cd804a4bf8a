"""BitBake from PyPI, as a directory that has what the `bitbake` command needs, and the tool."""

import fcntl
import os
import pathlib
import shutil
import subprocess
import sys

HARNESS = pathlib.Path(__file__).resolve().parent
LAYER = HARNESS.parents[1]
REPOSITORY = LAYER.parent
VERSION = "2.19.0"


def bitbake() -> pathlib.Path:
    """The directory with bin/bitbake; made when it is not there (VCONTAINER_BITBAKE: another place)."""
    root = pathlib.Path(os.environ.get("VCONTAINER_BITBAKE", REPOSITORY / ".cache/yocto/bitbake"))
    _install(root)
    # BitBake looks for its programs beside itself and follows links: these are copies.
    for name in ("bin", "stubs"):
        for source in (HARNESS / name).rglob("*"):
            if source.is_file() and "__pycache__" not in source.parts:
                _copy(source, root / source.relative_to(HARNESS))
    return root


def _install(root: pathlib.Path) -> None:
    """Installs BitBake's package; where this version is there, nothing is written: the directory may be somebody else's."""
    installed = root / "version"
    if installed.is_file() and installed.read_text() == VERSION:
        return
    root.mkdir(parents=True, exist_ok=True)
    with open(root / "lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if installed.is_file() and installed.read_text() == VERSION:
            return
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", "--disable-pip-version-check",
             "--target", str(root / "lib"), "bitbake-setup==" + VERSION],
            check=True,
        )
        installed.write_text(VERSION)


def _copy(source: pathlib.Path, target: pathlib.Path) -> None:
    """Copies a file in one step, and only if it differs: tests run at the same time."""
    content = source.read_bytes()
    if target.is_file() and target.read_bytes() == content:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name("%s.%d" % (target.name, os.getpid()))
    part.write_bytes(content)
    shutil.copymode(source, part)
    part.replace(target)


def tool() -> pathlib.Path:
    """The tool `vcontainer`: VCONTAINER, or what cargo has built."""
    path = pathlib.Path(os.environ.get("VCONTAINER", REPOSITORY / "target/debug/vcontainer")).resolve()
    if not path.is_file():
        raise FileNotFoundError("there is no %s: run `cargo build --package vcontainer`" % path)
    return path
