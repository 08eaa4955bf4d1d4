#!/usr/bin/env python3
"""Copies a built file under another name: install_as.py FILE FOLDER NAME, below the prefix."""
import os, shutil, sys

file, folder, name = sys.argv[1:]
folder = os.path.join(os.environ['MESON_INSTALL_DESTDIR_PREFIX'], folder)
os.makedirs(folder, exist_ok=True)
shutil.copyfile(file, os.path.join(folder, name))
