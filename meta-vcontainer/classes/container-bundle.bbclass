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

# The layout that is deployed depends on its digest and on nothing else of the recipe: neither on service files, which do_fetch and
# do_unpack bring as well, nor on other containers. So it fetches and unpacks by itself what is in DL_DIR or will be there anyhow.
python do_deploy() {
    vcontainer.bundle.deploy_bundle(d)
}
# nooelint: oelint.task.network - as do_fetch: by a digest, through DL_DIR and mirrors
do_deploy[network] = "1"
do_deploy[dirs] = "${WORKDIR}"
do_deploy[vardeps] += "CONTAINER_BUNDLE_DEPLOY_URI"

# That remote container as an entry of SRC_URI. Set while parsing.
CONTAINER_BUNDLE_DEPLOY_URI = ""

# Who uses a layout waits for this task, whatever the recipe is.
do_image_complete() {
    :
}
do_image_complete[noexec] = "1"

python () {
    vcontainer.bundle.prepare_bundle(d)
    vcontainer.check.own_service_files(d, "CONTAINER_BUNDLES")
    vcontainer.fetcher.prepare(d)
    if vcontainer.bundle.switch(d, "CONTAINER_BUNDLE_DEPLOY"):
        vcontainer.bundle.prepare_deploy(d)
}
