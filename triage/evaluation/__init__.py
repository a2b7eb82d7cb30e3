"""The evaluation of a model: measures with intervals, operating points, calibration, plots and a report."""
