package engine_test

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pfsync-linux/pfsync/sync/engine"
	"github.com/pfsync-linux/pfsync/sync/link"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// silences writes down what an engine tells of silence.
type silences struct {
	mu   sync.Mutex
	told []bool
	at   []time.Time
}

func (s *silences) hear(silent bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told, s.at = append(s.told, silent), append(s.at, time.Now())
}

func (s *silences) are(t *testing.T, want ...bool) {
	t.Helper()
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Equal(s.told, want) {
		t.Errorf("told %v, want %v", s.told, want)
	}
}

func silent(t *testing.T, test func(*rig, *linux, *silences)) {
	t.Helper()
	s := new(silences)
	pairedAs(t, engine.Config{Silence: s.hear}, func(r *rig, p *linux) { test(r, p, s) })
}

func TestSilenceOfThePeers(t *testing.T) {
	silent(t, func(r *rig, p *linux, s *silences) {
		p.live(20 * time.Second)
		s.are(t)
		last := time.Now().Add(-p.status().Age)
		time.Sleep(5 * time.Second)
		s.are(t, true)
		s.mu.Lock()
		told := s.at[0]
		s.mu.Unlock()
		if after := told.Sub(last); after < 1750*time.Millisecond || after > 2*time.Second {
			t.Errorf("told after %v", after)
		}
		time.Sleep(6 * time.Second) // who has died by now has been noticed
		s.are(t, true, false)
		p.live(5 * time.Second)
		time.Sleep(3 * time.Second)
		s.are(t, true, false, true)
		p.beacon()
		time.Sleep(time.Second)
		s.are(t, true, false, true, false)
	})
}

func TestLinkLostIsSilenceAtOnce(t *testing.T) {
	silent(t, func(r *rig, p *linux, s *silences) {
		p.live(5 * time.Second)
		r.linkDown()
		s.are(t, true)
		r.linkUp()
		p.beacon()
		time.Sleep(time.Second)
		s.are(t, true, false)
	})
}

// One that is heard may be the backup of the same master; a BSD says nothing when idle.
func TestOthersThatAreHeardOrMayLive(t *testing.T) {
	silent(t, func(r *rig, p *linux, s *silences) {
		r.linux(thirdAddr, 0xcccccccc, 0xcccc).live(10 * time.Second)
		s.are(t)
	})
	silent(t, func(r *rig, p *linux, s *silences) {
		var w wire.Writer
		w.Reset(1400)
		r.packet(link.Packet{Src: thirdAddr, TTL: 255, Payload: w.Finish()})
		p.live(5 * time.Second)
		time.Sleep(5 * time.Second)
		s.are(t)
	})
}

func TestDownIsNotSilence(t *testing.T) {
	silent(t, func(r *rig, p *linux, s *silences) {
		p.live(5 * time.Second)
		time.Sleep(3 * time.Second)
		s.are(t, true)
		r.configure(func(s *engine.Settings) { s.Up = false })
		time.Sleep(time.Second)
		s.are(t, true, false)
	})
}
