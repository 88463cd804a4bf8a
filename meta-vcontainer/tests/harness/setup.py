"""BitBake from PyPI, as a directory that has what the `bitbake` command needs, and the tool."""

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
    """The directory with bin/bitbake; made when it is not there (BITBAKE_DIR: a place for it)."""
    root = pathlib.Path(os.environ.get("VCONTAINER_BITBAKE", REPOSITORY / ".cache/yocto/bitbake"))
    if not (root / "lib" / "bb").is_dir():
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check",
             "--target", str(root / "lib"), "bitbake-setup==" + VERSION],
            check=True,
        )
    for name in ("bin", "stubs"):
        # BitBake looks for its programs beside itself and follows links: these are copies.
        shutil.copytree(HARNESS / name, root / name, dirs_exist_ok=True)
    return root


def tool() -> pathlib.Path:
    """The tool `vcontainer`: VCONTAINER, or what cargo has built."""
    path = pathlib.Path(os.environ.get("VCONTAINER", REPOSITORY / "target/debug/vcontainer")).resolve()
    if not path.is_file():
        raise FileNotFoundError("there is no %s: run `cargo build --package vcontainer`" % path)
    return path
