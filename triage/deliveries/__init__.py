"""Deliveries of events to other systems: rules for retries, sending under a lease, and what people do by hand."""
