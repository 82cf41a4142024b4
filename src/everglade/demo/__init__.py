"""The demonstration: the main job, end to end, on the model and the collection that come with Everglade."""
