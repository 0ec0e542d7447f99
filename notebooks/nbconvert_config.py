"""How `make notebooks` runs them, without what differs each time."""

c = get_config()  # noqa: F821  nbconvert defines it
c.ExecutePreprocessor.record_timing = False
c.NotebookExporter.preprocessors = [
    "nbconvert.preprocessors.CoalesceStreamsPreprocessor"
]
c.ClearMetadataPreprocessor.enabled = True
c.ClearMetadataPreprocessor.preserve_cell_metadata_mask = {
    "tags",
    ("jupyter", "source_hidden"),  # folded
    "mystnb",  # alternative text
}
c.ClearMetadataPreprocessor.preserve_nb_metadata_mask = {
    "kernelspec",
    ("language_info", "name"),
}
