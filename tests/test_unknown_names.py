"""Names that are set, have no effect and look like ours."""

import pytest

from crm_sync.crm.registry import OWN
from crm_sync.unknown_names import idle_settings, unknown_sections, unknown_settings

CRMS = {name: crm.settings for name, crm in OWN.items()}


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("BREVO_APIKEY", "BREVO_API_KEY"),
        ("HUBSPOT_TOKEN", "HUBSPOT_ACCESS_TOKEN"),
        ("BREVO_SYNC_MAX_RETRY", "BREVO_SYNC_MAX_RETRIES"),
        ("N8N_ZZZZZZZZZZZZZZZZZZZZZZ", None),
        ("CONTACT_TABLE", "CONTACTS_TABLE"),
        ("DATABSE_URL", "DATABASE_URL"),
        ("HTTP_ALLOWED_HOST", "HTTP_ALLOWED_HOSTS"),
        ("MAPING_FILE", "MAPPING_FILE"),
    ],
)
def test_a_name_that_looks_like_ours_is_told_with_the_nearest_right_one(name, nearest):
    [told] = unknown_settings([name.lower(), "brevo_api_key"], CRMS)
    assert (told.name, told.nearest) == (name, nearest)


@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("N8N_MATCH", "only HUBSPOT_MATCH, BREVO_MATCH and MAUTIC_MATCH"),
        ("N8N_MODE", "only HUBSPOT_MODE, BREVO_MODE and MAUTIC_MODE"),
        ("MAUTIC_PLAN", "only HUBSPOT_PLAN and BREVO_PLAN"),
        ("HUBSPOT_LIST_ID", "only BREVO_LIST_ID"),
    ],
)
def test_a_setting_that_only_other_crms_have_is_told_as_such(name, others):
    [told] = unknown_settings([name.lower()], CRMS)
    crm = name.partition("_")[0].lower()
    assert told.sentence == f"{name} is set, but there is no such setting for {crm}, {others}: unset it"


@pytest.mark.parametrize(
    "name",
    [
        *("PATH", "HOME", "LANG", "TEST_DATABASE_URL", "PGHOST", "DATABASE_USER", "FTP_PROXY", "NO_PROXY", "HTTPS_PROXY"),
        *("BREVO_LIMITS", "N8N_CONCURRENCY", "PIPEDRIVE_TOKEN", "CONTACTS_TABLE", "CREDENTIALS_DIRECTORY", "SHUTDOWN_GRACE_S"),
    ],
)
def test_names_of_ours_and_of_others_are_not(name):
    assert not unknown_settings([name.lower()], CRMS)


def test_of_a_crm_whose_settings_are_not_known_no_name_is_told():
    assert not unknown_settings(["pipedrive_anything"], {**CRMS, "pipedrive": None})


def test_a_section_of_no_crm_is_told_with_the_nearest_right_one():
    told = unknown_sections(["brevo", "brvo", "Hubspot", "salesforce_xyz"], CRMS)
    assert [(unknown.name, unknown.nearest) for unknown in told] == [
        ("[brvo] of MAPPING_FILE", "[brevo]"),
        ("[Hubspot] of MAPPING_FILE", "[hubspot]"),
        ("[salesforce_xyz] of MAPPING_FILE", None),
    ]
    assert told[0].sentence == "[brvo] of MAPPING_FILE is set, but is not a setting of crm-sync: [brevo] may be meant"


@pytest.mark.parametrize(
    ("crm", "names", "note"),
    [
        ("brevo", ["brevo_list_id"], "BREVO_LIST_ID is set, but it has no effect without BREVO_API_KEY"),
        (
            "hubspot",
            ["hubspot_match", "hubspot_concurrency"],
            "HUBSPOT_MATCH and HUBSPOT_CONCURRENCY are set, but they have no effect without HUBSPOT_ACCESS_TOKEN",
        ),
        (
            "mautic",
            ["mautic_base_url"],
            "MAUTIC_BASE_URL is set, but it has no effect without MAUTIC_USERNAME and MAUTIC_PASSWORD",
        ),
    ],
)
def test_settings_of_a_crm_without_credentials_are_told_with_what_is_missing(crm, names, note):
    told = idle_settings(crm, [*names, "database_url"], OWN[crm].settings, OWN[crm].asked)
    assert told is not None
    assert told.sentence == f"{note}: no contact goes to {crm} from here"


def test_a_crm_of_which_nothing_is_set_is_not_told():
    assert idle_settings("brevo", ["database_url", "hubspot_match"], OWN["brevo"].settings, OWN["brevo"].asked) is None
