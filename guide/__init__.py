"""What makes the site of docs/: hooks, reference pages from the code, pictures."""
