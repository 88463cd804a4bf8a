"""vdkr-initramfs-create and vpdmn-initramfs-create with guest files of the build's own packages."""

import json
import subprocess

import pytest

from harness import guests, setup

PACKAGES = 'VCONTAINER_GUEST_FROM = "packages"\n'
CREATE = ("vdkr-initramfs-create", "vpdmn-initramfs-create")
CONF = PACKAGES + 'DISTRO = "vruntime"\nKERNEL_IMAGETYPE = "Image"\n'


@pytest.fixture
def build(new_build, tmp_path):
    """A build that has the packages, as far as their names."""
    agent = {"recipes-test/agent/vcontainer-agent_%.bbappend": guests.AGENT}
    layer = guests.meta_virtualization(tmp_path, agent)
    build = new_build(machine="qemuarm64", layers=[layer], conf=CONF)
    guests.add_packages(build)
    return build


def listed(image, *paths):
    """What unsquashfs shows of these paths."""
    command = ["unsquashfs", "-lln", "-d", "", str(image), *paths]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    rows = [line.split() for line in lines if "/" in line.split(":")[-1]]
    return {row[5]: row[0] + "".join(row[6:]) for row in rows}


def test_a_set_is_made_of_the_builds_packages(build):
    build.bitbake(*CREATE)
    for tool, engine, program in (("vdkr", "docker", "usr/bin/dockerd"), ("vpdmn", "podman", "usr/bin/podman")):
        folder = build.deploy / tool / "aarch64"
        assert sorted(path.name for path in folder.parent.iterdir()) == ["aarch64"]
        manifest = json.loads((folder / "manifest.json").read_text())
        assert (manifest["engine"], manifest["arch"], manifest["kernel"]) == (engine, "aarch64", guests.RELEASE)
        shown = listed(folder / "rootfs.img", program, "usr/sbin/iptables", "etc/vcontainer/guest.conf", "bin")
        assert shown["/" + program] == "-rw-r--r--" and shown["/bin"] == "lrwxrwxrwx->usr/bin"
        assert shown["/usr/sbin/iptables"] == "lrwxrwxrwx->xtables-nft-multi" and "/etc/vcontainer/guest.conf" in shown


def test_what_it_will_do_is_known_beforehand(build):
    """A dry run: who makes what, before anything is made."""
    said = build.bitbake("-n", "vdkr-initramfs-create")
    assert "vdkr-initramfs-create_0.1.0.bb:do_deploy" in said and not build.deploy.exists()
    build.bitbake("-g", "vdkr-initramfs-create")
    graph = (build.top / "task-depends.dot").read_text()
    for task in ("vdkr-rootfs-image.do_image_complete", "vcontainer-agent.do_deploy", "linux-yocto.do_deploy",
                 "vcontainer-native.do_populate_sysroot", "squashfs-tools-native.do_populate_sysroot"):
        assert '"%s"' % task in graph, task
    assert '"vdkr-initramfs-create.do_deploy" -> "vdkr-rootfs-image.do_image_complete"' in graph


def test_what_is_missing_ends_the_task(build):
    build.package("docker-moby", {"/usr/bin/docker": "the command only"})
    build.bitbake("vdkr-initramfs-create", fails=True)
    said = build.log("vdkr-initramfs-create", "do_deploy")
    assert "lacks what a guest of docker on aarch64 needs: there is no `dockerd`. Install" in said


def test_the_kernel_of_guests_has_what_they_need(build):
    build.bitbake("-c", "unpack", "linux-yocto")
    place = next(build.top.glob("tmp/work/*/linux-yocto/*/sources"))
    for name in ("kernel.cfg", "kernel-aarch64.cfg"):
        assert (place / name).read_text() == (setup.REPOSITORY / "guest" / name).read_text()
    # Others stay as they are.
    for other in ('DISTRO = "nodistro"\n', 'VCONTAINER_GUEST_FROM = "prebuilt"\n'):
        build.configure(CONF + other)
        assert ".cfg" not in build.bitbake("-e", "linux-yocto").split("\nSRC_URI=")[1].split("\n")[0]


def test_other_choices_are_told(new_build, tmp_path):
    """Without the layer there are no packages to make it of."""
    build = new_build(machine="qemuarm64", conf=PACKAGES)
    said = build.bitbake("vdkr-initramfs-create", fails=True)
    assert "needs the engines of meta-virtualization: add that layer" in said
    build.configure('VCONTAINER_GUEST_FROM = "debian"\n')
    assert 'VCONTAINER_GUEST_FROM is `debian`: write "prebuilt" or "packages"' in build.bitbake("vdkr-initramfs-create", fails=True)


def test_the_agent_is_static(new_build):
    """The description of the target allows it, and rustc is asked for it."""
    build = new_build(machine="qemuarm64")
    recipe = build.parse(str(setup.LAYER / "recipes-containers/vcontainer/vcontainer-agent_0.1.0.bb"))
    assert "+crt-static" in recipe["RUSTFLAGS"] and "--package vcontainer-agent" in recipe["CARGO_BUILD_FLAGS"]
    assert recipe.words("do_rust_gen_targets", "postfuncs") == ["agent_may_be_static"]
    folder = build.top / "rust-targets"
    folder.mkdir()
    target = folder / "aarch64-poky-linux-gnu.json"
    target.write_text('{"arch": "aarch64"}')
    recipe.d.setVar("RUST_TARGETS_DIR", str(folder))
    import bb.build

    bb.build.exec_func("agent_may_be_static", recipe.d)
    assert json.loads(target.read_text()) == {"arch": "aarch64", "crt-static-respected": True}
