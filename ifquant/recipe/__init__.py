"""The recipe: every parameter declared once, read, checked and resolved; rules; the template."""
