# Tells of what the configuration and recipes say about containers and nothing reads. Every recipe has this class
# (conf/layer.conf); it is in no signature.

# What local.conf and the like say, before recipes and their overrides.
CONTAINER_CONFIGURED := "${@d.getVar('BUNDLED_CONTAINERS') or ''}"
CONTAINER_CONFIGURED_SERVICES := "${@' '.join(vcontainer.check.service_names(d))}"

# Once for each parsing.
python container_check_configuration() {
    vcontainer.check.configuration(d)
}
addhandler container_check_configuration
container_check_configuration[eventmask] = "bb.event.SanityCheck"

# Of every task of every recipe; it looks after do_rootfs.
python container_check_rootfs() {
    vcontainer.check.root_filesystem(d)
}
addhandler container_check_rootfs
container_check_rootfs[eventmask] = "bb.build.TaskSucceeded"

python () {
    vcontainer.check.recipe(d)
}
