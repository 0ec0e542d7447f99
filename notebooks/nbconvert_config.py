"""How `make notebooks` runs the notebooks: what differs from run to run is not kept."""

c = get_config()  # noqa: F821  nbconvert defines it
c.ExecutePreprocessor.record_timing = False
c.ExecutePreprocessor.coalesce_streams = True
c.ClearMetadataPreprocessor.enabled = True
c.ClearMetadataPreprocessor.preserve_cell_metadata_mask = {"tags"}
c.ClearMetadataPreprocessor.preserve_nb_metadata_mask = {
    "kernelspec",
    ("language_info", "name"),
}
