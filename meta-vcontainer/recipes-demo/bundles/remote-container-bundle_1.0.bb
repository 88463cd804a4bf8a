SUMMARY = "A container of a registry as a package"
SECTION = "examples"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

inherit container-bundle

# Add the digest that this prints:
#     skopeo inspect docker://docker.io/library/redis:7 | jq -r '.Digest'
# CONTAINER_DIGESTS[docker.io_library_redis_7] = "sha256:..."
CONTAINER_BUNDLES = "docker.io/library/redis:7"

EXCLUDE_FROM_WORLD = "1"
