SUMMARY = "A host for containers"
DESCRIPTION = "An image with the containers of BUNDLED_CONTAINERS and of installed bundle packages. The engines come with \
meta-virtualization (see dynamic-layers)."
SECTION = "images"
LICENSE = "MIT"

inherit core-image container-cross-install

# Engines are packages of meta-virtualization; without it the stores are made all the same.
CONTAINER_HOST_ENGINES ??= ""
VCONTAINER_TARGET_CHECK ?= "${@'1' if d.getVar('CONTAINER_HOST_ENGINES').strip() else '0'}"

IMAGE_INSTALL:append = " ${CONTAINER_HOST_ENGINES}"
