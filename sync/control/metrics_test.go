package control_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/control"
	"github.com/pfsync-linux/pfsync/sync/control/controltest"
)

// Metrics are for everybody who asks for them by GET, if there are any.
func TestMetrics(t *testing.T) {
	s := control.NewServer(controltest.NewNode(), slog.New(slog.DiscardHandler))
	status := func(method, path string) int {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(method, path, nil))
		return w.Code
	}
	if got := status(http.MethodGet, "/metrics"); got != http.StatusNotFound {
		t.Errorf("without metrics: status %d", got)
	}
	s.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "pfsync_up 1\n") })
	for _, c := range []struct {
		method, path string
		want         int
	}{
		{http.MethodGet, "/metrics", http.StatusOK},
		{http.MethodPost, "/metrics", http.StatusNotFound},
		{http.MethodGet, "/metrics/", http.StatusNotFound},
	} {
		if got := status(c.method, c.path); got != c.want {
			t.Errorf("%s %s: status %d, want %d", c.method, c.path, got, c.want)
		}
	}
	// The Server's own counters are among those of its Node.
	counters, err := s.Node().Counters()
	if err != nil {
		t.Fatal(err)
	}
	want := pfstate.Counter{Name: "ctlinvalid", Help: "control requests refused as invalid", Value: 3}
	found := pfstate.Counter{}
	for _, c := range counters {
		if c.Name == want.Name {
			found = c
		}
	}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// Profiles are for root, who is known by the socket; and only if there are any.
func TestProfilesAreForRoot(t *testing.T) {
	s := control.NewServer(controltest.NewNode(), slog.New(slog.DiscardHandler))
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/debug/pprof/heap", nil))
	if w.Code != http.StatusNotFound {
		t.Errorf("without profiles: status %d", w.Code)
	}
	s.Debug = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "a profile") })
	w = httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/debug/pprof/heap", nil)) // without a socket it is nobody
	if w.Code != http.StatusForbidden {
		t.Errorf("to somebody: status %d: %s", w.Code, w.Body)
	}
}
