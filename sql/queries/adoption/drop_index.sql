-- Takes off an index whose build was interrupted. In a transaction: it blocks writers, but is quick.
DROP INDEX :index
