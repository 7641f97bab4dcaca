-- Takes off an index that was broken off while it was built. In a transaction: not beside the writers, but at once.
DROP INDEX :index
