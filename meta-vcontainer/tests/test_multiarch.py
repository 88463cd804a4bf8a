"""One image for several architectures: multiconfigs, and an index over what they have made."""

import json
import subprocess

import pytest

from harness import setup
from harness.build import ParseError
from harness.hosts import HOST, repositories

CONF = 'BBMULTICONFIG = "container-aarch64 container-x86-64"\n'
BOTH = 'inherit oci-multiarch\nOCI_MULTIARCH_RECIPE = "img"\n'


def parse(new_build, text=BOTH, conf=CONF):
    build = new_build(conf=conf)
    build.recipe("both_1.0", text)
    return build.parse("both_1.0")


def images(layout):
    """The digest of each image in a layout, by its platform."""
    done = subprocess.run([setup.tool(), "oci", "list", "--format", "json", layout], check=True, capture_output=True, text=True)
    return {entry["platform"]: entry["digest"] for entry in json.loads(done.stdout)}


def test_the_images_are_made_first(new_build):
    both = parse(new_build)
    assert both.words("do_deploy", "mcdepends") == ["mc::container-aarch64:img:do_image_complete", "mc::container-x86-64:img:do_image_complete"]
    assert both["OCI_MULTIARCH_MAP"] == "aarch64=container-aarch64/qemuarm64 x86_64=container-x86-64/qemux86-64"


def test_what_is_put_together_is_in_the_signature(new_build):
    first = parse(new_build)
    assert first.hash("do_deploy") == parse(new_build).hash("do_deploy")
    for change in ('OCI_MULTIARCH_PLATFORMS = "x86_64"', 'OCI_MULTIARCH_MACHINE[aarch64] = "board"', 'OCI_IMAGE_TAG = "2"'):
        assert parse(new_build, BOTH + change + "\n").hash("do_deploy") != first.hash("do_deploy"), change


@pytest.mark.parametrize("text,says", [
    ("inherit oci-multiarch\n", "both: OCI_MULTIARCH_RECIPE: it is empty"),
    (BOTH + 'OCI_MULTIARCH_PLATFORMS = ""\n', "both: OCI_MULTIARCH_PLATFORMS: it is empty"),
    (BOTH + 'OCI_MULTIARCH_PLATFORMS = "riscv64"\n', "both: OCI_MULTIARCH_PLATFORMS: `riscv64` needs OCI_MULTIARCH_MC[riscv64]"),
    (BOTH + 'OCI_MULTIARCH_MC[aarch64] = "board"\n', 'needs BBMULTICONFIG += "board"'),
])
def test_what_is_wrong_is_named(new_build, text, says):
    with pytest.raises(ParseError) as error:
        parse(new_build, text)
    assert says in str(error.value)


def test_an_index_of_two_multiconfigs(new_build):
    build = new_build(conf=CONF)
    build.package("app", {"/bin/app": "app"})
    build.recipe("img", 'inherit image image-oci\nIMAGE_INSTALL = "app"\n')
    build.recipe("both_1.0", BOTH)
    build.recipe("on-top", 'inherit image image-oci\nIMAGE_INSTALL = ""\nOCI_BASE_IMAGE = "both"\n')
    build.recipe("host", HOST.replace('"etc"', '""') + 'BUNDLED_CONTAINERS = "both:docker"\n')
    build.bitbake("host", "on-top")
    assert list(repositories(build)) == ["both"]
    layout = build.deploy / "both-multiarch-oci"
    assert set(images(layout)) == {"linux/amd64", "linux/arm64"}
    # skopeo reads it, and gives the platform that it is asked for.
    for arch in ("arm64", "amd64"):
        shown = subprocess.run(["skopeo", "--override-arch", arch, "inspect", "oci:%s" % layout], check=True, capture_output=True, text=True)
        assert json.loads(shown.stdout)["Architecture"] == arch
    # The machine's own is what another image is built upon.
    assert (build.deploy / "on-top-latest-oci/index.json").exists()


def test_a_tag_that_is_none(new_build):
    build = new_build(conf='BBMULTICONFIG = "container-aarch64 container-x86-64"\n')
    build.recipe("both_1.0", BOTH + 'OCI_IMAGE_TAG = "a/b"\n')
    with pytest.raises(ParseError, match="both: OCI_IMAGE_TAG: `a/b` is no tag"):
        build.parse("both_1.0")


def test_an_image_that_is_elsewhere(new_build):
    """The multiconfigs have another TMPDIR than usual: the error says so, and a flag names the place."""
    conf = 'BBMULTICONFIG = "arm"\n'
    build = new_build(conf=conf)
    build.write("conf/multiconfig/arm.conf", 'MACHINE = "qemuarm64"\nTMPDIR = "${TOPDIR}/elsewhere"\n')
    build.package("app", {"/bin/app": "app"})
    build.recipe("img", 'inherit image image-oci\nIMAGE_INSTALL = "app"\n')
    text = BOTH + 'OCI_MULTIARCH_PLATFORMS = "aarch64"\nOCI_MULTIARCH_MC[aarch64] = "arm"\n'
    build.recipe("both_1.0", text)
    output = build.bitbake("both", fails=True)
    assert "`mc:arm:img` has made no `%s/tmp-arm/deploy/images/qemuarm64/img-latest-oci`" % build.top in output
    build.recipe("both_1.0", text + 'OCI_MULTIARCH_DEPLOY[aarch64] = "${TOPDIR}/elsewhere/deploy/images/qemuarm64"\n')
    build.bitbake("both")
    assert (build.deploy / "both-multiarch-oci/index.json").exists()


@pytest.mark.slow
def test_slow_index_of_two_multiconfigs(new_oe_build):
    build = new_oe_build("qemux86-64", "deb", CONF)
    layer = build.top / "meta-both"
    (layer / "conf").mkdir(parents=True)
    (layer / "conf/layer.conf").write_text('BBFILES += "${LAYERDIR}/*.bb"\nBBFILE_COLLECTIONS += "both"\nBBFILE_PATTERN_both = "^${LAYERDIR}/"\n'
                                           'LAYERSERIES_COMPAT_both = "wrynose blacksail"\n')
    (layer / "both_1.0.bb").write_text(BOTH.replace("img", "container-base"))
    layers = build.top / "conf/bblayers.conf"
    layers.write_text(layers.read_text() + 'BBLAYERS += "%s"\n' % layer)
    build.bitbake("both")
    first = images(build.deploy / "both-multiarch-oci")
    assert set(first) == {"linux/amd64", "linux/arm64"}
    # Another image, another index.
    build.configure(CONF + 'OCI_IMAGE_CMD:pn-container-base = "/bin/ls"\n')
    build.bitbake("both")
    second = images(build.deploy / "both-multiarch-oci")
    assert set(second) == set(first) and not set(second.values()) & set(first.values())
