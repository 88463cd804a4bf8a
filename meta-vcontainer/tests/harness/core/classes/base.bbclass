# Shell functions that log, as tasks of oe-core have them.
bbnote() {
    printf "%b\0" "bbnote $*" > ${LOGFIFO}
}
bbwarn() {
    printf "%b\0" "bbwarn $*" > ${LOGFIFO}
}
bbfatal() {
    printf "%b\0" "bbfatal $*" > ${LOGFIFO}
    exit 1
}

# Of oe-core's patch.bbclass.
PATCH_GIT_USER_NAME ?= "OpenEmbedded"
PATCH_GIT_USER_EMAIL ?= "oe.patch@oe"

addtask fetch
python do_fetch() {
    try:
        bb.fetch2.Fetch((d.getVar("SRC_URI") or "").split(), d).download()
    except bb.fetch2.BBFetchException as e:
        bb.fatal("Bitbake Fetcher Error: " + repr(e))
}
do_fetch[dirs] = "${DL_DIR}"
do_fetch[file-checksums] = "${@bb.fetch.get_checksum_file_list(d)}"
do_fetch[vardeps] += "SRC_URI"
do_fetch[network] = "1"

addtask unpack after do_fetch
python do_unpack() {
    try:
        bb.fetch2.Fetch((d.getVar("SRC_URI") or "").split(), d).unpack(d.getVar("UNPACKDIR"))
    except bb.fetch2.BBFetchException as e:
        bb.fatal("Bitbake Fetcher Error: " + repr(e))
}
do_unpack[cleandirs] = "${UNPACKDIR}"

addtask patch after do_unpack
do_patch() {
    :
}
addtask configure after do_patch
do_configure() {
    :
}
addtask compile after do_configure
do_compile() {
    :
}
do_compile[dirs] = "${B}"
addtask install after do_compile
fakeroot do_install() {
    :
}
do_install[cleandirs] = "${D}"
addtask populate_sysroot after do_install
do_populate_sysroot() {
    :
}
addtask build
do_build() {
    :
}
do_build[noexec] = "1"

# A package is a tar file of what was installed, and its pkgdata.
addtask packagedata after do_install
python do_packagedata() {
    import oe.packagedata
    for package in d.getVar("PACKAGES").split():
        oe.packagedata.write(package, d)
}
addtask package_write_stub after do_packagedata before do_build
fakeroot python do_package_write_stub() {
    import os, subprocess
    os.makedirs(d.getVar("DEPLOY_DIR_STUB"), exist_ok=True)
    for package in d.getVar("PACKAGES").split():
        path = d.expand("${DEPLOY_DIR_STUB}/" + package + ".tar")
        subprocess.run(["tar", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-C", d.getVar("D"), "-cf", path, "."], check=True)
}
do_package_write_stub[rdeptask] = "do_packagedata"
do_package_write_stub[depends] += "${@' '.join(p + ':do_populate_sysroot' for p in (d.getVar('PACKAGE_WRITE_DEPS') or '').split())}"
PACKAGE_WRITE_DEPS ?= ""
python () {
    for package in d.getVar("PACKAGES").split():
        if d.getVar("RDEPENDS:" + package):
            d.appendVar("RDEPENDS:" + package, "")
}
do_compile[deptask] = "do_populate_sysroot"
