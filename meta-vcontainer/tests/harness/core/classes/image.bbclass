# An image: a root filesystem of packages, then one task for each type.
IMAGE_CLASSES ??= ""
inherit_defer ${IMAGE_CLASSES}
PACKAGES = ""
IMAGE_INSTALL ?= ""
IMAGE_INSTALL[type] = "list"
IMAGE_FEATURES ?= ""
IMAGE_LINGUAS ??= ""
PACKAGE_INSTALL ?= "${IMAGE_INSTALL}"
RDEPENDS += "${PACKAGE_INSTALL}"
IMAGE_BASENAME ?= "${PN}"
IMAGE_NAME_SUFFIX ??= ".rootfs"
IMAGE_LINK_NAME ?= "${IMAGE_BASENAME}-${MACHINE}${IMAGE_NAME_SUFFIX}"
IMAGE_NAME ?= "${IMAGE_LINK_NAME}-20260101000000"
IMAGE_ROOTFS = "${WORKDIR}/rootfs"
IMGDEPLOYDIR = "${WORKDIR}/deploy-${PN}-image-complete"
ROOTFS_BOOTSTRAP_INSTALL ?= ""
ROOTFS_POSTPROCESS_COMMAND ?= ""
IMAGE_TYPES_MASKED ?= ""
KERNELDEPMODDEPEND ?= "virtual/kernel:do_packagedata"
KERNEL_DEPLOY_DEPEND ?= "virtual/kernel:do_deploy"
EXTRA_IMAGEDEPENDS ?= ""
do_build[depends] += "${KERNEL_DEPLOY_DEPEND}"
do_rootfs[depends] += "${KERNELDEPMODDEPEND}"
do_rootfs[recrdeptask] += "do_packagedata do_package_write_stub"
# As in openembedded-core, where images depend on the place of the build.
do_rootfs[dirs] = "${TOPDIR}"
do_image[dirs] = "${TOPDIR}"
do_image_complete[dirs] = "${TOPDIR}"
do_rootfs[vardeps] += "PACKAGE_INSTALL ROOTFS_POSTPROCESS_COMMAND"
do_rootfs[cleandirs] += "${IMAGE_ROOTFS} ${IMGDEPLOYDIR} ${S}"
do_fetch[noexec] = "1"
do_unpack[noexec] = "1"
do_patch[noexec] = "1"
do_configure[noexec] = "1"
do_compile[noexec] = "1"
do_install[noexec] = "1"
deltask do_populate_sysroot
deltask do_packagedata
deltask do_package_write_stub
EXCLUDE_FROM_WORLD = "1"

python () {
    for variable in ("ROOTFS_POSTPROCESS_COMMAND",):
        d.setVarFlag(variable, "vardeps", d.getVar(variable))
}

fakeroot python do_rootfs() {
    import oe.package_manager.stub
    pm = oe.package_manager.stub.StubPM(d, d.getVar("IMAGE_ROOTFS"))
    pm.write_index()
    pm.update()
    pm.install(d.getVar("PACKAGE_INSTALL").split())
    # Images without package management do not keep its data.
    pm.remove_packaging_data()
    for command in d.getVar("ROOTFS_POSTPROCESS_COMMAND").replace(";", " ").split():
        bb.build.exec_func(command, d)
}
addtask rootfs after do_prepare_recipe_sysroot

addtask prepare_recipe_sysroot
do_prepare_recipe_sysroot() {
    :
}
# Everything gets one time, as in openembedded-core.
fakeroot do_image() {
    find ${IMAGE_ROOTFS} -print0 | xargs -0 touch -h --date=@${SOURCE_DATE_EPOCH}
}
addtask image after do_rootfs
do_image_complete() {
    mkdir -p ${DEPLOY_DIR_IMAGE}
    cp -a ${IMGDEPLOYDIR}/. ${DEPLOY_DIR_IMAGE}/
}
addtask image_complete after do_image before do_build

IMAGE_CMD:tar = "tar --numeric-owner --xattrs --xattrs-include='*' -C ${IMAGE_ROOTFS} -cf ${IMGDEPLOYDIR}/${IMAGE_NAME}.tar ."
IMAGE_CMD:ext4 = "touch ${IMGDEPLOYDIR}/${IMAGE_NAME}.ext4"
IMAGE_CMD:container = ":"

python create_symlinks() {
    import os
    kind = d.getVarFlag("do_" + d.getVar("BB_CURRENTTASK"), "imagetype", False)
    name = d.getVar("IMAGE_NAME") + "." + kind
    link = d.expand("${IMGDEPLOYDIR}/${IMAGE_LINK_NAME}." + kind)
    if os.path.exists(d.expand("${IMGDEPLOYDIR}/") + name):
        if os.path.islink(link):
            os.remove(link)
        os.symlink(name, link)
}

python () {
    masked = (d.getVar("IMAGE_TYPES_MASKED") or "").split()
    types = d.getVar("IMAGE_FSTYPES").split()
    for kind in types:
        types += [more for more in (d.getVar("IMAGE_TYPEDEP:" + kind) or "").split() if more not in types]
    for kind in dict.fromkeys(types):
        if kind in masked:
            continue
        # The place of the build is to stay a variable.
        local = d.createCopy()
        local.delVar("TMPDIR")
        command = local.getVar("IMAGE_CMD:" + kind)
        if not command:
            bb.fatal("no IMAGE_CMD for type %s" % kind)
        task = "do_image_" + kind.replace(".", "_")
        d.setVar(task, "\t" + command)
        d.setVarFlag(task, "func", "1")
        d.setVarFlag(task, "fakeroot", "1")
        d.setVarFlag(task, "imagetype", kind)
        d.prependVarFlag(task, "postfuncs", "create_symlinks ")
        after = " ".join("do_image_" + dep for dep in (d.getVar("IMAGE_TYPEDEP:" + kind) or "").split())
        bb.build.addtask(task, "do_image_complete", "do_image " + after, d)
}
