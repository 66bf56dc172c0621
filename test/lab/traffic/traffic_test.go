package traffic_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
	"github.com/pfsync-linux/pfsync/test/lab/traffic"
)

func start(t *testing.T) (*lab.Lab, *traffic.Traffic, context.Context) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	l := labtest.NewLab(ctx, t, lab.Config{Prefix: "pfs-traf"})
	flows, err := traffic.New(l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(flows.Close)
	for _, kind := range traffic.Kinds() {
		if err := flows.Add(kind, 3); err != nil {
			t.Fatal(err)
		}
	}
	flowing(ctx, t, flows)
	return l, flows, ctx
}

// flowing waits until every flow has moved data from now on.
func flowing(ctx context.Context, t *testing.T, flows *traffic.Traffic) {
	t.Helper()
	now := time.Now()
	if err := lab.Eventually(ctx, "flows", func() error { return flows.Flowing(now) }); err != nil {
		t.Fatal(err)
	}
}

func TestAllSurviveWhenNothingHappens(t *testing.T) {
	_, flows, ctx := start(t)
	flowing(ctx, t, flows)
	rows := flows.Stop(traffic.Window{})
	if len(rows) != len(traffic.Kinds()) || !traffic.All(rows) {
		t.Errorf("not every flow survived: %+v", rows)
	}
	for _, r := range rows {
		if r.Flows != 3 || r.Resets != 0 || len(r.Errors) > 0 {
			t.Errorf("%v: %+v", r.Kind, r)
		}
	}
}

// A measuring tool that cannot see death proves nothing.
func TestNoneSurvivesWithoutAFirewall(t *testing.T) {
	l, flows, ctx := start(t)
	if err := l.Cut(l.A); err != nil {
		t.Fatal(err)
	}
	cut := time.Now()
	err := lab.Eventually(ctx, "silence", func() error {
		if time.Since(cut) < traffic.Dead+time.Second {
			return context.DeadlineExceeded
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range flows.Stop(traffic.Window{From: cut, To: cut}) {
		if r.Survived != 0 || r.Beyond < traffic.Dead {
			t.Errorf("%v: %d of %d survived, silent for %v", r.Kind, r.Survived, r.Flows, r.Beyond)
		}
	}
}

func TestChurnComesAndGoes(t *testing.T) {
	_, flows, ctx := start(t)
	churn, err := flows.StartChurn(100, 1)
	if err != nil {
		t.Fatal(err)
	}
	err = lab.Eventually(ctx, "two hundred flows", func() error {
		if r := churn.Report(); r.Ended < 200 {
			return fmt.Errorf("%+v", r)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if r := churn.Stop(); r.Failed > 0 || r.Begun != r.Ended {
		t.Errorf("%+v", r)
	}
}

// Churn must see that nothing passes.
func TestChurnFailsWithoutAFirewall(t *testing.T) {
	l, flows, ctx := start(t)
	if err := l.Cut(l.A); err != nil {
		t.Fatal(err)
	}
	churn, err := flows.StartChurn(100, 1)
	if err != nil {
		t.Fatal(err)
	}
	err = lab.Eventually(ctx, "a failure", func() error {
		if r := churn.Report(); r.Failed == 0 {
			return fmt.Errorf("%+v", r)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	churn.Stop()
}

func TestBulkIsWhole(t *testing.T) {
	_, flows, ctx := start(t)
	if err := flows.AddBulk(2, traffic.MaxMessage); err != nil {
		t.Fatal(err)
	}
	flowing(ctx, t, flows)
	if rows := flows.Stop(traffic.Window{}); !traffic.All(rows) || rows[0].Flows != 5 {
		t.Errorf("%+v", rows)
	}
}
