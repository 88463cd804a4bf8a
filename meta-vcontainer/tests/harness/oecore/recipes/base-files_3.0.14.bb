SUMMARY = "Directories and files that everything needs"
inherit allarch stand-in
do_install() {
    install -d ${D}${sysconfdir} ${D}${localstatedir}/lib ${D}/tmp
    chmod 1777 ${D}/tmp
    echo board > ${D}${sysconfdir}/hostname
}
FILES:${PN} = "/"
