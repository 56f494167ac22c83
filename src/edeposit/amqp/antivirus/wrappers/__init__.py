"""The programs of ClamAV: clamd over its socket, clamscan and freshclam as processes."""
