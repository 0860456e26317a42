"""The peers: scripts that run in environments of their own, pinned by the requirement files beside them."""
