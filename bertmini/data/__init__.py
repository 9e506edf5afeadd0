"""From text on disk to batches: documents, sentence pairs, masks, labelled examples."""
