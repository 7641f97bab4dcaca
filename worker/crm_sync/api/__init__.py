"""The HTTP API, as an application mounts it or the console serves it."""
