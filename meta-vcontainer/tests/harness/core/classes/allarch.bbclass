# one architecture for all
