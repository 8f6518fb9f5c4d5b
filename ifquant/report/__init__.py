"""Pages, figures and pictures for people."""
