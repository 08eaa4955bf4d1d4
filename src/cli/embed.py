#!/usr/bin/env python3
"""Writes presets as C texts: embed.py OUT NAME=FILE..."""
import sys

with open(sys.argv[1], 'w') as out:
    out.write('#include "src/cli/preset.h"\n\nconst hx_preset hx_presets[] = {\n')
    for arg in sys.argv[2:]:
        name, path = arg.split('=', 1)
        out.write(f'    {{ "{name}",\n')
        with open(path) as f:
            for line in f:
                text = line.rstrip('\n').replace('\\', '\\\\').replace('"', '\\"')
                out.write(f'      "{text}\\n"\n')
        out.write('    },\n')
    out.write('    { 0 } };\n')
