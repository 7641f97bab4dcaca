-- Whether yoyo's tables have what they always have. Where they have not, they came without their rows.
SELECT EXISTS (SELECT FROM crm_sync._yoyo_version) AS is_there
