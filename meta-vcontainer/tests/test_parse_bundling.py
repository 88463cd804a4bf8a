"""container-cross-install and container-bundle through the real parser."""

import os

import pytest

from harness.build import ParseError

HOST = 'inherit image\nIMAGE_INSTALL = ""\nIMAGE_FSTYPES = "tar"\n'


def parse(new_build, text=HOST, conf="", **settings):
    build = new_build(conf=conf, **settings)
    build.recipe("host", text)
    return build.parse("host")


def test_dependencies_are_generated(new_build):
    host = parse(new_build, conf='BUNDLED_CONTAINERS = "container-base:docker myapp-container:podman:autostart"')
    depends = host.words("do_rootfs", "depends")
    for word in ("container-base:do_image_complete", "myapp-container:do_image_complete", "vcontainer-native:do_populate_sysroot"):
        assert word in depends
    assert host["ROOTFS_POSTPROCESS_COMMAND"].split() == ["vcontainer_bundle_containers"]


def test_external_and_legacy_names(new_build):
    host = parse(new_build, conf='BUNDLED_CONTAINERS = "vendor-image:docker:external container-base-latest-oci:docker"')
    depends = host.words("do_rootfs", "depends")
    assert "container-base:do_image_complete" in depends
    assert not any("vendor" in word for word in depends)


def test_nothing_changes_without_containers(new_build):
    """The class is there by the distro feature, and no signature knows of it."""
    plain = parse(new_build, features="")
    feature = parse(new_build)
    assert "vcontainer_bundle_containers" in feature["ROOTFS_POSTPROCESS_COMMAND"]
    assert "vcontainer_bundle_containers" not in plain["ROOTFS_POSTPROCESS_COMMAND"]
    for task in plain.tasks():
        assert plain.signed(task) == feature.signed(task)
        assert plain.hash(task) == feature.hash(task), task


@pytest.mark.parametrize("change", [
    'BUNDLED_CONTAINERS = "a:docker b:docker"',
    'BUNDLED_CONTAINERS = "a:podman"',
    'BUNDLED_CONTAINERS = "a:docker:always"',
    'BUNDLED_CONTAINERS = "a:docker"\nVCONTAINER_TARGET_CHECK = "0"',
    'BUNDLED_CONTAINERS = "a:docker"\nVCONTAINER_DOCKER_STORE = "containerd"',
    'BUNDLED_CONTAINERS = "a:docker"\nCONTAINER_SERVICE_FILE[a] = "${UNPACKDIR}/a.service"',
    'BUNDLED_CONTAINERS = "a"\nCONTAINER_PROFILE = "podman"',
])
def test_what_changes_the_root_filesystem_changes_its_signature(new_build, change):
    first = parse(new_build, conf='BUNDLED_CONTAINERS = "a:docker"')
    assert first.hash("do_rootfs") != parse(new_build, conf=change).hash("do_rootfs")


@pytest.mark.parametrize("change", ['VCONTAINER_TARGET_CHECK = "0"', 'VCONTAINER_DOCKER_STORE = "containerd"'])
def test_settings_count_for_images_that_may_install_bundles(new_build, change):
    assert parse(new_build).hash("do_rootfs") != parse(new_build, conf=change).hash("do_rootfs")
    same = 'VCONTAINER_TARGET_CHECK = "1"\nVCONTAINER_DOCKER_STORE = ""\n'
    assert parse(new_build).hash("do_rootfs") == parse(new_build, conf=same).hash("do_rootfs")


def test_signature_has_no_place_of_the_build(new_build):
    conf = 'BUNDLED_CONTAINERS = "a:docker"\nCONTAINER_SERVICE_FILE[a] = "${UNPACKDIR}/a.service"'
    assert parse(new_build, conf=conf).hash("do_rootfs") == parse(new_build, conf=conf).hash("do_rootfs")


