"""Whole-slide histograms > background, stain thresholds, saturation, tissue mask. Pure."""
