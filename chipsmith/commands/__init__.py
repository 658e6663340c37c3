"""The sub-commands of ``chipsmith``, one file each; adding a file adds a command."""
