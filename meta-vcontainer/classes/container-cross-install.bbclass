# Puts containers into the Docker and Podman stores of an image, with units that start them.
#
# BUNDLED_CONTAINERS = "name:runtime[:autostart][:external] ..." in local.conf or in the image's recipe. Packages of
# recipes with container-bundle that are installed in the image are merged as well. See docs/container-cross-install.md.

inherit container-common

BUNDLED_CONTAINERS ?= ""

# "0" bundles into a root filesystem that has no engine or no systemd yet.
VCONTAINER_TARGET_CHECK ??= "1"

# overlay2 or containerd; empty for the tool's default.
VCONTAINER_DOCKER_STORE ?= ""

# CONTAINER_SERVICE_FILE[name] of what is bundled, as one text (flags are in no signature). Set while parsing.
CONTAINER_SERVICE_FILE_MAP = ""

VCONTAINER_BUNDLE_VARS = "BUNDLED_CONTAINERS CONTAINER_DEFAULT_RUNTIME CONTAINER_SERVICE_FILE_MAP VCONTAINER_IMPORT \
    VCONTAINER_TARGET_CHECK VCONTAINER_DOCKER_STORE TARGET_ARCH REPRODUCIBLE_TIMESTAMP_ROOTFS"

ROOTFS_POSTPROCESS_COMMAND:append = " vcontainer_bundle_containers"

python vcontainer_bundle_containers() {
    vcontainer.bundle.bundle_host(d)
}

# After everything has got the time of the root filesystem. No signature knows of it, as of the class while it has nothing to do.
python vcontainer_keep_times() {
    vcontainer.bundle.keep_times(d)
}
do_image[postfuncs] += "vcontainer_keep_times"
do_image[vardepsexclude] += "vcontainer_keep_times"

python () {
    vcontainer.bundle.prepare_host(d)
    vcontainer.check.own_service_files(d, "BUNDLED_CONTAINERS")
}
