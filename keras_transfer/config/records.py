"""What the schemas of records that are read back from files share."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError


def _all_different(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise ValueError("two names are the same")
    return names


Count = Annotated[int, Field(ge=0)]
Names = Annotated[list[str], AfterValidator(_all_different)]


class Record(BaseModel):
    """Types are exact. Further keys are allowed: tasks of packages, and later versions, add their own."""

    model_config = ConfigDict(strict=True, extra="allow")


def find_problem(schema: type[BaseModel], values: Any) -> str | None:
    """Return the problem with values that were read back, in one line; None if they are valid."""
    try:
        schema.model_validate(values)
    except ValidationError as error:
        detail = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(map(str, detail['loc']))}: {detail['msg'][0].lower()}{detail['msg'][1:]}"
    return None
