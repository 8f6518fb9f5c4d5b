"""The question on one slide: whether a cell's response depends on the ligand of the cells it
touches.
"""
