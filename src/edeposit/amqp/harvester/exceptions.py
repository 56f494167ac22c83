"""The errors of the harvester; each says where it happened, none holds a whole page."""


class HarvesterError(Exception):
    """Base of all errors of the harvester."""


class DefinitionError(HarvesterError):
    """A source definition is wrong; the text names the place and what would be right."""


class FetchError(HarvesterError):
    """A page could not be had.

    Attributes:
        url: of the page.
    """

    def __init__(self, message: str, url: str = "") -> None:
        super().__init__(f"{message} ({url})" if url else message)
        self.url = url


class ExtractionError(HarvesterError):
    """A required value is not where the definition says.

    Attributes:
        url: of the page.
        field: of the publication.
    """

    def __init__(self, message: str, url: str = "", field: str = "") -> None:
        super().__init__(f"{message} ({url})" if url else message)
        self.url = url
        self.field = field
