"""Options and fixtures of all tests of the layer."""

import contextlib
import os
import pathlib
import platform
import sys
import tempfile

import pytest

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent), str(pathlib.Path(__file__).resolve().parents[1] / "lib")]

pytest.register_assert_rewrite("harness.engine_suite", "harness.tools")

from harness import oecore, servers, tools  # noqa: E402
from harness.build import Build  # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--poky-dir", default=os.environ.get("OECORE_DIR"), help="openembedded-core (or poky), for the slow tests")
    parser.addoption("--vdkr-dir", help="a folder with vdkr and vpdmn, for their tests; without it, what cargo has built")
    parser.addoption("--arch", choices=sorted(tools.QEMU), default=platform.machine(), help="the architecture of their machines")


def pytest_configure(config):
    folder = config.getoption("--poky-dir")
    if folder and not (pathlib.Path(folder) / "meta/conf/bitbake.conf").is_file():
        raise pytest.UsageError("--poky-dir: %s is no openembedded-core or poky: it has no meta/conf/bitbake.conf" % folder)
    # Why tests are skipped is always told.
    config.option.reportchars += "s"
    config.addinivalue_line("markers", "xdist_group(name): these stay in one process (pytest-xdist with --dist loadgroup)")
    config.addinivalue_line("markers", "machine: starts machines of vdkr or vpdmn (--vdkr-dir)")
    config.addinivalue_line("markers", "core: the few of these that `cargo xtask test` runs")
    config.addinivalue_line("markers", "slow: builds with the real openembedded-core (--poky-dir), or starts one more machine")


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
def new_open_folder():
    """Makes folders that everybody may enter; pytest's own let only pytest's user in."""
    made = []

    def make():
        made.append(tempfile.TemporaryDirectory(prefix="vcontainer-"))
        os.chmod(made[-1].name, 0o755)
        return pathlib.Path(made[-1].name)

    yield make
    for place in made:
        place.cleanup()


@pytest.fixture
def new_oe_build(request, new_open_folder):
    """Makes build folders for the real openembedded-core."""
    folder = request.config.getoption("--poky-dir")
    why = oecore.obstacle(folder)
    if why:
        pytest.skip(why)

    def make(machine="qemux86-64", packages="deb", conf="", with_layer=True):
        if packages == "ipk" and not oecore.opkg():
            pytest.skip("needs opkg and opkg-make-index on PATH")
        # Whoever builds may be another than pytest's user.
        return oecore.OeBuild(new_open_folder(), folder, machine, packages, conf, with_layer)

    return make


@pytest.fixture(scope="module")
def tool(request, tmp_path_factory):
    """The tool that the module names, with its machine up and a home of its own; both are gone afterwards."""
    name, arch = request.module.TOOL, request.config.getoption("--arch")
    folder, guests = request.config.getoption("--vdkr-dir"), None
    if not folder:
        why = tools.obstacle(name, arch)
        if why:
            pytest.skip(why)
        folder, guests = tools.own(tmp_path_factory.mktemp("tools") / "bin"), tools.own_guests(name)
    try:
        made = tools.Tool(pathlib.Path(folder), name, arch, tmp_path_factory.mktemp(name), guests)
    except FileNotFoundError as error:
        pytest.fail(str(error), pytrace=False)
    try:
        made.call("vmemres", "start").success()
        yield made
    finally:
        made.leave()


@pytest.fixture(scope="module")
def root(tool):
    """A root filesystem with a shell, for the machine's architecture."""
    return tool.root("root")


@pytest.fixture(scope="module")
def layout(tool, root):
    """An OCI layout of it."""
    return tool.image("small", root, "--cmd", "sh", "--env", "PATH=/bin", "--env", "GREETING=good morning")


@pytest.fixture(scope="module")
def foreign(tool, root):
    """An OCI layout that says to be for the other architecture."""
    (other,) = set(tools.OCI_ARCH) - {tool.arch}
    return tool.image("foreign", root, arch=other)


@pytest.fixture(scope="module")
def small(tool, layout):
    """The name of the image in the engine."""
    tool.call("vimport", str(layout), "small:1").success()
    return "small:1"
