"""What a dose costs elsewhere: scores of other tasks along a window."""
