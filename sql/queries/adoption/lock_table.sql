-- Takes the lock that the next statement of a step needs, of all partitions together, where there are any.
LOCK TABLE :contacts IN :lock MODE
