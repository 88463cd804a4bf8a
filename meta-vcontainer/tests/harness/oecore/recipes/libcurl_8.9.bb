SUMMARY = "What curl needs"
inherit allarch stand-in
do_install() {
    install -d ${D}${datadir}/libcurl
    echo data > ${D}${datadir}/libcurl/data
}
PACKAGES = "libcurl4"
FILES:libcurl4 = "${datadir}"
