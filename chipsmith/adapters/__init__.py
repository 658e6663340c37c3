"""Adapters of reference records, one file a source family; adding a file adds a family (see base.py)."""
