"""The main job on embedded defaults: one relocation that succeeds, three that fail, one mended."""
