package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/ifconfig/pfconf"
	"github.com/pfsync-linux/pfsync/ifconfig/sysctl"
	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// ErrNotRunning is wrapped by a Client's errors when nobody listens.
var ErrNotRunning = errors.New("pfsyncd is not running in this network namespace; start it with: pfsyncd")

// ErrNoAnswer is wrapped by a Client's errors when a daemon listens and says nothing: it is stopped or hangs.
var ErrNoAnswer = errors.New("pfsyncd does not answer")

const (
	showTimeout   = 3 * time.Second  // for an answer that changes nothing
	changeTimeout = 10 * time.Second // for a change
	killTimeout   = 28 * time.Second // for the removal of states, as many as there may be
	statesPause   = 30 * time.Second // between some states and the next that are chosen
	retryEvery    = 50 * time.Millisecond
)

// maxAnswer bounds what is read of an answer; the longest lists the addresses of tables.
const maxAnswer = 16 << 20

// Client talks to the pfsyncd of a network namespace. It may be used by many goroutines.
type Client struct {
	// Patience is how long Change and SetSysctl wait for a daemon that does not listen yet: one that
	// was started a moment ago. Zero: not at all.
	Patience time.Duration

	http http.Client
}

// NewClient reaches the pfsyncd of the process's own network namespace.
func NewClient() *Client {
	return NewClientDial(func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", Address)
	})
}

// NewClientDial is NewClient for those who connect in another way, from within another
// namespace for instance.
func NewClientDial(dial func(context.Context) (net.Conn, error)) *Client {
	return &Client{http: http.Client{
		Transport: &http.Transport{
			DisableKeepAlives: true, // programs ask once and end
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				c, err := dial(ctx)
				if errors.Is(err, syscall.ECONNREFUSED) {
					return nil, ErrNotRunning
				}
				if err != nil {
					return nil, fmt.Errorf("control socket: %w", err)
				}
				if err := checkServer(c); err != nil {
					c.Close()
					return nil, err
				}
				return c, nil
			},
		},
	}}
}

// checkServer refuses a server that is neither root's nor one's own: anyone can take an abstract
// socket's name while pfsyncd does not run.
func checkServer(c net.Conn) error {
	uid, err := peerUID(c)
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	if uid != 0 && int(uid) != os.Geteuid() {
		return fmt.Errorf("control socket: uid %d listens on %s in pfsyncd's place; end that process", uid, Address)
	}
	return nil
}

// Interfaces lists what pfsyncd owns.
func (c *Client) Interfaces(ctx context.Context) (list []ifconfig.Interface, err error) {
	err = c.do(ctx, http.MethodGet, "/v1/interfaces", nil, &list)
	return list, err
}

// Change applies ch as a whole or not at all. A key must have been read; the name of its
// file is not sent. The error is what ifconfig prints behind its name. A daemon that
// does not answer may still apply it later.
func (c *Client) Change(ctx context.Context, ch ifconfig.Change) error {
	question, err := encodeChange(ch)
	if err != nil {
		return err
	}
	err = c.patiently(ctx, "/v1/change", question, nil)
	if errors.Is(err, ErrNoAnswer) {
		return fmt.Errorf("%s: %w (it may still carry this out)", ch.Interface, err)
	}
	return err
}

// Sysctls lists the variables that pfsyncd keeps.
func (c *Client) Sysctls(ctx context.Context) (list []sysctl.Setting, err error) {
	err = c.do(ctx, http.MethodGet, "/v1/sysctl", nil, &list)
	return list, err
}

// SetSysctl sets one of them and returns what it was. As with Change, a daemon that does not
// answer may still do so later.
func (c *Client) SetSysctl(ctx context.Context, s sysctl.Setting) (old int64, err error) {
	question, err := json.Marshal(s)
	if err != nil {
		return 0, err
	}
	var answer Old
	err = c.patiently(ctx, "/v1/sysctl", question, &answer)
	if errors.Is(err, ErrNoAnswer) {
		return 0, fmt.Errorf("%s: %w (it may still carry this out)", s.Name, err)
	}
	return answer.Value, err
}

