# A package of containers, which is merged into the stores of the images that it is installed in.
#
# CONTAINER_BUNDLES = "name[:autostart] registry/path:tag[:autostart] ...". See docs/container-bundle.md.

inherit container-common deploy

CONTAINER_BUNDLES ?= ""
CONTAINER_BUNDLE_RUNTIME ?= "${CONTAINER_DEFAULT_RUNTIME}"

# "1" deploys the first remote container as ${PN}-latest-oci, for OCI_BASE_IMAGE = "${PN}".
CONTAINER_BUNDLE_DEPLOY ?= ""

# Remote containers whose licences somebody has looked at: references, with or without their tag, or *.
CONTAINER_FLAGS_ACCEPTED ?= ""

# What is in containers has licences of its own.
LICENSE ??= "LicenseRef-container-contents"

S = "${UNPACKDIR}"
INHIBIT_DEFAULT_DEPS = "1"
PACKAGE_ARCH = "${MACHINE_ARCH}"
# do_compile empties it: not what has been unpacked.
B = "${WORKDIR}/build"

# Programs in layers are the containers' own.
INHIBIT_PACKAGE_STRIP = "1"
INHIBIT_PACKAGE_DEBUG_SPLIT = "1"
SKIP_FILEDEPS = "1"
SYSROOT_DIRS = ""

# The image that installs the package merges it with this tool, and is made again when it changes.
PACKAGE_WRITE_DEPS += "vcontainer-native"

PACKAGES = "${PN}"
# nooelint: oelint.var.filesoverride - nothing else is in the package
FILES:${PN} = "${datadir}/container-bundles"

# Flags are in no signature: here they are as one text, set while parsing.
CONTAINER_SERVICE_FILE_MAP = ""

# Remote containers come by SRC_URI, where parsing adds them.
python container_bundle_check() {
    vcontainer.bundle.check_remotes(d)
}
do_fetch[prefuncs] += "container_bundle_check"
do_fetch[vardeps] += "CONTAINER_BUNDLES CONTAINER_FLAGS_ACCEPTED"

do_patch[noexec] = "1"
do_configure[noexec] = "1"

python do_compile() {
    vcontainer.bundle.collect_bundle(d)
}
do_compile[cleandirs] = "${B}"
do_compile[vardeps] += "CONTAINER_BUNDLES CONTAINER_BUNDLE_RUNTIME CONTAINER_SERVICE_FILE_MAP"

do_install() {
    install -d ${D}${datadir}
    if [ -d ${B}/container-bundles ]; then
        cp -R --no-preserve=ownership,timestamps ${B}/container-bundles ${D}${datadir}/
    fi
}

python do_deploy() {
    vcontainer.bundle.deploy_bundle(d)
}
do_deploy[vardeps] += "CONTAINER_BUNDLES"

python () {
    vcontainer.bundle.prepare_bundle(d)
    vcontainer.check.own_service_files(d, "CONTAINER_BUNDLES")
    vcontainer.fetcher.prepare(d)
    if vcontainer.bundle.switch(d, "CONTAINER_BUNDLE_DEPLOY"):
        bb.build.addtask("do_deploy", "do_build", "do_compile", d)
}
