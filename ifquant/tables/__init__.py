"""Cell tables from files: our results, QuPath, MCMICRO, inForm, HALO or any with a mapping."""
