"""The law held against models: plan, calibration, committed forecasts, measurement, scores."""
