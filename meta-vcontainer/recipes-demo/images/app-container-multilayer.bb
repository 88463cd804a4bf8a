SUMMARY = "An application, its shell and its base in a layer each"
SECTION = "examples"
LICENSE = "MIT"

inherit image image-oci

OCI_LAYER_MODE = "multi"
OCI_LAYERS = "\
    base:packages:base-files+base-passwd+netbase \
    shell:packages:busybox \
    app:packages:curl \
"

IMAGE_FEATURES = ""
IMAGE_LINGUAS = ""

OCI_IMAGE_ENTRYPOINT = "curl"
OCI_IMAGE_CMD = ""
