"""Radiographs in DICOM: the file, its pixels in every encoding, and how a viewer shows them."""
