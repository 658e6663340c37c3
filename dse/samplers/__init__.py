"""Samplers: one file each, found by discovery; adding a file with a ``SAMPLER`` adds a sampler."""
