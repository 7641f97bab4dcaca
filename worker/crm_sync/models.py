"""The contacts table for Python applications that share it: the states as enums, the CRM columns as pydantic models.

    ContactUpdate(brevo_sync_status=CRMSyncStatus.QUEUED).model_dump(exclude_unset=True)

The columns that the worker owns are only in ContactRead. For SQLAlchemy and Django models see docs/.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict


class CRMSyncStatus(StrEnum):
    """What is wanted. The application writes New, Selected, Queued and Skipped; the worker writes the others."""

    NEW = "New"
    SELECTED = "Selected"
    QUEUED = "Queued"
    PROCESSING = "Processing"
    COMPLETE = "Complete"
    ERROR = "Error"
    SKIPPED = "Skipped"


class HubSpotSyncStatus(StrEnum):
    """The same for HubSpot, whose column has its own, older enum type."""

    NEW = "New"
    SELECTED = "Selected"
    QUEUED = "Queued"
    PROCESSING = "Processing"
    COMPLETE = "Complete"
    ERROR = "Error"
    SKIPPED = "Skipped"


class CRMProcessingStatus(StrEnum):
    """What is happening. Only the worker writes it."""

    QUEUED = "Queued"
    PROCESSING = "Processing"
    COMPLETE = "Complete"
    ERROR = "Error"


class ContactRead(BaseModel):
    """All CRM and retry columns of one row, from a mapping or an ORM object."""

    model_config = ConfigDict(from_attributes=True)

    id: Any  # the primary key has whatever type the table uses
    email: str | None = None

    hubspot_sync_status: HubSpotSyncStatus
    hubspot_processing_status: CRMProcessingStatus | None = None
    hubspot_processing_error: str | None = None
    hubspot_contact_id: str | None = None
    hubspot_attempts: int = 0
    hubspot_due_at: datetime | None = None
    hubspot_claimed_by: int | None = None
    hubspot_synced_at: datetime | None = None
    hubspot_flipped_at: datetime | None = None

    brevo_sync_status: CRMSyncStatus
    brevo_processing_status: CRMProcessingStatus | None = None
    brevo_processing_error: str | None = None
    brevo_contact_id: str | None = None
    brevo_attempts: int = 0
    brevo_due_at: datetime | None = None
    brevo_claimed_by: int | None = None
    brevo_synced_at: datetime | None = None
    brevo_flipped_at: datetime | None = None

    mautic_sync_status: CRMSyncStatus
    mautic_processing_status: CRMProcessingStatus | None = None
    mautic_processing_error: str | None = None
    mautic_contact_id: str | None = None
    mautic_attempts: int = 0
    mautic_due_at: datetime | None = None
    mautic_claimed_by: int | None = None
    mautic_synced_at: datetime | None = None
    mautic_flipped_at: datetime | None = None

    n8n_sync_status: CRMSyncStatus
    n8n_processing_status: CRMProcessingStatus | None = None
    n8n_processing_error: str | None = None
    n8n_workflow_id: str | None = None
    n8n_attempts: int = 0
    n8n_due_at: datetime | None = None
    n8n_claimed_by: int | None = None
    n8n_synced_at: datetime | None = None
    n8n_flipped_at: datetime | None = None

    retry_count: int = 0
    last_retry_at: datetime | None = None
    next_retry_at: datetime | None = None
    last_failed_crm: str | None = None


class ContactUpdate(BaseModel):
    """What an application may write, all of it optional. Queued flips the contact; anything else withdraws it."""

    model_config = ConfigDict(extra="forbid")

    email: str | None = None
    hubspot_sync_status: HubSpotSyncStatus | None = None
    brevo_sync_status: CRMSyncStatus | None = None
    mautic_sync_status: CRMSyncStatus | None = None
    n8n_sync_status: CRMSyncStatus | None = None
