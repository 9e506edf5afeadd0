"""The model, in the order of the chapters: embeddings, attention, encoder, heads, bert, checkpoint."""
