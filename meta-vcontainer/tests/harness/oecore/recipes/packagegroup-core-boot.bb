SUMMARY = "What stands for everything that a machine needs to boot"
inherit allarch stand-in
ALLOW_EMPTY:${PN} = "1"
PACKAGES = "${PN} packagegroup-base-extended run-postinsts"
ALLOW_EMPTY:packagegroup-base-extended = "1"
ALLOW_EMPTY:run-postinsts = "1"
RDEPENDS:${PN} = "base-files base-passwd"
