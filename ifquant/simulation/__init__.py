"""Tissue with known truth."""
