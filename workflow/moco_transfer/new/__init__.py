"""``make new``: from a folder of images to a configuration that runs.

``look`` finds the images, ``tables`` and ``columns`` read a table, ``folders`` the names of folders, ``labels`` finds the labels,
``understand`` puts this together as a dataset, ``choose`` decides what the run does with it, and ``write`` writes the file; ``command``
calls them in this order. Everything that is guessed is told, and the adapter that the run uses reads the data before anything is
written.
"""
