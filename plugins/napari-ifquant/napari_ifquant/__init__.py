"""Review ifquant results in napari. What is decided, measured and computed is ifquant's; here it is
only shown and handled.
"""

__version__ = "0.1.0"
