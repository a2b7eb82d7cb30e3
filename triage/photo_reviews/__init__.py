"""Photo reviews: reviewers vote blind on a sample of photos, and the votes become labels for training."""
