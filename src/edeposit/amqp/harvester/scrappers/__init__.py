"""Import paths of the first generation: ``scrappers.ben_cz.get_publications()`` and the like.

Each harvests one source; nothing is filtered, nothing is marked. What had been code is now in
source files; new code uses ``crawl.harvest``.
"""

import sys
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from typing import Any

from edeposit.amqp.harvester.scrappers.utils import functions_of

_SOURCES = ("ben_cz", "cpress_cz", "grada_cz", "zonerpress_cz")

for _name in _SOURCES:
    # A file for each would hold these lines and no more.
    _module: Any = module_from_spec(ModuleSpec(f"{__name__}.{_name}", None))
    _module.__doc__ = f"The source ``{_name}`` by its import path of the first generation."
    _module.get_publications, _module.self_test = functions_of(_name)
    globals()[_name] = sys.modules[_module.__name__] = _module
