"""The page of a audit run: its document, tables, figures and words."""
