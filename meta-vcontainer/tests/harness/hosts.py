"""Images with containers in them, as tests build them, and what is in their root filesystems."""

import json
import subprocess

CONTAINER = 'inherit image image-oci\nIMAGE_INSTALL = "%s"\nOCI_IMAGE_CMD = "/bin/app"\n'
HOST = """\
inherit image
IMAGE_INSTALL = "etc"
IMAGE_FSTYPES = "tar"
KERNELDEPMODDEPEND = ""
KERNEL_DEPLOY_DEPEND = ""
VCONTAINER_TARGET_CHECK = "0"
"""


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
