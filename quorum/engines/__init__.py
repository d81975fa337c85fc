"""Engines: one module for each thing that can stand at the other end of a service."""
