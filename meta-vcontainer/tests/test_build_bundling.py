"""Root filesystems with containers, by the real bitbake command and the real tool."""

import os
import re
import subprocess
import tarfile

import pytest

from harness import servers, setup
from harness.hosts import CONTAINER, HOST, prepare, repositories, rootfs, text


@pytest.fixture
def build(new_build):
    return prepare(new_build(machine="qemuarm64"))


def test_bundled_containers(new_build, machine):
    build = prepare(new_build(machine=machine))
    build.configure('BUNDLED_CONTAINERS = "container-base:docker myapp-container:podman:autostart container-base-latest-oci:docker"')
    build.recipe("host", HOST)
    build.bitbake("host")
    files = rootfs(build)
    assert "/var/lib/docker/image/overlay2/repositories.json" in files
    assert "/etc/containers/systemd/myapp-container.container" in files
    assert list(repositories(build)) == ["container-base"]
    owners = {owner for path, owner in files.items() if path.endswith("/bin/app")}
    assert owners == {"33/44"}
    assert files["/var/lib/docker/"] == "0/0"


def test_layers_keep_their_times(build):
    """openembedded-core gives all files of an image one time: not those in layers."""
    build.recipe("host", HOST + 'BUNDLED_CONTAINERS = "vendor:podman:external"\n')
    root = build.top / "vendor-root"
    root.mkdir()
    for name, time in (("old", 1_000_000_000), ("odd \udcff", 1_234_567_890)):
        (root / name).write_text("text")
        os.utime(root / name, (time, time))
    os.symlink("old", root / "link")
    subprocess.run([setup.tool(), "oci", "build", "--quiet", "--rootfs", root, "--arch", "aarch64", "--output", build.deploy, "--layout-name",
                    "vendor-latest-oci", "vendor:latest"], check=True)
    build.bitbake("host")
    archive = build.deploy / ("host-%s.rootfs.tar" % build.machine)
    with tarfile.open(archive) as tar:
        times = {os.path.basename(member.name): int(member.mtime) for member in tar if "/diff/" in member.name}
        host = tar.getmember("./etc/hostname")
    assert times["old"] == 1_000_000_000
    assert times["odd \udcff"] == 1_234_567_890
    assert host.mtime not in times.values()


def test_a_missing_container_says_what_to_do(build):
    build.configure('BUNDLED_CONTAINERS = "vendor-image:docker:external"')
    build.recipe("host", HOST)
    output = build.bitbake("host", fails=True)
    assert "MISSING CONTAINER: vendor-image" in output
    assert str(build.deploy / "vendor-image-latest-oci") in output


def test_a_missing_engine_says_which_variable_to_set(build):
    build.recipe("host", HOST.replace('VCONTAINER_TARGET_CHECK = "0"', 'BUNDLED_CONTAINERS = "container-base:docker"'))
    output = build.bitbake("host", fails=True)
    assert "Docker is not installed in the root filesystem" in output
    assert 'VCONTAINER_TARGET_CHECK = "0"' in output and "--no-target-check" not in output


def test_service_files(build):
    build.write("meta-test/recipes/files/myapp.service",
                "[Service]\nExecStart=/usr/bin/docker run container-base:latest\n[Install]\nWantedBy=multi-user.target\n")
    build.recipe("host", HOST + """
SRC_URI += "file://myapp.service"
BUNDLED_CONTAINERS = "container-base:docker:autostart"
CONTAINER_SERVICE_FILE[container-base] = "${UNPACKDIR}/myapp.service"
""")
    build.bitbake("host")
    unit = "/usr/lib/systemd/system/container-container-base.service"
    unit = unit if unit in rootfs(build) else "/lib/systemd/system/container-container-base.service"
    assert "ExecStart=/usr/bin/docker run container-base:latest" in text(build, unit)
    # Another text: the image is made again.
    build.write("meta-test/recipes/files/myapp.service",
                "[Service]\nExecStart=/usr/bin/docker run --init container-base:latest\n[Install]\nWantedBy=multi-user.target\n")
    build.bitbake("host")
    assert "--init" in text(build, unit)


