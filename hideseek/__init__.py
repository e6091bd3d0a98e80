"""Does a chest X-ray classifier read the lungs, or something else?

The package follows the data: `data` turns raw files into a cache, `roi` hides or keeps the lungs,
`models` are the networks, `tasks` train them, `sweep` runs and reads back many cells, `report`
shows what came out. `train` is one cell from end to end and `prepare` is raw data to cache.
"""

__version__ = "0.1.0"
