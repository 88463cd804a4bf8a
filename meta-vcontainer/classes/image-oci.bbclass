# An OCI image of the root filesystem, as ${DEPLOY_DIR_IMAGE}/${IMAGE_BASENAME}-${OCI_IMAGE_TAG}-oci.
#
# One layer, one on top of another image (OCI_BASE_IMAGE), or layers of its own (OCI_LAYER_MODE, OCI_LAYERS).
# See docs/image-oci.md.

inherit container-common

OCI_IMAGE_AUTHOR ?= "${PATCH_GIT_USER_NAME}"
OCI_IMAGE_AUTHOR_EMAIL ?= "${PATCH_GIT_USER_EMAIL}"
OCI_IMAGE_TAG ?= "latest"
OCI_IMAGE_RUNTIME_UID ??= ""
OCI_IMAGE_ARCH ?= "${@oe.go.map_arch(d.getVar('TARGET_ARCH'))}"
OCI_IMAGE_SUBARCH ?= "${@oci_subarch(d)}"
OCI_IMAGE_ENTRYPOINT ?= ""
OCI_IMAGE_ENTRYPOINT_ARGS ?= ""
OCI_IMAGE_CMD ?= "/bin/sh"
OCI_IMAGE_WORKINGDIR ?= ""
OCI_IMAGE_STOPSIGNAL ?= ""
OCI_IMAGE_PORTS ?= ""
# Lists of NAME=VALUE; values with spaces stand in quotes.
OCI_IMAGE_LABELS ?= ""
OCI_IMAGE_ENV_VARS ?= ""
OCI_IMAGE_AUTO_LABELS ?= "1"
OCI_IMAGE_REVISION ?= ""
OCI_IMAGE_BRANCH ?= ""
OCI_IMAGE_BUILD_DATE ?= ""
OCI_IMAGE_TAR_OUTPUT ?= "true"
OCI_BASE_IMAGE ?= ""
OCI_BASE_IMAGE_TAG ?= "latest"
OCI_LAYER_MODE ?= "single"
OCI_LAYERS ?= ""
OCI_LAYER_CACHE ?= "1"
OCI_LAYER_CACHE_DIR ?= "${TOPDIR}/oci-layer-cache/${MACHINE}"

def oci_subarch(d):
    tune = (d.getVar("TUNE_FEATURES") or "").split()
    if d.getVar("TARGET_ARCH") != "arm":
        return ""
    for words, variant in ((("armv7a", "armv7ve", "cortexa", "callconvention-hard"), "v7"), (("armv6",), "v6"), (("armv5",), "v5")):
        if any(feature.startswith(word) for feature in tune for word in words):
            return variant
    return "v7"

# What machines want of their images is nothing that containers need. A recipe that names oci itself is left alone.
OCI_FOREIGN_FSTYPES := "${@vcontainer.image.foreign_types(d)}"
IMAGE_FSTYPES := "${@d.getVar('IMAGE_FSTYPES') if 'oci' in (d.getVar('IMAGE_FSTYPES') or '').split() else 'oci'}"

# Before anonymous functions of image.bbclass make tasks of the types.
python oci_own_types() {
    vcontainer.image.drop_foreign_types(d)
}
addhandler oci_own_types
oci_own_types[eventmask] = "bb.event.RecipePreFinalise"

# nooelint: oelint.vars.specific - the type of an image
IMAGE_TYPEDEP:oci = ""
ROOTFS_BOOTSTRAP_INSTALL = ""
EXTRA_IMAGEDEPENDS = ""
KERNELDEPMODDEPEND = ""
KERNEL_DEPLOY_DEPEND = ""
USE_DEPMOD = "0"

# A layout is the same everywhere: sstate keeps it, as it does not the images of machines. Those depend on the place of
# the build, where their tasks run.
do_rootfs[vardepsexclude] += "do_rootfs[dirs]"
do_image[vardepsexclude] += "do_image[dirs]"
do_image_complete[vardepsexclude] += "do_image_complete[dirs]"
SSTATE_SKIP_CREATION:task-image-complete = "${@'0' if d.getVar('IMAGE_FSTYPES').strip() == 'oci' else '1'}"
SSTATE_SKIP_CREATION:task-image-qa = "${SSTATE_SKIP_CREATION:task-image-complete}"

# sstate takes files of the layout before away, and leaves its folders.
python oci_clear_former_layouts() {
    vcontainer.image.clear_former_layouts(d)
}
do_image_complete[postfuncs] += "oci_clear_former_layouts"

# The root filesystem that packages of layers are installed into: its owners are pseudo's to remember.
OCI_LAYER_ROOTFS = "${WORKDIR}/oci-layer-rootfs"
PSEUDO_INCLUDE_PATHS .= ",${OCI_LAYER_ROOTFS}"

OCI_VARS = "OCI_IMAGE_AUTHOR OCI_IMAGE_AUTHOR_EMAIL OCI_IMAGE_TAG OCI_IMAGE_RUNTIME_UID OCI_IMAGE_ARCH OCI_IMAGE_SUBARCH OCI_IMAGE_ENTRYPOINT \
    OCI_IMAGE_ENTRYPOINT_ARGS OCI_IMAGE_CMD OCI_IMAGE_WORKINGDIR OCI_IMAGE_STOPSIGNAL OCI_IMAGE_PORTS OCI_IMAGE_LABELS \
    OCI_IMAGE_ENV_VARS OCI_IMAGE_AUTO_LABELS OCI_IMAGE_REVISION OCI_IMAGE_BRANCH OCI_IMAGE_BUILD_DATE OCI_IMAGE_TAR_OUTPUT \
    OCI_BASE_IMAGE OCI_BASE_IMAGE_TAG OCI_LAYER_MODE OCI_LAYERS IMAGE_PKGTYPE TUNE_PKGARCH MACHINE"

# The image is made by a function of Python, before this.
# nooelint: oelint.vars.specific - the type of an image
IMAGE_CMD:oci = ":"

python oci_build_image() {
    vcontainer.image.build(d)
}
do_image_oci[prefuncs] += "oci_build_image"
do_image_oci[depends] += "vcontainer-native:do_populate_sysroot"
do_image_oci[vardeps] += "${OCI_VARS}"

python () {
    vcontainer.image.prepare(d)
}
