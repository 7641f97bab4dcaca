"""Measurements: crm-sync next to other Postgres queues, each drained and each timed one job at a time."""
