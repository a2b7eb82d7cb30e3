"""Asking for a retake: the message-level decision and the loop guard that keeps it from pestering a patient."""