@pytest.mark.parametrize("value,says", [
    ("a:dokcer", "host: BUNDLED_CONTAINERS: entry `a:dokcer`: `dokcer` is not a runtime"),
    ("a:docker:autostrat", "`autostrat` is not a policy"),
    ("docker.io/library/redis:7:docker", "put `docker.io/library/redis:7` into CONTAINER_BUNDLES"),
])
def test_wrong_entries_end_the_parsing(new_build, value, says):
    with pytest.raises(ParseError) as error:
        parse(new_build, conf='BUNDLED_CONTAINERS = "%s"' % value)
    assert says in str(error.value)


@pytest.mark.parametrize("setting,says", [
    ('VCONTAINER_TARGET_CHECK = "maybe"', "host: VCONTAINER_TARGET_CHECK: `maybe` is neither on nor off"),
    ('VCONTAINER_DOCKER_STORE = "btrfs"', "host: VCONTAINER_DOCKER_STORE: `btrfs` is not a store of Docker: write overlay2 or containerd"),
])
def test_wrong_settings_end_the_parsing(new_build, setting, says):
    with pytest.raises(ParseError) as error:
        parse(new_build, conf='BUNDLED_CONTAINERS = "a:docker"\n' + setting)
    assert says in str(error.value)
    parse(new_build, conf=setting)


def test_containers_do_not_bundle_themselves(new_build):
    build = new_build(conf='BUNDLED_CONTAINERS = "container-base:docker other:docker"')
    build.recipe("container-base", HOST)
    build.recipe("initrd", HOST + 'INITRAMFS_IMAGE = "initrd"\n')
    # That of a live image: nothing in its recipe says who boots it.
    build.recipe("live-initrd", HOST + 'INITRAMFS_FSTYPES = "tar"\nIMAGE_FSTYPES = "${INITRAMFS_FSTYPES}"\n')
    for name in ("container-base", "initrd", "live-initrd"):
        assert "other:do_image_complete" not in build.parse(name).words("do_rootfs", "depends")


def test_service_files_are_unpacked_first(new_build):
    text = HOST + """
SRC_URI += "file://myapp.service file://mydb.container"
BUNDLED_CONTAINERS = "myapp-container:docker:autostart mydb-container:podman:autostart"
CONTAINER_SERVICE_FILE[myapp-container] = "${UNPACKDIR}/myapp.service"
CONTAINER_SERVICE_FILE[mydb-container] = "${UNPACKDIR}/mydb.container"
"""
    host = parse(new_build, text)
    assert "host:do_unpack" in host.words("do_rootfs", "depends")
    for task in ("do_fetch", "do_unpack"):
        assert host.flag(task, "noexec") == ""
    assert host["CONTAINER_SERVICE_FILE_MAP"].startswith("myapp-container=")
    assert parse(new_build, HOST).flag("do_unpack", "noexec") == "1"


def test_service_files_of_other_places_count_by_their_content(new_build):
    conf = 'CONTAINER_SERVICE_FILE[a] = "/srv/a.service"\nCONTAINER_SERVICE_FILE[b] = ""\n'
    host = parse(new_build, conf=conf + 'BUNDLED_CONTAINERS = "a:docker b:docker"')
    assert host.words("do_rootfs", "file-checksums") == ["/srv/a.service:False"]
    bundle = parse(new_build, 'inherit container-bundle\nCONTAINER_BUNDLES = "a b"\n', conf)
    assert bundle.words("do_compile", "file-checksums") == ["/srv/a.service:False"]


