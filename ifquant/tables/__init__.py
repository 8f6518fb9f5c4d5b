"""Cell tables from files: our results, QuPath, MCMICRO, inForm, HALO or any table with a declared
mapping.
"""
