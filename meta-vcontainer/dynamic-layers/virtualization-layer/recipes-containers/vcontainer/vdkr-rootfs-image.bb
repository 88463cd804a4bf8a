SUMMARY = "The root filesystem of vdkr's guests"
DESCRIPTION = "Docker and what it needs, for vdkr-initramfs-create."
require vcontainer-rootfs-image.inc

GUEST_ENGINE_INSTALL = "containerd docker-moby runc"
