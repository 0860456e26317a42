"""What a reader at a terminal is shown of windows of residual vectors."""
