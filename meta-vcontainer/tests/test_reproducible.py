"""The same input gives the same bytes, and what is there already is not made again: with the real openembedded-core
(`--poky-dir DIR`). yocto-check-layer is here, too: it compares signatures with and without the layer."""

import hashlib
import re

import pytest

from harness import setup

CONF = """
BUNDLED_CONTAINERS = "app-container-layered:docker app-container-multilayer:podman:autostart"
IMAGE_INSTALL:append:pn-container-image-host = " example-container-bundle"
IMAGE_FSTYPES = "tar"
"""
CONTAINERS = ("container-base", "app-container-layered", "app-container-multilayer", "autostart-test-container")


def outputs(build):
    """Digests of the host's root filesystem and of every blob of the containers' layouts."""
    found = {}
    files = [build.deploy / ("container-image-host-%s.rootfs.tar" % build.machine)]
    for name in CONTAINERS:
        layout = build.deploy / (name + "-latest-oci")
        files += [path for path in layout.rglob("*") if path.is_file()]
    for path in files:
        found[str(path.relative_to(build.deploy))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


@pytest.mark.slow
def test_slow_two_builds_are_equal_and_share_their_state(new_oe_build):
    """Two folders, each from nothing; then a third with the state of the first, which makes no container and no package."""
    first = new_oe_build(conf=CONF)
    first.bitbake("container-image-host")
    wanted = outputs(first)
    assert len(wanted) > 4 * len(CONTAINERS)
    second = new_oe_build(conf=CONF)
    second.bitbake("container-image-host")
    assert outputs(second) == wanted
    third = new_oe_build(conf=CONF + 'SSTATE_MIRRORS = "file://.* file://%s/sstate-cache/PATH"\n' % first.top)
    third.bitbake("container-image-host")
    # What only the bundle package has inside is not deployed: the package comes from the state.
    assert outputs(third).items() < wanted.items()
    made = {path.parent.parent.parent.name for path in third.top.glob("tmp/work/*/*/*/temp/log.do_*")
            if path.name.startswith(("log.do_rootfs", "log.do_image", "log.do_compile", "log.do_install", "log.do_package_write"))
            and "_setscene" not in path.name}
    assert made == {"container-image-host"}


@pytest.mark.slow
def test_slow_a_changed_container_is_all_that_is_made_again(new_oe_build):
    build = new_oe_build(conf=CONF)
    build.bitbake("container-image-host")
    before = outputs(build)
    build.configure(CONF + 'OCI_IMAGE_ENV_VARS:pn-app-container-layered = "CHANGED=1"\n')
    said = build.bitbake("container-image-host")
    started = {line.split("recipe ")[1].rsplit("-r0:", 1)[0] for line in said.splitlines() if "do_" in line and line.endswith(": Started")}
    assert started == {"app-container-layered-1.0", "container-image-host-1.0"}
    changed = {name.split("/")[0] for name, digest in outputs(build).items() if before.get(name) != digest}
    assert {name for name in changed if name.endswith("-oci")} == {"app-container-layered-latest-oci"}
    # Of the layout before nothing stays, no folder either.
    left = [path.name.partition("-qemux86-64")[0] for path in build.deploy.glob("*.oci") if not path.is_symlink()]
    assert sorted(left) == sorted(CONTAINERS)


@pytest.mark.slow
def test_slow_yocto_check_layer(new_oe_build):
    """Readme, security, maintainers; parsing for every machine; no signature of others changes."""
    build = new_oe_build(with_layer=False)
    # It counts openembedded-core, which is in use, as a failure of its own.
    said = build.run(str(build.oecore / "scripts/yocto-check-layer"), str(setup.LAYER), fails=None)
    assert re.search(r"meta-vcontainer \.\.\. PASS", said), said[-8000:]
