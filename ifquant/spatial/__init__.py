"""Distances, contacts, tumor region, densities. Pure."""
