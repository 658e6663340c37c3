"""Processing in memory: commands of one channel, command sequences of each design, operators."""
