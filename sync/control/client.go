package control

import (
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
	"github.com/pfsync-linux/pfsync/ifconfig/sysctl"
	"github.com/pfsync-linux/pfsync/pfstate"
)

// ErrNotRunning is wrapped by a Client's errors when nobody listens.
var ErrNotRunning = errors.New("pfsyncd is not running in this network namespace; start it with: pfsyncd")

// ErrNoAnswer is wrapped by a Client's errors when a daemon listens and says nothing: it is stopped or hangs.
var ErrNoAnswer = errors.New("pfsyncd does not answer")

const (
	showTimeout   = 3 * time.Second  // for an answer that changes nothing
	changeTimeout = 10 * time.Second // for a change
	retryEvery    = 50 * time.Millisecond
)

// maxAnswer bounds what is read of an answer; the longest are some kilobytes.
const maxAnswer = 4 << 20

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

// do sends question, if any, and reads the answer into answer, if wanted.
func (c *Client) do(ctx context.Context, method, path string, question []byte, answer any) error {
	limit := showTimeout
	if method != http.MethodGet {
		limit = changeTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, ErrNoAnswer)
	defer cancel()
	var body io.Reader
	if question != nil {
		body = bytes.NewReader(question)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://pfsyncd"+path, body)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(r)
	if errors.Is(err, ErrNotRunning) {
		return ErrNotRunning
	}
	if err != nil && silent(ctx) {
		return ErrNoAnswer
	}
	if err != nil {
		return fmt.Errorf("pfsyncd: %w", errors.Unwrap(err)) // without the URL, which says nothing
	}
	defer resp.Body.Close()
	from := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer))
	if resp.StatusCode >= 400 {
		var why refusal
		if err := from.Decode(&why); err != nil || why.Error == "" {
			return fmt.Errorf("pfsyncd: %s", resp.Status)
		}
		refused := errors.New(strings.ReplaceAll(why.Error, "\n", "; ")) // joined errors, as one line
		if why.Word != "" {
			return &WordError{why.Word, refused}
		}
		return refused
	}
	if answer == nil {
		return nil
	}
	if err := from.Decode(answer); err != nil && silent(ctx) {
		return ErrNoAnswer
	} else if err != nil {
		return fmt.Errorf("pfsyncd: answer of %s: %w", path, err)
	}
	return nil
}

// silent tells whether ctx ended because the daemon took too long.
func silent(ctx context.Context) bool { return errors.Is(context.Cause(ctx), ErrNoAnswer) }
