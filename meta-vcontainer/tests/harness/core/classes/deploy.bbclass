# After do_deploy, what is in DEPLOYDIR is in DEPLOY_DIR_IMAGE.
do_deploy[cleandirs] = "${DEPLOYDIR}"
do_deploy[postfuncs] += "stub_deploy"
stub_deploy() {
    mkdir -p ${DEPLOY_DIR_IMAGE}
    cp -a ${DEPLOYDIR}/. ${DEPLOY_DIR_IMAGE}/
}
