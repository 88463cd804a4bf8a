"""image-oci through the real parser."""

import pytest

from harness.build import ParseError

MULTI = """
inherit image image-oci
OCI_LAYER_MODE = "multi"
OCI_LAYERS = "\\
base:packages:base-files+base-passwd+netbase \\
shell:packages:busybox \\
app:packages:curl \\
"
"""


def parse(new_build, text, conf="", **settings):
    build = new_build(conf=conf, **settings)
    build.recipe("img", text)
    return build.parse("img")


def test_types_and_dependencies_by_default(new_build):
    image = parse(new_build, "inherit image image-oci\n")
    assert image["IMAGE_FSTYPES"] == "oci"
    assert "do_image_oci" in image.tasks()
    assert image.words("do_image_oci", "depends") == ["vcontainer-native:do_populate_sysroot"]
    assert not [word for word in image.words("do_rootfs", "depends") if "kernel" in word]
    other = parse(new_build, 'IMAGE_FSTYPES = "container oci tar"\ninherit image image-oci\n')
    assert other["IMAGE_FSTYPES"] == "container oci tar"
    other = parse(new_build, 'inherit image image-oci\nIMAGE_FSTYPES += "tar"\n')
    assert other["IMAGE_FSTYPES"] == "oci tar"


@pytest.mark.parametrize("conf", [
    'IMAGE_FSTYPES = "wic ext4"', 'IMAGE_FSTYPES += "wic"', 'IMAGE_FSTYPES:append = " wic"', 'IMAGE_FSTYPES:qemux86-64 = "wic.gz"',
    'IMAGE_FSTYPES = "ext4"\nIMAGE_FSTYPES:append:qemux86-64 = " wic"',
])
def test_types_of_machines_are_not_those_of_containers(new_build, conf):
    assert parse(new_build, "inherit image image-oci\n", conf)["IMAGE_FSTYPES"] == "oci"
    image = parse(new_build, 'inherit image image-oci\nIMAGE_FSTYPES = "oci tar"\nIMAGE_FSTYPES:append = " ext4"\n', conf)
    assert image["IMAGE_FSTYPES"] == "oci tar ext4"
    assert "do_image_wic" not in image.tasks()


@pytest.mark.parametrize("conf,types", [
    ('IMAGE_FSTYPES:pn-img = "tar oci"', "tar oci"),
    ('IMAGE_FSTYPES:append:pn-img = " oci"', "tar ext4 oci"),
])
def test_types_that_the_configuration_gives_a_container(new_build, conf, types):
    found = parse(new_build, "inherit image image-oci\n", conf)["IMAGE_FSTYPES"].split()
    assert list(dict.fromkeys(found)) == types.split()


@pytest.mark.parametrize("machine,arch", [("qemux86-64", "amd64"), ("qemuarm64", "arm64"), ("qemuriscv64", "riscv64")])
def test_architectures(new_build, machine, arch):
    assert parse(new_build, "inherit image image-oci\n", machine=machine)["OCI_IMAGE_ARCH"] == arch


def test_packages_of_layers_are_built(new_build):
    """Nobody has to repeat them in IMAGE_INSTALL, and who does has them once."""
    assert parse(new_build, MULTI)["IMAGE_INSTALL"].split() == ["base-files", "base-passwd", "busybox", "curl", "netbase"]
    image = parse(new_build, MULTI + 'IMAGE_INSTALL = "base-files base-passwd netbase busybox curl"\n')
    assert image["IMAGE_INSTALL"].split() == ["base-files", "base-passwd", "netbase", "busybox", "curl"]


def test_bases(new_build):
    image = parse(new_build, 'inherit image image-oci\nOCI_BASE_IMAGE = "container-base"\n')
    assert "container-base:do_image_complete" in image.words("do_image_oci", "depends")
    image = parse(new_build, 'inherit image image-oci\nOCI_BASE_IMAGE = "/path/to/oci-dir"\n')
    assert image.words("do_image_oci", "file-checksums") == ["/path/to/oci-dir/index.json:False"]
    with pytest.raises(ParseError) as error:
        parse(new_build, 'inherit image image-oci\nOCI_BASE_IMAGE = "docker.io/library/alpine:3.19"\n')
    for line in ("inherit container-bundle", 'CONTAINER_DIGESTS[docker.io_library_alpine_3.19] = "sha256:..."', 'CONTAINER_BUNDLE_DEPLOY = "1"'):
        assert line in str(error.value)


