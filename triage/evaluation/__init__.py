"""How well scores tell good photos from bad ones: measures, intervals, plots, a report."""
