"""Answers, as they travel."""

from collections import namedtuple


class SearchResult(namedtuple("SearchResult", ["records"])):
    """Answer to ``SearchRequest``.

    Attributes:
        records (list): of ``AlephRecord``, at most ``settings.MAX_RECORDS``.
    """

    __slots__ = ()


class CountResult(namedtuple("CountResult", ["num_of_records"])):
    """Answer to ``CountRequest``.

    Attributes:
        num_of_records (int): how many the server offers.
    """

    __slots__ = ()


class ISBNValidationResult(namedtuple("ISBNValidationResult", ["is_valid"])):
    """Answer to ``ISBNValidationRequest``.

    Attributes:
        is_valid (bool): has it the form and the checksum of an ISBN?
    """

    __slots__ = ()


class ExportResult(namedtuple("ExportResult", ["ISBN"])):
    """Answer to ``ExportRequest``.

    Attributes:
        ISBN: of the request, as it came.
    """

    __slots__ = ()
