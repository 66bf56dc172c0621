package control

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/pfsync-linux/pfsync/ifconfig"
)

// transitionsWait is how long a request for transitions waits for the next one. It is within
// every timeout of a request.
const transitionsWait = 15 * time.Second

const holdPath = "/v1/demotion/hold"

// Transitions is an answer to who follows the carp interfaces.
type Transitions struct {
	Began time.Time             `json:"began"` // the daemon; another one counts from 1 again
	Last  uint64                `json:"last"`  // number of the newest one that has been, 0: none
	Lost  uint64                `json:"lost"`  // that were asked for and are not kept any more
	List  []ifconfig.Transition `json:"list"`
}

// demote adds to what the operator has set for a group.
func (s *Server) demote(r *http.Request) (any, error) {
	var d ifconfig.Demote
	if err := object(r, "demotion", maxBody, &d); err != nil {
		return nil, err
	}
	if err := d.Validate(); err != nil {
		return nil, httpError{http.StatusBadRequest, err.Error()}
	}
	return struct{}{}, s.node.Demote(d)
}

// transitions waits for those behind the number in the query, for a while.
func (s *Server) transitions(r *http.Request) (any, error) {
	after := uint64(0)
	for key, values := range r.URL.Query() {
		n, err := strconv.ParseUint(values[0], 10, 64)
		if key != "after" || len(values) != 1 || err != nil {
			return nil, httpError{http.StatusBadRequest, "transitions: takes after=NUMBER only"}
		}
		after = n
	}
	ctx, cancel := context.WithTimeout(r.Context(), transitionsWait)
	defer cancel()
	return s.node.Transitions(ctx, after)
}

// Demotion lists the groups with what demotes them.
func (c *Client) Demotion(ctx context.Context) (list []ifconfig.Demotion, err error) {
	err = c.do(ctx, http.MethodGet, "/v1/demotion", nil, &list)
	return list, err
}

// Demote adds to what the operator has set for a group.
func (c *Client) Demote(ctx context.Context, d ifconfig.Demote) error {
	question, err := json.Marshal(d)
	if err != nil {
		return err
	}
	return c.patiently(ctx, "/v1/demotion", question, nil)
}

// Transitions returns the changes of state of carp interfaces behind the one of that number, those
// that are kept. If there is none it waits some seconds for one, and returns none.
func (c *Client) Transitions(ctx context.Context, after uint64) (t Transitions, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, transitionsWait+showTimeout, ErrNoAnswer)
	defer cancel()
	resp, err := c.ask(ctx, http.MethodGet, "/v1/transitions?"+url.Values{"after": {strconv.FormatUint(after, 10)}}.Encode(), nil)
	if err != nil {
		return t, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&t); err != nil && silent(ctx) {
		return t, ErrNoAnswer
	} else if err != nil {
		return t, fmt.Errorf("pfsyncd: transitions: %w", err)
	}
	return t, nil
}

// MostHeld is how long a demotion can be held at most: netstart's unit is ended by then.
const MostHeld = 10 * time.Minute

// Hold asks for a demotion that ends by itself.
type Hold struct {
	Seconds int `json:"seconds"` // 0: it ends now
}

// hold demotes for a while, or no longer.
func (s *Server) hold(r *http.Request) (any, error) {
	var h Hold
	if err := object(r, "hold", maxBody, &h); err != nil {
		return nil, err
	}
	if most := int(MostHeld / time.Second); h.Seconds < 0 || h.Seconds > most {
		return nil, httpError{http.StatusBadRequest, fmt.Sprintf("hold: seconds %d: 0 to %d", h.Seconds, most)}
	}
	return struct{}{}, s.node.HoldDemotion(time.Duration(h.Seconds) * time.Second)
}

// HoldDemotion keeps this firewall from taking over from a better one, for so many whole seconds or until it is
// called with 0. It waits for a daemon that starts.
func (c *Client) HoldDemotion(ctx context.Context, d time.Duration) error {
	question, err := json.Marshal(Hold{int(d / time.Second)})
	if err != nil {
		return err
	}
	return c.patiently(ctx, holdPath, question, nil)
}
