-- Takes the lock that the next statement of a step needs, on all partitions at once if there are any.
LOCK TABLE :contacts IN :lock MODE
