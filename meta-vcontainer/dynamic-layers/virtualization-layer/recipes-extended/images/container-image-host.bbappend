# The engine of CONTAINER_PROFILE, which bundle packages are for if they name none, and those of what is bundled.
CONTAINER_HOST_ENGINES ?= "${@' '.join(vcontainer.bundle.engines(d))}"
