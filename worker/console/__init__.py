"""The staff console: pages that call a use case and render its result. It sends no script to the browser."""
