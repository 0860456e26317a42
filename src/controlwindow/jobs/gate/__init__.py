"""A release gate: a policy held against an audit, a circuit and a baseline of directions."""
