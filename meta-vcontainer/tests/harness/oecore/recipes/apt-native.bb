SUMMARY = "Debian's apt and dpkg"
inherit native stand-in
do_install() {
    install -d ${D}${bindir} ${D}${sysconfdir}/apt
    for directory in lib/apt cache/apt/archives/partial log/apt; do
        install -d ${D}${localstatedir}/$directory
        touch ${D}${localstatedir}/$directory/.keep
    done
    # oe-core's apt unpacks and leaves configuring to the first boot, or to oe-core's own code.
    cat > ${D}${bindir}/dpkg << 'END'
#!/bin/sh
for word in "$@"; do
    case $word in --configure | --triggers-only) exit 0 ;; esac
done
exec /usr/bin/dpkg "$@"
END
    chmod 0755 ${D}${bindir}/dpkg
    cat > ${D}${sysconfdir}/apt/apt.conf.sample << END
Dir "${STAGING_DIR_NATIVE}/"
{
   State "var/lib/apt/"
   {
      Lists "#APTCONF#/lists/";
      status "#ROOTFS#/var/lib/dpkg/status";
   };
   Cache "var/cache/apt/"
   {
      Archives "archives/";
      pkgcache "";
      srcpkgcache "";
   };
   Bin "${STAGING_BINDIR_NATIVE}/"
   {
      methods "/usr/lib/apt/methods/";
      gzip "/bin/gzip";
      dpkg "dpkg";
   };
   Etc "#APTCONF#";
   Log "var/log/apt";
};
APT
{
  Immediate-Configure "false";
  Architecture "i586";
  Sandbox::User "root";
  Get
  {
     Assume-Yes "true";
     AllowUnauthenticated "true";
  };
};
Acquire::AllowInsecureRepositories "true";
DPkg::Options {"--root=#ROOTFS#";"--admindir=#ROOTFS#/var/lib/dpkg";"--force-all";"--no-debsig"};
DPkg::Path "";
END
}
