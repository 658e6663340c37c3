"""Engine families: one file each, found by discovery (see sim/engine.py)."""
