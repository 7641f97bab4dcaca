"""What the data that the API returns has in common: it is also what the console's pages show."""

from pydantic import BaseModel, ConfigDict


class Given(BaseModel):
    # A log contains no values of a row.
    model_config = ConfigDict(frozen=True, from_attributes=True, hide_input_in_errors=True)


class Problem(BaseModel):
    """RFC 9457. type: the place in the manual that says what to do."""

    type: str
    title: str
    status: int
    detail: str | None = None