def test_bundle_packages_are_merged(build):
    build.write("meta-test/recipes/files/db.container", "[Container]\nImage=localhost/myapp-container:latest\n")
    build.recipe("one-bundle_1.0", 'inherit container-bundle\nCONTAINER_BUNDLES = "container-base myapp-container:autostart"\n')
    build.recipe("two-bundle_1.0", """
inherit container-bundle
CONTAINER_BUNDLE_RUNTIME = "podman"
SRC_URI = "file://db.container"
CONTAINER_BUNDLES = "myapp-container:always"
CONTAINER_SERVICE_FILE[myapp-container] = "${UNPACKDIR}/db.container"
""")
    build.recipe("host", HOST + 'IMAGE_INSTALL += "one-bundle two-bundle"\nBUNDLED_CONTAINERS = "container-base:docker"\n')
    build.bitbake("host")
    files = rootfs(build)
    assert not [path for path in files if "container-bundles" in path]
    assert sorted(repositories(build)) == ["container-base", "myapp-container"]
    assert "localhost/myapp-container" in text(build, "/etc/containers/systemd/myapp-container.container")


def test_an_installed_bundle_is_enough(build):
    """No BUNDLED_CONTAINERS: the package brings the tool along."""
    build.recipe("one-bundle_1.0", 'inherit container-bundle\nCONTAINER_BUNDLES = "container-base:autostart"\n')
    build.recipe("host", HOST + 'IMAGE_INSTALL += "one-bundle"\n')
    build.bitbake("host")
    assert list(repositories(build)) == ["container-base"]


def test_packages_that_contradict_each_other_are_named(build):
    build.recipe("one-bundle_1.0", 'inherit container-bundle\nCONTAINER_BUNDLES = "container-base:always"\n')
    build.recipe("two-bundle_1.0", 'inherit container-bundle\nCONTAINER_BUNDLES = "container-base:no"\n')
    build.recipe("host", HOST + 'IMAGE_INSTALL += "one-bundle two-bundle"\n')
    output = build.bitbake("host", fails=True)
    assert "`container-base` of the package `one-bundle` and `container-base` of the package `two-bundle` contradict each other" in output
    build.recipe("host", HOST + 'IMAGE_INSTALL += "two-bundle"\nBUNDLED_CONTAINERS = "container-base:docker:on-failure"\n')
    output = build.bitbake("host", fails=True)
    assert "entry `container-base:docker:on-failure` of BUNDLED_CONTAINERS and `container-base` of the package `two-bundle` contradict" in output


def test_remote_containers_without_digest(build):
    build.recipe("remote-bundle_1.0", 'inherit container-bundle\nCONTAINER_BUNDLES = "docker.io/library/redis:7"\n')
    output = build.bitbake("remote-bundle", fails=True)
    assert 'CONTAINER_DIGESTS[docker.io_library_redis_7] = "sha256:..."' in output
    assert "skopeo inspect docker://docker.io/library/redis:7 | jq -r '.Digest'" in output


@pytest.mark.parametrize("entry,flag,says", [
    ("docker.io/library/redis:7", "sha512:" + "0" * 128, "CONTAINER_DIGESTS[docker.io_library_redis_7]: `sha512:"),
    ("docker.io/library/redis:7@sha512:" + "0" * 128, "", "CONTAINER_BUNDLES: `sha512:"),
])
def test_digests_that_nothing_is_fetched_by(build, entry, flag, says):
    flags = 'CONTAINER_DIGESTS[docker.io_library_redis_7] = "%s"\n' % flag if flag else ""
    build.recipe("remote-bundle_1.0", 'inherit container-bundle\nCONTAINER_BUNDLES = "%s"\n%s' % (entry, flags))
    output = build.bitbake("remote-bundle", fails=True)
    assert "remote-bundle: " + says in output and "write sha256: and 64 hexadecimal digits" in output


def test_remote_containers(new_build):
    """By a program that answers `fetch` with copies and passes everything else on: registries are the tool's own tests."""
    build = new_build(machine="qemuarm64")
    build.package("app", {"/bin/app": "app"})
    build.recipe("container-base", CONTAINER % "app")
    build.bitbake("container-base")
    wrapper = build.write("wrapper", """\
        #!/bin/sh
        [ "$1" = fetch ] || exec %s "$@"
        echo "$*" >> %s/fetched
        while [ $# -gt 1 ]; do
            case $1 in --cache) cache=$2 ;; --output) output=$2 ;; --layout-name) name=$2 ;; esac
            shift
        done
        [ -n "$name" ] || exec cp -rL %s/container-base-latest-oci/blobs "$cache"
        mkdir -p "$output"
        cp -rL %s/container-base-latest-oci "$output/$name"
        """ % (setup.tool(), build.top, build.deploy, build.deploy))
    wrapper.chmod(0o755)
    digest = servers.digest_of(build.deploy / "container-base-latest-oci")
    build.configure('VCONTAINER_PREBUILT = "%s"\n' % wrapper)
    build.recipe("redis_1.0", """
inherit container-bundle
CONTAINER_BUNDLES = "docker.io/library/redis:7:autostart"
CONTAINER_DIGESTS[docker.io_library_redis_7] = "%s"
CONTAINER_BUNDLE_DEPLOY = "1"
""" % digest)
    build.recipe("on-top", 'inherit image image-oci\nIMAGE_INSTALL = ""\nOCI_BASE_IMAGE = "redis"\n')
    build.recipe("host", HOST.replace('"etc"', '"redis"'))
    output = build.bitbake("host", "on-top")
    assert 'CONTAINER_FLAGS_ACCEPTED += "docker.io/library/redis:7"' in output
    words = (build.top / "fetched").read_text().splitlines()
    # Once, for the package and for what is deployed; each unpacks it.
    assert sorted("--cache-only" in word for word in words) == [False, False, True]
    for word in words:
        assert "--arch aarch64" in word and word.endswith(" docker.io/library/redis:7@" + digest)
    assert list(repositories(build)) == ["redis"]
    assert "--pull=never redis:7" in text(build, "/lib/systemd/system/container-redis.service")
    assert (build.deploy / "redis-latest-oci/index.json").exists() and (build.deploy / "on-top-latest-oci/index.json").exists()


