-- Drops an index whose build was interrupted. In a transaction: it blocks writers, but only briefly.
DROP INDEX :index
