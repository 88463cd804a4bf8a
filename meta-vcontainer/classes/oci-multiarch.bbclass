# One image for several architectures: an index over what multiconfigs have made of one recipe, as
# ${DEPLOY_DIR_IMAGE}/${PN}-multiarch-oci. See docs/oci-multiarch.md.

inherit container-common deploy nopackages

# A recipe with image-oci, and the tag of its images.
OCI_MULTIARCH_RECIPE ?= ""
OCI_IMAGE_TAG ?= "latest"

# The architectures; for each the multiconfig that makes its image, and that one's MACHINE.
OCI_MULTIARCH_PLATFORMS ?= "aarch64 x86_64"
OCI_MULTIARCH_MC[aarch64] ?= "container-aarch64"
OCI_MULTIARCH_MC[x86_64] ?= "container-x86-64"
OCI_MULTIARCH_MACHINE[aarch64] ?= "qemuarm64"
OCI_MULTIARCH_MACHINE[x86_64] ?= "qemux86-64"
# Where it deploys, unless that is ${TOPDIR}/tmp-<multiconfig>/deploy/images/<machine>: OCI_MULTIARCH_DEPLOY[aarch64] = "/path"

# What is in containers has licences of its own.
LICENSE ??= "LicenseRef-container-contents"

S = "${UNPACKDIR}"
INHIBIT_DEFAULT_DEPS = "1"
PACKAGE_ARCH = "${MACHINE_ARCH}"

do_configure[noexec] = "1"
do_compile[noexec] = "1"
do_install[noexec] = "1"

# Flags are in no signature: here they are as a text, set while parsing.
OCI_MULTIARCH_MAP = ""

python do_deploy() {
    vcontainer.multiarch.deploy(d)
}
do_deploy[depends] += "vcontainer-native:do_populate_sysroot"
do_deploy[vardeps] += "OCI_MULTIARCH_RECIPE OCI_MULTIARCH_MAP OCI_IMAGE_TAG"
addtask deploy after do_unpack before do_build

# Who uses a layout waits for this task, whatever the recipe is.
do_image_complete() {
    :
}
do_image_complete[noexec] = "1"
addtask image_complete after do_deploy before do_build

python () {
    vcontainer.multiarch.prepare(d)
}
