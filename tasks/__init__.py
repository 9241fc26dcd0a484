"""The Prefect edge of each unit of work."""

import logging

# Prefect lets through what our own modules tell of mails only where they ask for it.
logging.getLogger("relocation").setLevel(logging.INFO)