def test_what_is_on_top_of_a_remote_container_depends_on_its_digest_only(new_build, registry):
    """Not on service files and policies, nor on the other containers of the bundle: none of them is in it."""
    build = prepare(new_build(machine="qemuarm64"))
    build.bitbake("container-base", "myapp-container")
    digests = {}
    for name in ("container-base", "myapp-container"):
        layout = build.deploy / (name + "-latest-oci")
        remote, digests[name] = registry.push(layout, "team/app:1.0"), servers.digest_of(layout)
    build.recipe("on-top", 'inherit image image-oci\nIMAGE_INSTALL = "etc"\nOCI_BASE_IMAGE = "app-bundle"\n')

    def make(service="one", policy="always", more="", digest="container-base"):
        """What is made anew for the image on top."""
        build.write("meta-test/recipes/files/app.service", "[Service]\nExecStart=/usr/bin/docker run %s\n" % service)
        build.recipe("app-bundle_1.0", """
inherit container-bundle
SRC_URI = "file://app.service"
CONTAINER_BUNDLES = "%s:%s %s"
CONTAINER_SERVICE_FILE[%s] = "${UNPACKDIR}/app.service"
CONTAINER_DIGESTS[%s] = "%s"
CONTAINER_BUNDLE_DEPLOY = "1"
""" % (remote, policy, more, remote.replace("/", "_").replace(":", "_"), remote.replace("/", "_").replace(":", "_"), digests[digest]))
        return re.findall(r"recipe ((?:app-bundle|on-top)\S*): task (do_\w+): Started", build.bitbake("on-top"))

    made = make()
    assert ("on-top-1.0-r0", "do_image_oci") in made and ("app-bundle-1.0-r0", "do_deploy") in made
    # Nothing for which the package would be needed.
    assert {task for name, task in made if name.startswith("app-bundle")} == {"do_deploy"}
    assert make() == make(service="two") == make(policy="no") == make(more="container-base") == []
    first = servers.digest_of(build.deploy / "on-top-latest-oci")
    assert ("on-top-1.0-r0", "do_image_oci") in make(digest="myapp-container")
    assert servers.digest_of(build.deploy / "on-top-latest-oci") != first


def test_containers_of_a_registry(new_build, registry):
    """The whole way: registry, digest, package, store; and once more without network, from DL_DIR alone."""
    build = prepare(new_build(machine="qemuarm64"))
    build.bitbake("container-base")
    layout = build.deploy / "container-base-latest-oci"
    remote, digest = registry.push(layout, "team/app:1.0"), servers.digest_of(layout)
    build.recipe("app-bundle_1.0", """
inherit container-bundle
CONTAINER_BUNDLES = "%s:always"
CONTAINER_DIGESTS[%s] = "%s"
CONTAINER_FLAGS_ACCEPTED = "%s"
""" % (remote, remote.replace("/", "_").replace(":", "_"), digest, remote.rpartition(":")[0]))
    build.recipe("host", HOST.replace('"etc"', '"app-bundle"'))
    build.bitbake("host")
    assert list(repositories(build)) == [remote.rpartition(":")[0]]
    first = build.log("app-bundle", "do_fetch")
    assert "acknowledged (CONTAINER_FLAGS_ACCEPTED)" in first
    build.configure('BB_NO_NETWORK = "1"\n')
    build.bitbake("-f", "-c", "fetch", "app-bundle")
    build.bitbake("host")
