# Parsed only.
PACKAGES = ""