// patiently posts, and waits for a daemon that starts.
func (c *Client) patiently(ctx context.Context, path string, question []byte, answer any) error {
	patience, cancel := context.WithTimeout(ctx, c.Patience)
	defer cancel()
	retry := time.NewTicker(retryEvery)
	defer retry.Stop()
	for {
		err := c.do(ctx, http.MethodPost, path, question, answer)
		if !errors.Is(err, ErrNotRunning) {
			return err
		}
		select {
		case <-patience.Done():
			return err
		case <-retry.C:
		}
	}
}

// Bulk has the peers asked for their whole tables. It returns when they are asked, not when the
// tables are here; it does not wait for a daemon that starts, which asks by itself.
func (c *Client) Bulk(ctx context.Context) error {
	err := c.do(ctx, http.MethodPost, "/v1/bulk", nil, nil)
	if errors.Is(err, ErrNoAnswer) {
		return fmt.Errorf("bulk: %w (it may still carry this out)", err)
	}
	return err
}

// Push has the peers told this firewall's whole table. It returns when that begins; like Bulk, it
// does not wait for a daemon that starts.
func (c *Client) Push(ctx context.Context) error {
	err := c.do(ctx, http.MethodPost, "/v1/push", nil, nil)
	if errors.Is(err, ErrNoAnswer) {
		return fmt.Errorf("push: %w (it may still carry this out)", err)
	}
	return err
}

// Yield tells that another firewall carries the traffic from now on. It does not wait for a daemon
// that starts, which takes that for granted.
func (c *Client) Yield(ctx context.Context) error {
	err := c.do(ctx, http.MethodPost, "/v1/yield", nil, nil)
	if errors.Is(err, ErrNoAnswer) {
		return fmt.Errorf("yield: %w (it may still carry this out)", err)
	}
	return err
}

// Counters lists all counters in the order of netstat -s.
func (c *Client) Counters(ctx context.Context) (list []pfstate.Counter, err error) {
	err = c.do(ctx, http.MethodGet, "/v1/counters", nil, &list)
	return list, err
}

// Peers lists the other firewalls that pfsyncd hears or heard, in the order of their addresses.
func (c *Client) Peers(ctx context.Context) (list []ifconfig.Peer, err error) {
	err = c.do(ctx, http.MethodGet, "/v1/peers", nil, &list)
	return list, err
}

// Status returns the daemon's state beyond interfaces.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	err = c.do(ctx, http.MethodGet, "/v1/status", nil, &s)
	return s, err
}

