"""Memory as the engines see it."""
