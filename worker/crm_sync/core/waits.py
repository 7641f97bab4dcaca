"""How long a worker waits for each thing: every tick, nap and timeout, in one record.

The daemon or the command passes it down. Tests pass shorter ones; there are no settings for them.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Waits:
    """All in seconds."""

    # The session.
    tick_s: float = 6.0  # between two safety looks
    session_timeout_s: float = 3.0  # of one statement on the session, including the tick's
    listen_timeout_s: float = 5.0  # until a notification sent through the pool has arrived
    ear_rest_s: float = 30.0  # after more notifications than could be genuine, before it listens again
    former_session_s: float = 30.0  # until the server notices that our former session is gone
    company_patience_s: float = 3.0  # until the worker that was alone has locked its addresses; this takes milliseconds

    # The database.
    statement_timeout_s: float = 10.0  # of one statement; ours take milliseconds
    # Of a claim that computes the mapping, and of several outcomes: both hold locks on rows that others may want to write.
    claim_patience_s: float = 1.0
    slow_mapping_s: float = 0.1  # a mapping slower than this is computed without holding locks the next time
    first_reconnect_s: float = 0.1  # before the second try; doubled each time, less up to half of it by chance
    longest_reconnect_s: float = 2.0

    # A lane that looks for contacts.
    first_nap_s: float = 0.001  # while a flip is uncommitted or a row is locked; doubled with each nap
    longest_nap_s: float = 0.1
    frequent_flips_s: float = 0.05  # flips closer together than this are not worth a notification each
    help_interval_s: float = 0.5  # between two requests by the keeper for help from other workers
    full_look_s: float = 5.0  # a contact behind the cursor waits no longer than this, however busy the lane
    fresh_look_s: float = 1.0  # between two looks at the fresh flips of a backlog

    # A contact that cannot be sent or written now.
    address_busy_s: float = 1.0  # before another try: another worker has a request in flight with the same address
    suspect_s: float = 1.0  # before a contact that was refused alone is sent again: by then it is clear whether others are served
    slow_again_s: float = 5.0  # before another read: it was claimed together with a contact whose mapping is too slow
    avoid_row_s: float = 60.0  # before its row is touched again: the table refuses to be written

    # The writer of outcomes.
    gather_s: float = 0.005  # after a statement, so that more outcomes can be gathered
    first_write_again_s: float = 0.005  # before rows locked by the application are tried again; doubled each time
    longest_write_again_s: float = 0.5

    # Records of deliveries.
    history_again_s: float = 60.0  # before history is tried again, after it could not be written
    minute_s: float = 60.0  # covered by one row of `crm_sync.minutes`
    tidy_s: float = 600.0  # between two deletions of expired history
    tell_events_s: float = 1.0  # to gather more events, which are written together

    # The fields that a CRM has.
    fields_again_s: float = 3600.0  # before they are compared with the mapping again, by a lane that delivers
    account_again_s: float = 60.0  # before what is noted of the account is read again, by a lane that delivers
    fields_unknown_s: float = 60.0  # the same, if the CRM did not return them

    # A CRM that must not be called.
    first_probe_s: float = 1.0  # before the first probe; doubled with each failed one
    longest_probe_s: float = 8.0  # so that a CRM that has recovered is back at full speed within 10 s
    # Some CRMs may count requests with refused credentials. Fixing them takes a person longer than this anyway.
    longest_refused_probe_s: float = 60.0
    probe_lease_s: float = 30.0  # a probe that takes longer than this belongs to a dead worker: another one may try
    paused_look_s: float = 60.0  # between two looks at a lane that is paused by hand
    permit_patience_s: float = 30.0  # longer than a request may last: by then every living worker has returned our permits

    # A lane that only a person can fix.
    first_mending_look_s: float = 1.0  # before the next try; doubled each time, less up to half of it by chance
    longest_mending_look_s: float = 60.0
    proof_s: float = 1.0  # without a refusal, before a reopened lane counts as fixed

    # A worker that has just started.
    backlog_first_s: float = 10.0  # what is in line is delivered first; scans of the whole table begin after this at the latest

    # What other workers left behind.
    forget_worker_s: float = 30.0  # longer than a statement of a worker that is gone can still run
    strays_again_s: float = 5.0  # before the next full look, if the last one found something; doubled each time

    # Reports to people.
    report_s: float = 2.0  # between two reports of a lane that is delivering
    count_s: float = 60.0  # at least, between two counts of all contacts; and between two checks whose turn it is
    count_patience_s: float = 600.0  # of one count: enough for several hundred million contacts

    # Metrics.
    tell_s: float = 15.0  # between two updates of the metrics that all workers share
    pulse_s: float = 0.5  # between two measurements of the process's own event loop
    # Alerts.
    alert_look_s: float = 15.0  # between two looks by the worker whose turn it is
    alert_gap_s: float = 120.0  # without a look: a problem seen before the gap may have passed meanwhile
    alert_hold_s: float = 60.0  # that a problem must last, if it passes by itself shortly after a start
    alert_over_s: float = 120.0  # that everything must be well before an alert is over: a CRM that comes and goes is one alert
    alert_repeat_s: float = 4 * 3600.0  # before a lasting alert is sent again
    alert_ping_s: float = 60.0  # between two pings of the dead man's switch
    first_telling_again_s: float = 15.0  # before a channel that failed is tried again; doubled each time
    longest_telling_again_s: float = 300.0
    telling_lease_s: float = 30.0  # longer than all channels together may take; then another worker may send the same alert
    telling_patience_s: float = 3600.0  # after which the end of an alert is no longer reported
    lane_down_s: float = 300.0
    oldest_waiting_s: float = 900.0
    silence_s: float = 300.0
    errors_s: float = 900.0  # over which outcomes are counted
    strays_s: float = 3600.0  # the same for flips that no trigger saw
    code_forgotten_s: float = 7 * 86400.0  # after which a failure code that did not occur counts as new
    code_new_s: float = 86400.0  # for which it counts as new, at most
    code_gone_s: float = 3600.0  # without an occurrence, after which it counts as gone
    deletions_stuck_s: float = 86400.0
    paused_long_s: float = 86400.0

    # The process.
    stuck_s: float = 120.0  # without progress: each step is at most two statements, of 40 s each including the connection
    last_words_s: float = 2.0  # when stopping, after the outcomes: to write what is told about them
    traces_grace_s: float = 2.0  # when stopping: to send the last spans
    finish_grace_s: float = 5.0  # when stopping, after the requests: to write the outcomes

    # Commands.
    courtesy_s: float = 1.0  # before a command checks again whether it is in the way of a lane
    open_patience_s: float = 20.0  # until a session is established
    turn_patience_s: float = 45.0  # for a permit, which others return as their requests end, and for the account's rate limit
    finish_patience_s: float = 20.0  # until the outcome of one contact is written
    table_patience_s: float = 60.0  # until the contacts table is free for a moment


USUAL = Waits()
