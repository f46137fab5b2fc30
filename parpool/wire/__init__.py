"""Bytes and values: what travels between processes, and nothing about how it gets there."""
