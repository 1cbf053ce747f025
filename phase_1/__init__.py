"""Phase 1: the first of seven steps towards a multi-tenant application.

One module a stage, in the order in which ``migrate.py`` goes through them:
``options`` (what was asked), ``connection`` (where), ``found`` (what is there), ``plan`` (what is
missing), ``apply`` (doing it), ``verify`` (checking it). ``inventory`` states the tables and indexes,
``scripts`` reads ``sql/``, ``journal`` keeps the log, ``console`` talks to the person, ``files`` has read them all.
"""

__version__ = "0.2.0"
