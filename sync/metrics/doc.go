// Package metrics shows what the daemon knows and counts to Prometheus, under names that
// follow its rules: pfsync_ in front, base units, _total behind what only grows, labels
// for peers, directions and reasons.
//
// Every counter of the daemon is a metric. Those that have no place in the tables of this
// package, new ones for instance, are pfsync_events_total{event="NAME"}, by the name that
// pfsyncctl stats prints.
package metrics
