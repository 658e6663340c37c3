"""Engine specifications: one file an engine family, found by discovery (see models/registry.py)."""
