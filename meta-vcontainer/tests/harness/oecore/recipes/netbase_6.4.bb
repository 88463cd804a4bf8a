SUMMARY = "Names of services"
inherit allarch stand-in
do_install() {
    install -d ${D}${sysconfdir}
    echo 'http 80/tcp' > ${D}${sysconfdir}/services
}
RDEPENDS:${PN} = "base-files"