@pytest.mark.parametrize("text,says", [
    ('OCI_LAYER_MODE = "multi"', "img: OCI_LAYERS: it is empty"),
    ('OCI_LAYER_MODE = "many"', "img: OCI_LAYER_MODE: `many` is not a mode"),
    ('OCI_LAYER_MODE = "multi"\nOCI_LAYERS = "base:packages"', "layer `base:packages`: it has too few fields"),
    ('OCI_LAYER_MODE = "multi"\nOCI_LAYERS = "a:dirs:/a"', "`dirs` is no type of layer"),
    ('OCI_BASE_IMAGE = "alpine:3.19"', 'CONTAINER_BUNDLES = "docker.io/library/alpine:3.19"'),
    ('OCI_IMAGE_LABELS = "vendor"', "img: OCI_IMAGE_LABELS: `vendor` is no NAME=VALUE"),
    ('OCI_IMAGE_ENV_VARS = "A"', "img: OCI_IMAGE_ENV_VARS: `A` is no NAME=VALUE"),
    ("OCI_IMAGE_CMD = \"sh -c 'x\"", "img: OCI_IMAGE_CMD: No closing quotation in `sh -c 'x`"),
    ('OCI_IMAGE_TAG = "1.0/x"', "img: OCI_IMAGE_TAG: `1.0/x` is no tag"),
    ('OCI_BASE_IMAGE_TAG = "-x"', "img: OCI_BASE_IMAGE_TAG: `-x` is no tag"),
    ('OCI_IMAGE_PORTS = "80 http"', "img: OCI_IMAGE_PORTS: `http` is no port: write 80, 80/tcp"),
    ('OCI_IMAGE_STOPSIGNAL = "SIGFOO"', "img: OCI_IMAGE_STOPSIGNAL: `SIGFOO` is no signal: write SIGTERM or 15"),
    ('OCI_IMAGE_RUNTIME_UID = "33:44:55"', "img: OCI_IMAGE_RUNTIME_UID: `33:44:55` is no user: write user or user:group"),
    ('OCI_IMAGE_WORKINGDIR = "srv"', "img: OCI_IMAGE_WORKINGDIR: `srv` is no absolute path"),
    ('OCI_IMAGE_OS = "windows"', "img: OCI_IMAGE_OS: `windows` is not supported: images are for Linux"),
    ('OCI_IMAGE_TAR_OUTPUT = "perhaps"', "img: OCI_IMAGE_TAR_OUTPUT: `perhaps` is neither on nor off"),
])
def test_what_is_wrong_is_named(new_build, text, says):
    with pytest.raises(ParseError) as error:
        parse(new_build, "inherit image image-oci\n" + text + "\n")
    assert says in str(error.value)


@pytest.mark.parametrize("change", [
    'OCI_IMAGE_TAG = "1.0"', 'OCI_IMAGE_CMD = "/bin/bash"', 'OCI_IMAGE_ENTRYPOINT = "curl"', 'OCI_IMAGE_ENTRYPOINT_ARGS = "x"',
    'OCI_IMAGE_PORTS = "80"', 'OCI_IMAGE_LABELS = "a=b"', 'OCI_IMAGE_ENV_VARS = "A=b"', 'OCI_IMAGE_WORKINGDIR = "/srv"',
    'OCI_IMAGE_STOPSIGNAL = "SIGINT"', 'OCI_IMAGE_RUNTIME_UID = "33"', 'OCI_IMAGE_AUTO_LABELS = "0"', 'OCI_IMAGE_TAR_OUTPUT = ""',
    'OCI_IMAGE_AUTHOR = "A"', 'OCI_IMAGE_AUTHOR_EMAIL = "a@b.example"', 'OCI_BASE_IMAGE_TAG = "2"', 'OCI_IMAGE_BUILD_DATE = "2026-01-01T00:00:00Z"', 'TUNE_PKGARCH = "core2-64"',
    'OCI_LAYER_MODE = "multi"\nOCI_LAYERS = "a:directories:/a"',
])
def test_every_input_is_in_the_signature(new_build, change):
    plain = parse(new_build, "inherit image image-oci\n")
    assert plain.hash("do_image_oci") != parse(new_build, "inherit image image-oci\n" + change + "\n").hash("do_image_oci")


def test_the_place_of_the_cache_is_not(new_build):
    plain = parse(new_build, "inherit image image-oci\n")
    other = parse(new_build, 'inherit image image-oci\nOCI_LAYER_CACHE_DIR = "/srv/cache"\n')
    assert plain.hash("do_image_oci") == other.hash("do_image_oci")


@pytest.mark.parametrize("text", [
    "inherit image image-oci\n",
    'inherit image image-oci\nOCI_LAYER_MODE = "multi"\nOCI_LAYERS = "base:packages:a+b app:files:/etc/x"\n',
    'inherit image image-oci\nOCI_BASE_IMAGE = "container-base"\nOCI_IMAGE_TAR_OUTPUT = "1"\n',
    'inherit container-bundle\nCONTAINER_BUNDLES = "container-base:docker"\nSRC_URI = "file://x.service"\n'
    'CONTAINER_SERVICE_FILE[container-base] = "${UNPACKDIR}/x.service"\n',
    'inherit container-bundle\nCONTAINER_BUNDLES = "registry.example/team/app:1"\nCONTAINER_BUNDLE_DEPLOY = "1"\n'
    'CONTAINER_DIGESTS[registry.example_team_app_1] = "sha256:%s"\n' % ("0" * 64),
])
def test_no_signature_knows_the_place_of_the_build(new_build, text):
    """So that what one folder has made is there for another. `recipe` lies in the build folder: its path is not looked at."""
    parsed = []
    for _ in range(2):
        build = new_build()
        build.write("meta-test/recipes/files/x.service", "")
        build.recipe("thing", text)
        parsed.append(build.parse("thing"))
    for task in parsed[0].tasks():
        assert parsed[0].signed(task) == parsed[1].signed(task), task
