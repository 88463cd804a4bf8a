SUMMARY = "Debian's rpm, dnf and createrepo_c"
inherit native stand-in
PROVIDES += "dnf-native createrepo-c-native"
do_install() {
    install -d ${D}${bindir} ${D}${libdir}
    cp -r /usr/lib/rpm ${D}${libdir}/rpm
    # Debian's database is in the home directory.
    sed -i 's,^%_dbpath[[:space:]].*,%_dbpath %{_var}/lib/rpm,' ${D}${libdir}/rpm/macros
    for program in rpm rpmkeys rpm2archive; do
        cat > ${D}${bindir}/$program << END
#!/bin/sh
export RPM_CONFIGDIR="\$(dirname "\$(dirname "\$(readlink -f "\$0")")")/lib/rpm"
exec /usr/bin/$program "\$@"
END
    done
    # Debian's rpmbuild makes packages of a short cut uninstallable; without prep and build there is nothing to cut.
    cat > ${D}${bindir}/rpmbuild << 'END'
#!/bin/bash
export RPM_CONFIGDIR="$(dirname "$(dirname "$(readlink -f "$0")")")/lib/rpm"
words=()
for word in "$@"; do [ "$word" = --short-circuit ] || words+=("$word"); done
exec /usr/bin/rpmbuild --define '__spec_install_pre %{nil}' --define '__os_install_post %{nil}' "${words[@]}"
END
    ln -s /usr/bin/createrepo_c ${D}${bindir}/createrepo_c
    # oe-core's dnf keeps its log outside of the root filesystem, and its rpm reads etc/rpmrc there.
    cat > ${D}${bindir}/dnf << 'END'
#!/usr/bin/python3
import os
import sys

here = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
os.environ["RPM_CONFIGDIR"] = os.path.join(here, "lib/rpm")
import dnf.conf.config
from dnf.cli import main

prepend = dnf.conf.config.MainConf.prepend_installroot
dnf.conf.config.MainConf.prepend_installroot = lambda self, option: None if option == "logdir" else prepend(self, option)
main.user_main(["--setopt=ignorearch=True"] + sys.argv[1:], exit_code=True)
END
    chmod 0755 ${D}${bindir}/rpm* ${D}${bindir}/dnf
}
