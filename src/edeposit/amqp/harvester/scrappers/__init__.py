"""Import paths of the first generation; what it had written here is now in source files.

``scrappers.ben_cz.get_publications()`` and its like harvest one source; nothing is filtered,
nothing is marked. New code uses ``engine.harvest``.
"""