def test_import_by_a_machine(new_build):
    conf = 'BUNDLED_CONTAINERS = "a:docker"\nVCONTAINER_IMPORT = "vm"\n'
    with pytest.raises(ParseError, match="needs VCONTAINER_GUEST_DIR"):
        parse(new_build, conf=conf)
    with pytest.raises(ParseError, match="no machine for TARGET_ARCH `riscv64`"):
        parse(new_build, conf=conf, machine="qemuriscv64")
    here = conf + 'VCONTAINER_GUEST_DIR = "/srv/guest"\n'
    host = parse(new_build, conf=here)
    assert host.flag("do_rootfs", "mcdepends") == ""
    assert "qemu-system-native:do_populate_sysroot" in host.words("do_rootfs", "depends")
    assert "/srv/guest/vdkr/x86_64/manifest.json:False" in host.words("do_rootfs", "file-checksums")
    other = parse(new_build, conf=here.replace("/srv/guest", "/home/guest"))
    assert host.hash("do_rootfs") == other.hash("do_rootfs")
    there = here + 'BBMULTICONFIG = "vruntime-x86-64"\n'
    assert parse(new_build, conf=there).words("do_rootfs", "mcdepends") == ["mc::vruntime-x86-64:vdkr-initramfs-create:do_deploy"]
    bundle = parse(new_build, 'inherit container-bundle\nCONTAINER_BUNDLE_RUNTIME = "podman"\nCONTAINER_BUNDLES = "a"\n', conf=there)
    assert "qemu-system-native" in bundle["PACKAGE_WRITE_DEPS"].split()
    assert bundle.words("do_compile", "mcdepends") == ["mc::vruntime-x86-64:vpdmn-initramfs-create:do_deploy"]
    with pytest.raises(ParseError, match='write "native" or "vm"'):
        parse(new_build, conf='BUNDLED_CONTAINERS = "a:docker"\nVCONTAINER_IMPORT = "qemu"\n')


def test_the_documents_bundle(new_build):
    text = """
inherit container-bundle
CONTAINER_BUNDLES = "\\
myapp-container:autostart \\
mydb-container \\
docker.io/library/redis:7 \\
"
CONTAINER_DIGESTS[docker.io_library_redis_7] = "sha256:..."
"""
    bundle = parse(new_build, text)
    assert {"myapp-container:do_image_complete", "mydb-container:do_image_complete"} <= set(bundle.words("do_compile", "depends"))
    for task in ("do_fetch", "do_unpack"):
        assert "vcontainer-native:do_populate_sysroot" in bundle.words(task, "depends")
    assert bundle["SRC_URI"].split() == ["docker://docker.io/library/redis:7;digest=sha256:...;arch=x86_64"
                                         ";subdir=remote-containers;destsuffix=docker.io_library_redis_7"]
    assert "do_deploy" not in bundle.tasks()
    other = parse(new_build, text.replace("sha256:...", "sha256:" + "0" * 64))
    assert bundle.hash("do_fetch") != other.hash("do_fetch")


def test_runtime_of_a_bundle(new_build):
    text = 'inherit container-bundle\nCONTAINER_BUNDLES = "a"\n'
    assert parse(new_build, text)["CONTAINER_BUNDLE_RUNTIME"] == "docker"
    assert parse(new_build, text, 'CONTAINER_PROFILE = "podman"')["CONTAINER_BUNDLE_RUNTIME"] == "podman"
    with pytest.raises(ParseError, match="host: CONTAINER_BUNDLE_RUNTIME: `lxc` is not a runtime"):
        parse(new_build, text, 'CONTAINER_BUNDLE_RUNTIME = "lxc"')
    with pytest.raises(ParseError, match="host: CONTAINER_BUNDLE_DEPLOY: `perhaps` is neither on nor off"):
        parse(new_build, text, 'CONTAINER_BUNDLE_DEPLOY = "perhaps"')
    deployed = parse(new_build, text, 'CONTAINER_BUNDLE_DEPLOY = "1"')
    assert "do_deploy" in deployed.tasks()


def test_licences_of_bundles(new_build):
    """The document's recipes have none: oe-core finds a file for what the class says, and asks for no checksums of it."""
    build = new_build(conf='ERROR_QA = "license-checksum"\n')
    text = 'inherit container-bundle\nCONTAINER_BUNDLES = "a"\nSRC_URI = "file://a.service"\n'
    build.write("meta-test/recipes/plain.bb", text)
    plain = build.parse("plain")
    assert [place for place in plain["LICENSE_PATH"].split() if os.path.isfile(os.path.join(place, plain["LICENSE"]))]
    build.write("meta-test/recipes/own.bb", 'LICENSE = "MIT"\n' + text)
    assert plain["ERROR_QA"].split() == []
    assert build.parse("own")["ERROR_QA"].split() == ["license-checksum"]
