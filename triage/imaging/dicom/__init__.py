"""DICOM images: VL Photographic, Secondary Capture and any other colour or grey image."""
