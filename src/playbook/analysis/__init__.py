"""What a study says: tables in, findings out. One question a file; no files, no Hydra, no torch."""
