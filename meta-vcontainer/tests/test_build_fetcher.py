"""Images of registries in builds by the real bitbake command: with the network, without it, from the downloads of others."""

import json

import pytest

from harness import servers
from harness.hosts import HOST, prepare, repositories, text


@pytest.fixture
def layout(tmp_path):
    """An image for two platforms."""
    return servers.two_platforms(tmp_path / "images")


def add_recipes(build, layout, registry):
    """A host with a bundle of the image and with an ordinary recipe that has it in SRC_URI."""
    prepare(build)
    remote, digest = registry.place + "/team/app:1.0", servers.digest_of(layout)
    key = remote.replace("/", "_").replace(":", "_")
    build.write("meta-test/recipes/files/app.service",
                "[Service]\nExecStart=/usr/bin/docker run app\n[Install]\nWantedBy=multi-user.target\n")
    build.recipe("app-bundle_1.0", """
inherit container-bundle
SRC_URI = "file://app.service"
CONTAINER_BUNDLES = "%s:autostart"
CONTAINER_DIGESTS[%s] = "%s"
CONTAINER_SERVICE_FILE[%s] = "${UNPACKDIR}/app.service"
""" % (remote, key, digest, key))
    build.recipe("plain_1.0", """
SRC_URI = "docker://%s;digest=%s;subdir=images;destsuffix=app"
do_install() {
    install -D -m 0644 ${UNPACKDIR}/images/app/index.json ${D}${datadir}/index.json
}
""" % (remote, digest))
    build.recipe("host", HOST.replace('"etc"', '"app-bundle plain"'))


def check_host(build, registry):
    assert list(repositories(build)) == [registry.place + "/team/app"]
    assert "ExecStart=/usr/bin/docker run app" in text(build, "/lib/systemd/system/container-app.service")
    assert "manifests" in json.loads(text(build, "/usr/share/index.json"))


def test_a_build_after_runall_fetch_needs_no_network(new_build, layout, registry):
    registry.push(layout, "team/app:1.0")
    build = new_build(machine="qemuarm64")
    add_recipes(build, layout, registry)
    build.configure('BB_NO_NETWORK = "1"\n')
    output = build.bitbake("--runall=fetch", "host", fails=True)
    assert "NetworkAccess('docker://%s/team/app:1.0" % registry.place in output
    build.configure("")
    build.bitbake("--runall=fetch", "host")
    downloads = [path.name for path in (build.top / "downloads").iterdir() if path.suffix != ".lock"]
    name = "docker_app_%s_aarch64.tar" % servers.digest_of(layout).partition(":")[2]
    assert sorted(downloads) == [name, name + ".done"]
    asked = registry.asked("/v2/team/app")
    build.configure('BB_NO_NETWORK = "1"\n')
    build.bitbake("host")
    check_host(build, registry)
    assert registry.asked("/v2/team/app") == asked
    # Another build folder has nothing but the downloads of this one.
    other = new_build(machine="qemuarm64")
    add_recipes(other, layout, registry)
    with servers.files(build.top / "downloads") as place:
        other.configure('PREMIRRORS = "docker://.*/.* %s/"\nBB_FETCH_PREMIRRORONLY = "1"\n' % place)
        other.bitbake("host")
    check_host(other, registry)
    assert registry.asked("/v2/team/app") == asked


def test_a_registry_without_the_image(new_build, layout, registry):
    build = new_build(machine="qemuarm64")
    add_recipes(build, layout, registry)
    output = build.bitbake("-c", "fetch", "plain", fails=True)
    assert "answers 404" in output and "Unable to fetch URL from any source." in output


def test_the_digest_of_an_index_pins_the_image_in_the_stores(new_build, layout, registry):
    """Whole, though the image of one platform only is there."""
    remote, digest = registry.push(layout, "team/app:1.0").rpartition(":")[0], servers.digest_of(layout)
    build = prepare(new_build(machine="qemuarm64"))
    for engine in ("docker", "podman"):
        build.recipe(engine + "-bundle_1.0", """
inherit container-bundle
CONTAINER_BUNDLES = "%s@%s:%s:autostart"
""" % (remote, digest, engine))
    build.recipe("host", HOST.replace('"etc"', '"docker-bundle podman-bundle"'))
    build.bitbake("host")
    assert list(repositories(build)[remote]) == ["%s@%s" % (remote, digest)]
    image, = json.loads(text(build, "/var/lib/containers/storage/overlay-images/images.json"))
    assert image["digest"] == digest and image["names"] == ["%s@%s" % (remote, digest)]
    assert "%s@%s" % (remote, digest) in text(build, "/etc/containers/systemd/app.container")


@pytest.mark.slow
def test_slow_remote_containers(new_oe_build, layout, registry):
    """Of oe-core: the tool in do_fetch and do_unpack, QA, the archiver's and SPDX's view of SRC_URI."""
    remote, digest = registry.push(layout, "team/app:1.0"), servers.digest_of(layout)
    build = new_oe_build("qemuarm64", "deb", """
BB_NO_NETWORK = "0"
INHERIT += "archiver create-spdx"
ARCHIVER_MODE[src] = "mirror"
COPYLEFT_LICENSE_INCLUDE = "*"
BB_GENERATE_MIRROR_TARBALLS = "1"
CONTAINER_BUNDLES:pn-remote-container-bundle = "%s:autostart"
CONTAINER_DIGESTS[%s] = "%s"
LIC_FILES_CHKSUM:pn-remote-container-bundle = ""
CONTAINER_BUNDLE_DEPLOY:pn-remote-container-bundle = "1"
OCI_BASE_IMAGE:pn-app-container-layered = "remote-container-bundle"
IMAGE_INSTALL:append:pn-container-image-host = " remote-container-bundle"
IMAGE_FSTYPES = "tar"
""" % (remote, remote.replace("/", "_").replace(":", "_"), digest))
    output = build.bitbake("--runall=fetch", "remote-container-bundle")
    assert "CONTAINER_FLAGS_ACCEPTED" in output and "ERROR" not in output
    build.bitbake("container-image-host")
    assert list(repositories(build, "container-image-host")) == [remote.rpartition(":")[0]]
    # What is deployed is fetched by do_deploy itself.
    build.bitbake("app-container-layered")
    for name in ("remote-container-bundle", "app-container-layered"):
        assert (build.deploy / (name + "-latest-oci") / "index.json").exists()
    sbom = [path.read_text() for path in build.top.glob("tmp/deploy/spdx/**/*.json") if "remote-container-bundle" in path.name]
    assert any("pkg:oci/app@%s?repository_url=" % digest.replace(":", "%3A") in text for text in sbom)
    mirrored = build.top.glob("tmp/deploy/sources/**/docker_app_*_aarch64.tar")
    assert list(mirrored)
