package memory_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/pfstate/memory"
	"github.com/pfsync-linux/pfsync/pfstate/tabletest"
)

func TestTable(t *testing.T) {
	for _, c := range tabletest.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := memory.New(memory.Config{Creator: 1})
				c.Run(t, tabletest.Fixture{Table: m, Traffic: m, Forward: func() error { return m.Create(tabletest.TCP(600)) }})
			})
		})
	}
}

func TestLimitIsATableFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory.New(memory.Config{Limit: 2})
		for n := range 2 {
			if err := m.Create(tabletest.TCP(n)); err != nil {
				t.Fatal(err)
			}
		}
		if err := m.Create(tabletest.TCP(2)); !errors.Is(err, pfstate.ErrTableFull) {
			t.Errorf("traffic: %v, want ErrTableFull", err)
		}
		h := tabletest.Start(t, m)
		h.Write(pfstate.Write{Kind: pfstate.WriteInsert, State: tabletest.TCP(2)})
		got := h.Until(pfstate.Refused)
		if err := got[len(got)-1].Err; !errors.Is(err, pfstate.ErrTableFull) {
			t.Errorf("insert: %v, want ErrTableFull", err)
		}
		h.Apply(pfstate.WriteInsert, tabletest.TCP(1), 0) // what is there needs no room
		if m.Len() != 2 {
			t.Errorf("%d states, want 2", m.Len())
		}
	})
}

func TestUnreadChangesBecomeAnOverrun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory.New(memory.Config{Queue: 10})
		for n := range 100 {
			if err := m.Create(tabletest.TCP(n)); err != nil {
				t.Fatal(err)
			}
		}
		h := tabletest.Start(t, m)
		got := h.Until(pfstate.Overrun)
		if len(got) != 11 || got[10].Err == nil {
			t.Errorf("%d changes before the overrun, want 10; its error is %v", len(got)-1, got[len(got)-1].Err)
		}
		if n := len(h.Dump()); n != 100 {
			t.Errorf("dump tells of %d states, want 100", n)
		}
		if err := m.Create(tabletest.TCP(200)); err != nil {
			t.Fatal(err)
		}
		h.Want(pfstate.Created)
	})
}

func TestStatesTellRemainingTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory.New(memory.Config{})
		s := tabletest.UDP(1)
		s.Expire = 0 // the class's own
		if err := m.Create(s); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if got := m.States(); len(got) != 1 || got[0].Expire != 20*time.Second {
			t.Errorf("states %v, want one with 20s left of udp.single", got)
		}
	})
}

func TestExpiredInOrderOfTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory.New(memory.Config{})
		h := tabletest.Start(t, m)
		start := time.Now()
		for _, n := range []int{3, 1, 2} {
			s := tabletest.UDP(n)
			s.Expire = time.Duration(n) * time.Second
			h.Apply(pfstate.WriteInsert, s, 0)
		}
		for n := 1; n <= 3; n++ {
			c := h.Want(pfstate.Deleted)
			want := tabletest.UDP(n)
			if c.State.Wire != want.Wire || !c.Expired || time.Since(start) != time.Duration(n)*time.Second {
				t.Errorf("after %v: %v, want %v", time.Since(start), &c.State, &want)
			}
		}
	})
}

func TestTrafficIsToldWhyNot(t *testing.T) {
	m := memory.New(memory.Config{})
	for _, err := range []error{m.Update(tabletest.TCP(1)), m.Delete(tabletest.TCP(1))} {
		if !errors.Is(err, pfstate.ErrNoState) {
			t.Errorf("%v, want ErrNoState", err)
		}
	}
	if err := m.Create(pfstate.State{}); !errors.Is(err, pfstate.ErrUnsupported) {
		t.Errorf("%v, want ErrUnsupported", err)
	}
	if err := m.Create(tabletest.Translated(tabletest.TCP(1), 1)); err != nil {
		t.Fatal(err)
	}
	if err := m.Create(tabletest.Translated(tabletest.TCP(2), 1)); !errors.Is(err, pfstate.ErrClash) {
		t.Errorf("%v, want ErrClash", err)
	}
}

func TestTouchProlongsInSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory.New(memory.Config{})
		h := tabletest.Start(t, m)
		start := time.Now()
		s := tabletest.UDP(1)
		s.Expire = time.Second
		h.Apply(pfstate.WriteInsert, s, 0)
		s.Expire = 5 * time.Second
		s.Src.State = pfstate.Single // is not what a touch is about
		if err := m.Touch(s); err != nil {
			t.Fatal(err)
		}
		c := h.Want(pfstate.Deleted)
		if after := time.Since(start); after != 5*time.Second || !c.Expired || c.State.Src.State != pfstate.Multiple {
			t.Errorf("deleted after %v, expired %v, source %d", after, c.Expired, c.State.Src.State)
		}
		if err := m.Touch(s); !errors.Is(err, pfstate.ErrNoState) {
			t.Errorf("%v, want ErrNoState", err)
		}
	})
}

func TestIDsMayBeMadeElsewhere(t *testing.T) {
	want := pfstate.ID{State: 42, Creator: 7}
	m := memory.New(memory.Config{ID: func(*pfstate.State, uint32) pfstate.ID { return want }})
	if err := m.Create(tabletest.TCP(1)); err != nil {
		t.Fatal(err)
	}
	if got := m.States()[0].ID; got != want {
		t.Errorf("id %v, want %v", got, want)
	}
}

func Example() {
	m := memory.New(memory.Config{Creator: 1})
	if err := m.Create(tabletest.TCP(1)); err != nil {
		fmt.Println(err)
	}
	for _, s := range m.States() {
		fmt.Println(&s)
	}
	// Output: all tcp 10.1.0.1:40001 -> 10.2.0.2:80       ESTABLISHED:ESTABLISHED
}

// TestTrafficIsHintedAtNowAndThen: at once when it begins, and then in steps, for
// as long as it lasts.
func TestTrafficIsHintedAtNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory.New(memory.Config{})
		h := tabletest.Start(t, m)
		s := tabletest.UDP(1)
		s.Expire = time.Hour
		h.Apply(pfstate.WriteInsert, s, 0)
		start := time.Now()
		go func() {
			for range 10 { // 30 ms apart, until 270 ms
				for _, packet := range []func(pfstate.State) error{m.Touch, m.Update, m.Create} {
					if err := packet(s); err != nil {
						t.Error(err)
					}
				}
				time.Sleep(30 * time.Millisecond)
			}
		}()
		for _, want := range []time.Duration{0, 100, 200, 300} {
			h.Hint()
			if got := time.Since(start); got != want*time.Millisecond {
				t.Errorf("hint after %v, want %dms", got, want)
			}
		}
		time.Sleep(time.Minute)
		if h.Apply(pfstate.WriteUpdate, s, 0); h.Hints != 4 {
			t.Errorf("%d hints, want none without traffic", h.Hints-4)
		}
		for name, packet := range map[string]func(pfstate.State) error{"touch": m.Touch, "update": m.Update, "create": m.Create} {
			start := time.Now()
			if err := packet(s); err != nil {
				t.Fatal(err)
			}
			if h.Hint(); time.Since(start) != 0 {
				t.Errorf("%s: hint after %v, want at once", name, time.Since(start))
			}
			time.Sleep(time.Second)
		}
		if err := m.Delete(s); err != nil { // is no traffic, nor is a packet that is not let through
			t.Fatal(err)
		}
		if err := m.Touch(s); !errors.Is(err, pfstate.ErrNoState) {
			t.Errorf("%v, want ErrNoState", err)
		}
		hints := h.Hints
		time.Sleep(time.Second)
		if h.Until(pfstate.Deleted); h.Hints != hints {
			t.Error("hinted at a delete")
		}
	})
}

func TestStatesOfTrafficAreNotInjected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory.New(memory.Config{})
		h := tabletest.Start(t, m)
		s := tabletest.TCP(1)
		if err := m.Create(s); err != nil {
			t.Fatal(err)
		}
		if h.Want(pfstate.Created).Injected {
			t.Error("created: injected")
		}
		h.Apply(pfstate.WriteInsert, s, 0)
		if h.Probe(s).Injected || h.Dump()[0].Injected {
			t.Error("injected, for a Write met it")
		}
		h.Apply(pfstate.WriteInsert, tabletest.Translated(s, 5000), 0)
		if !h.Probe(tabletest.Translated(s, 5000)).Injected {
			t.Error("made anew with another translation: not injected")
		}
	})
}
