"""The census of an organism: windows of a large random sample."""
