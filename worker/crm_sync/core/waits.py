"""How long a worker waits for what: every tick, nap and patience of it, in one record.

It is handed down from the daemon or the command. Tests pass quicker ones; users have no setting for them.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Waits:
    """All in seconds."""

    # The session.
    tick_s: float = 6.0  # between two safety looks
    session_timeout_s: float = 3.0  # of one statement on the session, the tick's among them
    listen_timeout_s: float = 5.0  # until a notification sent through the pool has arrived
    ear_rest_s: float = 30.0  # after more notifications than could be meant, before it listens again
    former_session_s: float = 30.0  # until the server has noticed that our former session is gone
    company_patience_s: float = 3.0  # until the worker that was alone has locked its addresses; it takes milliseconds

    # The database.
    statement_timeout_s: float = 10.0  # of one statement; ours take milliseconds
    claim_patience_s: float = 1.0  # of a claim that computes the mapping: it has rows locked that others may want to write
    slow_mapping_s: float = 0.1  # what takes longer is computed outside of the locks the next time
    first_reconnect_s: float = 0.1  # before the second try; doubled with each, less up to half of it by chance
    longest_reconnect_s: float = 2.0

    # A lane that looks for contacts.
    first_nap_s: float = 0.001  # while a flip is uncommitted or a row is locked; doubled with each nap
    longest_nap_s: float = 0.1
    frequent_flips_s: float = 0.05  # flips that come closer together than this are not worth a notification each
    help_interval_s: float = 0.5  # between two calls of the keeper for the help of other workers
    full_look_s: float = 5.0  # a contact behind the cursor waits no longer, however busy the lane
    fresh_look_s: float = 1.0  # between two looks at the fresh flips of a backlog

    # A contact that cannot be sent or written now.
    address_busy_s: float = 1.0  # before it is tried again: another worker has its address in a request
    suspect_s: float = 1.0  # before a contact that was refused alone is asked again: others are served meanwhile, or not
    slow_again_s: float = 5.0  # before it is read again: it was claimed together with one that the mapping takes too long for
    avoid_row_s: float = 60.0  # before its row is touched again: the table refuses what is written to it

    # The writer of outcomes.
    gather_s: float = 0.005  # after a statement, for more outcomes to come
    first_write_again_s: float = 0.005  # before rows that the application has locked are tried again; doubled each time
    longest_write_again_s: float = 0.5

    # What is told of deliveries.
    history_again_s: float = 60.0  # before history is tried again, after it could not be written
    minute_s: float = 60.0  # that a line of `crm_sync.minutes` is about
    tidy_s: float = 600.0  # between two looks for what is kept no longer
    tell_events_s: float = 1.0  # for more events to come: they are written together

    # The fields that a CRM has.
    fields_again_s: float = 3600.0  # before they are compared with the mapping again, by a lane that delivers
    fields_unknown_s: float = 60.0  # the same, where the CRM would not say them

    # A CRM that is not to be called.
    first_probe_s: float = 1.0  # before the first probe; doubled with each that fails
    longest_probe_s: float = 8.0  # so that a CRM that is well again is back at full speed within 10 s
    # Each request with refused credentials may be counted somewhere. Anyone who puts that right is not quicker.
    longest_refused_probe_s: float = 60.0
    probe_lease_s: float = 30.0  # a probe takes no longer, or its worker is dead: another one may try
    paused_look_s: float = 60.0  # between two looks at a lane that is paused by hand
    permit_patience_s: float = 30.0  # longer than a request may last: anyone who is awake has given back what is ours

    # A lane that only a person can fix.
    first_mending_look_s: float = 1.0  # before it is tried again; doubled each time, less up to half of it by chance
    longest_mending_look_s: float = 60.0
    proof_s: float = 1.0  # without a refusal, before a lane that is open again counts as fixed

    # What others left behind.
    forget_worker_s: float = 30.0  # longer than a statement takes whose worker is gone
    strays_again_s: float = 5.0  # before the next full look, after one that found something; doubled each time

    # What people are told.
    report_s: float = 2.0  # between two reports of a lane that is at work
    count_s: float = 60.0  # between two counts of all contacts, at least; and between two looks at whose turn it is
    count_patience_s: float = 600.0  # of one count: some hundred million contacts

    # Metrics.
    tell_s: float = 15.0  # between two readings of what is told of all workers
    pulse_s: float = 0.5  # between two looks at the process's own event loop
    # Alerts.
    alert_look_s: float = 15.0  # between two looks of the worker whose turn it is
    alert_gap_s: float = 120.0  # without a look: what was seen before it may have passed since
    alert_hold_s: float = 60.0  # that something must be seen for, where it passes by itself right after a start
    alert_over_s: float = 120.0  # that all must be well for, before an alert is over: a CRM that comes and goes is one alert
    alert_repeat_s: float = 4 * 3600.0  # before an alert that lasts is told again
    alert_ping_s: float = 60.0  # between two pings of the dead man's switch
    first_telling_again_s: float = 15.0  # before a channel that failed is tried again; doubled each time
    longest_telling_again_s: float = 300.0
    telling_lease_s: float = 30.0  # longer than all channels may take; then another worker may tell the same
    telling_patience_s: float = 3600.0  # after which it is no longer told that something has ended
    lane_down_s: float = 300.0
    oldest_waiting_s: float = 900.0
    silence_s: float = 300.0
    errors_s: float = 900.0  # that outcomes are counted for
    strays_s: float = 3600.0  # the same of flips that no trigger saw
    code_forgotten_s: float = 7 * 86400.0  # without a failure code, before it counts as new
    code_new_s: float = 86400.0  # that it counts as new for, at most
    code_gone_s: float = 3600.0  # without it, before it comes no more
    deletions_stuck_s: float = 86400.0
    paused_long_s: float = 86400.0

    # The process.
    stuck_s: float = 120.0  # without movement: each step is at most two statements, of 40 s with their connection
    traces_grace_s: float = 2.0  # when stopping: for the last spans to be sent
    finish_grace_s: float = 5.0  # when stopping, after the requests: for the outcomes to be written

    # Commands.
    courtesy_s: float = 1.0  # before a command looks again whether it is in the way of a lane
    open_patience_s: float = 20.0  # until there is a session
    turn_patience_s: float = 45.0  # for a permit, which others give back as their requests end, and for the account's limits
    finish_patience_s: float = 20.0  # until the outcome of one contact is written
    table_patience_s: float = 60.0  # until the contacts table is free for a moment


USUAL = Waits()
