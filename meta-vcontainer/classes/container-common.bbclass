# What the container classes have in common.

# default, docker, podman, containerd and so on, as in meta-virtualization.
CONTAINER_PROFILE ??= "default"

# The engine of entries that name none.
CONTAINER_DEFAULT_RUNTIME ?= "${@'podman' if d.getVar('CONTAINER_PROFILE') == 'podman' else 'docker'}"

# "native": stores are written as data. "vm": a real engine imports in a machine, which needs guest files.
VCONTAINER_IMPORT ?= "native"

# A directory with guest files made by `vcontainer guest build`, instead of those that the vruntime multiconfigs make.
VCONTAINER_GUEST_DIR ?= ""
# Their content counts, not where they are: what uses them depends on the manifests there.
VCONTAINER_GUEST_DIR[vardepvalue] = "guests"
