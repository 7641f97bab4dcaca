-- Whether yoyo's tables have the rows that they always have. If not, they were restored without their rows.
SELECT EXISTS (SELECT FROM crm_sync._yoyo_version) AS is_there
