SUMMARY = "Accounts"
inherit allarch stand-in
do_install() {
    install -d ${D}${sysconfdir}
    printf 'root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www:/:/bin/false\n' > ${D}${sysconfdir}/passwd
    printf 'root:x:0:\nwww-data:x:33:\n' > ${D}${sysconfdir}/group
    printf 'root::0:0:99999:7:::\n' > ${D}${sysconfdir}/shadow
    chmod 0600 ${D}${sysconfdir}/shadow
}
