"""Statistics on cell tables: point patterns, exposure and response, null models, cohorts. Pure:
arrays in, values out.
"""
