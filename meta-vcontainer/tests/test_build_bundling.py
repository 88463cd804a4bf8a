"""Root filesystems with containers, by the real bitbake command and the real tool."""

import json
import socket
import subprocess
import time
import urllib.request

import pytest

from harness import setup

CONTAINER = 'inherit image image-oci\nIMAGE_INSTALL = "%s"\nOCI_IMAGE_CMD = "/bin/app"\n'
HOST = """\
inherit image
IMAGE_INSTALL = "etc"
IMAGE_FSTYPES = "tar"
KERNELDEPMODDEPEND = ""
KERNEL_DEPLOY_DEPEND = ""
VCONTAINER_TARGET_CHECK = "0"
"""


@pytest.fixture
def build(new_build):
    return prepare(new_build(machine="qemuarm64"))


def prepare(build):
    """Packages and containers of these tests."""
    build.package("app", {"/bin/app": "app"}, owner="33:44")
    build.package("etc", {"/etc/hostname": "board"})
    build.recipe("container-base", CONTAINER % "app")
    build.recipe("myapp-container", CONTAINER % "app" + 'OCI_BASE_IMAGE = "container-base"\n')
    return build


def rootfs(build, name="host"):
    """Names, owners and texts of the files in an image's tar."""
    archive = build.deploy / ("%s-%s.rootfs.tar" % (name, build.machine))
    listing = subprocess.run(["tar", "--numeric-owner", "-tvf", archive], check=True, capture_output=True, text=True).stdout
    return {line.split(None, 5)[5].split(" -> ")[0].lstrip("."): line.split()[1] for line in listing.splitlines()}


def text(build, path, name="host"):
    archive = build.deploy / ("%s-%s.rootfs.tar" % (name, build.machine))
    return subprocess.run(["tar", "-xOf", archive, "." + path], check=True, capture_output=True, text=True).stdout


def repositories(build, name="host"):
    return json.loads(text(build, "/var/lib/docker/image/overlay2/repositories.json", name))["Repositories"]


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


def test_a_missing_container_says_what_to_do(build):
    build.configure('BUNDLED_CONTAINERS = "vendor-image:docker:external"')
    build.recipe("host", HOST)
    output = build.bitbake("host", fails=True)
    assert "MISSING CONTAINER: vendor-image" in output
    assert str(build.deploy / "vendor-image-latest-oci") in output


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


def test_remote_containers_without_digest(build):
    build.recipe("remote-bundle_1.0", 'inherit container-bundle\nCONTAINER_BUNDLES = "docker.io/library/redis:7"\n')
    output = build.bitbake("remote-bundle", fails=True)
    assert 'CONTAINER_DIGESTS[docker.io_library_redis_7] = "sha256:..."' in output
    assert "skopeo inspect docker://docker.io/library/redis:7 | jq -r '.Digest'" in output


def test_remote_containers(new_build):
    """By a program that answers `fetch` with a copy and passes everything else on: registries are the tool's own tests."""
    build = new_build(machine="qemuarm64")
    build.package("app", {"/bin/app": "app"})
    build.recipe("container-base", CONTAINER % "app")
    build.bitbake("container-base")
    wrapper = build.write("wrapper", """\
        #!/bin/sh
        [ "$1" = fetch ] || exec %s "$@"
        echo "$*" >> %s/fetched
        while [ $# -gt 1 ]; do
            case $1 in --output) output=$2 ;; --layout-name) name=$2 ;; esac
            shift
        done
        mkdir -p "$output"
        cp -rL %s/container-base-latest-oci "$output/$name"
        """ % (setup.tool(), build.top, build.deploy))
    wrapper.chmod(0o755)
    digest = "sha256:" + "0" * 64
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
    assert len(words) == 1
    assert "--arch aarch64" in words[0] and words[0].endswith(" docker.io/library/redis@" + digest)
    assert list(repositories(build)) == ["redis"]
    assert "--pull=never redis:7" in text(build, "/lib/systemd/system/container-redis.service")
    assert (build.deploy / "redis-latest-oci/index.json").exists() and (build.deploy / "on-top-latest-oci/index.json").exists()


@pytest.fixture
def registry(tmp_path):
    """A registry on the loopback, without TLS; its host and port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        place = "localhost:%d" % probe.getsockname()[1]
    config = tmp_path / "registry.yml"
    config.write_text("version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: %s/registry\nhttp:\n  addr: %s\n" % (tmp_path, place))
    with open(tmp_path / "registry.log", "w", encoding="utf-8") as log, subprocess.Popen(
        ["docker-registry", "serve", config], stdout=log, stderr=log
    ) as process:
        for _ in range(100):
            try:
                urllib.request.urlopen("http://%s/v2/" % place, timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        yield place
        process.terminate()


def test_containers_of_a_registry(new_build, registry):
    """The whole way: registry, digest, package, store; and once more without network, from DL_DIR alone."""
    build = prepare(new_build(machine="qemuarm64"))
    build.bitbake("container-base")
    remote = registry + "/team/app:1.0"
    subprocess.run(["skopeo", "copy", "--quiet", "--dest-tls-verify=false", "oci:%s/container-base-latest-oci" % build.deploy,
                    "docker://" + remote], check=True)
    digest = json.loads((build.deploy / "container-base-latest-oci/index.json").read_text())["manifests"][0]["digest"]
    build.recipe("app-bundle_1.0", """
inherit container-bundle
CONTAINER_BUNDLES = "%s:always"
CONTAINER_DIGESTS[%s] = "%s"
CONTAINER_FLAGS_ACCEPTED = "%s"
""" % (remote, remote.replace("/", "_").replace(":", "_"), digest, remote.rpartition(":")[0]))
    build.recipe("host", HOST.replace('"etc"', '"app-bundle"'))
    build.bitbake("host")
    assert list(repositories(build)) == [registry + "/team/app"]
    first = build.log("app-bundle", "do_fetch")
    assert "acknowledged (CONTAINER_FLAGS_ACCEPTED)" in first
    build.configure('BB_NO_NETWORK = "1"\n')
    build.bitbake("-f", "-c", "fetch", "app-bundle")
    build.bitbake("host")