// States calls yield with each state of the selection until it returns an error, which is then
// returned. Neither side holds more than some hundred states. What yield gets is overwritten by the next.
// The error may come when states were yielded already. If yield takes longer than some minutes for a
// few thousand states, the daemon goes away.
func (c *Client) States(ctx context.Context, sel Selection, yield func(*pfstate.State) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	patience := time.AfterFunc(showTimeout, func() { cancel(ErrNoAnswer) })
	defer patience.Stop()
	resp, err := c.ask(ctx, http.MethodGet, "/v1/states"+sel.query(), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	patience.Stop()
	from := bufio.NewReaderSize(resp.Body, 256*wire.StateLen)
	var s pfstate.State
	for n := 0; ; n++ {
		patience.Reset(statesPause) // of the daemon, not of yield
		record, err := from.Peek(wire.StateLen)
		patience.Stop()
		switch {
		case err == io.EOF && len(record) == 0:
			return nil
		case err != nil && silent(ctx):
			return ErrNoAnswer
		case err != nil:
			return fmt.Errorf("pfsyncd: states: cut off after %d of them: %w", n, err)
		}
		if err := wire.ParseState(wire.OpenBSD6, record, &s); err != nil {
			return fmt.Errorf("pfsyncd: states: the one after %d: %w", n, err)
		}
		if _, err := from.Discard(wire.StateLen); err != nil {
			return err
		}
		if err := yield(&s); err != nil {
			return err
		}
	}
}

const (
	killPath  = "/v1/kill"
	flushPath = "/v1/flush"
)

// Kill removes the states that match, here and at the peers; it returns when they are gone here. ErrNoAnswer may mean that they
// are removed all the same; so it is with every order.
func (c *Client) Kill(ctx context.Context, k Kill) (killed Killed, err error) {
	err = c.post(ctx, killPath, k, &killed)
	return killed, err
}

// Flush removes all states, here and, those made here, at the peers.
func (c *Client) Flush(ctx context.Context) (flushed Killed, err error) {
	err = c.post(ctx, flushPath, nil, &flushed)
	return flushed, err
}

// Rules tells which states are not advertised.
func (c *Client) Rules(ctx context.Context) (r Rules, err error) {
	err = c.do(ctx, http.MethodGet, "/v1/rules", nil, &r)
	return r, err
}

// SetRuleset replaces the ruleset. It is kept by the daemon and holds until the next one.
func (c *Client) SetRuleset(ctx context.Context, rs *pfconf.Ruleset) error {
	return c.post(ctx, "/v1/ruleset", rs, nil)
}

// Enable lets the ruleset count, or not.
func (c *Client) Enable(ctx context.Context, on bool) error {
	return c.post(ctx, "/v1/enable", struct {
		Enabled bool `json:"enabled"`
	}{on}, nil)
}

// Info is what pfctl -s info, memory and timeouts print.
func (c *Client) Info(ctx context.Context) (i Info, err error) {
	err = c.do(ctx, http.MethodGet, "/v1/info", nil, &i)
	return i, err
}

// post sends an order, with a question as JSON if there is one.
func (c *Client) post(ctx context.Context, path string, question, answer any) (err error) {
	var b []byte
	if question != nil {
		if b, err = json.Marshal(question); err != nil {
			return err
		}
	}
	err = c.do(ctx, http.MethodPost, path, b, answer)
	if errors.Is(err, ErrNoAnswer) {
		return fmt.Errorf("%w (it may still carry this out)", err)
	}
	return err
}

// do sends question, if any, and reads the answer into answer, if wanted.
func (c *Client) do(ctx context.Context, method, path string, question []byte, answer any) error {
	limit := changeTimeout
	switch {
	case method == http.MethodGet:
		limit = showTimeout
	case path == killPath || path == flushPath:
		limit = killTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, ErrNoAnswer)
	defer cancel()
	resp, err := c.ask(ctx, method, path, question)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if answer == nil {
		return nil
	}
	from := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer))
	if err := from.Decode(answer); err != nil && silent(ctx) {
		return ErrNoAnswer
	} else if err != nil {
		return fmt.Errorf("pfsyncd: answer of %s: %w", path, err)
	}
	return nil
}

// ask sends question, if any. The answer's body is for the caller to close; a refusal is an error.
func (c *Client) ask(ctx context.Context, method, path string, question []byte) (*http.Response, error) {
	var body io.Reader
	if question != nil {
		body = bytes.NewReader(question)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://pfsyncd"+path, body)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(r)
	if errors.Is(err, ErrNotRunning) {
		return nil, ErrNotRunning
	}
	if err != nil && silent(ctx) {
		return nil, ErrNoAnswer
	}
	if err != nil {
		return nil, fmt.Errorf("pfsyncd: %w", errors.Unwrap(err)) // without the URL, which says nothing
	}
	if resp.StatusCode < 400 {
		return resp, nil
	}
	defer resp.Body.Close()
	var why refusal
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&why); err != nil || why.Error == "" {
		return nil, fmt.Errorf("pfsyncd: %s", resp.Status)
	}
	refused := errors.New(strings.ReplaceAll(why.Error, "\n", "; ")) // joined errors, as one line
	if why.Word != "" {
		return nil, &WordError{why.Word, refused}
	}
	return nil, refused
}

// silent tells whether ctx ended because the daemon took too long.
func silent(ctx context.Context) bool { return errors.Is(context.Cause(ctx), ErrNoAnswer) }
