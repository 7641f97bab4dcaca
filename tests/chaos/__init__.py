"""`make chaos`: workers, CRMs and applications under faults in a seeded random order, held against the promise in the end."""
