"""The meaning of the commands' exit codes, for the manual and the man pages. Scripts and service managers depend on them."""

# They only read, and print while they do. The others change something, or have only a result.
ENDS_WITH_ITS_READER = ("status", "check", "settings", "why", "failed", "history", "preview", "errors")

# (exit code, commands, meaning); no commands: all of them.
EXIT_CODES: tuple[tuple[int, tuple[str, ...], str], ...] = (
    (0, (), "It did what it was asked to do, and nothing is wrong."),
    (1, (), "It failed or was declined. Standard error says why in one sentence."),
    (1, ("check", "settings", "init", "alerts test"), "At least one line is marked wrong, or one channel failed."),
    (1, ("migrate --check",), "Something is missing."),
    (1, ("sync",), "The contact was not delivered to every CRM it was sent to."),
    (
        1,
        ("status",),
        "A CRM is down, its settings or columns are at fault, it is stalled, or contacts are ready and no worker runs.",
    ),
    (1, ("compare",), "Contacts differ, are ambiguous, or the CRM does not have them."),
    (1, ("why", "preview", "sync"), "There is no such contact."),
    (1, ("retry",), "Some contacts could not be flipped: they are locked, or the table refused them."),
    (2, (), "An option or an argument is not valid."),
    (69, ("status", "why"), "The database cannot be reached (EX_UNAVAILABLE)."),
    (
        69,
        ("compare",),
        "It could not compare, or not to the end: the CRM or the database cannot be reached, or must not be called now.",
    ),
    (
        78,
        (),
        "A setting is not valid, or the database is not what this version needs (EX_CONFIG).",
    ),
    (130, ("retry",), "Interrupted with Ctrl-C. Running it again continues."),
    (130, ("compare",), "Interrupted with Ctrl-C. It says how to continue."),
    (141, ENDS_WITH_ITS_READER, "Nobody reads its output any more, as in a pipe to `head`. Other commands finish their work."),
)
