package node_test

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/pfstate/tabletest"
	"github.com/pfsync-linux/pfsync/sync/node"
)

// collector is a node's Exporter.
type collector chan pfstate.End

func (c collector) Ended(end pfstate.End)         { c <- end }
func (c collector) Run(ctx context.Context) error { <-ctx.Done(); return nil }
func (c collector) Counters() []pfstate.Counter {
	return []pfstate.Counter{{Name: "flow_records", Value: 7}}
}

// The traffic of a state that ran out here ended as long ago as its time was, whenever
// the table told of it last.
func TestEndsAreExported(t *testing.T) {
	ends := make(collector, 16)
	r := startAs(t, node.Config{Log: slog.New(slog.DiscardHandler), Exporter: ends, Timeout: func(pfstate.Timeout) time.Duration { return time.Millisecond }})
	s := tabletest.UDP(1)
	s.Expire = 50 * time.Millisecond
	if err := r.table.Create(s); err != nil {
		t.Fatal(err)
	}
	if end := <-ends; end.Why != pfstate.RanOut || !end.Carried || end.Idle > time.Millisecond {
		t.Errorf("%+v", end)
	}
	s.Expire = time.Hour
	if err := r.table.Create(s); err != nil {
		t.Fatal(err)
	}
	if err := r.table.Delete(s); err != nil {
		t.Fatal(err)
	}
	if end := <-ends; end.Why != pfstate.Removed || !end.Carried {
		t.Errorf("%+v", end)
	}
	all, err := r.Counters()
	if err != nil || !slices.Contains(all, pfstate.Counter{Name: "flow_records", Value: 7}) {
		t.Errorf("%v, counters lack the exporter's", err)
	}
}
