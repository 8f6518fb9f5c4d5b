"""Segmenters, the one decoder, masks made elsewhere, evaluation. Pure."""
