"""Reading images (TIFF family, OME-Zarr), sample sheets and regions; writing images."""
