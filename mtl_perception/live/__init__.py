"""Tools for a running node: recorder, live replay and demo."""
