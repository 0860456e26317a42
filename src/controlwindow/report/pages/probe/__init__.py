"""The page of a probe run: its document, tables, figures and words."""
