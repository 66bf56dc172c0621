package profile_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/cmd/pfsyncd/profile"
)

func get(t *testing.T, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	profile.NewHandler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	return w
}

func TestRuntimeTellsOfCollections(t *testing.T) {
	runtime.GC()
	var r profile.Runtime
	if err := json.Unmarshal(get(t, "/debug/runtime").Body.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	if r.Collections == 0 || r.HeapLive == 0 || r.Memory < r.HeapLive || r.Goroutines == 0 {
		t.Errorf("after a collection: %+v", r)
	}
	if r.PauseP50 <= 0 || r.PauseP50 > r.PauseP99 || r.PauseP99 > r.PauseMax || r.PauseMax > time.Minute {
		t.Errorf("pauses %v, %v, %v: want positive and growing", r.PauseP50, r.PauseP99, r.PauseMax)
	}
}

func TestHeapProfile(t *testing.T) {
	if w := get(t, "/debug/pprof/heap"); w.Code != http.StatusOK || w.Body.Len() == 0 {
		t.Errorf("status %d, %d bytes", w.Code, w.Body.Len())
	}
	if w := get(t, "/debug/pprof/cmdline"); w.Code == http.StatusOK {
		t.Error("cmdline is answered: it tells nothing that /proc does not")
	}
}
