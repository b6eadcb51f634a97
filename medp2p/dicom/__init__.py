"""What DICOM headers say, read with care."""
