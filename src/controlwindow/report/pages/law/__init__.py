"""The page of a law run: its document, tables, figures and words."""
