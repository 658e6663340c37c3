"""DRAM standards, address mappings and controller policies as typed, frozen data."""
