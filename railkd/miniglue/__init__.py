"""MiniGLUE: a generated miniature of GLUE and a text to pre-train on, for a whole benchmark without a network."""
