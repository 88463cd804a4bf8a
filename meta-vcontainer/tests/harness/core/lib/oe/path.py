"""oe.path"""
