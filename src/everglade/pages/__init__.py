"""Pages and figures that a person reads: self-contained HTML, SVG and PNG."""
