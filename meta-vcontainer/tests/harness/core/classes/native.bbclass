# One sysroot for all native tools, which is on PATH.
PACKAGES = ""
deltask package_write_stub
deltask packagedata
addtask stage after do_install before do_populate_sysroot
do_stage() {
    mkdir -p ${STAGING_DIR_NATIVE}
    cp -a ${D}/. ${STAGING_DIR_NATIVE}/
}
WORKDIR = "${TMPDIR}/work/native/${PN}/${PV}"
STAMP = "${STAMPS_DIR}/native/${PF}"
