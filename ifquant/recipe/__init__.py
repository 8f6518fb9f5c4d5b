"""The recipe: each parameter declared once, read, checked, overridden, resolved; rules of
phenotypes; the template.
"""
