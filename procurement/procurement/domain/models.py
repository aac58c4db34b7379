"""What clients may send, field by field. A field that is not here is refused as a rogue one.

Names and defaults are those of Prozorro's public API 2.5 (below threshold procurement).
"""

from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)
from pydantic_core import ErrorDetails, PydanticCustomError, ValidationError

from procurement.domain.instant import KYIV, written
from procurement.errors import ApiError, unprocessable

Id = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
Text = Annotated[str, StringConstraints(max_length=20_000)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def _aware(value: Any) -> Any:
    """A date without an offset is Kyiv's."""
    if isinstance(value, str):
        try:
            parsed = datetime.fromisoformat(value)
        except ValueError as error:
            raise PydanticCustomError(
                "date", "Could not parse {value}. Should be ISO8601.", {"value": value}
            ) from error
        return parsed if parsed.tzinfo else parsed.replace(tzinfo=KYIV)
    return value


Instant = Annotated[AwareDatetime, BeforeValidator(_aware)]


def _hash(value: str) -> str:
    """The document service's rule for ``hash``; its words are Prozorro's."""
    if not value.startswith("md5:"):
        raise PydanticCustomError("hash", "Hash type is not supported.")
    if len(value) != len("md5:") + 32:
        raise PydanticCustomError("hash", "Hash value is wrong length.")
    if set(value[4:]) - set("0123456789abcdef"):
        raise PydanticCustomError("hash", "Hash value is not hexadecimal.")
    return value


Hash = Annotated[str, AfterValidator(_hash)]


class Part(BaseModel):
    """The rules for every part: nothing unknown, no silent conversion of text into numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True)


AnyPart = TypeVar("AnyPart", bound=Part)


class Value(Part):
    amount: Amount
    currency: Literal["UAH", "USD", "EUR", "GBP"] = "UAH"
    valueAddedTaxIncluded: bool = False


class Guarantee(Part):
    amount: Amount
    currency: Literal["UAH", "USD", "EUR", "GBP"] = "UAH"


class Identifier(Part):
    scheme: Text
    id: Text
    legalName: Text | None = None
    legalName_en: Text | None = None
    uri: Text | None = None


class Address(Part):
    countryName: Text
    streetAddress: Text | None = None
    locality: Text | None = None
    region: Text | None = None
    postalCode: Text | None = None


class ContactPoint(Part):
    name: Text
    name_en: Text | None = None
    email: Text | None = None
    telephone: Text | None = None
    faxNumber: Text | None = None
    url: Text | None = None


class SignerInfo(Part):
    name: Text
    email: Text
    telephone: Text
    iban: Text
    position: Text
    authorizedBy: Text


class Organization(Part):
    name: Text
    name_en: Text | None = None
    identifier: Identifier
    additionalIdentifiers: list[Identifier] = []
    address: Address
    contactPoint: ContactPoint
    kind: Text | None = None
    scale: Literal["micro", "sme", "mid", "large", "not specified"] | None = None
    signerInfo: SignerInfo | None = None


class Classification(Part):
    scheme: Text
    id: Text
    description: Text | None = None


class Unit(Part):
    name: Text | None = None
    code: Text
    value: Value | None = None


class Period(Part):
    startDate: Instant | None = None
    endDate: Instant | None = None


class Item(Part):
    id: Id | None = None
    description: Text
    description_en: Text | None = None
    description_ru: Text | None = None
    classification: Classification | None = None
    additionalClassifications: list[Classification] = []
    unit: Unit | None = None
    quantity: Amount | None = None
    deliveryDate: Period | None = None
    deliveryAddress: Address | None = None
    relatedLot: Id | None = None


class Duration(Part):
    days: Annotated[int, Field(ge=0)]
    type: Literal["working", "banking", "calendar"]


class Milestone(Part):
    id: Id | None = None
    title: Text
    type: Literal["financing", "delivery"]
    code: Text
    percentage: Annotated[float, Field(gt=0, le=100)]
    duration: Duration
    sequenceNumber: Annotated[int, Field(ge=0)]
    description: Text | None = None


class Lot(Part):
    id: Id | None = None
    title: Text
    title_en: Text | None = None
    description: Text | None = None
    value: Value
    minimalStep: Value | None = None
    guarantee: Guarantee | None = None


class Document(Part):
    title: Text
    url: Text
    hash: Hash | None = None
    format: Text
    description: Text | None = None
    description_en: Text | None = None
    documentType: Text | None = None
    documentOf: Literal["tender", "item", "lot"] = "tender"
    relatedItem: Id | None = None
    language: Literal["uk", "en", "ru"] = "uk"


class DocumentPatch(Part):
    title: Text | None = None
    format: Text | None = None
    description: Text | None = None
    description_en: Text | None = None
    documentType: Text | None = None
    documentOf: Literal["tender", "item", "lot"] | None = None
    relatedItem: Id | None = None
    language: Literal["uk", "en", "ru"] | None = None


class Config(Part):
    """What the procedure of a tender is like. Durations in days; ``accelerator`` divides them."""

    hasAuction: bool = True
    hasAwardingOrder: bool = True
    hasValueRestriction: bool = True
    valueCurrencyEquality: bool = True
    hasPrequalification: Literal[False] = False
    minBidsNumber: Annotated[int, Field(ge=1)] = 1
    hasPreSelectionAgreement: Literal[False] = False
    hasTenderComplaints: Literal[False] = False
    hasAwardComplaints: Literal[False] = False
    hasCancellationComplaints: Literal[False] = False
    hasValueEstimation: bool = True
    hasQualificationComplaints: Literal[False] = False
    tenderComplainRegulation: int = 0
    qualificationComplainDuration: int = 0
    awardComplainDuration: int = 2
    cancellationComplainDuration: int = 0
    clarificationUntilDuration: Annotated[int, Field(ge=0)] = 1
    qualificationDuration: int = 0
    minTenderingDuration: Annotated[int, Field(ge=0)] = 2
    hasEnquiries: Literal[True] = True
    minEnquiriesDuration: Annotated[int, Field(ge=0)] = 3
    enquiryPeriodRegulation: int = 0
    restricted: Literal[False] = False
    hasMultiSourcing: Literal[False] = False


class TenderFields(Part):
    """What a buyer may set, at creation and later."""

    title: Text | None = None
    title_en: Text | None = None
    description: Text | None = None
    description_en: Text | None = None
    mainProcurementCategory: Literal["goods", "services", "works"] | None = None
    procurementMethodDetails: Text | None = None
    procuringEntity: Organization | None = None
    value: Value | None = None
    guarantee: Guarantee | None = None
    minimalStep: Value | None = None
    items: Annotated[list[Item], Field(min_length=1)] | None = None
    lots: list[Lot] | None = None
    milestones: list[Milestone] | None = None
    funders: list[Organization] | None = None
    enquiryPeriod: Period | None = None
    tenderPeriod: Period | None = None


class NewTender(TenderFields):
    """What a tender needs at its creation."""

    title: Text
    procurementMethodType: Literal["belowThreshold"]
    procuringEntity: Organization
    value: Value
    items: Annotated[list[Item], Field(min_length=1)]
    enquiryPeriod: Period
    tenderPeriod: Period
    status: Literal["draft"] = "draft"


class TenderPatch(TenderFields):
    """A change; ``status`` activates a draft."""

    status: Literal["draft", "active.enquiries"] | None = None


class LotValue(Part):
    value: Value
    relatedLot: Id


class BidFields(Part):
    """What a supplier may set, at creation and later."""

    tenderers: Annotated[list[Organization], Field(min_length=1, max_length=1)] | None = None
    value: Value | None = None
    lotValues: list[LotValue] | None = None
    items: list[Item] | None = None


class NewBid(BidFields):
    """What a bid needs at its creation."""

    tenderers: Annotated[list[Organization], Field(min_length=1, max_length=1)]
    status: Literal["draft"] = "draft"


class BidPatch(BidFields):
    """A change; ``status`` makes a draft count."""

    status: Literal["draft", "pending"] | None = None


class AwardPatch(Part):
    """A buyer's decision on an award."""

    status: Literal["pending", "active", "unsuccessful"] | None = None
    qualified: bool | None = None
    title: Text | None = None
    description: Text | None = None


def validated(kind: type[AnyPart], data: Any) -> AnyPart:
    """``data`` as ``kind``. Raises ApiError 422 for the first field that is wrong, in the API's words."""
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise _api_error(error.errors(include_url=False)[0]) from error


def plain(part: Part) -> dict[str, Any]:
    """A part as JSON values; what is absent or an empty list is left out, dates are Kyiv's."""
    cleaned = _clean(part.model_dump())
    assert isinstance(cleaned, dict)  # noqa: S101
    return cleaned


def patch_of(part: Part) -> dict[str, Any]:
    """Only the fields that the client named, each whole; None means that it is to be removed."""
    whole = plain(part)
    return {name: whole.get(name) for name in part.model_fields_set}


def patched(body: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """``body`` with the fields of ``patch`` replaced, or removed where they are None."""
    return {key: value for key, value in {**body, **patch}.items() if value is not None}


def _clean(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _clean(each) for key, each in value.items() if each is not None and each != []}
    if isinstance(value, list):
        return [_clean(each) for each in value]
    return written(value) if isinstance(value, datetime) else value


def _api_error(first: ErrorDetails) -> ApiError:
    words = {"missing": "This field is required.", "extra_forbidden": "Rogue field"}
    where = [str(step) for step in first["loc"]]
    text = words.get(first["type"], first["msg"])
    name = where[0] if where else "data"
    if first["type"] == "extra_forbidden" and len(where) == 1:
        return unprocessable(name, text)
    described = text if len(where) <= 1 else f"{'.'.join(where[1:])}: {text}"
    return unprocessable(name, [described])
