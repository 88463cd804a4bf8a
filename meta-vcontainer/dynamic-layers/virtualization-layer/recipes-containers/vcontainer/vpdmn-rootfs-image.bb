SUMMARY = "The root filesystem of vpdmn's guests"
DESCRIPTION = "Podman and what it needs, for vpdmn-initramfs-create."
require vcontainer-rootfs-image.inc

GUEST_ENGINE_INSTALL = "aardvark-dns conmon crun netavark podman"
