SUMMARY = "Debian's pseudo"
inherit native stand-in
PROVIDES += "virtual/fakeroot-native"
do_install() {
    install -d ${D}${bindir} ${D}${sysconfdir}
    ln -s /usr/bin/pseudo ${D}${bindir}/pseudo
    printf 'root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www-data:/:/bin/false\n' > ${D}${sysconfdir}/passwd
    printf 'root:x:0:\nwww-data:x:33:\n' > ${D}${sysconfdir}/group
}
