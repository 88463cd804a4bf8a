"""The kas file: that kas takes it, and what it makes of it. Nothing is fetched: folders stand in for the repositories."""

import importlib.metadata
import os
import shutil
import subprocess
import sys

import pytest

from harness import setup

FILE = setup.LAYER / "kas/container-image-host.yml"
LOCAL = """\
header:
  version: 19
repos:
  bitbake: {url: null, branch: null, path: %s}
  openembedded-core: {url: null, branch: null, path: %s}
"""


def test_checkout(tmp_path):
    try:
        importlib.metadata.version("kas")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("needs kas: `pip install` the version that e2e/src/yocto.rs names")
    # kas takes the folder of its file for the repository, unless git knows better.
    repository = tmp_path / "repository"
    repository.mkdir()
    (repository / "meta-vcontainer").symlink_to(setup.LAYER)
    shutil.copy(FILE, repository)
    core = tmp_path / "openembedded-core"
    (core / "meta").mkdir(parents=True)
    # kas takes its environment from the script that every such build begins with.
    script = core / "oe-init-build-env"
    script.write_text("mkdir -p $1\n")
    script.chmod(0o755)
    (tmp_path / "bitbake").mkdir()
    (repository / "local.yml").write_text(LOCAL % (tmp_path / "bitbake", core))
    work = tmp_path / "work"
    work.mkdir()
    done = subprocess.run([sys.executable, "-m", "kas", "checkout", FILE.name + ":local.yml"], cwd=repository, text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, "KAS_WORK_DIR": str(work)})
    assert done.returncode == 0, done.stdout
    layers = (work / "build/conf/bblayers.conf").read_text()
    assert "openembedded-core/meta" in layers and "repository/meta-vcontainer" in layers and "bitbake" not in layers
    local = (work / "build/conf/local.conf").read_text()
    # The document's lines.
    for line in ('DISTRO_FEATURES:append = " virtualization vcontainer"', 'BBMULTICONFIG = "vruntime-aarch64 vruntime-x86-64"',
                 'BUNDLED_CONTAINERS = "container-base:docker autostart-test-container:docker:autostart"'):
        assert line in local
