"""Files: the write-ahead log, recordings, tiles and keys, written so that a crash leaves the old or the new."""
