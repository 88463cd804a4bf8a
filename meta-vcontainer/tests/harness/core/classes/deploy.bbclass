# After do_deploy, what is in DEPLOYDIR is where sstate-outputdirs says.
do_deploy[sstate-outputdirs] = "${DEPLOY_DIR_IMAGE}"
do_deploy[cleandirs] = "${DEPLOYDIR}"
do_deploy[postfuncs] += "stub_deploy"
python stub_deploy() {
    import shutil
    shutil.copytree(d.getVar("DEPLOYDIR"), d.getVarFlag("do_deploy", "sstate-outputdirs"), symlinks=True, dirs_exist_ok=True)
}
