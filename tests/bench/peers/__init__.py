"""Other Postgres queues, measured like crm-sync: how fast one worker empties a full queue, how soon it sends a single job.

Each peer runs its worker as a separate process, with the settings its documentation recommends for speed.
"""
