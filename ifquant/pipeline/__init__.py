"""Slides through the stages: jobs, execution, tiles, assembly, resume, the cohort."""
