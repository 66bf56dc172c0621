package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/ifconfig/pfconf"
	"github.com/pfsync-linux/pfsync/ifconfig/sysctl"
	"github.com/pfsync-linux/pfsync/pfstate"
)

const (
	maxBody    = 64 << 10 // a Change is some hundred bytes
	maxRuleset = 16 << 20 // its tables may list some hundred thousand addresses
	maxHeader  = 8 << 10

	// A request is one small packet each way; who needs longer is not ifconfig.
	readTimeout  = 5 * time.Second
	writeTimeout = 30 * time.Second // the Node works within it
	idleTimeout  = 30 * time.Second

	// shutdownTimeout is what running requests get when the daemon ends.
	shutdownTimeout = 2 * time.Second
)

// Server answers on the control socket.
type Server struct {
	// Metrics answers GET /metrics, for everybody; nil: no such endpoint. Set it before Serve.
	Metrics http.Handler
	// Debug answers what lies below /debug/, for root; nil: no such endpoints. Set it before Serve.
	Debug http.Handler

	node    Node
	log     *slog.Logger
	routes  map[string]route
	posts   map[string]route // of paths that have a GET in routes
	denied  atomic.Uint64    // changes asked for by others than root
	invalid atomic.Uint64    // requests that make no sense
	guarded guarded
}

// route is one row of the table of endpoints.
type route struct {
	method   string
	rootOnly bool
	answer   func(*http.Request) (any, error)
	// stream, if set, answers instead. It returns an error only as long as nothing is written.
	stream func(http.ResponseWriter, *http.Request) error
}

// NewServer makes a Server of node. It starts nothing.
func NewServer(node Node, log *slog.Logger) *Server {
	s := &Server{node: node, log: log}
	s.routes = map[string]route{
		"/v1/interfaces":  get(func() (any, error) { return node.Interfaces() }),
		"/v1/change":      post(s.change),
		"/v1/bulk":        post(s.bulk),
		"/v1/push":        post(s.push),
		"/v1/counters":    get(func() (any, error) { return s.counters() }),
		"/v1/peers":       get(func() (any, error) { return node.Peers() }),
		"/v1/status":      get(func() (any, error) { return node.Status() }),
		"/v1/sysctl":      get(func() (any, error) { return node.Sysctls() }),
		"/v1/states":      {method: http.MethodGet, stream: s.states},
		killPath:          post(s.kill),
		flushPath:         post(s.flush),
		"/v1/rules":       get(func() (any, error) { return node.Rules() }),
		"/v1/ruleset":     post(s.ruleset),
		"/v1/enable":      post(s.enable),
		"/v1/info":        get(func() (any, error) { return node.Info() }),
		"/v1/demotion":    get(func() (any, error) { return node.Demotion() }),
		holdPath:          post(s.hold),
		"/v1/yield":       post(s.yield),
		"/v1/transitions": {method: http.MethodGet, answer: s.transitions},
	}
	s.posts = map[string]route{
		"/v1/sysctl":   post(s.setSysctl),
		"/v1/demotion": post(s.demote),
	}
	return s
}

// get is for everybody, post for root.
func get(answer func() (any, error)) route {
	return route{method: http.MethodGet, answer: func(*http.Request) (any, error) { return answer() }}
}

func post(answer func(*http.Request) (any, error)) route {
	return route{method: http.MethodPost, rootOnly: true, answer: answer}
}

// Serve answers on l until ctx ends, lets running requests finish for two seconds, closes l and
// returns when its last goroutine is gone: the Node is not called any more. The error tells
// why it ended earlier. A Server serves once.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	s.guarded.Listener = l
	var conns sync.WaitGroup
	h := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: readTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			known, ok := c.(*conn)
			return context.WithValue(ctx, rootKey{}, ok && known.root)
		},
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				conns.Add(1)
			case http.StateClosed:
				conns.Done()
			}
		},
	}
	served := make(chan error, 1)
	go func() { served <- h.Serve(&s.guarded) }()
	var err error
	select {
	case err = <-served:
	case <-ctx.Done():
		patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		h.Shutdown(patience) // Close below ends those that take too long
		err = <-served
	}
	h.Close()
	conns.Wait()
	if err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("control socket: %w", err)
	}
	return nil
}

