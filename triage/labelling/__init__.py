"""What to label next, and which labels are likely wrong."""
