"""How it runs: engine kernels, mapping, memory, scheduling and results."""
