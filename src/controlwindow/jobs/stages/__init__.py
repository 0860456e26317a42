"""Stages that several jobs go through."""
