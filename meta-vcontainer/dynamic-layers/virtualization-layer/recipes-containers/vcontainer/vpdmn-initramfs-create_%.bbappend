require ${@'vcontainer-guest-packages.inc' if d.getVar('VCONTAINER_GUEST_FROM') == 'packages' else ''}
