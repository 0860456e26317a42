"""The page of a circuit run: its document, tables, figures and words."""
