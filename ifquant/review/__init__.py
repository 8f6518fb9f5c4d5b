"""Decisions of reviewers, and what they change in a slide's results. No files, clock or Qt."""
