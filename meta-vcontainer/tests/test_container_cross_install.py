"""The user's document, "Using BUNDLED_CONTAINERS", "Using container-bundle.bbclass" and "Custom Service Files".

`-k "not slow"` parses; `--poky-dir DIR` builds with openembedded-core.
"""

import os
import shutil
import subprocess

import pytest

HOST = "inherit image container-cross-install\nIMAGE_INSTALL = \"\"\n"


@pytest.mark.parametrize("value,recipes", [
    ("container-base:docker myapp-container:docker:autostart", ["container-base", "myapp-container"]),
    ("container-base:docker myapp-container:podman:autostart", ["container-base", "myapp-container"]),
    ("container-base:docker", ["container-base"]),
    ("myapp-container:podman:autostart", ["myapp-container"]),
    ("vendor-image:docker:external", []),
    ("container-base-latest-oci:docker", ["container-base"]),
    ("autostart-test-container:docker:autostart", ["autostart-test-container"]),
])
@pytest.mark.parametrize("where", ["local.conf", "recipe"])
def test_examples_parse(new_build, machine, value, recipes, where):
    line = 'BUNDLED_CONTAINERS = "%s"\n' % value
    build = new_build(machine=machine, conf=line if where == "local.conf" else "")
    build.recipe("host", HOST + (line if where == "recipe" else ""))
    depends = build.parse("host").words("do_rootfs", "depends")
    assert [word.split(":")[0] for word in depends if word.endswith(":do_image_complete")] == recipes


@pytest.mark.parametrize("policy", ["autostart", "always", "unless-stopped", "on-failure"])
def test_policies(new_build, policy):
    build = new_build(conf='BUNDLED_CONTAINERS = "a:docker:%s"' % policy)
    build.recipe("host", HOST)
    build.parse("host")


def test_the_documents_local_conf(new_build):
    """The class comes by the distro feature; with it come the multiconfigs of the guests."""
    build = new_build(features="virtualization vcontainer",
                      conf='BUNDLED_CONTAINERS = "container-base:docker autostart-test-container:docker:autostart"')
    build.recipe("host", 'inherit image\nIMAGE_INSTALL = ""\n')
    assert "vcontainer_bundle_containers" in build.parse("host")["ROOTFS_POSTPROCESS_COMMAND"]


def test_a_bundle_with_service_files(new_build):
    build = new_build()
    build.recipe("my-bundle_1.0", """
inherit container-bundle
SRC_URI = "\\
file://myapp.service \\
file://mydb.container \\
"
CONTAINER_BUNDLES = "\\
myapp-container:autostart \\
mydb-container:autostart \\
"
CONTAINER_SERVICE_FILE[myapp-container] = "${UNPACKDIR}/myapp.service"
CONTAINER_SERVICE_FILE[mydb-container] = "${UNPACKDIR}/mydb.container"
""")
    bundle = build.parse("my-bundle_1.0")
    assert bundle["CONTAINER_SERVICE_FILE_MAP"].count(".service") == 1
    assert "myapp-container:do_image_complete" in bundle.words("do_compile", "depends")


@pytest.mark.slow
@pytest.mark.parametrize("machine,packages", [("qemux86-64", "deb"), ("qemux86-64", "rpm"), ("qemuarm64", "rpm"), ("qemuarm64", "ipk")])
def test_slow_host_image(new_oe_build, machine, packages):
    """The document's quick reference: application, container, bundle package, host image."""
    build = new_oe_build(machine, packages, """
BUNDLED_CONTAINERS = "container-base:docker autostart-test-container:docker:autostart app-container-multilayer:podman:autostart"
IMAGE_INSTALL:append:pn-container-image-host = " example-container-bundle"
IMAGE_FSTYPES = "tar ext4"
IMAGE_FSTYPES:pn-container-base = "oci"
""")
    build.bitbake("container-image-host")
    archive = build.deploy / ("container-image-host-%s.rootfs.tar" % machine)
    names = subprocess.run(["tar", "-tf", archive], check=True, capture_output=True, text=True).stdout.splitlines()
    for name in ("./var/lib/docker/image/overlay2/repositories.json", "./var/lib/containers/storage/overlay-images/images.json",
                 "./etc/containers/systemd/app-container-multilayer.container", "./lib/systemd/system/container-autostart-test-container.service"):
        assert name in names
    assert not [name for name in names if "container-bundles" in name]
    # For real engines: cargo xtask test-yocto.
    keep = os.environ.get("VCONTAINER_YOCTO_IMAGES")
    for ending in ("tar", "ext4"):
        image = build.deploy / ("container-image-host-%s.rootfs.%s" % (machine, ending))
        assert image.exists()
        if keep:
            shutil.copyfile(image, os.path.join(keep, "%s-%s.%s" % (packages, machine, ending)))
