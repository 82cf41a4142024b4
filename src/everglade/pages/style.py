"""How a page looks: light and dark, on a desk, a phone and paper."""

from __future__ import annotations

__all__ = ["STYLE"]

STYLE = """
:root {
  color-scheme: light dark;
  --ground: #ffffff; --ink: #1b1f24; --quiet: #59636e; --line: #d5dae0; --faint: #f4f6f8; --accent: #0b6e4f;
  --term: #0b6e4f; --remark: #fff6e0; --remark-line: #c98a00;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #15181c; --ink: #e4e7eb; --quiet: #9aa4af; --line: #343a42; --faint: #1e2329; --accent: #5cc9a2;
    --term: #3fa985; --remark: #2b2412; --remark-line: #c98a00;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", "Helvetica Neue", Arial, sans-serif;
  overflow-wrap: break-word;
}
main { max-width: 60rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
header { border-bottom: 1px solid var(--line); padding-bottom: 1rem; margin-bottom: 1.5rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .3rem; letter-spacing: -.01em; }
h2 { font-size: 1.3rem; line-height: 1.3; margin: 2.6rem 0 .5rem; }
h3 { font-size: 1.05rem; margin: 1.8rem 0 .4rem; }
p, ul { margin: .6rem 0; max-width: 46rem; }
ul { padding-left: 1.2rem; }
.subtitle { color: var(--quiet); margin: 0; font-size: 1.05rem; }
nav ul { list-style: none; padding: 0; margin: .9rem 0 0; display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; }
a { color: var(--accent); text-decoration-thickness: 1px; text-underline-offset: .15em; }
.remark { background: var(--remark); border-left: 3px solid var(--remark-line); padding: .5rem .8rem; }
.table {  /* a shade on the right where there is more to scroll to */
  overflow-x: auto; margin: 1rem min(0px, 30rem - 50vw) 1.4rem 0;  /* wide ones reach into the margin of the page */
  background:
    linear-gradient(to left, var(--ground) 40%, transparent) right / 2.4rem 100% no-repeat local,
    linear-gradient(to left, var(--line), transparent) right / .9rem 100% no-repeat scroll;
}
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; min-width: min(46rem, 100%); }
caption {
  text-align: left; color: var(--quiet); padding-bottom: .5rem; font-size: .9rem; line-height: 1.45;
  background: var(--ground);
  position: sticky; left: 0; max-width: min(46rem, calc(100vw - 2.5rem));
}
th, td { text-align: left; padding: .32rem .9rem .32rem 0; vertical-align: top; font-weight: 400; }
th:last-child, td:last-child { padding-right: .2rem; }
th.number, td.number { text-align: right; white-space: nowrap; padding-left: .6rem; }
thead th { color: var(--quiet); font-size: .83rem; border: solid var(--ink); border-width: 1.5px 0 1px; }
tbody tr:last-child > * { border-bottom: 1.5px solid var(--ink); }
tbody tr:not(:last-child) > * { border-bottom: 1px solid var(--line); }
tbody th { min-width: 7rem; max-width: 22rem; }
td b { font-weight: 700; color: var(--accent); }
td, th, bdi { unicode-bidi: isolate; }
figure { margin: 1.2rem 0 1.6rem; }
figcaption { color: var(--quiet); font-size: .9rem; line-height: 1.45; margin-top: .3rem; max-width: 46rem; }
.plot svg { display: block; width: 100%; height: auto; max-width: 46rem; overflow: visible; }
.plot.narrow { display: none; }
.terms { line-height: 1.9; max-width: none; margin: .25rem 0; }
.terms .name, .terms .rest { color: var(--quiet); font-size: .9rem; }
.terms .name { margin-right: .3rem; }
.term {
  display: inline-block; line-height: 1.5; max-width: 100%;
  padding: .08rem .4rem; border-radius: .3rem; font-size: .88rem;
  background: color-mix(in srgb, var(--term) calc(var(--share) * .42), var(--faint));
}
.term small { color: var(--quiet); font-size: .78em; font-variant-numeric: tabular-nums; }
blockquote { margin: .6rem 0; padding: .1rem 0 .1rem .9rem; border-left: 2px solid var(--line); font-size: .93rem; }
blockquote p { margin: .15rem 0; }
blockquote span { color: var(--quiet); }
pre {
  background: var(--faint); border: 1px solid var(--line); border-radius: .35rem; padding: .7rem .9rem;
  font-size: .82rem; line-height: 1.5; white-space: pre-wrap; overflow-wrap: anywhere;
}
code { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
dl { font-size: .9rem; margin: .8rem 0; }
dl > div { display: grid; grid-template-columns: 12rem 1fr; gap: 0 1rem; border-bottom: 1px solid var(--line); }
dt { color: var(--quiet); padding: .25rem 0; }
dd { margin: 0; padding: .25rem 0; overflow-wrap: anywhere; min-width: 0; white-space: pre-line; }
details { border: 1px solid var(--line); border-radius: .35rem; margin: .6rem 0; }
summary { cursor: pointer; padding: .5rem .9rem; }
details[open] > summary { border-bottom: 1px solid var(--line); }
details > div { padding: .3rem .9rem .7rem; min-width: 0; }
details .table { margin-right: 0; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
@media (max-width: 40rem) {
  main { padding: 1.4rem 1rem 3rem; }
  h1 { font-size: 1.5rem; }
  caption { max-width: calc(100vw - 2rem); }
  tbody th { min-width: 6rem; max-width: 9.5rem; position: sticky; left: 0; background: var(--ground); }
  .plot.wide { display: none; }
  .plot.narrow { display: block; }
  dl > div { grid-template-columns: 1fr; padding: .2rem 0; }
  dt, dd { padding: 0; }
  details .table caption { max-width: calc(100vw - 4rem); }
}
@media print {
  :root { --ground: #fff; --ink: #000; --quiet: #444; --line: #bbb; --faint: #f6f6f6; --accent: #000; }
  body { font-size: 10.5pt; }
  main { max-width: none; padding: 0; }
  nav { display: none; }
  .plot.wide { display: block; } .plot.narrow { display: none; }
  .table { overflow: visible; margin-right: 0; }
  details::details-content { display: block; content-visibility: visible; height: auto; }
  figure, tr, blockquote, pre { break-inside: avoid; }
  h2, h3, summary, caption { break-after: avoid; }
}
"""
