"""Gates, phenotype rules, positivity. Pure."""
