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
	"sync"
	"sync/atomic"
	"time"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/pfstate"
)

const (
	maxBody   = 64 << 10 // a Change is some hundred bytes
	maxHeader = 8 << 10

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
}

// NewServer makes a Server of node. It starts nothing.
func NewServer(node Node, log *slog.Logger) *Server {
	s := &Server{node: node, log: log}
	s.routes = map[string]route{
		"/v1/interfaces": {http.MethodGet, false, func(*http.Request) (any, error) { return node.Interfaces() }},
		"/v1/change":     {http.MethodPost, true, s.change},
		"/v1/bulk":       {http.MethodPost, true, s.bulk},
		"/v1/counters":   {http.MethodGet, false, func(*http.Request) (any, error) { return s.counters() }},
		"/v1/peers":      {http.MethodGet, false, func(*http.Request) (any, error) { return node.Peers() }},
		"/v1/status":     {http.MethodGet, false, func(*http.Request) (any, error) { return node.Status() }},
		"/v1/sysctl":     {http.MethodGet, false, func(*http.Request) (any, error) { return node.Sysctls() }},
	}
	s.posts = map[string]route{
		"/v1/sysctl": {http.MethodPost, true, s.setSysctl},
	}
	return s
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
	answer, err := s.handle(r)
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

// refusal is the body of an answer that is an error.
type refusal struct {
	Error string `json:"error"`
	Word  string `json:"word,omitempty"` // of a WordError
}

func (s *Server) handle(r *http.Request) (any, error) {
	route, ok := s.routes[r.URL.Path]
	post, both := s.posts[r.URL.Path]
	if both && r.Method == post.method {
		route = post
	}
	switch {
	case !ok:
		return nil, httpError{http.StatusNotFound, fmt.Sprintf("%q: no such endpoint", r.URL.Path)}
	case r.Method != route.method && both:
		return nil, httpError{http.StatusMethodNotAllowed, fmt.Sprintf("%s: takes %s and %s only", r.URL.Path, route.method, post.method)}
	case r.Method != route.method:
		return nil, httpError{http.StatusMethodNotAllowed, fmt.Sprintf("%s: takes %s only", r.URL.Path, route.method)}
	}
	if root, _ := r.Context().Value(rootKey{}).(bool); route.rootOnly && !root {
		s.denied.Add(1)
		what := "pfsync0"
		if both {
			what = "sysctl"
		}
		return nil, httpError{http.StatusForbidden, what + ": Operation not permitted (needs root)"}
	}
	return route.answer(r)
}

// body reads the body of a request; what names it in errors.
func body(r *http.Request, what string) ([]byte, error) {
	b, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxBody))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, httpError{http.StatusRequestEntityTooLarge, fmt.Sprintf("%s: longer than %d bytes", what, maxBody)}
	}
	if err != nil {
		return nil, httpError{http.StatusBadRequest, fmt.Sprintf("%s: %v", what, err)}
	}
	return b, nil
}

// setSysctl sets one variable, checked here again.
func (s *Server) setSysctl(r *http.Request) (any, error) {
	b, err := body(r, "sysctl")
	if err != nil {
		return nil, err
	}
	set, err := decodeSetting(b)
	if err != nil {
		return nil, httpError{http.StatusBadRequest, err.Error()}
	}
	old, err := s.node.SetSysctl(set)
	if err != nil {
		return nil, err
	}
	return Old{old}, nil
}

// change applies a Change, checked here again: root's own programs speak HTTP too.
func (s *Server) change(r *http.Request) (any, error) {
	body, err := body(r, "change")
	if err != nil {
		return nil, err
	}
	defer clear(body) // there may be a key in it
	c, err := decodeChange(body)
	if err != nil {
		return nil, httpError{http.StatusBadRequest, err.Error()}
	}
	if err := s.node.Change(c); err != nil {
		return nil, err
	}
	return struct{}{}, nil
}

// bulk is the change of that name alone.
func (s *Server) bulk(r *http.Request) (any, error) {
	if n, _ := r.Body.Read(make([]byte, 1)); n > 0 {
		return nil, httpError{http.StatusBadRequest, "bulk: takes no body; all peers are asked"}
	}
	if err := s.node.Change(ifconfig.Change{Interface: "pfsync0", Bulk: true}); err != nil {
		return nil, err
	}
	return struct{}{}, nil
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
