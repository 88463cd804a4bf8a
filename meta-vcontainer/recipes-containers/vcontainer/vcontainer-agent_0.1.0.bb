SUMMARY = "The first process of guests of vdkr and vpdmn"
DESCRIPTION = "The agent boots a guest and runs commands for the host. It starts before any library is there: it is static."
SECTION = "devel"
# The project is under MIT or Apache-2.0, as you like; series disagree about how to write that.
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

VCONTAINER_CRATE = "vcontainer-agent"
require vcontainer-cargo.inc

inherit deploy nopackages

COMPATIBLE_HOST = "(aarch64|x86_64).*-linux"
PACKAGE_ARCH = "${MACHINE_ARCH}"

# The profile of Cargo.toml: small, without symbols.
BUILD_MODE = "--profile agent"
BUILD_DIR = "agent"
# With the C library that the build has: the agent asks no NSS and loads nothing, so glibc serves as well as musl, and that
# would take a build of its own.
RUSTFLAGS:append = " -C target-feature=+crt-static -C relocation-model=static"

# openembedded-core's descriptions of targets don't say that they can be linked statically, and then rustc doesn't.
python agent_may_be_static() {
    import json
    import pathlib

    for path in pathlib.Path(d.getVar("RUST_TARGETS_DIR")).glob("*.json"):
        target = json.loads(path.read_text())
        target["crt-static-respected"] = True
        path.write_text(json.dumps(target, indent=4))
}
do_rust_gen_targets[postfuncs] += "agent_may_be_static"

do_deploy() {
    install -D -m 0755 ${D}${bindir}/vcontainer-agent ${DEPLOYDIR}/vcontainer-agent
}
addtask deploy after do_install before do_build
