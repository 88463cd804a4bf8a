# For docker:// in SRC_URI: the tool is there when they are fetched and unpacked. Every recipe has this class (conf/layer.conf).
#
# SRC_URI = "docker://registry/path:tag;digest=sha256:..." in any recipe. See docs/container-bundle.md.

# An auth.json or config.json with the passwords of registries; without it the tool looks where podman and docker do.
CONTAINER_REGISTRY_AUTHFILE ?= ""

python () {
    vcontainer.fetcher.prepare(d)
}
