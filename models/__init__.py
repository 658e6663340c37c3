"""What hardware is and what it costs: chip specifications, presets, prices of arithmetic, SRAM and DRAM."""
