package control

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/pfsync-linux/pfsync/ifconfig"
)

// request is a Change as /v1/change takes it: with key and password, which an ifconfig.Change
// does not give away. This is the only place where they are written down; only root's
// requests get as far as being read, and only root listens (checkServer).
type request struct {
	ifconfig.Change
	Key  *string `json:"key,omitempty"`  // 64 hexadecimal digits; "": -key
	Pass *string `json:"pass,omitempty"` // of carp
}

func encodeChange(c ifconfig.Change) ([]byte, error) {
	r := request{Change: c}
	if k := c.Key; k != nil {
		if k.Unread() {
			return nil, fmt.Errorf("key %v: was not read", k)
		}
		r.Key = new(hex.EncodeToString(k.Secret()))
	}
	if c.Carp != nil && c.Carp.Pass != nil {
		r.Pass = new(c.Carp.Pass.Secret())
	}
	return json.Marshal(r)
}

// decodeObject reads one object and nothing else, and no field that is not known.
func decodeObject(body []byte, what string, into any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("%s: more than one object", what)
	}
	return nil
}

// decodeChange reads a Change as sent to /v1/change. A field that is not known is refused: the
// whole change could not be applied.
func decodeChange(body []byte) (ifconfig.Change, error) {
	var r request
	if err := decodeObject(body, "change", &r); err != nil {
		return r.Change, err
	}
	c := r.Change
	if r.Key != nil {
		c.Key = new(ifconfig.Key)
		if *r.Key != "" {
			k, err := ifconfig.ParseKey(*r.Key)
			if err != nil {
				return c, fmt.Errorf("key: %w", err)
			}
			c.Key = &k
		}
	}
	if r.Pass != nil {
		if c.Carp == nil {
			return c, errors.New("pass: belongs to the carp part of a change")
		}
		c.Carp.Pass = new(ifconfig.NewPass(*r.Pass))
	}
	if err := c.Validate(); err != nil {
		return c, err
	}
	if c.Interface != "pfsync0" && !ifconfig.IsCarp(c.Interface) && c.Carp == nil {
		return c, fmt.Errorf("%s: not an interface of pfsyncd", c.Interface)
	}
	return c, nil
}
