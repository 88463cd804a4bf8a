require vcontainer-tool.inc
require vcontainer-cargo.inc

# It is vdkr and vpdmn by its name. QEMU is the machine's own.
do_install:append() {
    for name in vdkr vpdmn; do
        ln -s vcontainer ${D}${bindir}/$name
        for arch in aarch64 x86_64; do
            ln -s vcontainer ${D}${bindir}/$name-$arch
        done
    done
}

# nooelint: oelint.var.inheritlast.nativesdk - what is required above comes before
inherit_defer nativesdk
