"""Conditions that users type, over the fields of messages: ``battery.volts < 11 and mode == "auto"``.

A room of its own: it knows neither recordings nor topics, only values of dicts, lists, numbers, text and arrays.
"""
