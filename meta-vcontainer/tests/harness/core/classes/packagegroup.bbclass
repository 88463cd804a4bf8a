DESCRIPTION ?= "packages"
PACKAGES = "${PN}"
