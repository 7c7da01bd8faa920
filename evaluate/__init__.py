"""Measuring the weights: accuracy, calibration, robustness and doubt, as a table and as a report."""
