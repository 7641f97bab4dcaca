"""The console: web pages on which people look at contacts and CRMs and fix problems. It is a separate process."""
