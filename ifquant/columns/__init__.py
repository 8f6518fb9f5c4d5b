"""Every column and flag of our tables, declared once: name, unit, meaning, type."""
