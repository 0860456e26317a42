"""Screens and areas under the curve, as calls with a ledger in memory."""
