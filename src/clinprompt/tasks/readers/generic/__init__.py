"""Readers of file formats that many data sets share."""
