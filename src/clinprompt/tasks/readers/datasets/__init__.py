"""Readers of the files of one data set each."""
