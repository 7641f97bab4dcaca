"""`make chaos`: workers, CRMs and applications under faults in a seeded random order; then the promises are checked."""
