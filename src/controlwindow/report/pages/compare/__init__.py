"""The page of a compare run: its document, tables, figures and words."""
