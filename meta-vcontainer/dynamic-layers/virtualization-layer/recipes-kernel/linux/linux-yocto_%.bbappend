# In the multiconfigs of guests, what they need of the kernel: the fragments that `vcontainer guest pack` checks, too.
VCONTAINER_GUEST_KERNEL = "${@d.getVar('VCONTAINER_GUEST_FROM') == 'packages' and d.getVar('DISTRO') == 'vruntime'}"
FILESEXTRAPATHS:prepend := "${@os.path.dirname(d.getVar('VCONTAINER_LAYERDIR')) + '/guest:' if bb.utils.to_boolean(d.getVar('VCONTAINER_GUEST_KERNEL')) else ''}"
SRC_URI:append = "${@' file://kernel.cfg file://kernel-${TARGET_ARCH}.cfg' if bb.utils.to_boolean(d.getVar('VCONTAINER_GUEST_KERNEL')) else ''}"
