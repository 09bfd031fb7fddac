// Imported before oidc-provider: its notices (development defaults, the version of Node) say nothing to a test, and
// some go to stdout, where the first line belongs to the caller.
for (const level of ['info', 'warn']) {
  const tell = console[level].bind(console);
  console[level] = (first, ...more) => {
    if (!String(first).includes('oidc-provider ')) tell(first, ...more);
  };
}
