"""An index folder: vectors, ids and documents that are added, deleted and searched, and never half there."""
