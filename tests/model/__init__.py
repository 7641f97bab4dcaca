"""The protocol as a model for Spin, and what is checked about it."""
