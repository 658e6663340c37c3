"""Where units in the memory stop paying as batch, context and groups of queries change: a table and a map.

python -m benchmarks.pim_crossover [PICTURE.png]
"""

from __future__ import annotations

import sys
from pathlib import Path

from sim.pim.crossover import crossover, draw_crossover, table


def main(picture: str = "") -> None:
    """Print the table; draw the map where a file is named."""
    found = crossover()
    print(table(found))
    if picture:
        draw_crossover(found, Path(picture))


if __name__ == "__main__":
    main(*sys.argv[1:2])
