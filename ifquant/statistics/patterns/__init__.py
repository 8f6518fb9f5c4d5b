"""Where two kinds of cells lie to each other on one slide: point patterns and their tests."""
