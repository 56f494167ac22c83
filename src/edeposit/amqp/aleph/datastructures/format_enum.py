"""Bindings and forms of a publication."""


class FormatEnum:
    """Values of ``EPublication.vazba``."""

    CD = "CD-ROM"
    DVD = "DVD"
    BROZ = "brož."
    MAPA = "mapa"
    VAZANA = "váz."
    ONLINE = "online"
