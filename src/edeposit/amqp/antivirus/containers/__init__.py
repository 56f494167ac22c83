"""Opens the containers in a file, and reports the parts that ClamAV calls clean unopened.

ClamAV answers OK for much that it cannot open (seen with 1.4.6): other compression methods, other
encryptions, damaged archives. So after a scan that found nothing, the containers in the file are
opened here as well, by the standard library and small readers, and every part that cannot have been
scanned becomes a ``Problem``. What must stay true: time, memory and disk are bounded whatever the
file holds, and what cannot be read is a problem, not an exception.
"""

from edeposit.amqp.antivirus.containers.walk import Problem, Walk

__all__ = ["Problem", "Walk"]
