"""Answer many tasks about many notes: in chunks, resumable, shared by several processes."""
