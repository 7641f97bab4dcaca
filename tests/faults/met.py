"""Faults that occurred: found by attacking running workers, and in public reports about other Postgres queues.

The same form as table.py, which lists conceivable faults: each with what is expected, and the tests that show it.
"""

from tests.faults.table import ADOPTION, COMMANDS, CORE, CRM, DAEMON, FAULTS, LANE, POSTGRES, TABLE_ROOM, Row

OF_ATTACKS = (
    Row(
        "a unique index has the id in the CRM, and an insert that points at the contact is open while it is finished",
        "the finish takes the strong lock and leaves that contact out: no transaction of the application is a deadlock's victim",
        (f"{TABLE_ROOM}finish_locks.py",),
    ),
    Row(
        "a request lands late: after a takeover, after its contact was deleted and inserted again, beside a twin's",
        "the last state is sent over it",
        (
            *(f"{FAULTS}order.py", f"{TABLE_ROOM}overwritten.py", f"{LANE}address_locks.py"),
            f"{LANE}tombstones.py::test_who_comes_back_while_another_worker_deletes_his_record_is_sent_after_that",
        ),
    ),
    Row(
        "a rejected contact has a value of megabytes",
        "what is said of it is cleaned without looking at more than a line holds, and nothing is kept of it",
        (
            f"{CORE}text.py::test_megabytes_without_a_blank_are_cut_before_they_are_looked_at",
            f"{CORE}text.py::test_of_a_long_value_no_part_is_left",
            f"{CORE}text.py::test_only_so_many_patterns_are_kept_as_stand_in_a_text",
            f"{TABLE_ROOM}large_values.py::test_nor_do_hundreds_of_addresses_that_are_none_and_have_no_end",
        ),
    ),
    Row(
        "who may create in a schema of the search_path plants functions and operators for a worker or an adoption",
        "none of them is run",
        (f"{POSTGRES}search_path.py",),
    ),
    Row(
        "the mapping of one contact takes longer than a statement may",
        "that contact is in Error with the field; the others are delivered",
        (
            f"{TABLE_ROOM}unreadable_rows.py::test_a_contact_that_the_mapping_takes_for_ever_for_is_in_error_with_the_field",
            f"{TABLE_ROOM}unreadable_rows.py::test_many_that_the_mapping_takes_for_ever_for_starve_nobody_behind_them",
        ),
    ),
    Row(
        "the table refuses to have hundreds of rows written",
        "those behind them do not wait; each is left alone for longer each time",
        (
            f"{TABLE_ROOM}unreadable_rows.py::test_many_rows_that_take_no_claim_starve_nobody_behind_them",
            f"{TABLE_ROOM}unreadable_rows.py::test_a_row_that_is_refused_again_is_left_alone_for_twice_as_long",
            f"{FAULTS}refused_rows.py",
        ),
    ),
    Row(
        "a trigger refuses one row with the SQLSTATE of a conflict, a right, a lock or a timeout",
        "it concerns that contact alone, at the claim and at the finish",
        (
            f"{TABLE_ROOM}unreadable_rows.py::test_so_does_one_whose_trigger_chooses_an_sqlstate_of_its_own",
            f"{POSTGRES}sqlstates.py::test_what_a_trigger_raises_is_about_its_row_whatever_sqlstate_it_chooses",
        ),
    ),
    Row(
        "a trigger restores the column of the claim",
        "the contact is not sent, and the log names it",
        (f"{TABLE_ROOM}unreadable_rows.py::test_a_contact_whose_claim_a_trigger_takes_back_is_not_sent",),
    ),
    Row(
        "a trigger takes longer for one row than a statement may, or finds something locked",
        "that contact is left alone for a while; the others are delivered; a lock on the table itself refuses nobody",
        (
            f"{TABLE_ROOM}unreadable_rows.py::test_a_contact_that_a_trigger_takes_for_ever_for_holds_nobody_up",
            f"{TABLE_ROOM}unreadable_rows.py::test_nor_does_one_whose_trigger_finds_something_locked",
            f"{TABLE_ROOM}unreadable_rows.py::test_a_trigger_that_is_slow_for_every_contact_is_slow_and_refuses_none",
            f"{TABLE_ROOM}unreadable_rows.py::test_while_the_table_is_locked_no_contact_is_refused_for_it",
        ),
    ),
    Row(
        "a role that may only connect takes the advisory locks of keepers, permits and workers",
        "they count for nothing, and who holds them is named",
        (f"{POSTGRES}strangers.py", f"{POSTGRES}registration.py::test_ids_whose_locks_a_stranger_holds_are_stepped_over"),
    ),
    Row(
        "a hundred contacts of megabytes are due",
        "a worker stays below 200 MB, and contacts behind them go on",
        (f"{TABLE_ROOM}large_values.py",),
    ),
    Row(
        "the primary key of a contact is changed in flight",
        "it is delivered under its new one, also after the worker was stopped",
        (
            f"{FAULTS}order.py::test_a_contact_whose_key_is_changed_in_flight_is_delivered_under_its_new_key",
            f"{FAULTS}order.py::test_a_worker_that_stops_after_such_a_change_leaves_the_contact_to_the_next",
        ),
    ),
    Row(
        "claims of a worker that is in no registry, or whose id another one got",
        "they go back in line: at the start, at a reconnect, at the full look",
        (f"{DAEMON}lost_claims.py",),
    ),
    Row(
        "a transaction that flips is to be prepared",
        "with crm_sync.ring = off it can be, and a tick finds it",
        (f"{TABLE_ROOM}two_phase_commit.py",),
    ),
    Row(
        "numbers of many digits, NaN, infinity, dates of another style",
        "each arrives as it is, or is the contact's MAPPING_FAILED",
        (f"{TABLE_ROOM}values.py", f"{CRM}values.py"),
    ),
    Row(
        "a trigger of the application's own flips before the row is written, whatever its name",
        "seen at once, at a price only where such triggers are; else named by check and the log",
        (f"{TABLE_ROOM}caught_flips.py",),
    ),
    Row(
        "the driver cannot read the answer to a claim, or takes a key for infinity; a key is an array or composite",
        "the contact is parked; a key of any value is delivered, and named to every command; an array is refused",
        (
            f"{DAEMON}lost_claims.py::test_an_answer_that_the_driver_cannot_read_stops_nobody",
            f"{DAEMON}keys_of_any_type.py",
            f"{COMMANDS}keys_of_any_type.py",
            f"{LANE}tombstones.py::test_of_a_contact_whose_key_the_driver_cannot_name_the_record_is_deleted",
            f"{ADOPTION}refusals.py::test_it_is_refused_and_nothing_is_changed",
        ),
    ),
    Row(
        "a role that may only connect floods the workers' channel",
        "no session is lost, no flip is late, and the process is named",
        (
            f"{POSTGRES}strangers.py::test_a_flood_of_notifications_ends_no_session_and_delays_no_flip",
            f"{POSTGRES}strangers.py::test_after_the_flood_it_listens_again_and_sleeps",
            f"{POSTGRES}strangers.py::test_a_flood_that_does_not_end_keeps_no_lane_from_its_flips",
        ),
    ),
    Row(
        "the database's isolation is SERIALIZABLE",
        "workers use READ COMMITTED; what an application in a stricter level has to repeat is in the manual",
        (
            f"{POSTGRES}session_settings.py::test_the_pool_a_connection_and_the_session_of_a_worker_have_their_own",
            f"{TABLE_ROOM}beside_the_application.py::test_a_snapshot_from_before_a_claim_cannot_be_written_upon_and_is_repeated",
        ),
    ),
    Row(
        "one worker has all that is due in its hands while the CRM is slow, and another is idle",
        "it takes what it may send now, and the other one the rest",
        (f"{LANE}sharing.py",),
    ),
    Row(
        "the log cannot be written: the disk is full, the reader has gone",
        "deliveries go on, and the next line says how many were lost",
        (
            f"{DAEMON}process.py::test_a_log_that_cannot_be_written_stops_no_delivery",
            f"{DAEMON}process.py::test_a_log_whose_reader_has_gone_stops_no_delivery",
        ),
    ),
    Row(
        "rows and the reason of a pause hold what a terminal obeys",
        "no command prints it",
        (
            "tests/reports/test_status_report.py::test_nothing_that_a_terminal_obeys_is_printed",
            f"{COMMANDS}preview.py::test_a_terminal_is_told_nothing_that_it_obeys",
        ),
    ),
    Row(
        "an id in the CRM is a path: a dot, two dots, a question mark",
        "no request goes anywhere else; the contact is found by its address",
        (
            f"{CRM}brevo.py::test_what_is_no_id_of_brevo_is_none_and_leads_nowhere_else",
            f"{CRM}deletions.py::test_brevo_is_asked_nothing_of_an_id_that_it_never_gave",
            f"{CRM}hubspot.py::test_what_is_no_id_of_hubspot_is_none",
        ),
    ),
    Row(
        "a key ends with a line break, or holds what no header can carry",
        "blanks around it do not count; else it is refused by the name of its setting",
        ("tests/test_settings.py::test_what_no_header_can_carry_is_refused_by_the_name_of_its_setting_and_not_shown",),
    ),
    Row(
        "the database's clock is set back",
        "what was flipped before goes at once",
        (
            f"{FAULTS}clock.py::test_what_was_flipped_before_the_database_clock_was_set_back_goes_at_once",
            f"{FAULTS}clock.py::test_a_worker_that_starts_after_that_delivers_it",
        ),
    ),
    Row(
        "a CRM answers 100 Continue without end",
        "it is cut off after some: no other CRM is slower",
        (
            f"{CRM}connections.py::test_an_endless_series_of_early_answers_is_no_answer_and_read_no_further",
            f"{CRM}connections.py::test_a_body_that_speaks_of_answers_is_none_of_them",
        ),
    ),
    Row(
        "the folder has a .env of somebody else",
        "it is refused, with what to do",
        (
            "tests/test_environment.py::test_an_env_of_another_user_or_one_that_everybody_may_write_to_is_refused_with_what_to_do",
            "tests/test_environment.py::test_a_link_of_another_user_is_no_better_than_his_file",
        ),
    ),
    Row(
        "names of table and columns have apostrophes",
        "adopted, delivered, deletions followed, undone",
        (f"{ADOPTION}shapes.py::test_it_is_adopted_delivered_from_and_left_as_it_was",),
    ),
    Row(
        "the database is in SQL_ASCII, a time is before Christ, standard streams are closed",
        "no traceback",
        (
            f"{TABLE_ROOM}sql_ascii.py",
            f"{COMMANDS}preview.py::test_a_time_that_nobody_can_mean_is_no_traceback",
            f"{DAEMON}process.py::test_standard_streams_may_be_closed",
        ),
    ),
)

