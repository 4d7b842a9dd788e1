"""The names that the index table and the splits are made of; apart from their checks, which need pandas."""

COLUMNS = ("image_id", "patient_id", "study_id", "path", "official_split", "view")
SPLITS = ("train", "validation", "test")
