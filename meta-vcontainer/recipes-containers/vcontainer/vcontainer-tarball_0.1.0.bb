SUMMARY = "vdkr and vpdmn with what they boot, for machines without this build"
DESCRIPTION = "Makes vcontainer-standalone.sh, which unpacks itself, and the same as vcontainer-standalone.tar.xz. QEMU is the \
machine's own."
SECTION = "devel"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

# A program that was compiled in this build starts by the build's own loader (uninative): patchelf gives it the machine's.
DEPENDS = "${@'' if d.getVar('VCONTAINER_PREBUILT') else 'patchelf-native'} vcontainer-native xz-native"

SRC_URI = "file://install.sh file://init-env.sh"

inherit nopackages container-common deploy

S = "${UNPACKDIR}"
# do_compile empties it: not what has been unpacked.
B = "${WORKDIR}/build"
INHIBIT_DEFAULT_DEPS = "1"

TARBALL_LOADER = "${@{'x86_64': '/lib64/ld-linux-x86-64.so.2', 'aarch64': '/lib/ld-linux-aarch64.so.1'}.get(d.getVar('BUILD_ARCH'), '')}"
# Its content counts, by vcontainer-native.
VCONTAINER_PREBUILT ?= ""
VCONTAINER_PREBUILT[vardepvalue] = "prebuilt"

# Those whose guests VCONTAINER_GUEST_DIR has.
VCONTAINER_ARCHITECTURES ?= "x86_64 aarch64"

def tarball_manifests(d):
    guests = ["${VCONTAINER_GUEST_DIR}/%s/%s/manifest.json" % (tool, arch)
              for tool in ("vdkr", "vpdmn") for arch in d.getVar("VCONTAINER_ARCHITECTURES").split()]
    return " ".join("%s:%s" % (path, os.path.exists(path)) for path in map(d.expand, guests))

SDK_DEPLOY ?= "${DEPLOY_DIR}/sdk"
TARBALL_NAME = "vcontainer-standalone"
TARBALL_TREE = "${B}/${TARBALL_NAME}"

do_configure[noexec] = "1"
do_install[noexec] = "1"

do_compile() {
    install -d ${TARBALL_TREE}/bin
    if [ -n "${VCONTAINER_PREBUILT}" ]; then
        install -m 0755 "${VCONTAINER_PREBUILT}" ${TARBALL_TREE}/bin/vcontainer
    else
        install -m 0755 $(which vcontainer) ${TARBALL_TREE}/bin/vcontainer
        patchelf --remove-rpath --set-interpreter ${TARBALL_LOADER} ${TARBALL_TREE}/bin/vcontainer
    fi
    install -m 0644 ${UNPACKDIR}/init-env.sh ${TARBALL_TREE}/init-env.sh
    ln -s bin/vcontainer ${TARBALL_TREE}/vcontainer
    for tool in vdkr vpdmn; do
        ln -s bin/vcontainer ${TARBALL_TREE}/$tool
        for arch in ${VCONTAINER_ARCHITECTURES}; do
            ln -s bin/vcontainer ${TARBALL_TREE}/$tool-$arch
            if [ ! -d "${VCONTAINER_GUEST_DIR}/$tool/$arch" ]; then
                bbfatal "VCONTAINER_GUEST_DIR has no $tool/$arch: make it with 'vcontainer guest build --output DIR', or leave $arch out of VCONTAINER_ARCHITECTURES"
            fi
            # Whoever installs it, everybody may read it.
            install -d ${TARBALL_TREE}/share/vcontainer/$tool/$arch
            install -m 0644 "${VCONTAINER_GUEST_DIR}/$tool/$arch"/* ${TARBALL_TREE}/share/vcontainer/$tool/$arch/
        done
    done
    # Guest files are compressed already: more effort gives one per cent.
    tar -C ${B} --owner=0 --group=0 --numeric-owner --sort=name --mtime=@${SOURCE_DATE_EPOCH} \
        -cf - ${TARBALL_NAME} | xz -T2 -0 > ${B}/${TARBALL_NAME}.tar.xz
    cat ${UNPACKDIR}/install.sh ${B}/${TARBALL_NAME}.tar.xz > ${B}/${TARBALL_NAME}.sh
    chmod 0755 ${B}/${TARBALL_NAME}.sh
}
do_compile[cleandirs] = "${B}"
# Manifests have the digests of all files beside them.
do_compile[file-checksums] += "${@tarball_manifests(d)}"
do_compile[vardeps] += "VCONTAINER_ARCHITECTURES"

do_deploy() {
    install -m 0644 ${B}/${TARBALL_NAME}.tar.xz ${DEPLOYDIR}/
    install -m 0755 ${B}/${TARBALL_NAME}.sh ${DEPLOYDIR}/
}
addtask deploy after do_compile before do_build
do_deploy[sstate-outputdirs] = "${SDK_DEPLOY}"

python () {
    if not d.getVar("VCONTAINER_GUEST_DIR"):
        raise bb.parse.SkipRecipe('set VCONTAINER_GUEST_DIR = "/path" in local.conf to a folder that `vcontainer guest build` has made')
}
