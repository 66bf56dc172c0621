package wireshark_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync-linux/pfsync/test/corpus"
	"github.com/pfsync-linux/pfsync/test/wireshark"
)

// dissected is a vector of FreeBSD and what the dissector shows of it.
type dissected struct {
	corpus.Vector
	got wireshark.Fields
}

func freebsd(t testing.TB) []dissected {
	t.Helper()
	var frames []wireshark.Frame
	var all []dissected
	for _, dialect := range []string{"freebsd1301", "freebsd1400", "freebsd1500"} {
		for _, v := range corpus.Vectors(t, dialect) {
			b := v.Bytes(t)
			if v.Kind == "message" {
				s := append([]byte{uint8(v.Action), 0, 0, 1}, b...)
				s = append(s, 12, 0, 0, 1) // EOF
				b = append(header(5, len(s)), s...)
			}
			v.Name = dialect + " " + v.Name
			frames = append(frames, wireshark.Packet(v.Name, b))
			all = append(all, dissected{Vector: v})
		}
	}
	for i, f := range wireshark.Dissect(t, frames, wireshark.Names(t)) {
		all[i].got = f
	}
	return all
}

// Beside our decoder, each vector has the values it was made from.
func TestFreeBSDsFormats(t *testing.T) {
	for _, v := range freebsd(t) {
		t.Run(v.Name, func(t *testing.T) {
			for _, mark := range []string{"malformed", "cut", "bad_ttl", "unknown"} {
				if v.got[mark] != nil {
					t.Errorf("marked %s", mark)
				}
			}
			d := json.NewDecoder(bytes.NewReader(v.Fields))
			d.UseNumber()
			var fields map[string]any
			if err := d.Decode(&fields); err != nil {
				t.Fatal(err)
			}
			want := map[string]string{"version": "5", "len": v.got["len"][0]}
			if v.Kind == "frame" {
				want["len"], want["chksum"] = strconv.Itoa(v.Size), fmt.Sprint(fields["pfcksum"])
			} else {
				want["action"] = fmt.Sprintf("%d|12", v.Action)
				values(want, v.Action, "", fields)
			}
			got := map[string]string{}
			for name := range want {
				got[name] = strings.Join(v.got[name], "|")
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("the vector's and the dissector's:\n%s", diff)
			}
			if n := len(v.got["id"]); v.Kind == "frame" && fmt.Sprint(n) != fmt.Sprint(fields["count"]) {
				t.Errorf("%d ids, want %v", n, fields["count"])
			}
		})
	}
}

// rename has those fields of vectors that have other names in the dissector.
var rename = map[string]string{
	"wire_af": "wire.af", "stack_af": "stack.af", "wire_proto": "wire.proto", "stack_proto": "stack.proto", "tagname": "tag",
	"state_flags": "flags", "state_flags_on_wire": "flags", "scrub_flag": "scrub.valid", "pfss_flags": "scrub.flags",
	"pfss_ttl": "scrub.ttl", "pfss_ts_mod": "scrub.ts_mod", "dst_len": "dst.len", "dst_family": "dst.family", "sproto": "proto",
}

// digits has the fields that are shown in hexadecimal.
var digits = map[string]int{
	"log": 2, "sync_flags": 2, "set_tos": 2, "state_flags": 4, "state_flags_on_wire": 4, "wscale": 2, "pfss_flags": 4, "spi": 8,
}

// values puts the fields of a vector under the names, and in the form, of the dissector.
func values(to map[string]string, action int, prefix string, fields map[string]any) {
	if prefix == "" {
		prefix = map[int]string{0: "clr.", 4: "updc.", 10: "bus.", 11: "tdb."}[action]
		if prefix == "" {
			prefix = "state."
		}
	}
	for name, value := range fields {
		key := prefix + name
		if other := rename[name]; other != "" {
			key = prefix + other
		}
		switch v := value.(type) {
		case map[string]any:
			values(to, action, map[string]string{"key_wire": "state.wire.", "key_stack": "state.stack.", "src": "src.", "dst": "dst."}[name], v)
		case []any:
			for i, one := range v {
				to[fmt.Sprint(key, i)] = fmt.Sprint(one)
			}
		case string:
			switch {
			case name == "id" || name == "creatorid":
				to[name] = "0x" + v
			case name == "rt_addr" && fmt.Sprint(fields["rt_af"]) == "0": // no family, no address
			case strings.HasPrefix(name, "addr") || name == "rt_addr" || name == "dst":
				if strings.Contains(v, ":") {
					key += "_v6"
				}
				to[key] = v
			default:
				to[key] = v
			}
		case json.Number:
			n, _ := v.Int64() // as all numbers of the vectors
			switch {
			case name == "timeout":
				to[name] = v.String()
			case name == "state_flags" && fields["state_flags_on_wire"] != nil:
			case n == -1 && name != "rtableid":
				to[key] = "4294967295"
			case digits[name] > 0:
				to[key] = fmt.Sprintf("0x%0*x", digits[name], n)
			default:
				to[key] = v.String()
			}
		}
	}
}
