"""Every fault that crm-sync must survive, what is expected of it then, and the tests that show it with real parts.

After each of them, once things heal and a tick has passed, the promise holds:

    I1  every contact whose last flip was committed is Complete, and the CRM holds its last state
    I2  no contact whose worker is gone stays Processing
    I3  no CRM record exists twice
    I4  the worker wrote nothing outside its columns
    I5  what was withdrawn or deleted before it was claimed is not sent
    I6  everything in Error has a reason, and can be counted and sent again
    I7  no key and no personal data in logs, error columns, metrics or pages
    I8  sends <= flips + (crashes + unknown answers) x batch

PROMISE lists those that hold at any time, whatever the fault.
"""

from typing import NamedTuple


class Row(NamedTuple):
    """tests: `path::name`; a name without brackets means all of its cases."""

    fault: str
    expected: str
    tests: tuple[str, ...]


CORE, POSTGRES, TABLE_ROOM, LANE, CRM, DAEMON, COMMANDS, FAULTS, BOOT, ADOPTION = (
    f"tests/{folder}/test_"
    for folder in ("core", "postgres", "table", "lane", "crm", "daemon", "commands", "faults", "boot", "adoption")
)

PROMISE = (
    f"{TABLE_ROOM}walk.py::test_the_promise_holds_on_a_random_walk",
    f"{COMMANDS}grants.py",
    f"{DAEMON}privacy.py",
    f"{DAEMON}four_crms.py",
    f"{LANE}doorbell.py::test_no_flip_is_stranded",
)

