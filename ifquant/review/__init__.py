"""Decisions of reviewers: what they are, how they are kept, and what they change in a slide's
results. Pure: no files, no clock, no Qt.
"""
