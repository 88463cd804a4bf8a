# What the container classes have in common.

# default, docker, podman, containerd and so on, as in meta-virtualization.
CONTAINER_PROFILE ??= "default"

# The engine of entries that name none.
CONTAINER_DEFAULT_RUNTIME ?= "${@'podman' if d.getVar('CONTAINER_PROFILE') == 'podman' else 'docker'}"

# "native": stores are written as data. "vm": a real engine imports in a machine, which needs guest files.
VCONTAINER_IMPORT ?= "native"

# Where the recipes of guest files take them from. "prebuilt": VCONTAINER_GUEST_DIR has them. "packages": they are made of
# this build's own packages, with the engines of meta-virtualization.
VCONTAINER_GUEST_FROM ?= "prebuilt"

# A directory with guest files made by `vcontainer guest build`, instead of those that the vruntime multiconfigs make.
VCONTAINER_GUEST_DIR ?= ""
# Their content counts, not where they are: what uses them depends on the manifests there.
VCONTAINER_GUEST_DIR[vardepvalue] = "guests"
