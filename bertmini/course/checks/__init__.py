"""The checks of the exercises, a module a chapter: `c03` holds 03.1, 03.2, …"""
