"""Reports as one HTML file each: pages, their tables and figures, and the reports of runs, studies and validations."""