// rootKey finds in a request's context whether root asks.
type rootKey struct{}

func isRoot(r *http.Request) bool {
	root, _ := r.Context().Value(rootKey{}).(bool)
	return root
}

// httpError is an error with a status other than 422.
type httpError struct {
	status int
	text   string
}

func (e httpError) Error() string { return e.text }

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.Metrics != nil && r.URL.Path == "/metrics" && r.Method == http.MethodGet {
		s.Metrics.ServeHTTP(w, r)
		return
	}
	if s.Debug != nil && strings.HasPrefix(r.URL.Path, "/debug/") && isRoot(r) {
		s.Debug.ServeHTTP(w, r)
		return
	}
	answer, err := s.handle(w, r)
	if err == nil && answer == nil {
		return // it was streamed
	}
	status := http.StatusOK
	if err != nil {
		status = http.StatusUnprocessableEntity // understood, and refused by the Node
		if e, ok := errors.AsType[httpError](err); ok {
			status = e.status
			if status != http.StatusForbidden {
				s.invalid.Add(1)
			}
		}
		why := refusal{Error: err.Error()}
		if e, ok := errors.AsType[*WordError](err); ok {
			why.Word = e.Word
		}
		answer = why
	}
	w.Header().Set("Content-Type", "application/json")
	if status == http.StatusMethodNotAllowed {
		allow := s.routes[r.URL.Path].method
		if post, both := s.posts[r.URL.Path]; both {
			allow += ", " + post.method
		}
		w.Header().Set("Allow", allow)
	}
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		s.log.Debug("control answer not delivered", "path", r.URL.Path, "err", err)
	}
}

// denial tells those who are not root. On the BSDs it is the kernel that says so, of pfsync0 or of pf.
func denial(path string) string {
	switch path {
	case "/v1/kill", "/v1/flush", "/v1/ruleset", "/v1/enable":
		return "Operation not permitted (needs root)"
	case "/v1/demotion", holdPath:
		return "carpdemote: Operation not permitted (needs root)"
	case "/v1/sysctl":
		return "sysctl: Operation not permitted (needs root)"
	}
	return "pfsync0: Operation not permitted (needs root)"
}

// refusal is the body of an answer that is an error.
type refusal struct {
	Error string `json:"error"`
	Word  string `json:"word,omitempty"` // of a WordError
}

func (s *Server) handle(w http.ResponseWriter, r *http.Request) (any, error) {
	route, ok := s.routes[r.URL.Path]
	post, both := s.posts[r.URL.Path]
	if both && r.Method == post.method {
		route = post
	}
	switch {
	case s.Debug != nil && strings.HasPrefix(r.URL.Path, "/debug/"): // root has had its answer
		s.denied.Add(1)
		return nil, httpError{http.StatusForbidden, "pfsyncd: Operation not permitted (needs root)"}
	case !ok:
		return nil, httpError{http.StatusNotFound, fmt.Sprintf("%q: no such endpoint", r.URL.Path)}
	case r.Method != route.method && both:
		return nil, httpError{http.StatusMethodNotAllowed, fmt.Sprintf("%s: takes %s and %s only", r.URL.Path, route.method, post.method)}
	case r.Method != route.method:
		return nil, httpError{http.StatusMethodNotAllowed, fmt.Sprintf("%s: takes %s only", r.URL.Path, route.method)}
	}
	if route.rootOnly && !isRoot(r) {
		s.denied.Add(1)
		return nil, httpError{http.StatusForbidden, denial(r.URL.Path)}
	}
	if route.stream != nil {
		return nil, route.stream(w, r)
	}
	return route.answer(r)
}

// body reads the whole body of a request, which is about what.
func body(r *http.Request, what string, most int64) ([]byte, error) {
	b, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, most))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, httpError{http.StatusRequestEntityTooLarge, fmt.Sprintf("%s: longer than %d bytes", what, most)}
	}
	if err != nil {
		return nil, httpError{http.StatusBadRequest, fmt.Sprintf("%s: %v", what, err)}
	}
	return b, nil
}

