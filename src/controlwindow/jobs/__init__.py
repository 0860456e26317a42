"""Jobs: what a run does from beginning to end; each kind has a plan, a job and the calls that begin it."""
