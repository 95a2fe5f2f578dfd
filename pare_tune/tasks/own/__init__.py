"""Tasks of a user's own: arrays, tables, series and images on this disk, described by a task file instead of code."""
