"""Distances, contacts, the tumor region, densities. Pure."""
