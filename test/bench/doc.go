// Package bench measures the daemon's parts together, on the real kernel, in
// namespaces: from the kernel's table to the wire and from the wire to the
// kernel's table. Run it with make bench.
package bench
