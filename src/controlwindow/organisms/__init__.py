"""Model organisms: tiny models whose controllers are known by construction."""
