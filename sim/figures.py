"""Pictures of Results as PNG files: roofline, breakdown, timeline, comparison.

The parts are in sim/pictures: what a picture shows is computed by a pure function (``*_data``) and tested; drawing
is thin, and matplotlib is imported when something is drawn.
"""

from __future__ import annotations

from sim.pictures.breakdown import breakdown_figure
from sim.pictures.breakdown_data import breakdown_data
from sim.pictures.comparison import comparison_figure
from sim.pictures.comparison_data import comparison_data
from sim.pictures.roofline import roofline_compare_figure, roofline_figure
from sim.pictures.roofline_data import roofline_data
from sim.pictures.timeline import timeline_figure
from sim.pictures.timeline_data import timeline_data

__all__ = [
    "breakdown_data",
    "breakdown_figure",
    "comparison_data",
    "comparison_figure",
    "roofline_compare_figure",
    "roofline_data",
    "roofline_figure",
    "timeline_data",
    "timeline_figure",
]
