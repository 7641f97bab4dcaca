"""Measurements: crm-sync beside other Postgres queues, each drained and each timed one job at a time."""
