"""Recipes of the layer: that they parse with the stub, and that what is generated is up to date."""

import importlib.util
import subprocess
import sys

import pytest

from harness import guests as guests_harness
from harness import setup

RECIPES = sorted(str(path.relative_to(setup.LAYER)) for path in setup.LAYER.glob("recipes-*/*/*.bb"))


@pytest.mark.parametrize("path", RECIPES)
def test_recipes_parse(new_build, machine, path):
    build = new_build(machine=machine, conf='VCONTAINER_GUEST_DIR = "/srv/guests"\n')
    recipe = build.parse(str(setup.LAYER / path))
    assert len(recipe["SUMMARY"]) <= 80
    assert recipe["LICENSE"] == "MIT"


def test_the_linter_has_nothing_to_say():
    """oelint-adv with .oelint.cfg, which gives the reasons for what is switched off."""
    if not importlib.util.find_spec("oelint_adv"):
        pytest.skip("needs oelint-adv: `pip install` the version that e2e/src/yocto.rs names")
    patterns = ["recipes-*/**/*.bb", "recipes-*/**/*.inc", "dynamic-layers/**/*.bb*", "dynamic-layers/**/*.inc", "classes/*.bbclass", "conf/**/*.conf"]
    files = sorted(str(path.relative_to(setup.LAYER)) for pattern in patterns for path in setup.LAYER.glob(pattern))
    done = subprocess.run([sys.executable, "-m", "oelint_adv", *files], cwd=setup.LAYER, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    assert done.returncode == 0 and not done.stdout, done.stdout


def test_crates_are_those_of_cargo_lock():
    spec = importlib.util.spec_from_file_location("crates", setup.LAYER / "scripts/update-crates.py")
    crates = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(crates)
    assert crates.TARGET.read_text() == crates.text(), "run meta-vcontainer/scripts/update-crates.py"


def test_the_prebuilt_tool_counts_by_its_content(new_build):
    """Another place of the same program is no reason to make anything again."""
    path = str(setup.LAYER / "recipes-containers/vcontainer/vcontainer-native_0.1.0.bb")
    first = new_build().parse(path)
    second = new_build(conf='VCONTAINER_PREBUILT = "/usr/bin/true"\n').parse(path)
    assert first.hash("do_install") == second.hash("do_install")
    assert second.words("do_install", "file-checksums") == ["/usr/bin/true:True"]


def test_multiconfigs(new_build):
    machines = {"aarch64": "qemuarm64", "x86-64": "qemux86-64"}
    for path in (setup.LAYER / "conf/multiconfig").glob("*.conf"):
        name, machine = path.stem, machines[path.stem.partition("-")[2]]
        text = path.read_text()
        assert 'MACHINE = "%s"' % machine in text and 'TMPDIR = "${TOPDIR}/tmp-%s"' % name in text


def guests(build, *names):
    for name in names:
        build.write("guests/%s/manifest.json" % name, "{}")
    return 'VCONTAINER_GUEST_DIR = "%s/guests"\n' % build.top


def test_guest_files_are_deployed(new_build):
    build = new_build(machine="qemuarm64")
    build.configure(guests(build, "vdkr/aarch64", "vpdmn/aarch64"))
    build.bitbake("vdkr-initramfs-create", "vpdmn-initramfs-create")
    assert (build.deploy / "vdkr/aarch64/manifest.json").exists() and (build.deploy / "vpdmn/aarch64/manifest.json").exists()


def test_the_tarball_installs_itself(new_build, tmp_path):
    build = new_build()
    build.recipe("xz-native_1.0", "inherit native\n")
    small = build.write("small", '#!/bin/bash\nexec -a "$0" %s "$@"\n' % setup.tool())
    small.chmod(0o755)
    conf = guests(build, "vdkr/x86_64", "vpdmn/x86_64") + 'VCONTAINER_PREBUILT = "%s"\n' % small
    build.configure(conf)
    assert "VCONTAINER_GUEST_DIR has no vdkr/aarch64" in build.bitbake("vcontainer-tarball", fails=True)
    build.configure(conf + 'VCONTAINER_ARCHITECTURES = "x86_64"\n')
    build.bitbake("vcontainer-tarball")
    place = tmp_path / "vcontainer"
    subprocess.run([build.top / "tmp/deploy/sdk/vcontainer-standalone.sh", "-d", place, "-y"], check=True)
    script = "source %s/init-env.sh && vdkr --version && command -v vpdmn-x86_64" % place
    done = subprocess.run(["bash", "-c", script], check=True, capture_output=True, text=True)
    assert str(place / "vpdmn-x86_64") in done.stdout
    assert (place / "share/vcontainer/vpdmn/x86_64/manifest.json").exists()


@pytest.mark.parametrize("first", [True, False])
def test_beside_meta_virtualization(new_build, tmp_path, first):
    """Where that layer is there too, wherever it stands in bblayers.conf: our classes and recipes, with its engines."""
    other = guests_harness.meta_virtualization(tmp_path, {
        "classes/image-oci.bbclass": 'FROM = "theirs"\n',
        "recipes-extended/images/container-image-host.bb": 'FROM = "theirs"\nLICENSE = "MIT"\n',
    })
    build = new_build(layers=[other], conf='KERNELDEPMODDEPEND = ""\nKERNEL_DEPLOY_DEPEND = ""\n')
    if first:
        conf = build.top / "conf/bblayers.conf"
        words = conf.read_text().replace(" %s" % other, "")
        conf.write_text(words.replace(" %s" % setup.LAYER, " %s %s" % (other, setup.LAYER)))
    build.recipe("linux-yocto_6.18", guests_harness.KERNEL)
    build.recipe("img", "inherit image image-oci\n")
    assert build.parse("img")["FROM"] is None
    build.package("docker", {"/usr/bin/dockerd": "docker"})
    environment = build.bitbake("-e", "container-image-host")
    assert 'CONTAINER_HOST_ENGINES="docker"' in environment
    assert "\nFROM=" not in environment
    build.package("podman", {"/usr/bin/podman": "podman"})
    build.configure(build.conf + 'BUNDLED_CONTAINERS = "vendor:docker:external vendor:podman:external"\n')
    assert 'CONTAINER_HOST_ENGINES="docker podman"' in build.bitbake("-e", "container-image-host")
