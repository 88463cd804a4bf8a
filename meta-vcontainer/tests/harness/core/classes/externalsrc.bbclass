# Nor do they need what would be compiled.
