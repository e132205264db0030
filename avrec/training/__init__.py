"""Training in Lightning: one fit per stage, selection on validation only, calibration afterwards."""
