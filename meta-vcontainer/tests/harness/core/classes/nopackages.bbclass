# nothing to package
PACKAGES = ""
deltask package_write_stub
deltask packagedata
