package metrics

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"
)

const (
	// scrapeTimeout is Prometheus' own default. A daemon that hangs longer is told from one that works.
	scrapeTimeout = 10 * time.Second

	// maxScrapes bounds what those who ask can make the daemon do at a time.
	maxScrapes = 4

	maxConns    = 32
	maxHeader   = 8 << 10
	idleTimeout = 5 * time.Minute // Prometheus keeps its connection over the usual interval
)

// NewHandler answers scrapes of source. While the source does not answer, the status is 500 or 503.
func NewHandler(source Source, version string, log *slog.Logger) http.Handler {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(NewCollector(source, version))
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn), ErrorHandling: promhttp.HTTPErrorOnError,
		MaxRequestsInFlight: maxScrapes, Timeout: scrapeTimeout,
	})
}

// Listen opens a TCP address for Serve. It is numeric, as 127.0.0.1:9240 or [::1]:9240:
// nothing is looked up.
func Listen(address string) (net.Listener, error) {
	addr, err := netip.ParseAddrPort(address)
	if err != nil || addr.Port() == 0 {
		return nil, fmt.Errorf("metrics %s: not a numeric address and port, as 127.0.0.1:9240 or [::1]:9240", address)
	}
	l, err := net.Listen("tcp", addr.String())
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	return l, nil
}

// Serve answers GET /metrics on l with handler, and nothing else, until ctx ends. It closes l.
func Serve(ctx context.Context, l net.Listener, handler http.Handler, log *slog.Logger) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", handler)
	s := &http.Server{
		Handler: mux, ReadTimeout: scrapeTimeout, WriteTimeout: 2 * scrapeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeader, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	if err := s.Serve(netutil.LimitListener(l, maxConns)); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("metrics: %w", err)
	}
	return nil
}
