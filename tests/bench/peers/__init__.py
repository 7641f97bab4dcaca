"""Other Postgres queues, measured as crm-sync is: how fast one worker empties a full queue, how soon it sends a single job.

Each peer runs its worker as one process of its own, with the settings its documentation recommends for speed.
"""
