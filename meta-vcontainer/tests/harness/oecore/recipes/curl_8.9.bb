SUMMARY = "Something that stands for curl"
inherit allarch stand-in
do_install() {
    install -d ${D}${bindir} ${D}${datadir}/curl
    printf '#!/bin/sh\necho curl "$@"\n' > ${D}${bindir}/curl
    chmod 0755 ${D}${bindir}/curl
    echo data > ${D}${datadir}/curl/data
    chown 33:33 ${D}${datadir}/curl/data
}
RDEPENDS:${PN} = "busybox libcurl4"