TABLE = (
    Row(
        "kill -9 after the claim, before or after the request, in the middle of a finish, after its commit",
        "the next start goes on within 2 s, another worker within a tick; at most what was in hand is sent twice",
        (
            f"{FAULTS}crash.py::test_killed_and_started_again_everything_is_back_in_line_within_two_seconds",
            f"{FAULTS}crash.py::test_killed_again_and_again_in_the_middle_of_much_work_it_sends_no_more_twice_than_it_had_in_hand",
            f"{FAULTS}takeover.py::test_the_contacts_of_a_killed_worker_are_taken_over_within_one_tick",
            f"{DAEMON}process.py::test_killed_in_the_middle_and_started_again_it_delivers_everything",
            f"{LANE}lane.py::test_a_contact_that_outlived_all_its_workers_is_parked_with_that_reason",
            f"{FAULTS}connection.py::test_what_waited_for_its_turn_when_another_took_it_over_is_not_sent_after_it",
            f"{FAULTS}midway.py",
        ),
    ),
    Row(
        "the mapping cannot be computed for one row, takes for ever, or makes what no CRM takes; the table refuses a write to it",
        "it is in Error with that reason, or the log tells of it; no other contact waits for it",
        (f"{TABLE_ROOM}unreadable_rows.py", f"{TABLE_ROOM}values.py"),
    ),
    Row(
        "a trigger of the application undoes a claim or an outcome without an error: it returns NULL, or puts a column back",
        "the row, or the log and `crm-sync check`, name the trigger; the row is tried again less and less often, others go on",
        (f"{FAULTS}undone_writes.py",),
    ),
    Row(
        "a trigger of the application flips a contact whenever a worker writes its row, or that of another",
        "it is sent less and less often; its row, the log and `crm-sync check` name the trigger; others and real flips go on",
        (f"{FAULTS}flipping_triggers.py",),
    ),
    Row(
        "a trigger of the application is slow for some rows",
        "their outcomes are isolated within seconds, and the others do not wait for more than one that takes for ever",
        (f"{FAULTS}slow_triggers.py", f"{TABLE_ROOM}unreadable_rows.py"),
    ),
    Row(
        "the answer to a claim or to a finish is lost",
        "repeating it changes nothing",
        (
            f"{FAULTS}connection.py::test_a_claim_whose_answer_is_lost_is_delivered_once_and_costs_no_attempt",
            f"{FAULTS}connection.py::test_a_finish_whose_answer_is_lost_is_repeated_and_changes_nothing",
            f"{FAULTS}connection.py::test_connections_cut_at_random_bytes_lose_nothing",
            f"{POSTGRES}session.py::test_a_claim_whose_answer_was_lost_is_noticed_and_its_contacts_are_delivered",
        ),
    ),
    Row(
        "somebody may create functions, operators or types where workers and adopters look them up",
        "nothing of his is run by them",
        (f"{POSTGRES}search_path.py",),
    ),
    Row(
        "a database or role sets isolation, timeouts, styles or a path for its applications",
        "none of it reaches a worker, a command or an adoption",
        (f"{POSTGRES}session_settings.py",),
    ),
    Row(
        "the listening session is killed",
        "it listens again within 2 s, and what was flipped in the gap is delivered",
        (
            f"{FAULTS}connection.py::test_a_killed_session_listens_again_and_delivers_within_two_seconds",
            f"{FAULTS}connection.py::test_a_flip_made_while_the_session_is_gone_is_delivered_within_two_seconds",
            f"{POSTGRES}session.py::test_what_is_in_flight_when_the_session_is_lost_is_finished_once_and_not_sent_again",
        ),
    ),
    Row(
        "the network to Postgres drops everything without a word",
        "noticed within 10 s; nothing hangs; what a worker that was taken for dead had under way is sent over",
        (
            f"{FAULTS}connection.py::test_a_silent_drop_is_noticed_within_ten_seconds_and_heals",
            f"{FAULTS}connection.py::test_a_silent_drop_in_the_middle_of_much_work_heals",
            f"{FAULTS}connection.py::test_a_silent_pool_beside_a_live_session_heals",
            f"{FAULTS}network.py",
            f"{FAULTS}connection.py::test_what_a_worker_taken_for_dead_sent_is_sent_over",
            f"{FAULTS}takeover.py::test_what_a_stopped_worker_that_was_taken_for_dead_sent_is_sent_over",
        ),
    ),
    Row(
        "a request lands after its contact was taken over, deleted and inserted again, or given another key",
        "the last state is sent over it; a contact with another key is delivered under that",
        (f"{FAULTS}order.py", f"{TABLE_ROOM}overwritten.py"),
    ),
    Row(
        "several rows have one address, and several workers",
        "one of them is in a request at a time, and the later flip is sent last",
        (
            f"{FAULTS}order.py::test_two_rows_of_one_address_are_never_in_two_requests_and_the_later_flip_is_sent_last",
            f"{FAULTS}two_identities.py",
            f"{FAULTS}order.py::test_a_row_of_a_backlog_that_a_fresh_flip_of_its_address_overtakes_has_not_the_last_word",
            f"{LANE}delivery.py::test_over_all_workers_one_address_is_in_one_request",
            f"{LANE}address_locks.py",
        ),
    ),
    Row(
        "Postgres restarts, fast or immediately; one backend is killed; recovery",
        "no exit; growing, jittered pauses; a fresh flip is delivered within 3 s of it being back",
        (
            f"{FAULTS}server.py::test_it_delivers_within_three_seconds_of_a_restart_under_load",
            f"{FAULTS}server.py::test_a_backend_that_crashes_takes_all_down_and_it_delivers_within_three_seconds",
            f"{FAULTS}server.py::test_one_backend_of_the_pool_that_is_terminated_costs_nothing",
            f"{FAULTS}connection.py::test_after_a_long_outage_it_delivers_within_three_seconds_of_the_database_being_back",
        ),
    ),
    Row(
        "failover to a replica that lost the last commits",
        "it finds the one that can be written to; what is sent again is an upsert",
        (f"{FAULTS}server.py::test_after_a_failover_that_lost_the_last_commits_everything_lost_is_sent_again",),
    ),
    Row(
        "the primary becomes read-only",
        "no CRM is called, and the reason is said",
        (f"{FAULTS}server.py::test_a_primary_that_becomes_read_only_stops_all_calls_and_says_so",),
    ),
    Row(
        "a contact is edited and flipped, flipped, withdrawn or deleted while in flight",
        "delivered again with the new value; runs once more; the person's word stays; finished as no row, and counted",
        (
            f"{FAULTS}application.py::test_of_those_in_flight_each_change_is_kept",
            f"{FAULTS}application.py::test_what_is_withdrawn_or_deleted_in_line_is_never_sent",
            f"{TABLE_ROOM}finish.py::test_a_finish_writes_what_the_table_says",
        ),
    ),
    Row(
        "an ORM saves a stale row with all its columns while the contact is in flight, or afterwards",
        "of all that it writes only the status is taken; nothing stays in flight",
        (
            f"{FAULTS}application.py::test_a_stale_row_saved_in_flight_leaves_the_flight_unharmed",
            f"{FAULTS}application.py::test_a_row_read_in_flight_and_saved_afterwards_with_all_its_columns_does_not_stay_in_flight",
            f"{TABLE_ROOM}trigger.py::test_a_contact_in_flight_keeps_what_the_worker_wrote_when_a_stale_row_is_saved",
        ),
    ),
    Row(
        "a column of ours or the key is renamed, dropped or given another type; the line of a CRM is dropped",
        "the application's writes go through, with a warning; other CRMs see theirs; once mended, what was flipped is delivered",
        (f"{FAULTS}broken_columns.py",),
    ),
    Row(
        "an event trigger of the database fails at a command's DDL",
        "its function is named, and nothing else is advised",
        (f"{COMMANDS}event_triggers.py",),
    ),
    Row(
        "the index of the key is dropped",
        "contacts are delivered, and `crm-sync check` says which index is missing",
        (f"{COMMANDS}check.py::test_the_index_of_the_key_that_was_dropped_is_told",),
    ),
    Row(
        "a table is made that inherits from the contacts table",
        "its rows are neither sent nor changed, and `crm-sync check` names it",
        (f"{FAULTS}heirs.py",),
    ),
    Row(
        "a time in our columns is infinite, before Christ or after 9999",
        "what is due is delivered at its first attempt, and no other waits; every command tells of it",
        (f"{FAULTS}odd_times.py",),
    ),
    Row(
        "a business transaction holds row locks for minutes",
        "the others go on; nobody ever deadlocks; delivered when released",
        (
            f"{FAULTS}application.py::test_a_transaction_that_holds_rows_for_long_holds_up_nobody_else",
            f"{FAULTS}application.py::test_against_transactions_in_the_opposite_order_nobody_ever_deadlocks",
            f"{POSTGRES}session.py::test_an_orphan_locked_by_the_application_is_recovered_at_a_later_tick",
        ),
    ),
    Row(
        "a snapshot is held open for an hour",
        "the cost of a claim stays flat",
        (f"{FAULTS}application.py::test_a_snapshot_held_open_leaves_the_cost_of_a_claim_flat",),
    ),
    Row(
        "one contact of a hundred is poison",
        "99 Complete, one in Error with its reason, at most 2 log2(100) + 1 further calls",
        (
            f"{LANE}delivery.py::test_one_poison_contact_of_a_hundred_is_alone_in_error_at_the_price_of_few_calls",
            f"{LANE}delivery.py::test_a_contact_on_which_the_crm_fails_is_found_and_holds_up_no_other",
            f"{CRM}hubspot.py::test_of_a_batch_only_the_contact_that_is_wrong_is_rejected",
        ),
    ),
    Row(
        "an answer is reordered, lacks contacts, or is a success with nothing in it",
        "matched by key; what is not accounted for is unknown, so sent again",
        (
            f"{FAULTS}answers.py::test_a_success_with_nothing_in_it_is_unknown_and_sent_again",
            f"{CRM}hubspot.py::test_a_crowd_is_delivered_each_with_the_record_of_its_own_address",
            f"{CRM}hubspot.py::test_whoever_the_answer_leaves_out_is_not_delivered_even_if_hubspot_knows_the_address",
            f"{CRM}mautic.py::test_a_contact_that_the_answer_does_not_account_for_is_not_delivered",
            f"{CRM}n8n.py::test_a_contact_that_the_answer_does_not_list_is_not_accounted_for",
            f"{CRM}brevo.py::test_a_success_that_names_no_contact_is_none",
        ),
    ),
    Row(
        "a CRM is down for an hour, goes down under load, answers too late, or flaps",
        "no contact in Error, no attempt used up, one probe at a time, then more and more",
        (
            f"{FAULTS}crm.py::test_a_crm_that_is_down_for_an_hour_marks_nobody_and_gets_one_probe_at_a_time",
            f"{FAULTS}crm.py::test_a_crm_that_goes_down_in_the_middle_of_much_work_marks_nobody",
            f"{FAULTS}crm.py::test_a_crm_that_answers_too_late_is_an_outage_and_makes_no_record_twice",
            f"{FAULTS}crm.py::test_a_crm_that_is_only_slow_is_waited_for",
            f"{FAULTS}crm.py::test_a_crm_that_flaps_leaves_nobody_in_error",
            f"{DAEMON}four_crms.py::test_one_that_is_down_delays_no_other_and_marks_no_contact",
            f"{CORE}breaker.py",
        ),
    ),
    Row(
        "429 with seconds, a date, a date that is past, garbage, a billion, nothing",
        "no worker calls before its time, which is bounded; no attempt used up",
        (
            f"{FAULTS}crm.py::test_after_a_429_no_worker_calls_before_its_time",
            f"{FAULTS}crm.py::test_each_crm_that_says_429_is_left_alone_and_no_contact_loses_an_attempt",
            f"{CRM}http.py::test_retry_after_in_all_its_forms",
        ),
    ),
    Row(
        "401 or 403, then the right key",
        "the lane pauses loudly, no contact is marked, and it goes on",
        (
            f"{FAULTS}crm.py::test_a_refused_key_pauses_the_lane_loudly_until_it_is_accepted",
            f"{FAULTS}crm.py::test_a_wrong_key_is_replaced_by_a_reload_and_no_contact_was_marked",
        ),
    ),
    Row(
        "a firewall before the CRM minds some contacts, or refuses everybody with a page",
        "those are in Error with its words, the others delivered; or the lane is held, names its setting, and nobody is marked",
        (f"{FAULTS}firewall.py",),
    ),
    Row(
        "a client raises what is no error of ours, or answers what is no entry for each contact",
        "the contact's, retried, and told once; the lane goes on",
        (
            f"{LANE}delivery.py::test_what_a_client_raises_for_one_contact_is_that_contacts_and_told_once",
            f"{LANE}delivery.py::test_a_client_that_answers_what_is_no_entry_for_each_has_failed_and_the_others_go_on",
        ),
    ),
    Row(
        "200 with a page, NaN, deep JSON, bad UTF-8; cut off by length, chunk or end; 200 MB; a gzip bomb; dripping",
        "no contact is Complete by it, but at n8n, whose success means a run; body and memory are capped",
        (
            f"{FAULTS}answers.py::test_nobody_is_complete_by_a_broken_answer",
            f"{FAULTS}answers.py::test_a_success_of_n8n_that_cannot_be_read_is_a_run_and_is_not_sent_again",
            f"{FAULTS}answers.py::test_no_key_is_in_what_the_worker_says_of_broken_answers",
            f"{FAULTS}bulk.py::test_the_memory_of_the_worker_is_bounded_whatever_is_answered",
            f"{CRM}http.py::test_of_a_body_of_50_mb_no_more_is_read_than_the_cap_and_a_little",
        ),
    ),
    Row(
        "301, 302, 307 or 308 to another origin",
        "not followed: neither key nor data get there",
        (
            f"{FAULTS}answers.py::test_a_redirect_to_another_origin_takes_neither_key_nor_data_there",
            f"{CRM}http.py::test_a_redirect_is_refused_and_neither_key_nor_body_reach_the_other_origin",
        ),
    ),
    Row(
        "a CRM closes connections that the worker has kept: as the next request comes, or at each second one",
        "the request is sent once more on a new connection; no attempt, no outage",
        (f"{FAULTS}kept_connections.py", f"{CRM}connections.py"),
    ),
    Row(
        "a CRM is reached through a proxy only; the proxy is gone, wants a password, lets nobody through, or speaks SOCKS",
        "contacts go through its tunnel; what the proxy says is told with its name and its setting",
        (f"{FAULTS}proxy.py", f"{CRM}proxy.py"),
    ),
    Row(
        "the records of two contacts were merged in the CRM",
        "none of the two takes the record's address from the other, over all requests and workers",
        (f"{FAULTS}shared_records.py", f"{TABLE_ROOM}shared_records.py"),
    ),
    Row(
        "a certificate is self-signed, expired, of another host; a name is not found",
        "nothing is sent; it counts as an outage",
        (
            f"{FAULTS}tls.py::test_a_certificate_that_is_not_to_be_trusted_is_sent_nothing",
            f"{FAULTS}tls.py::test_a_name_that_leads_nowhere_is_an_outage_until_it_is_found",
            f"{FAULTS}tls.py::test_a_name_that_no_resolver_knows_is_an_outage",
        ),
    ),
    Row(
        "one address twice, none, an invalid one, 10 kB, emoji; NUL or half a character in what a CRM says",
        "never twice in a request; invalid ones in Error without a call; text is cleaned before it is written",
        (
            f"{FAULTS}texts.py::test_odd_addresses_are_never_sent_and_one_address_is_never_twice_in_a_request",
            f"{FAULTS}texts.py::test_what_a_crm_says_is_cleaned_before_it_is_written",
            f"{LANE}delivery.py::test_one_address_is_never_in_two_requests_at_once",
            f"{CORE}text.py",
        ),
    ),
    Row(
        "1,000,000 rows are flipped in one statement",
        "one notification, no memory",
        (f"{FAULTS}bulk.py::test_a_million_rows_flipped_in_one_statement_are_one_notification_and_take_no_memory",),
    ),
    Row(
        "the queue of notifications is full; the trigger is disabled; replication writes the rows",
        "a flip that would ring is refused by Postgres; all others are delivered, those without a trigger at the next full look",
        (
            f"{FAULTS}bulk.py::test_while_the_queue_is_full_a_flip_that_would_ring_is_refused_by_postgres_and_works_afterwards",
            f"{FAULTS}bulk.py::test_while_the_queue_is_full_flips_that_need_not_ring_are_delivered",
            f"{FAULTS}bulk.py::test_a_session_that_is_lost_while_the_queue_is_full_is_opened_when_it_is_not",
            f"{FAULTS}bulk.py::test_flips_that_no_trigger_saw_are_found_by_the_next_full_look",
            f"{FAULTS}bulk.py::test_a_flip_that_no_trigger_saw_and_that_is_locked_at_the_full_look_is_found_soon_after",
        ),
    ),
    Row(
        "a transaction pooler is in front",
        "the pool works through it; a session through it is refused at the start with a plain reason",
        (f"{FAULTS}pooler.py",),
    ),
    Row(
        "migrations, ALTER TABLE and CREATE INDEX under load",
        "waited for and tried again; a column that is missing stops the lane of that CRM, with its name, until it is there again",
        (
            f"{FAULTS}server.py::test_work_on_the_table_under_load_loses_nothing",
            f"{FAULTS}server.py::test_a_table_lock_is_waited_for_and_what_was_flipped_is_delivered",
            f"{FAULTS}server.py::test_a_lock_that_is_held_longer_than_the_role_may_wait_is_waited_for",
            f"{TABLE_ROOM}table_locks.py",
            f"{FAULTS}server.py::test_a_column_of_ours_dropped_under_way_is_told_with_its_name_and_the_worker_goes_on",
            f"{DAEMON}lane_faults.py",
        ),
    ),
    Row(
        "a table is adopted and given back while it is written to; somebody holds it, it is vacuumed, a snapshot is old",
        "no writer waits longer than 0.2 s; it waits itself, says for whom, and gives up in the end with nothing half done",
        (
            f"{ADOPTION}live.py::test_adopted_twice_and_undone_under_load_no_writer_waits_and_all_is_as_before",
            f"{ADOPTION}live.py::test_who_holds_the_table_only_delays_it_and_is_named_and_after_the_patience_nothing_is_half_done",
            f"{ADOPTION}live.py::test_it_goes_on_once_the_holder_has_ended",
            f"{ADOPTION}live.py::test_an_autovacuum_is_ended_not_waited_for",
        ),
    ),
    Row(
        "an adoption or its undoing is killed at any statement, its session ended, the server restarted, an index half built",
        "run again it ends as one that nobody broke off: the same definitions, the same notes, no invalid index",
        (f"{ADOPTION}kill.py",),
    ),
    Row(
        "two adopt, migrate or undo at once, one of them while it waits for an old snapshot",
        "one works; the others say that they wait, and then find nothing to do",
        (
            f"{ADOPTION}live.py::test_two_at_once_and_migrate_beside_them_one_works_and_the_others_say_that_they_wait",
            f"{ADOPTION}live.py::test_four_started_in_the_same_moment_never_fail",
            f"{ADOPTION}live.py::test_two_do_not_wait_for_each_other_while_an_index_waits_for_an_old_snapshot",
        ),
    ),
    Row(
        "an adoption goes through a transaction pooler, to a standby, over TLS to a server that is not to be trusted",
        "refused with the setting that is missing; of several hosts the primary is found; no other authority is trusted",
        (f"{ADOPTION}ways.py",),
    ),
    Row(
        "two versions of the worker run together",
        "they share the work and send nothing twice",
        (f"{FAULTS}versions.py",),
    ),
    Row(
        "the clock of the worker's machine jumps",
        "nothing early, nothing late: the database's clock rules",
        (f"{FAULTS}clock.py",),
    ),
    Row(
        "the event loop is blocked; SIGSTOP",
        "the watchdog restarts it",
        (
            f"{BOOT}boot.py::test_a_worker_that_stands_still_is_restarted_by_the_watchdog",
            f"{BOOT}boot.py::test_a_killed_worker_is_restarted_and_goes_on",
            f"{DAEMON}systemd.py::test_a_blocked_event_loop_is_silent",
            f"{FAULTS}takeover.py::test_a_stopped_worker_keeps_its_contacts_as_long_as_its_session_lives",
        ),
    ),
    Row(
        "SIGTERM in the middle of requests, before a CRM or a Postgres that never answers; a second one",
        "it drains in its grace and gives back what it did not send without an attempt; at once",
        (
            f"{DAEMON}process.py::test_sigterm_drains_and_exits_with_0",
            f"{DAEMON}process.py::test_a_second_sigterm_ends_it_at_once_and_nothing_is_lost",
            f"{FAULTS}crash.py::test_sigterm_before_a_crm_that_never_answers_gives_everything_back_without_an_attempt",
            f"{FAULTS}crash.py::test_sigterm_while_postgres_is_silent_ends_it_in_time_and_the_next_one_delivers",
            f"{FAULTS}stopping.py::test_told_to_stop_at_any_statement_it_ends_and_the_next_one_delivers",
            f"{FAULTS}stopping.py::test_told_to_stop_at_any_request_it_ends_and_the_next_one_delivers",
            f"{FAULTS}stopping.py::test_a_postgres_that_falls_silent_at_its_last_words_holds_it_up_no_longer",
            f"{BOOT}boot.py::test_a_stop_lets_the_request_under_way_end_and_is_clean",
        ),
    ),
    Row(
        "a contact is deleted whose record is to be deleted too: rolled back, in flight, before a kill -9, during an outage",
        "the deletion is never lost with the row and never made up; no record goes that another contact has",
        (
            f"{LANE}tombstones.py",
            f"{TABLE_ROOM}tombstones.py",
        ),
    ),
    Row(
        "the database is far away or slow, and the account of the CRM has a limit",
        "the limit is kept and used; few slots pass unused",
        (
            "tests/limits/test_slots.py::test_a_worker_far_from_its_database_reserves_slots_that_are_still_to_come",
            "tests/limits/test_slots.py::test_a_database_that_answers_now_fast_now_slowly_is_no_obstacle",
        ),
    ),
    Row(
        "the connection limit is reached, the password changed, a right is missing",
        "growing pauses, a plain reason, no hammering",
        (
            f"{FAULTS}server.py::test_a_reached_connection_limit_is_said_and_waited_for_without_hammering",
            f"{FAULTS}server.py::test_a_changed_password_is_said_and_waited_for_without_hammering",
            f"{COMMANDS}grants.py",
        ),
    ),
)
