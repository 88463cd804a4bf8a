"""Options and fixtures of all tests of the layer."""

import contextlib
import os
import pathlib
import sys
import tempfile

import pytest

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent), str(pathlib.Path(__file__).resolve().parents[1] / "lib")]

from harness import oecore, servers  # noqa: E402
from harness.build import Build  # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--poky-dir", default=os.environ.get("OECORE_DIR"), help="openembedded-core (or poky), for the slow tests")
    parser.addoption("--vdkr-dir", help="a folder with vdkr and vpdmn, for their tests")


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: builds with the real openembedded-core (--poky-dir)")


@pytest.fixture
def new_build(tmp_path):
    """Makes build folders: `new_build(machine=..., conf=...)`."""
    made = []

    def make(**settings):
        top = tmp_path / ("build%d" % len(made))
        top.mkdir()
        made.append(top)
        return Build(top, **settings)

    return make


@pytest.fixture(params=["qemux86-64", "qemuarm64"])
def machine(request):
    """Both machines."""
    return request.param


@pytest.fixture
def registry(tmp_path):
    """A registry on the loopback, without TLS."""
    folder = tmp_path / "registry"
    folder.mkdir()
    with contextlib.closing(servers.Registry(folder)) as server:
        yield server


@pytest.fixture
def new_oe_build(request):
    """Makes build folders for the real openembedded-core."""
    folder = request.config.getoption("--poky-dir")
    why = oecore.obstacle(folder)
    if why:
        pytest.skip(why)
    made = []

    def make(machine="qemux86-64", packages="deb", conf="", with_layer=True):
        if packages == "ipk" and not oecore.opkg():
            pytest.skip("needs opkg and opkg-make-index on PATH")
        # Not below pytest's own folder, which lets only pytest's user in: whoever builds may be another.
        made.append(tempfile.TemporaryDirectory(prefix="vcontainer-oe-"))
        top = pathlib.Path(made[-1].name)
        top.chmod(0o755)
        return oecore.OeBuild(top, folder, machine, packages, conf, with_layer)

    yield make
    for place in made:
        place.cleanup()
