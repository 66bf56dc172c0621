// Package packaging tests what make install and make deb make: where the files are, that the
// package is installed, works and goes without a trace, and that the shells complete what the
// installed programs take. The package is installed in a copy of this machine's root that
// exists in a mount namespace and in memory only, so that dpkg, the maintainer scripts and
// the shells are real; systemd does not run there.
package packaging
