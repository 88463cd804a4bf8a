SUMMARY = "Debian's pseudo"
inherit native stand-in
PROVIDES += "virtual/fakeroot-native"
do_install() {
    install -d ${D}${bindir} ${D}${sysconfdir}
    ln -s /usr/bin/pseudo ${D}${bindir}/pseudo
    # The accounts that oe-core's rules for modes and owners name, and one for the tests.
    for file in passwd group; do
        install -m 0644 ${COREBASE}/meta/recipes-devtools/pseudo/files/fallback-$file ${D}${sysconfdir}/$file
    done
    echo 'www-data:x:33:33:www-data:/:/bin/false' >> ${D}${sysconfdir}/passwd
    echo 'www-data:x:33:' >> ${D}${sysconfdir}/group
}
