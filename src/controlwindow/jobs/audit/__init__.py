"""The audit: candidates, predicted ceilings, windows with verdicts."""
