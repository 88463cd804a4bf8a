"""The user's document, "OCI Multi-Layer Images": every example as it stands there, and builds of the demo recipes.

`pytest tests/test_multilayer_oci.py -k "not slow"` parses; `--poky-dir DIR` builds with openembedded-core.
"""

import json
import re
import subprocess

import pytest

TWO = """
inherit image image-oci
OCI_BASE_IMAGE = "container-base"
IMAGE_INSTALL = "base-files busybox myapp"
"""

THREE = """
inherit image image-oci
OCI_LAYER_MODE = "multi"
OCI_LAYERS = "\\
base:packages:base-files+base-passwd+netbase \\
shell:packages:busybox \\
app:packages:curl \\
"
# IMAGE_INSTALL must include all packages to trigger builds
IMAGE_INSTALL = "base-files base-passwd netbase busybox curl"
"""

PYTHON = """
inherit image image-oci
OCI_LAYER_MODE = "multi"
OCI_LAYERS = "\\
base:packages:base-files+base-passwd+netbase \\
python:packages:python3+python3-pip \\
app:directories:/opt/myapp \\
"
IMAGE_INSTALL = "base-files base-passwd netbase python3 python3-pip myapp"
"""

BASE_AND_LAYERS = """
inherit image image-oci
OCI_BASE_IMAGE = "container-base"
OCI_LAYER_MODE = "multi"
OCI_LAYERS = "\\
deps:packages:python3+python3-pip \\
app:directories:/opt/myapp \\
"
IMAGE_INSTALL = "myapp"
"""


def layers_of(layout):
    """The document's "Verifying Layer Count"."""
    done = subprocess.run(["skopeo", "inspect", "oci:%s" % layout], check=True, capture_output=True, text=True)
    return len(json.loads(done.stdout)["Layers"])


@pytest.mark.parametrize("text,install,depends", [
    (TWO, "base-files busybox myapp", ["container-base:do_image_complete"]),
    (THREE, "base-files base-passwd netbase busybox curl", []),
    (PYTHON, "base-files base-passwd netbase python3 python3-pip myapp", []),
    (BASE_AND_LAYERS, "myapp python3 python3-pip", ["container-base:do_image_complete"]),
])
def test_examples_parse(new_build, machine, text, install, depends):
    build = new_build(machine=machine)
    build.recipe("myapp-container", text)
    image = build.parse("myapp-container")
    assert image["IMAGE_INSTALL"].split() == install.split()
    assert set(depends) <= set(image.words("do_image_oci", "depends"))


def test_defaults_of_the_document(new_build):
    build = new_build()
    build.recipe("c", "inherit image image-oci\n")
    image = build.parse("c")
    assert image["OCI_LAYER_CACHE"] == "1"
    assert image["OCI_LAYER_CACHE_DIR"] == "%s/oci-layer-cache/qemux86-64" % build.top
    assert image["OCI_IMAGE_CMD"] == "/bin/sh"


@pytest.mark.parametrize("text,layers", [(THREE, 3), (PYTHON, 3), (BASE_AND_LAYERS, 3), (TWO, 2)])
def test_examples_build(new_build, text, layers):
    build = new_build(machine="qemuarm64")
    for name in ("base-files", "base-passwd", "netbase", "busybox", "curl", "python3", "python3-pip"):
        build.package(name, {"/usr/share/%s/file" % name: name})
    build.package("myapp", {"/opt/myapp/run": "myapp"})
    build.recipe("container-base", 'inherit image image-oci\nIMAGE_INSTALL = "base-files busybox"\n')
    build.recipe("myapp-container", text)
    build.bitbake("myapp-container")
    assert layers_of(build.deploy / "myapp-container-latest-oci") == layers


@pytest.mark.slow
@pytest.mark.parametrize("machine,packages", [("qemux86-64", "deb"), ("qemux86-64", "rpm"), ("qemux86-64", "ipk"), ("qemuarm64", "deb")])
def test_slow_demo_containers(new_oe_build, machine, packages):
    """All demo containers, twice: the second time the layers come from the cache."""
    build = new_oe_build(machine, packages)
    build.bitbake("app-container", "app-container-layered", "app-container-multilayer")
    for name, count in (("app-container", 1), ("app-container-layered", 2), ("app-container-multilayer", 3)):
        assert layers_of(build.deploy / (name + "-latest-oci")) == count
    said = build.log("app-container-multilayer", "do_image_oci")
    assert "NOTE: OCI: Pre-installed packages for 3 layers (cache: 0 hits, 3 misses)" in said
    build.bitbake("-C", "image_oci", "app-container-multilayer")
    said = build.log("app-container-multilayer", "do_image_oci")
    assert re.search(r"NOTE: OCI Cache HIT: Layer 'base' \([0-9a-f]{16}\)", said)
    assert "NOTE: OCI: Pre-installed packages for 3 layers (cache: 3 hits, 0 misses)" in said
