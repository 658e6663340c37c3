"""Model families: each file holds ``MODEL_TYPES`` and ``build(config, step)``; files are found by name."""
