"""Gates, positivity, phenotypes. Pure."""
