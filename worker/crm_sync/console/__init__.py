"""The page on which people look, and put things right: a process of its own."""
