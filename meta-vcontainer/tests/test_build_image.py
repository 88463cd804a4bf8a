"""OCI images by the real bitbake command, a stub package manager and the real tool."""

import json
import re
import subprocess

import pytest

from harness import setup

MULTI = """
inherit image image-oci
OCI_LAYER_MODE = "multi"
OCI_LAYERS = "\\
base:packages:base-files \\
lib:packages:libs \\
app:packages:app \\
conf:files:/etc/app.conf \\
"
"""


@pytest.fixture
def build(new_build):
    made = new_build(machine="qemuarm64")
    made.package("base-files", {"/etc/issue": "hello"})
    made.package("libs", {"/usr/lib/lib.sh": "lib"}, depends="base-files", owner="33:44")
    made.package("app", {"/bin/app": "app"}, depends="libs more")
    made.package("more", {"/etc/app.conf": "a=1", "/srv/more": "more"})
    return made


def inspect(build, name):
    done = subprocess.run([setup.tool(), "oci", "inspect", "--format", "json", build.deploy / name], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def blobs(build, name):
    """The files of an image's layers."""
    layout = build.deploy / name
    manifest = json.loads((layout / "index.json").read_text())["manifests"][0]["digest"]
    blob = lambda digest: layout / "blobs/sha256" / digest.partition(":")[2]  # noqa: E731
    return [blob(layer["digest"]) for layer in json.loads(blob(manifest).read_text())["layers"]]


def text_in(build, layer, path, name="img-latest-oci"):
    """A file of a layer."""
    archive = blobs(build, name)[layer]
    return subprocess.run(["tar", "-xOf", archive, path], check=True, capture_output=True, text=True).stdout.strip()


def layers(build, name="img-latest-oci"):
    """For each layer, its files with their owners."""
    found = []
    for archive in blobs(build, name):
        listing = subprocess.run(["tar", "--numeric-owner", "-tvf", archive], check=True, capture_output=True, text=True)
        rows = [line.split(None, 5) for line in listing.stdout.splitlines()]
        found.append({row[5].lstrip("./"): row[1] for row in rows if not row[5].endswith("/")})
    return found


def messages(build, recipe="img"):
    return re.findall(r"^NOTE: (OCI.*)$", build.log(recipe, "do_image_oci"), re.MULTILINE)


def test_one_layer(build):
    build.recipe("img", """
inherit image image-oci
IMAGE_INSTALL = "app"
OCI_IMAGE_TAG = "1.0"
OCI_IMAGE_ENTRYPOINT = "/bin/app"
OCI_IMAGE_ENTRYPOINT_ARGS = "http://localhost"
OCI_IMAGE_ENV_VARS = "GREETING='good morning' A=b"
OCI_IMAGE_LABELS = "vendor=acme"
OCI_IMAGE_PORTS = "80 53/udp"
OCI_IMAGE_RUNTIME_UID = "33"
OCI_IMAGE_AUTHOR = "Ann Example"
OCI_IMAGE_AUTHOR_EMAIL = "ann@mail.example"
OCI_IMAGE_OS = "linux"
OCI_IMAGE_BACKEND = "umoci"
""")
    assert "img: OCI_IMAGE_BACKEND: `umoci` has no effect" in build.bitbake("img")
    (content,) = layers(build, "img-1.0-oci")
    assert content == {"bin/app": "0/0", "etc/app.conf": "0/0", "etc/issue": "0/0", "srv/more": "0/0", "usr/lib/lib.sh": "33/44"}
    image = json.dumps(inspect(build, "img-1.0-oci"))
    for text in ("http://localhost", "GREETING=good morning", "acme", "53/udp", "arm64", "Ann Example <ann@mail.example>"):
        assert text in image
    for name in ("img-latest-oci", "img-1.0-oci.tar", "img-1.0-oci-dir.tar"):
        assert (build.deploy / name).exists()


def test_folders_of_former_layouts_go_when_they_are_empty(build):
    """sstate leaves them. Those of others stay, and those with anything in them."""
    build.recipe("img", 'inherit image image-oci\nIMAGE_INSTALL = "app"\n')
    names = ["img-qemuarm64.rootfs-2025.oci", "img-qemuarm64.rootfs-2024.oci", "img-more-qemuarm64.rootfs-2025.oci"]
    for name in names:
        (build.deploy / name / "blobs/sha256").mkdir(parents=True)
    (build.deploy / names[1] / "blobs/sha256/file").touch()
    build.bitbake("img")
    assert [(build.deploy / name).exists() for name in names] == [False, True, True]
    assert (build.deploy / "img-latest-oci/index.json").exists()


def test_an_image_made_again_has_no_former_layout_beside_it(build):
    """Where do_rootfs, which empties the folder, has nothing to do."""
    for time in ("1", "2"):
        build.recipe("img", 'inherit image image-oci\nIMAGE_INSTALL = "app"\nIMAGE_NAME = "${IMAGE_LINK_NAME}-%s"\n' % time)
        said = build.bitbake("img")
    assert "do_image_oci: Started" in said and "do_rootfs: Started" not in said
    layouts = [path for path in build.top.glob("tmp/work/*/img/*/deploy-*/*.oci") if not path.is_symlink()]
    assert [path.name for path in layouts] == ["img-qemuarm64.rootfs-2.oci"]


def test_changes_of_the_root_filesystem_are_in_layers_of_files(build):
    """And not in those of packages, which are installed elsewhere."""
    build.recipe("img", MULTI + """
change() {
    echo changed > ${IMAGE_ROOTFS}/etc/issue
    echo changed > ${IMAGE_ROOTFS}/etc/app.conf
}
ROOTFS_POSTPROCESS_COMMAND += "change"
""")
    build.bitbake("img")
    contents = [text_in(build, layer, path) for layer, path in ((0, "etc/issue"), (2, "etc/app.conf"), (3, "etc/app.conf"))]
    assert contents == ["hello", "a=1", "changed"]


def test_two_layers(build):
    build.recipe("base", 'inherit image image-oci\nIMAGE_INSTALL = "libs"\nOCI_IMAGE_TAG = "3"\n')
    build.recipe("img", 'inherit image image-oci\nIMAGE_INSTALL = "app"\nOCI_BASE_IMAGE = "base"\nOCI_BASE_IMAGE_TAG = "3"\nOCI_IMAGE_TAR_OUTPUT = "0"\n')
    build.bitbake("img")
    below, above = layers(build)
    assert set(below) == {"etc/issue", "usr/lib/lib.sh"}
    assert set(above) == {"bin/app", "etc/app.conf", "srv/more"}
    assert not list(build.deploy.glob("img*.tar"))


def test_layers_and_their_cache(build):
    build.recipe("img", MULTI)
    build.bitbake("img")
    base, lib, app, = layers(build)[:3]
    assert base == {"etc/issue": "0/0"}
    assert lib == {"usr/lib/lib.sh": "33/44"}
    assert set(app) == {"bin/app", "etc/app.conf", "srv/more"}
    said = messages(build)
    assert "OCI Cache MISS: Layer 'base' (base:base-files=1.0)" in said
    assert any(re.fullmatch(r"OCI Cache: Saving layer 'base' to cache \([0-9a-f]{16}\)", line) for line in said)
    assert "OCI: Pre-installed packages for 3 layers (cache: 0 hits, 3 misses)" in said
    assert len([line for line in said if "'base'" in line]) == 2
    first = (build.deploy / "img-latest-oci/index.json").read_bytes()

    # Again, from nothing but the cache of layers.
    build.bitbake("-c", "image_oci", "-f", "img")
    said = messages(build)
    assert [line for line in said if re.fullmatch(r"OCI Cache HIT: Layer 'base' \([0-9a-f]{16}\)", line)]
    assert "OCI: Pre-installed packages for 3 layers (cache: 3 hits, 0 misses)" in said
    assert "installing" not in build.log("img", "do_image_oci")
    build.bitbake("img")
    assert (build.deploy / "img-latest-oci/index.json").read_bytes() == first

    # A dependency that no layer names has another revision: its layer is made again, upon what the cache has below.
    build.package("more", {"/etc/app.conf": "a=2", "/srv/more": "more"}, revision="r1")
    build.bitbake("img")
    said = messages(build)
    assert "OCI: Pre-installed packages for 3 layers (cache: 2 hits, 1 misses)" in said
    assert re.findall(r"stub: installing (\S+)", build.log("img", "do_image_oci")) == ["app", "more"]
    again = layers(build)
    assert again[:2] == [base, lib] and again[2] == app
    assert (build.deploy / "img-latest-oci/index.json").read_bytes() != first


def test_without_cache(build):
    build.recipe("img", MULTI + 'OCI_LAYER_CACHE = "0"\n')
    build.bitbake("img")
    assert "OCI: Pre-installed packages for 3 layers (cache: 0 hits, 3 misses)" in messages(build)
    build.bitbake("-c", "image_oci", "-f", "img")
    assert "OCI: Pre-installed packages for 3 layers (cache: 0 hits, 3 misses)" in messages(build)
    assert not (build.top / "oci-layer-cache").exists()


def test_two_builds_are_the_same(new_build):
    digests = []
    for _ in range(2):
        made = new_build(machine="qemuarm64")
        made.package("base-files", {"/etc/issue": "hello"}, owner="33:44")
        made.recipe("img", "inherit image image-oci\nOCI_LAYER_MODE = \"multi\"\nOCI_LAYERS = \"base:packages:base-files\"\n")
        made.bitbake("img")
        digests.append((made.deploy / "img-latest-oci/index.json").read_text())
    assert digests[0] == digests[1]
