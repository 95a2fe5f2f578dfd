"""What can be told, and tidied, without training: what there is, what a user's data are, what the cache holds."""
