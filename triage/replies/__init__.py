"""What a patient can do about each finding."""
