"""What `triage label-next` and `triage dataset suspects` achieve on rated photos."""
