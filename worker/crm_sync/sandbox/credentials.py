"""What the sandboxes accept, and where they listen. It is separate, so that code that only talks to a sandbox
need not load one.
"""

HUBSPOT_TOKEN = "pat-sandbox-0123456789"  # noqa: S105 (of a fake)
BREVO_KEY = "xkeysib-sandbox"
MAUTIC_USERNAME = "sandbox"
MAUTIC_PASSWORD = "sandbox-password"  # noqa: S105
N8N_PATH = "crm-sync"
