"""The errors of the FTP service that are its own."""


class FTPError(Exception):
    """The server, its directories or the spool are not as they have to be."""
