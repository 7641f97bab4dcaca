"""How Brevo's error answers are interpreted: whom they are about, and what to do."""

import re

from crm_sync.core.codes import Code
from crm_sync.core.outcome import Outcome
from crm_sync.crm.answer import Answer, foreign, is_foreign, page_words, quoted, usable
from crm_sync.errors import OutageError, RefusedError

CHECK = "check BREVO_BASE_URL"
# Attributes that Brevo requires to be unique in the account, besides email and ext_id: families and companies share them.
SHARED = frozenset({"SMS", "WHATSAPP", "LANDLINE_NUMBER"})

# A 401 is a wrong key, or "...you are using an unrecognised IP address ... https://app.brevo.com/security/authorised_ips".
_IP_REFUSED = re.compile(r"unrecogni[sz]ed IP\b|authori[sz]ed[ _]IPs?\b", re.IGNORECASE)
_IDENTIFIER = re.compile(r"\b(?:email|ext_id|SMS|WHATSAPP|LANDLINE_NUMBER)\b", re.IGNORECASE)
_LIST = re.compile(r"\blists?(?:_?ids?)?\b", re.IGNORECASE)


def judged(answer: Answer, body: object) -> Answer:
    """The answer to this body, if it is about the contact. Raises as usable does."""
    if answer.status < 400:
        return usable(answer, body, check=CHECK)
    if answer.status in (401, 403) and _IP_REFUSED.search(answer.text):
        raise RefusedError(
            Code.IP_REFUSED,
            "the key is right, but Brevo does not accept this machine's address: add it to the authorised IPs in Brevo's security"
            f" settings, or turn off the blocking of unknown ones ({answer.label}: {quoted(answer, body)})",
        )
    if is_foreign(answer, own=_is_own(answer)):
        raise foreign(answer, body, whose="Brevo's", check=CHECK)
    return usable(answer, body, check=CHECK, keys="check BREVO_API_KEY")


def refused_attributes(answer: Answer) -> set[str]:
    """Which of the shared attributes caused the refusal: another contact has it, or it is not a phone number."""
    if answer.status != 400:
        return set()
    if duplicates := {name.upper() for name in _duplicates(answer)}:
        return duplicates if duplicates <= SHARED else set()
    return set(SHARED) if "phone" in said(answer).lower() else set()


def refusal(answer: Answer, body: object = None) -> Outcome:
    """The outcome of the contact. body: the request's. Raises LaneError if the answer is not about the contact."""
    words = f"{answer.label}: {said(answer)}"
    duplicates = _duplicates(answer)
    if duplicates or answer.get("code") == "duplicate_parameter":
        names = ", ".join(sorted(duplicates)) or "identifier"
        return Outcome.rejected(Code.DUPLICATE, f"another contact in Brevo has the same {names} ({words})")
    # The code is one of those for contacts [Brevo's OpenAPI, contactErrorModel]. Whether it only comes with 425 is not
    # documented.
    if answer.status == 425 or (answer.status >= 400 and answer.get("code") == "account_in_process"):
        return Outcome.failed(Code.TOO_EARLY, f"Brevo is still working on this contact ({words})")
    if answer.status in (404, 405, 406):
        raise not_brevo(answer)
    if answer.status >= 400:
        return Outcome.rejected(Code.REJECTED, f"Brevo refused the contact ({words})")
    raise OutageError(
        Code.BROKEN_ANSWER,
        f"Brevo's answer lacks what it documents for this status ({answer.label}: {page_words(answer, body)})",
    )


def is_missing(answer: Answer) -> bool:
    """Whether there is no such contact. Checks the code too, because anything other than Brevo can answer 404."""
    return answer.status == 404 and answer.get("code") == "document_not_found"


def is_taken(answer: Answer, name: str) -> bool:
    """Whether a new contact was refused because another one has this identifier, or may have it."""
    return answer.status == 400 and (
        name.lower() in {taken.lower() for taken in _duplicates(answer)} or is_taken_by_unnamed(answer)
    )


def is_taken_by_unnamed(answer: Answer) -> bool:
    """Whether Brevo does not say which identifier another contact has: `Contact already exist`. [PipedreamHQ/pipedream #12687]"""
    taken = answer.get("code") == "duplicate_parameter" or "already exist" in said(answer).lower()
    return answer.status == 400 and taken and not _duplicates(answer)


def speaks_of_a_list(answer: Answer) -> bool:
    return answer.status in (400, 404) and _LIST.search(said(answer)) is not None


def unknown_list(list_id: int, answer: Answer) -> RefusedError:
    return RefusedError(
        Code.MISCONFIGURED, f"Brevo has no list {list_id}: check BREVO_LIST_ID ({answer.label}: {quoted(answer)})"
    )


def not_brevo(answer: Answer) -> RefusedError:
    # Without the message: it can quote the contact.
    return RefusedError(Code.NOT_FOUND, f"what answered {answer.status} is not Brevo's API: {CHECK}")


def _is_own(answer: Answer) -> bool:
    """Whether an error has Brevo's format, `{"code": "...", "message": "..."}`. A gateway's message has no such code."""
    code = answer.get("code")
    # Only the status of a 425 is documented; duplicates have also come without a code.
    return (isinstance(code, str) and bool(code)) or bool(_duplicates(answer)) or (answer.status == 425 and not answer.text)


def said(answer: Answer) -> str:
    return answer.said("code", "message")


def _duplicates(answer: Answer) -> set[str]:
    """Which identifiers another contact has, by Brevo's names.

    From the metadata, not the code: since May 2026 duplicates also come as invalid_parameter. Without metadata, from the message.
    """
    metadata = answer.get("metadata")
    names = metadata.get("duplicate_identifiers") if isinstance(metadata, dict) else None
    if isinstance(names, list):
        return {name for name in names if isinstance(name, str)}
    sentence = said(answer)
    return set(_IDENTIFIER.findall(sentence)) if "already associated" in sentence else set()
