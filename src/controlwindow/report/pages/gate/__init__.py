"""The page of a gate, and its other outputs: JSON, SARIF, JUnit XML, a block for a model card."""
