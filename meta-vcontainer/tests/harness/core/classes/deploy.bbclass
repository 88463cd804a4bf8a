# After do_deploy, what is in DEPLOYDIR is where sstate-outputdirs says.
do_deploy[sstate-outputdirs] = "${DEPLOY_DIR_IMAGE}"
do_deploy[cleandirs] = "${DEPLOYDIR}"
do_deploy[postfuncs] += "stub_deploy"
python stub_deploy() {
    import os, shutil
    # What the task has made before is removed, as by sstate's manifests.
    for name in os.listdir(d.getVar("DEPLOYDIR")):
        bb.utils.remove(os.path.join(d.getVarFlag("do_deploy", "sstate-outputdirs"), name), recurse=True)
    shutil.copytree(d.getVar("DEPLOYDIR"), d.getVarFlag("do_deploy", "sstate-outputdirs"), symlinks=True, dirs_exist_ok=True)
}
