"""The staff console: pages that call a use case and render its result. One page, that of a vote, has a script."""