// setSysctl sets one variable, checked here again.
func (s *Server) setSysctl(r *http.Request) (any, error) {
	var set sysctl.Setting
	if err := object(r, "sysctl", maxBody, &set); err != nil {
		return nil, err
	}
	if err := set.Validate(); err != nil {
		return nil, httpError{http.StatusBadRequest, err.Error()}
	}
	old, err := s.node.SetSysctl(set)
	if err != nil {
		return nil, err
	}
	return Old{old}, nil
}

// noBody refuses a body that is not looked at.
func noBody(r *http.Request, text string) error {
	if n, _ := r.Body.Read(make([]byte, 1)); n > 0 {
		return httpError{http.StatusBadRequest, text}
	}
	return nil
}

// object reads the one object of a request's body. A field that is not known is refused: what is asked
// for could not be done as a whole.
func object(r *http.Request, what string, most int64, into any) error {
	b, err := body(r, what, most)
	if err != nil {
		return err
	}
	if err := decodeObject(b, what, into); err != nil {
		return httpError{http.StatusBadRequest, err.Error()}
	}
	return nil
}

// change applies a Change, checked here again: root's own programs speak HTTP too.
func (s *Server) change(r *http.Request) (any, error) {
	b, err := body(r, "change", maxBody)
	if err != nil {
		return nil, err
	}
	defer clear(b) // there may be a key or a password in it
	c, err := decodeChange(b)
	if err != nil {
		return nil, httpError{http.StatusBadRequest, err.Error()}
	}
	return struct{}{}, s.node.Change(c)
}

// bulk is the change of that name alone.
func (s *Server) bulk(r *http.Request) (any, error) {
	if err := noBody(r, "bulk: takes no body; all peers are asked"); err != nil {
		return nil, err
	}
	return struct{}{}, s.node.Change(ifconfig.Change{Interface: "pfsync0", Bulk: true})
}

// push is the change of that name alone.
func (s *Server) push(r *http.Request) (any, error) {
	if err := noBody(r, "push: takes no body; all peers are told"); err != nil {
		return nil, err
	}
	return struct{}{}, s.node.Change(ifconfig.Change{Interface: "pfsync0", Push: true})
}

func (s *Server) yield(r *http.Request) (any, error) {
	if err := noBody(r, "yield: takes no body; all traffic has gone elsewhere"); err != nil {
		return nil, err
	}
	return struct{}{}, s.node.Yield()
}

func (s *Server) kill(r *http.Request) (any, error) {
	var k Kill
	if err := object(r, "kill", maxRuleset, &k); err != nil {
		return nil, err
	}
	if err := k.Validate(); err != nil {
		return nil, httpError{http.StatusBadRequest, err.Error()}
	}
	return s.node.Kill(k)
}

func (s *Server) flush(r *http.Request) (any, error) {
	if err := noBody(r, "flush: takes no body; all states are removed"); err != nil {
		return nil, err
	}
	return s.node.Flush()
}

func (s *Server) ruleset(r *http.Request) (any, error) {
	var rs pfconf.Ruleset
	if err := object(r, "ruleset", maxRuleset, &rs); err != nil {
		return nil, err
	}
	return struct{}{}, s.node.SetRuleset(&rs)
}

func (s *Server) enable(r *http.Request) (any, error) {
	var on struct{ Enabled *bool }
	if err := object(r, "enable", maxBody, &on); err != nil {
		return nil, err
	}
	if on.Enabled == nil {
		return nil, httpError{http.StatusBadRequest, "enable: says neither true nor false"}
	}
	return struct{}{}, s.node.Enable(*on.Enabled)
}

// Node is the Server's Node, with the Server's own counters behind the Node's.
func (s *Server) Node() Node { return counted{s.node, s} }

type counted struct {
	Node
	server *Server
}

func (c counted) Counters() ([]pfstate.Counter, error) { return c.server.counters() }

func (s *Server) counters() ([]pfstate.Counter, error) {
	list, err := s.node.Counters()
	if err != nil {
		return nil, err
	}
	return append(list[:len(list):len(list)],
		pfstate.Counter{Name: "ctldenied", Help: "changes refused to users other than root", Value: s.denied.Load()},
		pfstate.Counter{Name: "ctlinvalid", Help: "control requests refused as invalid", Value: s.invalid.Load()},
		pfstate.Counter{Name: "ctlguests", Help: "control connections refused as too many", Value: s.guarded.refused.Load()},
	), nil
}
