"""One folder for the page of every kind of run."""