OF_REPORTS = (
    Row(
        "contacts alone are restored with triggers off, some of them in flight",
        "their claims are nobody's, and they go back in line",
        (f"{DAEMON}lost_claims.py::test_of_a_worker_that_is_in_no_registry_at_the_start",),
    ),
    Row(
        "a natural key, an address, changes while its contact is in flight",
        "delivered under the new one",
        (f"{FAULTS}order.py::test_a_contact_whose_key_is_changed_in_flight_is_delivered_under_its_new_key",),
    ),
    Row(
        "the sequence of worker ids is behind",
        "a new worker takes an id that nobody has",
        (
            f"{POSTGRES}registration.py::test_a_worker_whose_sequence_is_behind_takes_an_id_that_nobody_has",
            f"{POSTGRES}registration.py::test_a_sequence_that_has_come_to_its_end_begins_anew",
        ),
    ),
    Row(
        "a switch to a server that logical replication has filled: no sequences, the registry of before",
        "what was in flight is delivered, and two workers never share an id",
        (
            f"{DAEMON}lost_claims.py::test_with_the_id_of_the_very_worker_that_starts",
            f"{POSTGRES}registration.py::test_a_worker_whose_id_was_taken_while_it_reconnected_goes_on_with_another_and_finishes_what_it_had",
        ),
    ),
    Row(
        "a partition leaves with contacts in flight, and comes back",
        "they go back in line",
        (f"{DAEMON}lost_claims.py::test_in_a_partition_that_left_in_flight_and_comes_back",),
    ),
    Row(
        "a partition is attached whose contacts were flipped before",
        "they are delivered at the next tick",
        (f"{DAEMON}table_changes.py::test_contacts_of_a_partition_that_is_attached_are_delivered_at_once",),
    ),
    Row(
        "one address in two rows, two workers",
        "the one flipped last is sent last",
        (f"{FAULTS}order.py::test_two_rows_of_one_address_are_never_in_two_requests_and_the_later_flip_is_sent_last",),
    ),
    Row(
        "existing code flips in a BEFORE trigger, on INSERT and UPDATE",
        "milliseconds, not minutes",
        (
            f"{TABLE_ROOM}caught_flips.py::test_it_is_delivered_at_once",
            f"{TABLE_ROOM}caught_flips.py::test_so_does_one_on_insert",
        ),
    ),
    Row(
        "DATABASE_URL has what vendors print into it",
        "it works in every command, or ends each with the parameter's name",
        (f"{COMMANDS}connection_strings.py", f"{CORE}connection_string.py"),
    ),
    Row(
        "two-phase commit while the worker sleeps",
        "possible without the bell",
        (f"{TABLE_ROOM}two_phase_commit.py::test_a_flip_can_be_prepared_while_the_worker_sleeps",),
    ),
    Row(
        "the database is made of a dump of definitions alone",
        "migrate writes anew what stood in our tables",
        (f"{ADOPTION}emptied.py",),
    ),
    Row(
        "the key becomes bigint under a running worker",
        "followed without a restart",
        (
            f"{DAEMON}table_changes.py::test_a_key_that_is_widened_is_followed_without_a_restart",
            f"{TABLE_ROOM}line.py::test_a_key_that_grows_goes_on_being_lined_up_before_the_next_adoption_and_after_it",
        ),
    ),
    Row(
        "an online schema change swaps the table",
        "told within a tick, and followed once it is adopted, without a restart",
        (
            f"{DAEMON}table_changes.py::test_a_copy_that_is_put_in_its_place_is_told_and_followed_once_it_is_adopted",
            f"{DAEMON}table_changes.py::test_one_whose_original_is_dropped_too",
            f"{ADOPTION}swapped.py",
        ),
    ),
    Row(
        "the table has, or gets, a rule on its UPDATEs",
        "refused by adopt, told by a running worker, and over once it is dropped",
        (
            f"{DAEMON}table_changes.py::test_what_is_in_the_way_is_told_before_a_contact_meets_it_and_over_at_once_when_it_is_gone",
            f"{ADOPTION}refusals.py::test_it_is_refused_and_nothing_is_changed",
        ),
    ),
    Row(
        "everything in the database is SERIALIZABLE, timed out and styled by default",
        "adopted, checked, delivered and undone all the same",
        (
            f"{POSTGRES}session_settings.py::test_in_a_database_where_everything_is_hostile_it_is_adopted_checked_delivered_and_undone",
        ),
    ),
    Row(
        "the registry row of a living worker is deleted",
        "it enters it again",
        (
            f"{POSTGRES}registration.py::test_a_worker_whose_row_in_the_registry_is_gone_enters_it_again",
            f"{POSTGRES}registration.py::test_after_all_of_the_registry_was_emptied_two_workers_go_on_side_by_side",
        ),
    ),
    Row(
        "idle sessions are ended sooner than a tick comes",
        "the session is not lost",
        (f"{POSTGRES}session_settings.py::test_the_session_is_not_lost_where_idle_ones_are_ended",),
    ),
    Row(
        "a database in SQL_ASCII is migrated",
        "it is, and a byte that is no UTF-8 is its row's",
        (f"{TABLE_ROOM}sql_ascii.py::test_crm_sync_is_put_on_it_and_a_byte_that_is_no_utf8_is_its_rows",),
    ),
    Row(
        "the sequence of tombstones is behind",
        "no deletion fails",
        (f"{TABLE_ROOM}tombstones.py::test_a_sequence_that_is_behind_makes_no_deletion_fail",),
    ),
    Row(
        "a trigger sets updated_at or counts a version in every UPDATE; an application locks by xmin",
        "the manual says how to leave workers out, and what cannot be",
        (f"{TABLE_ROOM}beside_the_application.py",),
    ),
    Row(
        "soft delete by a rule, where deletions are to be followed",
        "on-delete and check say that none comes; a flip in the rule does",
        (
            f"{COMMANDS}on_delete.py::test_it_says_that_a_rule_lets_nothing_be_deleted",
            f"{COMMANDS}check.py::test_a_rule_by_which_nothing_is_deleted_is_told_where_deletions_are_to_be_followed",
            f"{TABLE_ROOM}beside_the_application.py::test_a_soft_delete_by_a_rule_may_flip",
        ),
    ),
    Row(
        "a driver says the type of its texts",
        "the manual says how to cast them",
        (f"{TABLE_ROOM}beside_the_application.py::test_texts_that_say_their_type_are_cast",),
    ),
    Row(
        "a prepared flip that nobody ends",
        "other flips go on",
        (f"{TABLE_ROOM}two_phase_commit.py::test_a_flip_can_be_prepared_while_the_worker_sleeps",),
    ),
    Row(
        "a worker starts or stops while a synchronous standby is away",
        "it does, and the next one as well",
        (f"{FAULTS}server.py::test_a_synchronous_standby_that_is_away_keeps_no_worker_from_starting_delivering_or_ending",),
    ),
    Row(
        "flips in savepoints and exception blocks, rolled back, released and made again",
        "none is late, nothing uncommitted is sent",
        (f"{TABLE_ROOM}ways_to_write.py::test_a_flip_is_delivered_when_its_transaction_commits_without_a_tick",),
    ),
    Row(
        "upserts with all columns, MERGE, COPY, views",
        "flips as any other",
        (f"{TABLE_ROOM}ways_to_write.py", f"{TABLE_ROOM}line.py::test_an_upsert_lines_up_the_row_that_was_there"),
    ),
    Row(
        "a transaction pooler with fewer connections than lanes",
        "the pool works through it",
        (f"{FAULTS}pooler.py",),
    ),
    Row(
        "a full dump is restored with contacts in flight",
        "they go back in line when a worker starts",
        (f"{FAULTS}moves.py::test_a_full_dump_with_contacts_in_flight_is_delivered_where_it_is_restored",),
    ),
    Row(
        "pg_upgrade with contacts in flight",
        "the same worker goes on",
        (f"{FAULTS}moves.py::test_after_pg_upgrade_the_same_worker_goes_on",),
    ),
    Row(
        "a publication of all tables, as Debezium makes it",
        "every table of ours has an identity, and all commands work",
        (f"{TABLE_ROOM}line.py::test_under_a_publication_of_all_tables_contacts_are_flipped_and_delivered",),
    ),
    Row(
        "the schema of the table is dropped with all that is in it",
        "told with what to do; a running worker stays",
        (
            f"{DAEMON}table_changes.py::test_a_table_that_is_gone_is_told_and_the_worker_stays",
            f"{ADOPTION}command.py",
        ),
    ),
    Row(
        "a bulk load disables triggers and enables them again, or a column is changed and changed back, in one transaction",
        "flips of that time are delivered at the next tick",
        (f"{DAEMON}table_changes.py::test_flips_that_were_unseen_for_a_moment_are_found_at_the_next_tick",),
    ),
    Row(
        "the key of another account; a copy of the database with the key of a test account",
        "nothing is sent, nothing is deleted, no id is written there while rows have ids of the former account",
        (f"{LANE}same_account.py", f"{DAEMON}other_account.py"),
    ),
    Row(
        "a database in LATIN1",
        "accents arrive, and what a CRM says is kept, with an escape for what cannot be stored",
        (
            f"{TABLE_ROOM}sql_ascii.py::test_from_one_in_latin1_accents_arrive",
            f"{TABLE_ROOM}sql_ascii.py::test_what_a_crm_says_is_kept_with_an_escape_for_what_the_database_cannot_store",
        ),
    ),
)
