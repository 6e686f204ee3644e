//! Fuzz targets of windlass.
