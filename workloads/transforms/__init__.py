"""Transformations of a trace: one file each, reached as methods of Trace (``trace.with_sparsity("2:4")``)."""
