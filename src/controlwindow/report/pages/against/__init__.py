"""Two audits beside each other."""
