"""Reports from the field: problems that users of other CRM integrations have met, in our words, and the tests that prevent them
here.

The numbers are those of the collection; features that do not exist here have none.
"""

from typing import NamedTuple


class Case(NamedTuple):
    """tests: `path::name`; a name without brackets means all of its cases."""

    number: int
    situation: str
    tests: tuple[str, ...]


HERE, CORE, TABLE, LANE, DAEMON, COMMANDS, FAULTS, ROOT = (
    f"tests/{folder}test_" for folder in ("crm/", "core/", "table/", "lane/", "daemon/", "commands/", "faults/", "")
)

CASES = (
    Case(
        1,
        "a firewall before the CRM refuses one contact for its words: it alone is in Error, and the others go on",
        (
            f"{FAULTS}firewall.py::test_five_of_1500_that_a_firewall_minds_are_named_and_hold_up_nobody",
            f"{FAULTS}firewall.py::test_single_flips_beside_one_that_is_minded_are_sent_once_and_open_no_breaker",
            f"{FAULTS}firewall.py::test_one_that_is_alone_holds_the_lane_which_says_so_until_another_is_served",
            f"{LANE}search.py",
        ),
    ),
    Case(
        2,
        "an expression that SELECT takes and RETURNING does not, or that is no single value, is refused with its field",
        (
            f"{TABLE}mapping.py::test_what_the_claim_would_refuse_is_refused_with_its_field",
            f"{TABLE}mapping.py::test_it_stops_its_lane_with_its_name",
            f"{TABLE}mapping.py::test_check_tells_both_what_is_refused_and_what_may_not_be_meant",
            f"{TABLE}composites.py::test_a_whole_row_is_refused_by_the_name_of_its_field",
            f"{TABLE}slow_mapping.py",
            f"{TABLE}unreadable_rows.py::test_a_contact_that_the_mapping_takes_for_ever_for_is_in_error_with_the_field",
            f"{DAEMON}reload.py::test_a_wrong_mapping_is_refused_and_the_old_one_stays",
        ),
    ),
    Case(
        3,
        "a proxy answers everybody with a 4xx and a page: the lane is held, and no contact is marked",
        (
            f"{FAULTS}firewall.py::test_a_page_that_everybody_gets_marks_nobody_and_the_lane_names_the_setting",
            f"{HERE}brevo.py::test_a_refusal_in_words_that_are_not_brevos_is_by_status_alone",
            f"{HERE}mautic.py::test_a_refusal_in_words_that_are_not_mautics_is_by_status_alone",
            f"{HERE}named_settings.py::test_what_is_not_the_crm_is_told_with_the_setting_of_its_address",
        ),
    ),
    Case(
        4,
        "a numeric with more digits than a double keeps them",
        (
            f"{TABLE}values.py::test_each_type_is_what_that_crm_takes",
            f"{HERE}values.py::test_a_number_that_no_double_holds_is_sent_as_its_text",
            f"{HERE}values.py::test_a_number_is_read_back_as_it_is_by_who_reads_doubles",
        ),
    ),
    Case(
        5,
        "a real of 4.7 is sent as 4.7, not as the double that is next to it",
        (
            f"{TABLE}values.py::test_each_type_is_what_that_crm_takes",
            f"{HERE}values.py::test_a_real_is_the_shortest_number_that_is_read_back_as_it",
        ),
    ),
    Case(
        6,
        "a timestamptz is ISO 8601 in UTC for HubSpot's datetime; a time without a zone is refused until it says which is meant",
        (
            f"{HERE}values.py::test_a_moment_is_iso_8601_in_utc",
            f"{TABLE}mapping.py::test_a_local_time_is_no_moment_to_hubspot_and_brevo",
            f"{COMMANDS}values_in_the_manual.py::test_hubspot_takes_each_type_for_a_property_of_that_type",
        ),
    ),
    Case(
        7,
        "no setting of the database, the role or a pooler changes what is sent",
        (f"{TABLE}values.py::test_each_type_is_what_that_crm_takes",),
    ),
    Case(
        8,
        "arrays of numbers and enums are lists, joined by semicolons for HubSpot, without NULL; an element with one is told",
        (
            f"{TABLE}values.py::test_each_type_is_what_that_crm_takes",
            f"{HERE}values.py::test_a_list_has_neither_null_nor_blanks_in_it",
            f"{HERE}values.py::test_a_list_of_nothing_is_empty",
            f"{HERE}values.py::test_an_option_with_a_semicolon_is_refused_by_hubspot_alone",
            f"{HERE}mautic.py::test_a_list_is_sent_as_it_is",
        ),
    ),
    Case(
        9,
        "a bigint beyond 2^53 is a text where numbers are read as doubles",
        (
            f"{TABLE}values.py::test_each_type_is_what_that_crm_takes",
            f"{HERE}values.py::test_a_number_that_no_double_holds_is_sent_as_its_text",
        ),
    ),
    Case(
        10,
        "NaN and infinity are told with their field, and make no body that is no JSON",
        (
            f"{TABLE}values.py::test_what_no_crm_takes_is_told_with_its_field",
            f"{TABLE}values.py::test_a_value_that_cannot_be_sent_is_its_contacts_and_spoils_no_batch",
            f"{HERE}values.py::test_what_is_no_number_is_refused_by_all",
            f"{HERE}values.py::test_a_date_that_nobody_knows_is_refused_by_all",
            f"{HERE}values.py::test_an_interval_without_end_is_refused_by_all",
        ),
    ),
    Case(
        11,
        "char(n) is sent without its padding, so that it is an option of an enumeration",
        (
            f"{TABLE}values.py::test_each_type_is_what_that_crm_takes",
            f"{COMMANDS}values_in_the_manual.py::test_hubspot_takes_each_type_for_a_property_of_that_type",
        ),
    ),
    Case(
        12,
        "jsonb is an object for n8n and Mautic; a single value in it is what the same value of SQL is",
        (
            f"{TABLE}values.py::test_each_type_is_what_that_crm_takes",
            f"{HERE}values.py::test_numbers_in_a_document_stay_exact",
            f"{HERE}values.py::test_a_single_value_in_json_is_what_the_same_value_of_sql_is",
            f"{COMMANDS}values_in_the_manual.py::test_the_table_of_types_is_what_a_preview_prints",
        ),
    ),
    Case(
        13,
        "a kept connection that the server has just closed is no failure of the CRM, and costs no contact an attempt",
        (
            f"{HERE}connections.py::test_what_dies_on_a_used_connection_goes_out_once_more_on_a_new_one",
            f"{HERE}connections.py::test_no_connection_is_kept_for_as_long_as_node_and_apache_keep_it",
            f"{FAULTS}kept_connections.py",
        ),
    ),
    Case(
        14,
        "of a value that HubSpot refuses the property is named, though its message does not",
        (f"{HERE}hubspot.py::test_a_value_that_is_refused_is_told_with_its_property",),
    ),
    Case(
        15,
        "a zero or false that Mautic answers with success and does not store is told with its field",
        (
            f"{HERE}mautic.py::test_a_zero_that_mautic_keeps_out_is_told_at_a_new_contact_and_at_an_edit",
            f"{HERE}mautic_storage.py",
        ),
    ),
    Case(
        16,
        "a field that the CRM does not have, or spells in other letters, holds the lane before a contact is sent, and is named",
        (
            f"{HERE}schemas.py::test_a_field_that_the_account_lacks_is_missing",
            f"{HERE}schemas.py::test_a_name_in_other_letters_is_missing_with_the_one_that_is_meant",
            f"{LANE}remote_fields.py::test_the_lane_is_held_before_anything_is_sent_and_goes_on_once_the_field_is_there",
            f"{LANE}remote_fields.py::test_a_real_worker_and_brevo_nothing_is_dropped_without_a_word",
            f"{COMMANDS}check.py::test_each_field_that_can_never_arrive_has_a_line_and_the_command_fails",
            f"{HERE}mautic.py::test_a_field_that_mautic_does_not_have_is_told_and_the_others_are_delivered",
        ),
    ),
    Case(
        17,
        "rows whose records were merged in the CRM do not take its primary address from each other",
        (
            f"{FAULTS}shared_records.py",
            f"{TABLE}shared_records.py::test_a_record_is_shared_by_contacts_that_differ_in_their_address",
            f"{HERE}hubspot.py::test_contacts_that_share_a_record_id_do_not_take_each_others_address_from_it",
        ),
    ),
    Case(
        18,
        "a column that is emptied empties the CRM's field where that is asked for, and only what crm-sync had put there",
        (
            "tests/daemon/test_clearing.py::test_what_was_sent_is_emptied_with_the_row",
            "tests/daemon/test_clearing.py::test_what_sales_had_put_there_stays_though_the_row_has_nothing_for_it",
            "tests/daemon/test_clearing.py::test_by_default_the_crm_keeps_what_it_has",
        ),
    ),
    Case(
        19,
        "HTTPS_PROXY and its like are heeded, and named where they do not work",
        (f"{HERE}proxy.py", f"{FAULTS}proxy.py"),
    ),
    Case(
        20,
        "a newline at the end of a key does not count, and what no header can carry is refused by the name of the setting",
        (
            f"{ROOT}settings.py::test_blanks_around_a_key_do_not_count",
            f"{ROOT}settings.py::test_what_no_header_can_carry_is_refused_by_the_name_of_its_setting_and_not_shown",
            f"{ROOT}environment.py::test_a_byte_order_mark_is_no_part_of_a_file",
        ),
    ),
    Case(
        21,
        "a success of n8n that is too large, breaks off or is coded wrongly was a run, and is not run again",
        (
            f"{HERE}n8n.py::test_a_run_whose_answer_cannot_be_read_was_a_run_all_the_same",
            f"{HERE}n8n.py::test_a_run_whose_answer_breaks_off_was_a_run_all_the_same",
            f"{FAULTS}answers.py::test_a_success_of_n8n_that_cannot_be_read_is_a_run_and_is_not_sent_again",
            f"{HERE}http.py::test_a_body_as_large_as_may_be_is_read_and_with_a_byte_more_fewer_contacts_are_sent",
        ),
    ),
    Case(
        22,
        "opting out, lists and tags come from columns, and no contact is opted in again unless the mapping says so",
        (
            f"{HERE}brevo_consent.py::test_who_opts_out_is_opted_out_new_or_known",
            f"{HERE}brevo_consent.py::test_what_does_not_say_so_opts_nobody_in",
            f"{HERE}brevo_consent.py::test_a_contact_joins_lists_and_leaves_them",
            f"{HERE}mautic_consent.py::test_only_the_reason_0_opens_a_channel_again",
            f"{HERE}mautic_consent.py::test_tags_come_and_go",
            f"{HERE}hubspot_beside.py::test_nobody_is_opted_in_unless_the_mapping_says_so",
        ),
    ),
    Case(
        23,
        "a database in SQL_ASCII is migrated, adopted and delivered from",
        (f"{TABLE}sql_ascii.py::test_crm_sync_is_put_on_it_and_a_byte_that_is_no_utf8_is_its_rows",),
    ),
    Case(
        25,
        "a domain in any script reaches each CRM in a form that it takes, and both forms are one address",
        (
            f"{CORE}identity.py::test_a_domain_is_the_same_in_both_its_forms",
            f"{CORE}identity.py::test_the_two_forms_of_a_domain_are_one_address",
            f"{HERE}hubspot.py::test_an_address_with_a_domain_in_any_script_is_sent_as_it_is_and_found_again",
            f"{HERE}brevo.py::test_an_address_with_a_domain_in_any_script_is_sent_as_it_is_and_found_again",
            f"{HERE}mautic.py::test_a_domain_in_letters_of_its_own_is_sent_as_dns_has_it_and_found_again",
        ),
    ),
    Case(
        26,
        "plain http to n8n in a network of containers: the host may be allowed with its port, and what is no host is refused",
        (
            f"{ROOT}settings.py::test_hosts_may_have_ports",
            f"{ROOT}settings.py::test_what_is_no_host_is_refused_by_name",
            f"{ROOT}settings.py::test_of_one_that_is_not_the_message_says_what_is_allowed",
        ),
    ),
    Case(
        27,
        "a byte order mark before the JSON is forgiven; a notice of PHP before it is quoted",
        (
            f"{HERE}http.py::test_a_byte_order_mark_before_an_answer_is_no_part_of_it",
            f"{HERE}mautic.py::test_an_answer_to_a_search_that_makes_no_sense_is_quoted_by_how_it_begins",
            f"{HERE}hubspot.py::test_a_success_that_hubspot_does_not_document_is_none",
        ),
    ),
    Case(
        28,
        "a redirect is not followed, and told with where to and the setting of the address",
        (
            f"{HERE}http.py::test_a_redirect_names_where_to_without_query_keys_and_people",
            f"{HERE}named_settings.py::test_a_redirect_is_told_so_by_the_check_too_and_where_to",
            f"{FAULTS}answers.py::test_a_redirect_to_another_origin_takes_neither_key_nor_data_there",
        ),
    ),
    Case(
        29,
        "a CRM with a certificate of an authority of one's own is trusted by SSL_CERT_FILE",
        (f"{FAULTS}tls.py::test_a_certificate_that_is_not_to_be_trusted_is_sent_nothing",),
    ),
    Case(
        30,
        "a number beyond what a double holds keeps its digits, or is its contact's MAPPING_FAILED, and holds up nobody",
        (
            f"{TABLE}values.py::test_a_number_that_no_double_holds_keeps_its_digits_or_is_its_contacts_error",
            f"{HERE}values.py::test_a_number_that_no_double_holds_is_sent_as_its_text",
        ),
    ),
    Case(
        31,
        "a byte that is no UTF-8 in one row is that row's MAPPING_FAILED, and holds up nobody",
        (f"{TABLE}sql_ascii.py::test_crm_sync_is_put_on_it_and_a_byte_that_is_no_utf8_is_its_rows",),
    ),
    Case(
        32,
        "addresses in odd spellings are taken, or told apart with the reason; a character that nobody sees is named",
        (
            f"{CORE}identity.py::test_an_address_passes",
            f"{CORE}identity.py::test_what_is_no_address_is_stopped_with_a_reason_that_does_not_quote_it",
            f"{CORE}identity.py::test_a_character_that_nobody_sees_is_named_with_its_place",
            f"{CORE}identity.py::test_blanks_around_an_address_are_forgiven_whatever_their_kind",
        ),
    ),
    Case(
        33,
        "early answers before the final one, HTTP/1.0 and dozens of cookies change nothing",
        (
            f"{HERE}connections.py::test_an_unusual_answer_is_an_answer",
            f"{HERE}connections.py::test_an_endless_series_of_early_answers_is_no_answer_and_read_no_further",
        ),
    ),
    Case(
        34,
        "the test URL of an n8n webhook is refused with the reason",
        (f"{HERE}n8n.py::test_a_setting_that_is_wrong_is_named_without_its_value",),
    ),
)
