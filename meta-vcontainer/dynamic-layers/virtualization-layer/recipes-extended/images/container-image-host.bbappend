# The engines of what is bundled, by CONTAINER_PROFILE.
CONTAINER_HOST_ENGINES ?= "${@'podman' if d.getVar('CONTAINER_PROFILE') == 'podman' else 'docker'}"
